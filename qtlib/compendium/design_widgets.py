"""The design explorer of notebook 06: widgets for shape, width and engine, and the estimate drawn anew at every choice."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from qtlib.compendium import design_figures, figures
from qtlib.config import BITS, HardwareConfig, ModelConfig, QuantConfig
from qtlib.estimate.resources import estimate
from qtlib.hardware.devices import DEVICES
from qtlib.hardware.lane_shape import legal_lanes, legal_unrolls
from qtlib.program.program import Program

# Windows and sizes are those of the published grid (arXiv 2410.03294).
CHOICES = {"window": (6, 12, 24), "d_model": (8, 16, 32, 64), "bits": tuple(BITS), "device": tuple(DEVICES)}
DEFAULT = {"window": 24, "d_model": 16, "bits": 8, "device": "xc7s15", "lanes": 24, "unroll": 1}  # of notebook 04


class Explorer(NamedTuple):
    """Widgets by the name of their choice, the picture that they draw, and the view of all of them."""

    controls: dict[str, ipywidgets.Widget]
    picture: ipywidgets.Image
    view: ipywidgets.Widget


@cache  # of 84 programs at most
def _program(window: int, d_model: int, bits: int) -> Program:
    # Everything but this function loads without torch.
    from qtlib.training.determinism import one_thread
    from qtlib.training.lowering import example

    with one_thread():  # beside another busy process, threads that wait for each other take seconds
        return example(ModelConfig(window=window, d_model=d_model), QuantConfig(bits=bits))


def draw(*, window: int, d_model: int, bits: int, device: str, lanes: int, unroll: int) -> Figure:
    """Draw the estimate of a design with random weights beside the budget of its device.

    Raises:
        ValueError: lanes or unroll are illegal for the window, or there is no such device.
    """
    hardware = HardwareConfig(device=device, lanes=lanes, unroll=unroll)
    return design_figures.budget(estimate(_program(window, d_model, bits), hardware), hardware)


def explorer() -> Explorer:
    """Widgets for every choice, set to `DEFAULT`; in a notebook, ``explorer().view`` shows them.

    Lanes that do not fold the window and unrolls that do not divide the lanes are not offered. A choice that is no longer legal
    becomes the nearest legal one.
    """
    controls = {name: ipywidgets.Dropdown(options=CHOICES.get(name, [value])) for name, value in DEFAULT.items()}
    controls["bits"] = ipywidgets.SelectionSlider(options=CHOICES["bits"])  # whose options do not change
    for name, control in controls.items():
        control.description, control.value = name, DEFAULT[name]
    picture = ipywidgets.Image(format="png")
    updating = False

    def offer(name: str, legal: Sequence[int]) -> None:
        control, before = controls[name], controls[name].value
        if control.options != tuple(legal):
            control.options = legal  # which chooses the first one
            control.value = min(legal, key=lambda value: abs(value - before))

    def update(_: object = None) -> None:
        nonlocal updating
        if updating:  # a change that an offer made: between two offers the choices are illegal together
            return
        updating = True
        offer("lanes", legal_lanes(controls["window"].value))
        offer("unroll", legal_unrolls(controls["lanes"].value))
        updating = False
        fig = draw(**{name: control.value for name, control in controls.items()})
        stream = io.BytesIO()
        fig.savefig(stream, format="png", dpi=figures.PREVIEW_DPI)
        plt.close(fig)  # or the notebook shows it a second time
        picture.value = stream.getvalue()

    update()
    for control in controls.values():
        control.observe(update, "value")
    boxes = list(controls.values())
    columns = ipywidgets.HBox([ipywidgets.VBox(boxes[:3]), ipywidgets.VBox(boxes[3:])])  # the model, the engine
    return Explorer(controls, picture, ipywidgets.VBox([columns, picture]))

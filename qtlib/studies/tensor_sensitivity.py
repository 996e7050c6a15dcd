"""Which tensor needs its bits: a trained model with one tensor at fewer bits, everything else as it was trained.

Nothing is trained. The one tensor is calibrated for its new width on the values that the trained model computes there, so the
table says what rounding that tensor costs, and not what training could win back. It is a map for a search over widths, not its result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from qtlib.data.baseline_forecasts import errors
from qtlib.data.windows import Prepared
from qtlib.program import reference
from qtlib.training.bit_widths import widths
from qtlib.training.calibration import calibrate, calibrate_channels, calibrate_gain, largest_scale
from qtlib.training.determinism import one_thread
from qtlib.training.encoder import Encoder
from qtlib.training.lowering import lower
from qtlib.training.quantised_encoder import CALIBRATION, QuantisedEncoder
from qtlib.training.run_store import Run

SOFTMAX = "exponentials"  # of all layers: they have one width, `QuantConfig.softmax_bits`


def names(model: QuantisedEncoder) -> dict[str, str]:
    """Kind of everything that has a width of its own, by the names of `QuantConfig.overrides` and `SOFTMAX`."""
    tensors, weights = widths(model.config, model.quant)
    found = dict.fromkeys(tensors, "activations") | {SOFTMAX: "activations"}
    return found | {f"{layer}.weight": "weights" for layer in weights}


@torch.no_grad()
def narrowed(model: QuantisedEncoder, name: str, bits: int, values: dict[str, Tensor]) -> QuantisedEncoder:
    """The same weights and scales with one tensor at ``bits``, whose scale alone is calibrated again.

    Codes of a context are a power of two finer than those of v (`qtlib.training.calibrate_gain`). Where a narrow context would have
    to be coarser, the scale of v doubles along with it, because the engine cannot shift further.

    Args:
        model: trained; only read.
        name: one of `names`.
        bits: its new width.
        values: `QuantisedEncoder.values` of train windows.

    Raises:
        ValueError: the model has no such tensor, or the width is not legal.
    """
    quant = model.quant
    if name == SOFTMAX:
        quant = replace(quant, softmax_bits=bits)
    else:
        quant = replace(quant, overrides=(*quant.overrides, (name, bits)))
    with torch.random.fork_rng(devices=[]):
        found = QuantisedEncoder(Encoder(model.config), quant, values["input"][:1].float()).eval()
    found.load_state_dict(model.state_dict())
    kind, learned = name.rpartition(".")[2], quant.scheme == "learned"
    if kind == "weight":
        if learned:  # min-max scales follow from the weights
            wire = next(w for w in found.wires if f"{w.y}.weight" == name)
            scales = calibrate_channels(found.weight[wire.block][wire.rows], bits)
            found.weight_log_scale[wire.channels] = scales.log().float()
    elif kind == "context":
        _set_gain(found, name.removesuffix("context"), values)
    elif name in found._norms():
        found.norm_gain[found._norms().index(name)] = calibrate_gain(values[name], 1.0, bits)
    elif name != SOFTMAX:
        choose = calibrate if learned else largest_scale
        scale = choose(values[name], bits, signed=found.zero_point(name) == 0)
        found.log_scale[found._learned().index(name)] = math.log(scale)
        if kind == "v":  # what reads it keeps its scale, up to the nearest power of two
            _set_gain(found, name.removesuffix("v"), values)
    return found


def _set_gain(model: QuantisedEncoder, layer: str, values: dict[str, Tensor]) -> None:
    """Choose the scale of a layer's context; ``layer`` ends in a point."""
    scale, bits = model.scales()[f"{layer}v"], model.bits[f"{layer}context"]
    gain = calibrate_gain(values[f"{layer}context"], scale, bits, gains=range(-8, 13))
    model.log_scale[model._learned().index(f"{layer}v")] += math.log(2) * max(0, -gain)
    model.context_gain[int(layer[:-1])] = max(0, gain)


def sensitivity(run: Run, prepared: Prepared, bits: Iterable[int] = (4, 3, 2)) -> pd.DataFrame:
    """Validation error of a trained program with one tensor at a time at fewer bits, without training.

    Args:
        run: a quantised run.
        prepared: its windows; scales are calibrated on train windows, errors are of validation.
        bits: widths tried; those that a tensor has already, or is below, are left out.

    Returns:
        name, kind, bits, validation_rmse in the data's unit, and the increase over the run itself in %; the run itself is the first
        row, with an empty name.

    Raises:
        ValueError: the run is not quantised, or a width is not legal.
        OverflowError: a narrower tensor does not fit the engine's multipliers.
    """
    if run.program is None or not isinstance(run.model, QuantisedEncoder):
        raise ValueError("sensitivity: the run is a float model, which has no widths")
    model, held = run.model, prepared.validation
    x = torch.from_numpy(prepared.train.x[:: max(1, len(prepared.train.x) // CALIBRATION)])
    values, truth = model.values(x), prepared.truth(held)

    def rmse(candidate: QuantisedEncoder) -> float:
        return errors(prepared.to_units(reference.predict(lower(candidate), held.x), held), truth).rmse

    has = model.bits | {SOFTMAX: model.quant.softmax} | {f"{k}.weight": b for k, b in model.weight_bits.items()}
    bits = tuple(bits)
    with one_thread():
        own = rmse(model)
        rows = [("", "none", model.quant.bits, own)]
        for name, kind in names(model).items():
            rows += [(name, kind, b, rmse(narrowed(model, name, b, values))) for b in bits if b < has[name]]
    table = pd.DataFrame(rows, columns=["name", "kind", "bits", "validation_rmse"])
    return table.assign(increase=100 * (table.validation_rmse / own - 1))

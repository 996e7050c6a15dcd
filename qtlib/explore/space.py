"""What a search may choose from, and how a point of it becomes an experiment and a design."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qtlib.config import (
    BITS,
    MEMORY_TYPES,
    MULTIPLIERS,
    Experiment,
    HardwareConfig,
    QuantConfig,
    check_choice,
    check_range,
    digest,
)
from qtlib.data.datasets import default_config
from qtlib.hardware.devices import device
from qtlib.studies.precision_studies import TASKS, windows
from qtlib.studies.tensor_sensitivity import SOFTMAX
from qtlib.training.bit_widths import widths
from qtlib.training.experiments import make_experiment

QAT_EPOCHS = 4  # a trial of window 24 and d_model 16 takes some seconds
HARDWARE = ("groups", "unroll", "multiplier", "activations", "weights", "parameters", "tables")


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a search may choose from; a dimension with one choice is fixed. The default is that of the PeMS station.

    Device and clock are given, not searched: nothing here knows which clock a design reaches, so the highest would always win.
    """

    window: tuple[int, ...] = (12, 24)
    d_model: tuple[int, ...] = (8, 16, 32)
    activation_bits: tuple[int, ...] = (3, 4, 6, 8)  # of every tensor of codes that is not named below
    weight_bits: tuple[int, ...] = (2, 3, 4, 6, 8)  # of every layer's weights
    softmax_bits: tuple[int, ...] = (4, 6, 8)
    input_bits: tuple[int, ...] = (6, 8)
    head_bits: tuple[int, ...] = (4, 6, 8)
    tensors: (
        Mapping[str, Sequence[int]] | tuple[tuple[str, tuple[int, ...]], ...]
    ) = ()  # of single ones, by `bit_widths.widths`
    groups: tuple[int, ...] = (1, 2, 3, 4)  # of tokens that share the lanes: lanes = ceil(window / groups)
    unroll: tuple[int, ...] = (1, 2)
    multiplier: tuple[str, ...] = MULTIPLIERS
    activations: tuple[str, ...] = MEMORY_TYPES
    weights: tuple[str, ...] = MEMORY_TYPES
    parameters: tuple[str, ...] = MEMORY_TYPES
    tables: tuple[str, ...] = MEMORY_TYPES
    device: str = "xc7s15"
    clock_mhz: float = 100.0

    def __post_init__(self) -> None:
        numbers = {"window": (2, 256), "d_model": (1, 512), "groups": (1, 256), "unroll": (1, 1024)}
        numbers |= {
            f"{kind}_bits": (BITS[0], BITS[-1]) for kind in ("activation", "weight", "softmax", "input", "head")
        }
        words = {
            "multiplier": MULTIPLIERS,
            **dict.fromkeys(("activations", "weights", "parameters", "tables"), MEMORY_TYPES),
        }
        for name, limits in numbers.items():
            object.__setattr__(self, name, _numbers(name, getattr(self, name), *limits))
        for name, legal in words.items():
            object.__setattr__(self, name, _options(name, getattr(self, name)))
            for value in getattr(self, name):
                check_choice("space", name, value, legal)
        tensors = {
            name: _numbers(f"tensors[{name!r}]", bits, BITS[0], BITS[-1]) for name, bits in dict(self.tensors).items()
        }
        object.__setattr__(self, "tensors", tuple(sorted(tensors.items())))
        device(self.device)
        HardwareConfig(clock_mhz=self.clock_mhz)
        if self.groups[0] > self.window[-1]:
            raise ValueError(
                f"space: groups={self.groups[0]} is more than the {self.window[-1]} tokens of the longest window"
            )
        lanes = sorted({-(-n // g) for n in self.window for g in self.groups})
        for unroll in self.unroll:
            if all(n % unroll for n in lanes):
                raise ValueError(
                    f"space: unroll={unroll} divides the lanes of no window and groups: {', '.join(map(str, lanes))}; "
                    "take it out, or add a window or groups whose lanes it divides"
                )

    @property
    def hash(self) -> str:
        """Key of the choices."""
        return digest(asdict(self))

    def choices(self, base: Experiment) -> dict[str, tuple[Any, ...]]:
        """Every dimension, by the name of its column, with its choices.

        Raises:
            ValueError: a choice that the model of ``base`` cannot have, or a tensor that it does not have.
        """
        for d_model in self.d_model:
            replace(base.model, d_model=d_model)
        own = dict(self.tensors)
        codes, layers = widths(
            base.model, QuantConfig(overrides=tuple((n, b[0]) for n, b in own.items() if n != SOFTMAX))
        )
        found = {name: self.input_bits if name == "input" else self.activation_bits for name in codes}
        found |= {SOFTMAX: self.softmax_bits}
        found |= {f"{name}.weight": self.head_bits if name == "forecast" else self.weight_bits for name in layers}
        hardware = {name: getattr(self, name) for name in HARDWARE}
        return {"window": self.window, "d_model": self.d_model} | found | own | hardware


def _options(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"space: {name}={value!r} must be a list of choices")
    if not value:
        raise ValueError(f"space: {name} has no choice; name at least one")
    return tuple(dict.fromkeys(value))


def _numbers(name: str, value: Any, low: int, high: int) -> tuple[int, ...]:
    for number in _options(name, value):
        check_range("space", name, number, low, high)
    return tuple(sorted(set(value)))


def read_space(path: Path) -> Space:
    """A space from a JSON file of some of its fields; the others keep their defaults.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError, TypeError: it is no JSON object of fields of `Space`, or as `Space`.
    """
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"space: {path} is not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise TypeError(f"space: {path} must be a JSON object of fields, it is a {type(fields).__name__}")
    for name in fields:
        check_choice("space", "field", name, [field.name for field in dataclasses.fields(Space)])
    return Space(**fields)


def make_base(dataset: str = "pems", *, seed: int = 0, qat_epochs: int | None = None) -> Experiment:
    """The experiment that all trials vary, on the task of `qtlib.studies.precision_studies` with this data set."""
    config = next((task for task in TASKS.values() if task.dataset == dataset), None) or default_config(dataset)
    base = make_experiment(windows(config), bits=8, seed=seed)
    return replace(base, train=replace(base.train, qat_epochs=QAT_EPOCHS if qat_epochs is None else qat_epochs))


def design(point: Mapping[str, Any], base: Experiment, space: Space) -> tuple[Experiment, HardwareConfig]:
    """The experiment and the hardware of one point of a space, which may be a row of a table of trials."""
    choices = {name: point[name] if isinstance(point[name], str) else int(point[name]) for name in space.choices(base)}
    window = choices["window"]
    no_width = {"window", "d_model", SOFTMAX, *HARDWARE}
    quant = replace(
        base.quant or QuantConfig(),
        softmax_bits=choices[SOFTMAX],
        overrides=tuple((name, bits) for name, bits in choices.items() if name not in no_width),
    )
    experiment = replace(
        base,
        data=replace(base.data, window=window),
        model=replace(base.model, window=window, d_model=choices["d_model"]),
        quant=quant,
    )
    memory: dict[str, Any] = {name: choices[name] for name in HARDWARE if name != "groups"}
    lanes = -(-window // choices["groups"])
    return experiment, HardwareConfig(device=space.device, clock_mhz=space.clock_mhz, lanes=lanes, **memory)


def anchors(space: Space, base: Experiment) -> list[dict[str, Any]]:
    """Known points to start from: 8, 6 and 4 bits on the default hardware as near as the space has them, and its cheapest corner."""
    choices, found = space.choices(base), []
    for bits in (8, 6, 4):
        codes, layers = widths(base.model, QuantConfig(bits=bits))
        wanted = {
            "window": base.data.window,
            "d_model": base.model.d_model,
            "groups": 1,
            "unroll": 1,
            SOFTMAX: bits,
            **codes,
        }
        wanted |= {f"{name}.weight": width for name, width in layers.items()}
        found.append({name: _nearest(options, wanted.get(name, "auto")) for name, options in choices.items()})
    cheapest = {
        name: _nearest(options, "auto" if isinstance(options[0], str) else 0) for name, options in choices.items()
    }
    found.append(cheapest | {"groups": space.groups[-1]})
    return [point for place, point in enumerate(found) if point not in found[:place]]


def _nearest(options: Sequence[Any], wanted: Any) -> Any:
    if isinstance(wanted, str):
        return wanted if wanted in options else options[0]
    return min(options, key=lambda option: abs(option - wanted))

"""What fits a device: the published grid of shapes and widths (arXiv 2410.03294) under more and more freedom.

    distributed  one width for the body, every store in LUTs
    selectable   one width for the body, the memory type of every store chosen
    mixed        memory types chosen, and fewer bits for weights than for activations, first of the feed-forward block, which has
                 two thirds of them: the most that fit

Within each, lanes, unroll and multipliers are free, and of what fits the fewest clocks are taken. Weights are random but seeded: a
shape can be judged before it is trained. Every number is an estimate by formula, but the clocks, which are exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from qtlib.config import STORES, HardwareConfig, ModelConfig, QuantConfig
from qtlib.estimate.device_fit import UNITS, exceeded, fastest
from qtlib.estimate.resources import Estimate, estimate
from qtlib.hardware.devices import device
from qtlib.hardware.engine_schedule import choose_shape
from qtlib.hardware.lane_shape import legal_lanes, legal_unrolls
from qtlib.paths import DATA, table, write_atomic
from qtlib.program.program import Program
from qtlib.training.bit_widths import FEED_FORWARD, narrow_weights
from qtlib.training.lowering import example

FILE = DATA / "deployability.csv"
DEVICES = ("xc7s15", "xc7s6")
FEATURES = 7  # of the input, as in data/shapes.csv
WINDOWS, WIDTHS, BITS = (6, 12, 24), (8, 16, 32, 64), (8, 6, 4)
FREEDOMS = ("distributed", "selectable", "mixed")
LARGEST_UNROLL = 6
IN_LUTS = dict.fromkeys(STORES.values(), "distributed")


def hardware_choices(window: int, **fixed: Any) -> Iterator[HardwareConfig]:
    """Every lanes, unroll and multiplier type that is legal for a window."""
    for lanes, multiplier in itertools.product(legal_lanes(window), ("auto", "lut")):
        for unroll in legal_unrolls(lanes):
            if unroll <= LARGEST_UNROLL:
                yield HardwareConfig(lanes=lanes, unroll=unroll, multiplier=multiplier, **fixed)


def widths_of(bits: int, freedom: str) -> list[QuantConfig]:
    """Widths that a freedom allows where the activations have ``bits``, the widest weights first."""
    if freedom == "mixed":
        steps = ((weights + more, weights) for weights in range(bits - 1, 1, -1) for more in (1, 0))
        return [narrow_weights(bits, *step) for step in steps]
    return [QuantConfig(bits=bits)]


def deployability(
    devices: Iterable[str] = DEVICES, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> pd.DataFrame:
    """The grid on some devices, a row for each device, shape, width and freedom.

    Args:
        devices: their names.
        progress: receives how many shapes and widths of how many are done.

    Returns:
        device, window, features, d_model, bits, freedom; fits; weight_bits; feed_forward_bits; exceeds: by what, or nothing; lanes,
        unroll, requantisers, multiplier, clocks (exact), lut, lut_memory, ff, dsp, ramb18 (formula) of what takes the fewest clocks
        of all that fits, or, where nothing fits, of what exceeds the device least.

    Raises:
        ValueError: an unknown device.
    """
    devices = list(devices)
    for name in devices:
        device(name)
    grid = list(itertools.product(WINDOWS, WIDTHS, BITS))
    rows = []
    for done, (window, d_model, bits) in enumerate(grid, 1):
        programs = _programs(ModelConfig(window=window, d_model=d_model, features=FEATURES))
        keys = {"window": window, "features": FEATURES, "d_model": d_model, "bits": bits}
        rows += [
            {"device": d, **keys, "freedom": f, **judge(programs, window, bits, d, f)}
            for d in devices
            for f in FREEDOMS
        ]
        progress(done, len(grid))
    order = {name: place for place, name in enumerate(devices)}
    return pd.DataFrame(rows).sort_values(
        "device", key=lambda names: names.map(order), kind="stable", ignore_index=True
    )


def judge(
    programs: Callable[[QuantConfig], Program], window: int, bits: int, name: str, freedom: str
) -> dict[str, Any]:
    """The best that a freedom allows on a device, as a row of `deployability` without its keys."""
    candidates = list(hardware_choices(window, device=name, **(IN_LUTS if freedom == "distributed" else {})))
    for quant in widths_of(bits, freedom):
        program = programs(quant)
        found = fastest(program, candidates)
        if found:
            break
    hardware, numbers = found or _nearest(program, candidates)
    shape = choose_shape(program, hardware)
    return {
        "fits": found is not None,
        "weight_bits": quant.weights,
        "feed_forward_bits": dict(quant.overrides).get(FEED_FORWARD[0], quant.weights),
        "exceeds": _text(numbers, name),
        **{key: getattr(shape, key) for key in ("lanes", "unroll", "requantisers")},
        "multiplier": hardware.multiplier,
        "clocks": numbers.clocks,
        **{kind: round(getattr(numbers.total, kind)) for kind in UNITS},
    }


def _programs(shape: ModelConfig) -> Callable[[QuantConfig], Program]:
    return lru_cache(lambda quant: example(shape, quant))


def write(*, progress: Callable[[int, int], None] = lambda done, of: None) -> Path:
    """Compute the table of all `DEVICES` and write it to `FILE`."""
    return write_atomic(FILE, deployability(progress=progress).to_csv(index=False, lineterminator="\n"))


def load() -> pd.DataFrame:
    """The committed table.

    Raises:
        FileNotFoundError: there is none; the text names the command that writes it.
    """
    file = table(FILE)
    if not file.exists():
        raise FileNotFoundError(f"deploy: {file} does not exist; python -m qtlib deployability writes it")
    return pd.read_csv(file, keep_default_na=False)


def _nearest(program: Program, candidates: list[HardwareConfig]) -> tuple[HardwareConfig, Estimate]:
    """What exceeds its device least: the smallest of the largest shares."""

    def share(found: tuple[HardwareConfig, Estimate]) -> float:
        return max(needed / there for needed, there in exceeded(found[1], found[0].device).values())

    return min(((hardware, estimate(program, hardware)) for hardware in candidates), key=share)


def _text(found: Estimate, name: str) -> str:
    return ", ".join(
        f"{needed:,} of {there:,} {UNITS[kind]}" for kind, (needed, there) in exceeded(found, name).items()
    )

"""What fits a device: the published grid of shapes and widths (arXiv 2410.03294) under more and more freedom.

    distributed  one width for the body, every store in LUTs
    selectable   one width for the body, the memory type of every store chosen
    mixed        memory types chosen, and fewer bits for the weights than for the activations: the most that fit

Within each, lanes, unroll and multipliers are free, and of what fits the fewest clocks are taken. Weights are random but seeded: a
shape can be judged before it is trained. Every number is an estimate by formula, but the clocks, which are exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.devices import device
from qtlib.lower import example
from qtlib.program import Program
from qtlib.resources import UNITS, Estimate, estimate, exceeded, fastest
from qtlib.schedule import legal_lanes

WINDOWS, WIDTHS, BITS = (6, 12, 24), (8, 16, 32, 64), (8, 6, 4)
FREEDOMS = ("distributed", "selectable", "mixed")
LARGEST_UNROLL = 6
IN_LUTS = dict.fromkeys(("activations", "weights", "parameters", "tables"), "distributed")


def hardware_choices(window: int, **fixed: Any) -> Iterator[HardwareConfig]:
    """Every lanes, unroll and multiplier type that is legal for a window."""
    for lanes, multiplier in itertools.product(legal_lanes(window), ("auto", "lut")):
        for unroll in range(1, min(lanes, LARGEST_UNROLL) + 1):
            if lanes % unroll == 0:
                yield HardwareConfig(lanes=lanes, unroll=unroll, multiplier=multiplier, **fixed)


def widths_of(bits: int, freedom: str) -> list[QuantConfig]:
    """Widths that a freedom allows where the activations have ``bits``, the widest weights first."""
    if freedom == "mixed":
        return [QuantConfig(bits=bits, weight_bits=weights) for weights in range(bits - 1, 1, -1)]
    return [QuantConfig(bits=bits)]


def deployability(
    name: str = "xc7s15", features: int = 1, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> pd.DataFrame:
    """The grid on a device, a row for each shape, width and freedom.

    Args:
        name: the device.
        features: of the input.
        progress: receives how many programs of how many are done.

    Returns:
        window, d_model, bits, freedom; fits; weight_bits; lanes, unroll, multiplier, clocks (exact), lut, ff, dsp, ramb18 (formula) of
        what takes the fewest clocks of all that fits, or, where nothing fits, of what exceeds the device least; exceeds: by what.

    Raises:
        ValueError: an unknown device.
    """
    device(name)
    grid = list(itertools.product(WINDOWS, WIDTHS, BITS))
    rows = []
    for done, (window, d_model, bits) in enumerate(grid, 1):
        shape = ModelConfig(window=window, d_model=d_model, features=features)
        programs: dict[QuantConfig, Program] = {}
        for freedom in FREEDOMS:
            candidates = list(hardware_choices(window, device=name, **(IN_LUTS if freedom == "distributed" else {})))
            for quant in widths_of(bits, freedom):
                program = programs.setdefault(quant, example(shape, quant))
                found = fastest(program, candidates)
                if found:
                    break
            fits = found is not None
            hardware, numbers = found or _nearest(program, candidates)
            row = {"window": window, "d_model": d_model, "bits": bits, "freedom": freedom, "fits": fits}
            row |= {"weight_bits": quant.weights, "exceeds": _text(numbers, name)}
            row |= {key: getattr(hardware, key) for key in ("lanes", "unroll", "multiplier")}
            row |= {"clocks": numbers.clocks} | {kind: round(getattr(numbers.total, kind)) for kind in UNITS}
            rows.append(row)
        progress(done, len(grid))
    return pd.DataFrame(rows)


def _nearest(program: Program, candidates: list[HardwareConfig]) -> tuple[HardwareConfig, Estimate]:
    """What exceeds its device least: the smallest of the largest shares."""

    def share(found: tuple[HardwareConfig, Estimate]) -> float:
        return max(needed / there for needed, there in exceeded(found[1], found[0].device).values())

    return min(((hardware, estimate(program, hardware)) for hardware in candidates), key=share)


def _text(found: Estimate, name: str) -> str:
    return ", ".join(f"{needed:,} of {there:,} {UNITS[kind]}" for kind, (needed, there) in exceeded(found, name).items())

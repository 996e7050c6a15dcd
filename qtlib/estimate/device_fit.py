"""Whether a design fits its device by estimate, by how much it does not, and what would."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from qtlib.config import MULTIPLIERS, STORES, HardwareConfig
from qtlib.estimate.coefficients import Coefficients
from qtlib.estimate.resources import Estimate, estimate
from qtlib.hardware.devices import DEVICES, device
from qtlib.hardware.lane_shape import legal_lanes, legal_unrolls
from qtlib.program.program import Program

UNITS = {"lut": "LUTs", "lut_memory": "LUTs as memory", "ff": "flip-flops", "dsp": "DSP blocks", "ramb18": "RAMB18"}


def exceeded(found: Estimate, name: str) -> dict[str, tuple[int, int]]:
    """Resources of which an estimate needs more than a device has: what it needs, and what there is."""
    budget = device(name)
    pairs = {kind: (round(getattr(found.total, kind)), getattr(budget, kind)) for kind in UNITS}
    return {kind: (needed, there) for kind, (needed, there) in pairs.items() if needed > there}


def check_fit(program: Program, hardware: HardwareConfig, coefficients: Coefficients | None = None) -> Estimate:
    """Estimate a design and refuse it where it exceeds its device.

    Raises:
        ValueError: it does not fit; the text says what is exceeded by how much, and what would fit. Also as `estimate`.
    """
    found = estimate(program, hardware, coefficients)
    over = exceeded(found, hardware.device)
    if not over:
        return found
    needs = ", ".join(
        f"{needed - there:,} {UNITS[kind]} ({needed:,} of {there:,})" for kind, (needed, there) in over.items()
    )
    ways = [
        next(filter(None, (fastest(program, group, coefficients) for group in groups)), None)
        for groups in _alternatives(program, hardware)
    ]
    texts = [f"{_changes(hardware, way)} with {best.clocks:,} clocks" for way, best in filter(None, ways)]
    advice = f"would fit: {'; or '.join(texts)}" if texts else "no lanes, unroll, multiplier or known device would fit"
    raise ValueError(
        f"resources: the design exceeds an {hardware.device} by {needs}, by estimate; it takes {found.clocks:,} clocks; {advice}"
    )


def _alternatives(program: Program, hardware: HardwareConfig) -> tuple[list[list[HardwareConfig]], ...]:
    """Ways out on the same device, and on the next larger ones; in groups, the least change first."""
    free: dict[str, Any] = {
        **dict.fromkeys(sorted(set(STORES.values())), "auto"),
        "stores": (),
        "requantisers": None,
        "multiplier": "auto",
    }
    window = program.input.shape[0]
    lanes = window if hardware.lanes is None else hardware.lanes
    dial = [(n, u) for n in legal_lanes(window) for u in legal_unrolls(n) if n * u < lanes * hardware.unroll]
    choices = (hardware.multiplier, *MULTIPLIERS)
    same = [replace(hardware, **{**free, "multiplier": multiplier}) for multiplier in choices]
    same += [replace(hardware, **free, lanes=hardware.lanes if n == lanes else n, unroll=u) for n, u in dial]
    budget = device(hardware.device)
    larger = sorted((found for found in DEVICES.values() if found.lut > budget.lut), key=lambda found: found.lut)
    others = [[replace(hardware, **more, device=other.name)] for other in larger for more in ({}, free)]
    return [same], others


def fastest(
    program: Program, candidates: Iterable[HardwareConfig], coefficients: Coefficients | None = None
) -> tuple[HardwareConfig, Estimate] | None:
    """Of the hardware that fits its device by estimate, what takes the fewest clocks, and of equals the first; None: nothing fits."""
    window = program.input.shape[0]
    best = None
    for candidate in candidates:
        least = program.macs / ((candidate.lanes or window) * candidate.unroll)
        if best and least >= best[1].clocks:
            continue
        try:
            found = estimate(program, candidate, coefficients)
        except ValueError:  # such as products that are too wide to pack
            continue
        if not exceeded(found, candidate.device) and (best is None or found.clocks < best[1].clocks):
            best = candidate, found
    return best


def _changes(before: HardwareConfig, after: HardwareConfig) -> str:
    """The fields in which two choices differ, with the values of the second."""
    values = [(field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(before)]
    return ", ".join(f"{name}={new!r}" for name, old, new in values if new != old)

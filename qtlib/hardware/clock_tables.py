"""Clocks as tables: what every operation of a design takes, and what every choice of lanes and unroll makes of a program."""

from __future__ import annotations

from typing import Any

from qtlib.config import HardwareConfig
from qtlib.hardware.engine_schedule import Schedule, schedule
from qtlib.hardware.lane_shape import legal_lanes, legal_unrolls
from qtlib.hardware.pipeline import START
from qtlib.program.program import Program


def operation_clocks(plan: Schedule) -> list[dict[str, Any]]:
    """Clocks of every operation, a row each in the order of execution.

    Returns:
        operation; start, counted from the fetch of the first one; the clocks of its fetch, of its hold, until the words that it reads are
        written, and of its issue; macs; utilisation, the share of the multipliers' clocks that are multiplications.
    """
    rows = []
    for i in plan.instructions:
        issue = i.end(plan.shape.groups) - i.start
        row = {"operation": i.name, "start": i.start, "fetch": START, "hold": i.hold, "issue": issue, "macs": i.macs}
        rows.append(row | {"utilisation": i.macs / (plan.multipliers * (START + i.hold + issue))})
    return rows


def dial(program: Program) -> list[dict[str, Any]]:
    """Clocks of a program for every legal number of lanes and every unroll, a row each.

    Returns:
        lanes, unroll, requantisers, multipliers, latency, interval, utilisation.
    """
    rows = []
    for lanes in legal_lanes(program.input.shape[0]):
        for unroll in legal_unrolls(lanes):
            plan = schedule(program, HardwareConfig(lanes=lanes, unroll=unroll))
            row = {"lanes": lanes, "unroll": unroll, "requantisers": plan.shape.requantisers}
            clocks = {name: getattr(plan, name) for name in ("multipliers", "latency", "interval", "utilisation")}
            rows.append(row | clocks)
    return rows

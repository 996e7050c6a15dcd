"""Clocks of one inference with what they are: simulated in notebook 04, or by formula where no simulator ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtlib.compendium import results
from qtlib.hardware.engine_schedule import Schedule


def latencies(plans: Mapping[int, Schedule]) -> dict[int, dict[str, Any]]:
    """Clocks between the first code and the forecast of every design, as `qtlib.compendium.results.figure`.

    Args:
        plans: by the bits of the program.

    Raises:
        ValueError: a simulation counted other clocks than the schedule says.
    """
    try:
        simulations = results.load_json("04_simulation")["simulations"]
    except FileNotFoundError:
        simulations = {}
    return {bits: _latency(simulations.get(str(bits), {}).get("verilator", {}), plan) for bits, plan in plans.items()}


def _latency(report: Mapping[str, Any], plan: Schedule) -> dict[str, Any]:
    if report.get("kind") != "simulated" or not report["latency"]:
        return results.figure(plan.latency, "formula", unit="clocks")
    if report["latency"] != plan.latency:
        raise ValueError(
            f"clocks: notebook 04 simulated a latency of {report['latency']} clocks, the schedule says {plan.latency}; "
            'run "python -m qtlib run 4"'
        )
    source = {name: report[name] for name in ("tool", "version")}
    return results.figure(report["latency"], "simulated", unit="clocks", **source)

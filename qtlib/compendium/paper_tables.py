"""Table of accelerators of notebook 08, put together from what the earlier notebooks counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def accelerators(
    programs: Iterable[Mapping[str, Any]],
    simulation: Mapping[str, Any],
    resources: Mapping[str, Any],
    energy: Mapping[str, Any],
) -> pd.DataFrame:
    """A row for each program; what a missing tool could not measure is empty.

    Args:
        programs: the index of notebook 02.
        simulation, resources, energy: the results 04_simulation, 05_resources and 07_energy.
    """
    return pd.DataFrame([_row(entry, simulation, resources, energy) for entry in programs])


def _row(
    entry: Mapping[str, Any], simulation: Mapping[str, Any], resources: Mapping[str, Any], energy: Mapping[str, Any]
) -> dict[str, Any]:
    bits = str(entry["bits"])
    simulated = simulation["simulations"].get(bits, {}).values()
    counted = resources["designs"][bits].get("count", {})
    low, high = energy["energy_uj"][bits]
    return {
        "bits": entry["bits"],
        "test_rmse": entry["test_rmse"],
        "clocks": energy["clocks"][bits]["value"],
        "windows simulated": sum(run["windows"] for run in simulated if run["mismatches"] == 0) or None,
        **{name: counted[name]["value"] if counted else None for name in ("lut", "ff", "dsp", "ramb18")},
        "energy_low_uj": low,
        "energy_high_uj": high,
    }

"""Figures of notebook 08 and of the overview: errors, latencies beside published ones, and the clocks of the headline."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from qtlib.compendium.figures import PALETTE
from qtlib.estimate.energy import PUBLISHED, duration_ms


def forecasts(table: pd.DataFrame, label: str) -> Figure:
    """Draw the test RMSE of every model as a bar, integer programs darker than float models and baselines.

    Args:
        table: ``model`` and ``test_rmse``.
        label: of the axis.
    """
    fig, ax = plt.subplots(figsize=(5.5, 2.5))
    colours = [PALETTE[0 if integer else 5] for integer in table["model"].str.contains("bit")]
    bars = ax.barh(table["model"], table["test_rmse"], color=colours)
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.invert_yaxis()
    ax.set_xlabel(label)
    return fig


def latency(designs: pd.DataFrame, clock_mhz: float, unit: str) -> Figure:
    """Draw error against latency, a line for each width, and the published latencies, which have no error here.

    Args:
        designs: ``bits``, ``clocks`` and ``test_rmse``.
        clock_mhz: the clock frequency to assume.
        unit: of the error.
    """
    fig, ax = plt.subplots(figsize=(6, 3.2))
    for bits, group in designs.groupby("bits"):
        ax.plot(1e3 * duration_ms(1, clock_mhz) * group["clocks"], group["test_rmse"], label=f"{bits} bit")
    top = ax.get_ylim()[1]
    for point in PUBLISHED:
        if point.latency_ms:
            time = 1e3 * point.latency_ms
            ax.axvline(time, color="0.5", linewidth=1, linestyle=":", marker="")
            ax.text(time, top, point.name, rotation=90, va="top", ha="right", fontsize="x-small")
    ax.set(xscale="log", xlabel="latency, µs", ylabel=f"test RMSE, {unit}")
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(0.2, 0.6))
    return fig


def clocks(found: Mapping[str, int], shape: str) -> Figure:
    """Draw clocks of one inference as bars; a published one is lighter.

    Args:
        found: clocks by the name of the design.
        shape: of the model, for the axis.
    """
    fig, ax = plt.subplots(figsize=(6, 1.9))
    colours = [PALETTE[5 if "published" in name else 0] for name in found]
    bars = ax.barh(list(found), list(found.values()), color=colours)
    ax.bar_label(bars, fmt="{:,.0f}", padding=3)
    ax.set(xscale="log", xlim=(1e3, 4e5), xlabel=f"clocks of one inference, {shape}")
    ax.invert_yaxis()
    return fig

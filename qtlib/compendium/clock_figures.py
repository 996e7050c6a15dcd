"""Figures of notebook 04: which clock goes where, and what lanes and unroll make of the clocks of a program."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qtlib.compendium.figures import PALETTE
from qtlib.hardware.clock_timeline import timeline as spans_of
from qtlib.hardware.engine_schedule import Schedule

UNITS = {
    "lanes": "lanes",
    "requantisers": "rounding",
    "softmax": "softmax",
    "layer_norm": "layer norm",
    "load": "next window in",
    "unload": "result out",
}


def operations(clocks: pd.DataFrame, plan: Schedule) -> Figure:
    """Draw the clocks of every operation, and what the multipliers do in them.

    Args:
        clocks: from `qtlib.hardware.operation_clocks`.
        plan: of the same design.
    """
    fig, ax = plt.subplots(figsize=(7, 3))
    left = np.zeros(len(clocks))
    useful = clocks["macs"] / plan.multipliers
    parts = {
        "multiplications": useful,
        "idle multipliers": clocks["issue"] - useful,
        "fetch": clocks["fetch"],
        "hold": clocks["hold"],
    }
    for (name, width), hatch in zip(parts.items(), ("", "xx", "..", "//"), strict=True):
        ax.barh(clocks["operation"], width, left=left, label=name, hatch=hatch, edgecolor="white", linewidth=0)
        left += width
    ax.invert_yaxis()
    ax.set_xlabel(f"clocks (formula), {plan.shape.lanes} lanes x {plan.shape.unroll}")
    ax.legend(frameon=False)
    return fig


def timeline(plan: Schedule) -> Figure:
    """Draw what every unit does in the clocks of one window, in the colour of its operation."""
    fig, ax = plt.subplots(figsize=(7, 3.4))
    colour = {i.name: PALETTE[k % 6] for k, i in enumerate(plan.instructions)}
    for span in spans_of(plan):
        width, own = span.end - span.start, colour.get(span.name, "0.6")
        ax.barh(UNITS[span.unit], width, left=span.start, color=own, edgecolor="white")
    for i in plan.instructions[:-1]:
        end, name = i.end(plan.shape.groups), i.name.split("[")[0].split(".")[-1]
        wide = end - i.start > plan.latency / 8
        style: dict[str, Any] = {"ha": "center", "rotation": 0} if wide else {"ha": "left", "rotation": 45}
        ax.text((i.start + end) / 2, -0.5, name, va="bottom", fontsize=9, **style)
    ax.invert_yaxis()
    ax.set_xlabel("clock after the first fetch (formula)")
    return fig


def dial(table: pd.DataFrame) -> Figure:
    """Draw the latency of every lanes and unroll as a map.

    Args:
        table: ``lanes``, ``unroll`` and ``latency``.
    """
    fig, ax = plt.subplots(figsize=(5.5, 3.6))
    grid = table.pivot(index="unroll", columns="lanes", values="latency")
    image = ax.imshow(np.log10(grid), cmap="cividis_r", aspect="auto", origin="lower")
    for (y, x), value in np.ndenumerate(grid.to_numpy()):
        if np.isfinite(value):
            dark = "w" if value > 8000 else "k"
            ax.text(x, y, f"{value:,.0f}", ha="center", va="center", fontsize=6, color=dark)
    ax.set(xticks=range(grid.shape[1]), xticklabels=grid.columns, yticks=range(grid.shape[0]), yticklabels=grid.index)
    ax.set(xlabel="lanes", ylabel="unroll")
    ax.grid(False)
    fig.colorbar(image, label="log10 of the latency in clocks (formula)")
    return fig


def scaling(table: pd.DataFrame, macs: int, template: int | None) -> Figure:
    """Draw the clocks of a window over the multipliers: formula, simulation, and the least that the multiplications need.

    Args:
        table: ``multipliers``, ``interval`` and ``kind``.
        macs: multiplications of a window.
        template: clocks of the published template, which has one multiplier; None draws none.
    """
    fig, ax = plt.subplots(figsize=(5.5, 3.4))
    formula, simulated = (table[table.kind == kind] for kind in ("formula", "simulated"))
    best = formula.groupby("multipliers").interval.min()
    ax.plot(best.index, macs / best.index, color="0.6", marker="", label="multiplications alone")
    ax.plot(best.index, best, linestyle="", color=PALETTE[0], label="formula, best of each count")
    ax.plot(simulated.multipliers, simulated.interval, "x", markersize=9, color=PALETTE[1], label="simulated")
    if template:
        ax.plot(1, template, "*", markersize=9, color="k", label="published template, latency")
    ax.set(xscale="log", yscale="log", xlabel="multipliers", ylabel="clocks per window")
    ax.legend(frameon=False)
    return fig

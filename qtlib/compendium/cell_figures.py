"""Figures of notebook 05: the counted cells of designs, beside their device and beside their estimates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from qtlib.compendium.design_figures import label
from qtlib.compendium.figures import MARKERS, PALETTE

LARGEST = 10  # components that have a colour of their own


def budget(reports: Mapping[int, Mapping[str, Any]], device: str) -> Figure:
    """Draw what some designs use of a device, in percent.

    Args:
        reports: of synthesis, by bits.
    """
    rows = {f"{bits} bit": report["device"]["resources"] for bits, report in reports.items()}
    used = {bits: {name: 100 * v["used"] / v["available"] for name, v in row.items()} for bits, row in rows.items()}
    ax = pd.DataFrame(used).plot.bar(rot=0, figsize=(5.5, 2.6), width=0.75)
    ax.axhline(100, color="black", linestyle="--", linewidth=1, marker="")
    names = ["LUT", "LUT as memory", "flip-flop", "DSP", "RAMB18"]
    ax.set(ylabel=f"% of the {device.upper()}", xticklabels=names)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    figure: Figure = ax.figure
    return figure


def estimates(parts: pd.DataFrame) -> Figure:
    """Draw the estimated LUTs of every component over the counted ones.

    Args:
        parts: ``bits``, ``lut`` and ``estimate``.
    """
    fig, ax = plt.subplots(figsize=(4.2, 3.4))
    for (bits, group), marker in zip(parts.groupby("bits"), MARKERS, strict=False):
        ax.plot(group["lut"], group["estimate"], marker, label=f"{bits} bit")
    ax.axline((0, 0), slope=1, color="grey", linewidth=0.8, marker="")
    ax.set(xlabel="LUT of a component, synthesised", ylabel="estimate")
    ax.legend(frameon=False)
    return fig


def components(parts: pd.DataFrame) -> Figure:
    """Draw the counted LUTs of designs, stacked by component; the small ones are one bar.

    Args:
        parts: ``bits``, ``component`` and ``lut``.
    """
    table = parts.pivot(index="bits", columns="component", values="lut").rename(columns=label)
    order = table.sum().sort_values(ascending=False).index
    small = order[LARGEST:]
    table = table[order[:LARGEST]].assign(**{f"{len(small)} others": table[small].sum(axis=1)})
    colours = [PALETTE[k % 6] for k in range(LARGEST)] + ["0.6"]
    ax = table.plot.barh(stacked=True, figsize=(7, 3), color=colours, edgecolor="white", linewidth=0.5)
    for k, bars in enumerate(ax.containers):
        for bar in bars:
            bar.set_hatch("///" if 6 <= k < LARGEST else "")
    ax.set(xlabel="LUT, synthesised", ylabel="bits")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1.05), frameon=False, fontsize=8)
    figure: Figure = ax.figure
    return figure


def held_out(designs: pd.DataFrame, limits: Mapping[str, pd.Series]) -> Figure:
    """Draw the error of the estimates over the counts, with the band of those that the fit has not seen.

    Args:
        designs: ``set``, and the count and the error in percent of ``lut`` and ``ff``.
        limits: their bands in percent, of the held-out designs.
    """
    held = designs[designs["set"] == "held out"]
    fig, axes = plt.subplots(1, 2, figsize=(6.6, 2.9))
    for ax, (name, limit) in zip(axes, limits.items(), strict=True):
        ax.vlines(held[f"{name}_counted"], -limit, limit, color="0.85", linewidth=4, zorder=0)
        styles: tuple[dict[str, Any], ...] = ({"marker": "."}, {"marker": "o", "markersize": 5})
        for (kind, group), style in zip(designs.groupby("set"), styles, strict=True):
            ax.plot(group[f"{name}_counted"], group[f"{name} error, %"], linestyle="", label=kind, **style)
        ax.axhline(0, color="0.3", marker="", linestyle="-", linewidth=0.8)
        ax.set(xlabel=f"{name.upper()}, synthesised", ylabel="error of the estimate, %", xscale="log")
        ax.set_xticks([1000, 2000, 5000, 10_000], ["1,000", "2,000", "5,000", "10,000"])
        ax.set_xticks([], minor=True)
    axes[0].legend(frameon=False, loc="upper left")
    return fig

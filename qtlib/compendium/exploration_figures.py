"""Figures of notebook 06: what widths, shapes and engines cost, which of them fit, and what a search has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qtlib.compendium.figures import PALETTE, heat_map
from qtlib.hardware.devices import Device

CELLS = ("lut", "ff", "dsp", "ramb18")
CHOICES = ("window", "d_model", "mean_weight_bits", "lanes", "unroll", "clocks", "lut", "validation_rmse")


def resources(table: pd.DataFrame, budget: Device) -> Figure:
    """Draw the cells of every size over its width, and what the device has of them.

    Args:
        table: ``d_model``, ``bits`` and `CELLS`.
        budget: the device.
    """
    fig, axes = plt.subplots(1, len(CELLS), figsize=(7.4, 2.6))
    for ax, name in zip(axes, CELLS, strict=True):
        for d, group in table.groupby("d_model"):
            ax.plot(group["bits"], group[name], label=f"d = {d}")
        ax.axhline(getattr(budget, name), color="0.3", linestyle="--", marker="", linewidth=1)
        ax.set(xlabel="bits", title=name.upper(), ylim=(0, None), xticks=table["bits"].unique())
    axes[0].legend(frameon=False, fontsize="small")
    return fig


def errors(
    table: pd.DataFrame, floats: Mapping[int, float], baselines: pd.Series, clock_mhz: float, unit: str
) -> Figure:
    """Draw test errors over the latency, a curve for every width; bars are float models of the same size.

    Args:
        table: ``d_model``, ``bits``, ``clocks`` and ``test_rmse``.
        floats: test error of the float model, by size.
        baselines: errors by name, of which the least is drawn.
        clock_mhz: of the engine.
        unit: of the errors.
    """
    fig, ax = plt.subplots(figsize=(6, 3.4))
    for bits, group in table.groupby("bits"):
        ax.plot(group["clocks"] / clock_mhz, group["test_rmse"], label=f"{bits} bit")
    latencies = table.groupby("d_model")["clocks"].first() / clock_mhz
    ax.plot(latencies, [floats[d] for d in latencies.index], "k_", markersize=14, label="float")
    best = f"best baseline ({baselines.idxmin()})"
    ax.axhline(baselines.min(), color="0.4", marker="", linewidth=1, linestyle=":", label=best)
    ax.set(xscale="log", xlabel=f"latency at {clock_mhz:g} MHz, µs", ylabel=f"test RMSE, {unit}")
    ticks = sorted(latencies)
    ax.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.legend(frameon=False, fontsize="small")
    return fig


def sensitivities(single: pd.DataFrame) -> Figure:
    """Draw what every tensor costs at fewer bits, the dearest at 3 bits first: activations, and weights beside them.

    Args:
        single: rows of `qtlib.studies.tensor_sensitivity.sensitivity` that name a tensor.
    """
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.6))
    for ax, kind in zip(axes, ("activations", "weights"), strict=True):
        part = single[single["kind"] == kind].pivot(index="name", columns="bits", values="increase")
        part = part[sorted(part, reverse=True)].sort_values(3, ascending=False)
        heat_map(ax, part.rename(index=lambda name: name.removesuffix(".weight")), digits=1, full=10)
        ax.set(title=kind, ylabel="")
    return fig


def fitting(fits: pd.DataFrame) -> Figure:
    """Draw which published shapes fit which device under which freedom, and in how many thousands of clocks.

    Args:
        fits: from `qtlib.studies.deployability.load`.
    """
    devices, freedoms, windows = (fits[name].unique() for name in ("device", "freedom", "window"))
    shapes = [f"d = {d}, {bits} bit" for d, bits in zip(fits["d_model"], fits["bits"], strict=True)]
    fits = fits.assign(shape=shapes, clocks=fits["clocks"].where(fits["fits"]) / 1000)
    fig, axes = plt.subplots(len(devices), len(freedoms), figsize=(7.4, 6.4), sharex=True, sharey=True)
    for row, device in zip(axes, devices, strict=True):
        for ax, freedom in zip(row, freedoms, strict=True):
            part = fits[(fits["device"] == device) & (fits["freedom"] == freedom)]
            cells = part.pivot(index="shape", columns="window", values="clocks").loc[
                list(dict.fromkeys(shapes)), windows
            ]
            heat_map(ax, cells.rename_axis(index=None), digits=1, full=60)
            ax.set(title=f"{device}, {freedom}", xlabel="window" if device == devices[-1] else "")
    return fig


def searches(
    trials: Mapping[str, pd.DataFrame],
    fronts: Mapping[str, pd.DataFrame],
    units: Mapping[str, str],
    known: int,
    published: int,
) -> Figure:
    """Draw the complete trials of searches and their fronts.

    Args:
        trials: tables of trials, by the name of their series.
        fronts: rows of them that nothing dominates.
        units: of the errors.
        known: how many trials at the beginning are designs of one width on the default engine.
        published: clocks of the published template.
    """
    fig, axes = plt.subplots(1, len(trials), figsize=(7.4, 3.2))
    for ax, (label, found) in zip(axes, trials.items(), strict=True):
        done = found[found["outcome"] == "complete"]
        anchors = done[done["number"] < known]
        ax.plot(done["clocks"], done["validation_rmse"], ".", color="0.65", label="trial")
        ax.plot(fronts[label]["clocks"], fronts[label]["validation_rmse"], "-o", color=PALETTE[0], label="front")
        ax.plot(
            anchors["clocks"], anchors["validation_rmse"], "s", color=PALETTE[1], label="8, 6, 4 bits, default engine"
        )
        ax.axvline(published, color="0.3", marker="", linestyle=":", label="published (24, 16)")
        low = done["validation_rmse"].min()
        ax.set(xscale="log", xlabel="clocks", ylabel=f"validation RMSE, {units[label]}", title=label)
        ax.set_ylim(0.99 * low, 1.2 * low)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return fig


def widths(fronts: Mapping[str, pd.DataFrame], tensors: Sequence[str]) -> Figure:
    """Draw the width of every tensor and of every layer's weights in the designs of fronts, the fastest first.

    Args:
        fronts: rows of tables of trials, by the name of their series.
        tensors: columns that are widths.
    """
    fig, axes = plt.subplots(1, len(fronts), figsize=(7.4, 5.2), sharey=True)
    for ax, (label, best) in zip(axes, fronts.items(), strict=True):
        cells = best.set_index("number")[list(tensors)].T
        heat_map(ax, cells.rename_axis(columns="trial"), digits=0, full=8, empty=1)
        ax.set(title=label, ylabel="")
    return fig


def choices(trials: Mapping[str, pd.DataFrame], fronts: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw every complete trial as a line through `CHOICES`, those of the front in colour; arguments as in `searches`."""
    fig, axes = plt.subplots(len(trials), 1, figsize=(7.4, 4.6), sharex=True)
    for ax, (label, found) in zip(axes, trials.items(), strict=True):
        done = found[found["outcome"] == "complete"]
        values = done[list(CHOICES)].astype(float).assign(clocks=np.log(done["clocks"].astype(float)))
        scaled = (values - values.min()) / (values.max() - values.min()).replace(0, 1)
        on_front = done["number"].isin(fronts[label]["number"])
        ax.plot(range(len(CHOICES)), scaled[~on_front].T, color="0.8", marker="", linestyle="-", linewidth=0.7)
        ax.plot(range(len(CHOICES)), scaled[on_front].T, color=PALETTE[0], marker="", linestyle="-", linewidth=1.3)
        ax.set(title=label, yticks=(0, 1), yticklabels=("least", "most"))
    axes[-1].set_xticks(range(len(CHOICES)), [name.replace("_", " ") for name in CHOICES], rotation=20)
    return fig

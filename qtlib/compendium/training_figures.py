"""Figures of notebook 02: courses of training, errors, forecasts, and what the studies say that integers cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qtlib.compendium.figures import PALETTE, heat_map

# Variants of the precision study that differ in their bits alone.
KINDS = {"learned": "{} bit", "min-max": "min-max {} bit", "4 bit everywhere": "{} bit everywhere"}
BITS = (8, 6, 4, 3, 2)


def courses(histories: Mapping[str, pd.DataFrame], unit: str) -> Figure:
    """Draw the validation error of every epoch, the float model beside the quantised ones.

    Args:
        histories: of runs, by model; that of the float model is "float".
    """
    fig, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True, width_ratios=(2, 1.4))
    for name, history in histories.items():
        axes[0 if name == "float" else 1].plot(history.epoch, history.validation_rmse, label=name)
    low = min(history.validation_rmse.min() for history in histories.values())
    axes[0].set(ylim=(0.98 * low, 1.35 * low), ylabel=f"validation RMSE\n{unit}", xlabel="epoch, float")
    axes[1].set(xlabel="epoch, quantised")
    for ax in axes:
        ax.legend(frameon=False)
    return fig


def errors(table: pd.DataFrame, single: pd.DataFrame, unit: str) -> Figure:
    """Draw test errors: means as dots, those of baselines grey, single seeds as marks.

    Args:
        table: ``test_rmse`` by model, the baselines first.
        single: ``model`` and ``test_rmse`` of every seed.
    """
    own = table[table.index.isin(single["model"])]
    fig, ax = plt.subplots(figsize=(6, 2.6))
    ax.plot(table["test_rmse"], table.index, "o", color="0.4", markersize=6)
    ax.plot(own["test_rmse"], own.index, "o", markersize=6)
    ax.plot(single["test_rmse"], single["model"], "k|", markersize=11)
    ax.invert_yaxis()
    ax.set_xlabel(f"test RMSE, {unit}")
    return fig


def forecasts(truth: np.ndarray, values: Mapping[str, np.ndarray], unit: str) -> Figure:
    """Draw forecasts of some models over the truth, window after window."""
    fig, ax = plt.subplots(figsize=(7, 2.8))
    ax.plot(truth, color="0.6", marker="", label="truth")
    for name, forecast in values.items():
        ax.plot(forecast, marker="", label=name)
    ax.set(xlabel="test window", ylabel=unit)
    ax.legend(frameon=False, ncols=3)
    return fig


def losses(single: pd.DataFrame, series: Sequence[str]) -> Figure:
    """Draw what bits cost on every series of the precision study, in percent of the float model of the same seed.

    Args:
        single: ``task``, ``variant`` and ``difference`` of every run (`qtlib.studies.study_losses.against`).
        series: tasks to draw, from left to right.
    """
    fig, axes = plt.subplots(1, len(series), figsize=(7.4, 2.9), sharey=True, squeeze=False)
    for ax, task in zip(axes[0], series, strict=True):
        for (kind, form), colour in zip(KINDS.items(), PALETTE, strict=False):
            names = {form.format(b): b for b in BITS}
            found = single[(single.task == task) & single.variant.isin(names)]
            bits = found.variant.map(names)
            mean = found.groupby(bits)["difference"].mean()
            ax.plot(mean.index, mean, label=kind)
            ax.plot(bits, found.difference, ".", color=colour, markersize=3, alpha=0.6)
        ax.axhline(0, color="0.3", marker="", linestyle="-", linewidth=0.8)
        ax.set(title=task, xlabel="bits", xticks=BITS, xlim=(8.4, 1.6))
        ax.set_yscale("symlog", linthresh=2)
    ticks = (-10, -5, -2, -1, 0, 1, 2, 5, 10, 20)
    axes[0, 0].set_yticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
    axes[0, 0].set_ylabel("test RMSE against float, %")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return fig


def grid(table: pd.DataFrame, single: pd.DataFrame, unit: str) -> Figure:
    """Draw the published grid: the float error of every window and width, and what 8, 6 and 4 bits cost there.

    Args:
        table: a row for each run, as in data/study_grid.csv.
        single: its differences to float (`qtlib.studies.study_losses.against`).
    """
    fig, axes = plt.subplots(1, 4, figsize=(7.4, 2.4))
    rmse = table[table.variant == "float"].pivot_table(index="d_model", columns="window", values="test_rmse")
    heat_map(axes[0], rmse, digits=2, empty=rmse.min(axis=None), full=1.001 * rmse.max(axis=None))
    axes[0].set_title(f"float, {unit}", fontsize=8)
    for ax, name in zip(axes[1:], ("8 bit", "6 bit", "4 bit"), strict=True):
        loss = single[single.variant == name].pivot_table(index="d_model", columns="window", values="difference")
        heat_map(ax, loss.reindex_like(rmse), digits=2, full=5)
        ax.set_title(f"{name}, % of float", fontsize=8)
    return fig

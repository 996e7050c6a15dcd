"""Figures of notebook 01: a series and its split, its days, its windows, and what a model has to beat."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qtlib.compendium.figures import PALETTE
from qtlib.data.series import SPLITS
from qtlib.data.windows import Prepared


def series(prepared: Prepared) -> Figure:
    """Draw all rows of the first target, coloured by split, above the start of the test rows."""
    found = prepared.series
    drawn = found.frame[found.targets[0]].mask(found.gaps)  # no line across a gap
    fig, axes = plt.subplots(2, figsize=(7, 4))
    for name in SPLITS:
        axes[0].plot(drawn.where(found.split == name), marker="", linestyle="-", linewidth=0.6, label=name)
    steps = 5 * round(pd.Timedelta("1D") / found.period) if found.period else 5 * prepared.config.window
    start = drawn[found.split == "test"].iloc[:steps]
    axes[1].plot(start, marker="", linestyle="-", linewidth=1, color=PALETTE[2])
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    for ax, text in zip(axes, (prepared.label, "start of the test rows"), strict=True):
        ax.set_ylabel(prepared.unit)
        ax.set_xlabel(text)
    return fig


def days(prepared: Prepared) -> Figure | None:
    """Draw the first target as a column for each day; None where the rows have no clock."""
    target = prepared.series.frame[prepared.series.targets[0]]
    if not isinstance(target.index, pd.DatetimeIndex):
        return None
    hour = target.index.hour + target.index.minute / 60
    by_day = target.groupby([target.index.normalize(), hour]).first().unstack().asfreq("D")
    fig, ax = plt.subplots(figsize=(7, 3.2))
    ax.set_facecolor("0.85")
    image = ax.pcolormesh(by_day.index, by_day.columns, by_day.T, cmap="cividis", rasterized=True)
    ax.grid(False)
    ax.set(xlabel=f"{prepared.label}; grey: no value", ylabel="hour of the day", yticks=range(0, 25, 6))
    fig.colorbar(image, label=prepared.unit)
    fig.autofmt_xdate()
    return fig


def windows(prepared: Prepared, shown: NDArray[np.int64]) -> Figure:
    """Draw some test windows, inputs and target, back in the unit of the data.

    Args:
        shown: their numbers.
    """
    names, target, test = prepared.series.features, prepared.series.targets[0], prepared.test
    feature = names.index(target) if target in names else 0
    truth = prepared.truth(test)
    fig, axes = plt.subplots(1, len(shown), figsize=(7, 2.2), sharey=True)
    for ax, row in zip(axes, shown, strict=True):
        inputs = test.x[row, :, feature] * prepared.x_scale[feature] + prepared.x_offset[feature]
        steps = np.arange(1 - len(inputs), 1)
        ax.plot(steps, inputs, marker=".", linestyle="-", label=f"input {names[feature]}")
        place, style = prepared.config.horizon, {"marker": "s", "linestyle": "", "color": PALETTE[1]}
        ax.plot(place, truth[row, 0], label=f"target {target}", **style)
        ax.set_title(f"{test.time[row]!s:.16}".replace("T", " "), fontsize=7)
        ax.set_xlabel("step")
    axes[0].set_ylabel(prepared.unit if target in names else "unit of the column")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return fig


def baselines(table: pd.DataFrame, prepared: Prepared) -> Figure:
    """Draw test and validation errors of the baselines as bars.

    Args:
        table: ``rmse`` and ``validation_rmse`` by model.
        prepared: whose baselines they are.
    """
    fig, ax = plt.subplots(figsize=(5.5, 2.2))
    for offset, (column, name) in zip((-0.2, 0.2), (("rmse", "test"), ("validation_rmse", "validation")), strict=True):
        hatch = "" if name == "test" else "//"
        bars = ax.barh(np.arange(len(table)) + offset, table[column], 0.38, label=name, hatch=hatch)
        ax.bar_label(bars, fmt="{:.3g}", padding=2, fontsize=8)
    ax.set(yticks=range(len(table)), yticklabels=table.index, xlabel=f"RMSE in {prepared.unit}, {prepared.label}")
    ax.invert_yaxis()
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return fig

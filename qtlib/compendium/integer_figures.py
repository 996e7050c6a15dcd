"""Figures of notebook 03: tables of exponentials, where the error of a program arises, what its tables and bad inputs cost."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qtlib.compendium.figures import MARKERS, PALETTE
from qtlib.config import BITS
from qtlib.program.operations import Softmax
from qtlib.program.program import Program

DISTURBANCES = {
    "noise": "noise, spreads",
    "offset": "offset, spreads",
    "ramp": "ramp, spreads at end",
    "missing": "share of samples lost",
}


def exponentials(programs: Mapping[int, Program]) -> Figure:
    """Draw the tables of exponentials of some programs, by their bits, over the real exponential."""
    fig, ax = plt.subplots(figsize=(5, 2.8))
    for bits, program in programs.items():
        table = next(op.table for op in program.operations if isinstance(op, Softmax))
        steps = np.arange(len(table)) * program.tensors["0.scores"].scale[0]
        ax.step(steps, table / table[0], where="mid", marker="", label=f"{bits} bit")
    steps = np.linspace(0, 6, 200)
    ax.plot(steps, np.exp(-steps), color="k", marker="", linewidth=0.7, label="exp")
    ax.set(xlim=(0, 6), xlabel="row maximum minus score", ylabel="exponential")
    ax.legend(frameon=False)
    return fig


def tensor_errors(table: pd.DataFrame) -> Figure:
    """Draw the relative error of every tensor, calibrated programs above trained ones.

    Args:
        table: ``program``, ``bits``, ``tensor`` and ``error``.
    """
    fig, axes = plt.subplots(2, sharex=True, figsize=(7, 4.6))
    for ax, (kind, half) in zip(axes, table[table.tensor != "position"].groupby("program"), strict=True):
        for bits, part in half.groupby("bits", sort=False):
            ax.plot(part.tensor, part.error, label=f"{bits} bit")
        ax.set(yscale="log", ylabel=f"relative error\n{kind}")
    axes[0].legend(frameon=False, ncols=3)
    axes[1].tick_params(axis="x", rotation=60)
    return fig


def table_widths(errors: pd.DataFrame, bound: pd.Series) -> Figure:
    """Draw what the widths of tables and reciprocals cost.

    Args:
        errors: from `qtlib.studies.table_widths`.
        bound: largest error that a reciprocal of 256 tokens can cost, by its bits.
    """
    top = errors.bits.max()
    fig, axes = plt.subplots(2, 2, figsize=(7.4, 6.4), sharey="row")
    _width_curves(axes[0, 0], errors[errors.study == "exponentials"], "bits", "bits of the exponentials")
    axes[0, 0].axvspan(BITS[-1] + 0.5, 10.5, color="0.85", zorder=0)
    _width_curves(axes[0, 1], errors[errors.study == "reciprocal"], "codes", "bits of the reciprocal of a row sum")
    axes[0, 1].plot(bound.index, bound, ":k", marker="", label="bound, 256 tokens")
    _width_curves(axes[1, 0], errors[errors.study == "norm_bits"], "bits", "bits of the sums that LayerNorm reads")
    away = errors[errors.study.str.endswith("themselves") & (errors.bits == top)]
    label = f"{top} bit, and rounding of sums"
    axes[1, 0].plot(away.width, away["mean"], ":", color="k", marker="x", label=label)
    limits = errors[errors.study == "limit of the root"]
    _width_curves(axes[1, 1], limits, "codes", "$e$: the root is at least $2^e - 1$")
    axes[0, 0].set_ylabel("error of the context, codes")
    axes[1, 0].set_ylabel("error of LayerNorm, codes")
    for ax in axes.flat:
        ax.legend(frameon=False, fontsize="small", ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return fig


def _width_curves(ax: Axes, errors: pd.DataFrame, by: str, label: str) -> None:
    """Largest and mean errors over widths; bands reach from the first kind of codes to the last, circles mark what was chosen."""
    for (key, part), colour, marker in zip(errors.groupby(by, sort=False), PALETTE, MARKERS, strict=False):
        own, random = (part.drop_duplicates("width", keep=keep).set_index("width") for keep in ("first", "last"))
        ax.plot(own.largest, "-", color=colour, marker=marker, label=f"{key} bit" if by == "bits" else key)
        ax.plot(own["mean"], "--", color=colour, marker=marker, markerfacecolor="white")
        for column in ("largest", "mean"):
            ax.fill_between(own.index, own[column], random[column], color=colour, alpha=0.2, linewidth=0)
            ax.plot(own[own.chosen][column], "o", markersize=9, markerfacecolor="none", color="k")
    ax.axhline(0.5, color="k", linestyle="-", marker="", linewidth=0.8)
    ax.axhline(0.25, color="k", linestyle="--", marker="", linewidth=0.8)
    ax.set(yscale="log", xlabel=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def disturbances(table: pd.DataFrame, unit: str) -> Figure:
    """Draw the error of every model over the level of every disturbance of its inputs.

    Args:
        table: from `qtlib.studies.input_disturbances.errors_of`.
        unit: of the error.
    """
    fig, axes = plt.subplots(1, 4, figsize=(7.4, 2.6))
    for ax, (kind, label) in zip(axes, DISTURBANCES.items(), strict=True):
        for name, part in table[table.kind == kind].groupby("model", sort=False):
            ax.plot(part.level, part.rmse, label=name)
        ax.set_xlabel(label)
    axes[0].set_ylabel(f"test RMSE, {unit}")
    axes[0].legend(frameon=False, fontsize="small")
    return fig

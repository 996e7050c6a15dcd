"""One look for every figure, readable in grey and by the colour-blind, and the same bytes from the same numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qtlib.config import HardwareConfig
from qtlib.devices import device
from qtlib.memory import Placed
from qtlib.paths import figures, write_atomic
from qtlib.resources import UNITS, Estimate, exceeded

# Okabe and Ito 2008, "Color Universal Design"; yellow left out because it vanishes in print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
PREVIEW_DPI = 110

RAMB18_BITS = 18_432
FULLEST = 150  # % of a budget at which `budget` cuts a bar off: a design may need a hundred times its device
# Components of an estimate and stores of a design in the words of the field.
LABELS = {
    "activation_store": "activations",
    "broadcast_store": "keys, values and residual stream",
    "capture": "captured sums",
    "dividers": "reciprocals of the softmax",
    "exponential_store": "exponentials",
    "exponential_tables": "table of exponentials",
    "head_store": "weights of the output layer",
    "input_store": "input window",
    "issue": "sequencer",
    "load": "input port",
    "multipliers": "multipliers and accumulators",
    "operands": "operand selection",
    "parameter_store": "biases and rescaling factors",
    "position_store": "position encoding",
    "reciprocal_store": "reciprocals of row sums",
    "requantisers": "rescaling and rounding",
    "retire": "write-back",
    "score_store": "attention scores",
    "softmax": "softmax control and row maxima",
    "unload": "output port",
    "weight_store": "weights",
}


def label(component: str) -> str:
    """A component or store in the words of the field; ``weight_store 2`` is the second part of the weights."""
    name, _, part = component.partition(" ")
    return LABELS.get(name, name) + (f", part {part}" if part else "")


def memory_map(rows: Sequence[Placed], ramb18: int, lut_memory: int) -> Figure:
    """Draw where the stores of a design lie: above every RAMB18 of the device, below the LUTs that are memory or constants.

    Args:
        rows: from `qtlib.memory.placement`.
        ramb18, lut_memory: what the device has.
    """
    fig, (above, below) = plt.subplots(2, 1, figsize=(7, 4.6), height_ratios=(1.1, 1))
    colours = {row.store: PALETTE[k % 6] for k, row in enumerate(rows)}
    hatches = {row.store: ("", "//", "..")[k // 6 % 3] for k, row in enumerate(rows)}
    at = 0
    for row in (row for row in rows if row.ramb18):
        used = 100 * row.total_bits / (row.ramb18 * RAMB18_BITS)
        places = [at + k + 0.5 for k in range(row.ramb18)]
        style = {"color": colours[row.store], "hatch": hatches[row.store], "edgecolor": "white", "width": 0.86}
        above.bar(places, [used] * row.ramb18, label=f"{label(row.store)}: {row.ramb18}, {used:.0f} % full", **style)
        at += row.ramb18
    size = max(at, ramb18)
    above.bar(
        [k + 0.5 for k in range(size)], [100] * size, width=0.86, facecolor="none", edgecolor="0.5", linewidth=0.8
    )
    if at > ramb18:
        above.axvline(ramb18, color="black", linestyle="--", marker="")
    above.set(xlim=(0, size), ylim=(0, 105), xticks=[], ylabel="% of the bits used")
    above.set_xlabel(f"block RAM of 18 kbit: {at} of {ramb18}")
    above.grid(visible=False, axis="x")
    soft = [row for row in rows if row.lut_memory or row.lut_logic]
    for k, row in enumerate(soft):
        below.barh(k, row.lut_memory, color=PALETTE[0], edgecolor="white", label="memory" if k == 0 else None)
        below.barh(
            k, row.lut_logic, left=row.lut_memory, color=PALETTE[4], hatch="//", edgecolor="white", linewidth=0,
            label="constants, or selection of words" if k == 0 else None,
        )  # fmt: skip
    below.set(yticks=range(len(soft)), yticklabels=[label(row.store) for row in soft])
    below.tick_params(axis="y", labelsize=8)
    below.invert_yaxis()
    below.set_xlabel(f"LUTs; {sum(row.lut_memory for row in rows):,} of the {lut_memory:,} that can be memory")
    below.grid(visible=False, axis="y")
    if at:
        above.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False)
    if soft:
        below.legend(loc="lower right", fontsize=8)
    return fig


def counted(found: Estimate, kind: str) -> tuple[float, float]:
    """The least and the most that synthesis may count of a resource, by the band of an estimate."""
    value, band = getattr(found.total, kind), found.band.get(kind, 0)
    return value / (1 + band), value / (1 - band) if band < 1 else float("inf")


def verdict(found: Estimate, name: str) -> str:
    """Whether an estimated design fits a device, and where the band of the estimate leaves that open."""
    there = device(name)
    ends = {kind: (*counted(found, kind), getattr(there, kind)) for kind in UNITS}
    if surely := [UNITS[kind] for kind, (low, _, size) in ends.items() if low > size]:
        return f"exceeds the {name}: {', '.join(surely)}"
    if perhaps := [UNITS[kind] for kind, (_, high, size) in ends.items() if high > size]:
        word = "exceeds" if exceeded(found, name) else "fits"
        return f"{word} the {name} by estimate, but the budget lies within the band: {', '.join(perhaps)}"
    return f"fits the {name}"


def budget(found: Estimate, hardware: HardwareConfig) -> Figure:
    """Draw what an estimated design needs of its device, with the band of the estimate, its clocks and whether it fits."""
    there = device(hardware.device)
    over = exceeded(found, hardware.device)
    fig, ax = plt.subplots(figsize=(7, 2.6))
    labels = []
    for place, (kind, unit) in enumerate(UNITS.items()):
        needed, size = getattr(found.total, kind), getattr(there, kind)
        low, high = (100 * value / size for value in counted(found, kind))
        percent = 100 * needed / size
        style = {"color": PALETTE[1], "hatch": "//"} if kind in over else {"color": PALETTE[0]}
        ax.barh(place, percent, height=0.7, edgecolor="white", **style)
        if high > low:
            ax.errorbar(percent, place, xerr=[[percent - low], [high - percent]], color="black", capsize=3, marker="")
        labels.append(f"{unit}: {round(needed):,} of {size:,} ({percent:.0f} %)")
    ax.axvline(100, color="black", linestyle="--", marker="", linewidth=1)
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.set(xlim=(0, FULLEST), xlabel=f"% of the {hardware.device}; whiskers: band of the estimate")
    ax.grid(visible=False, axis="y")
    latency = f"{found.clocks:,} clocks, {found.clocks / hardware.clock_mhz:,.1f} µs at {hardware.clock_mhz:g} MHz"
    fig.suptitle(f"{latency}\n{verdict(found, hardware.device)}", fontsize="medium")
    return fig


def heat_map(ax: Axes, table: pd.DataFrame, *, digits: int, full: float, empty: float = 0.0) -> None:
    """Draw a table as cells whose darkness grows from ``empty`` to ``full``, with the number in each: readable in grey.

    Args:
        ax: where to draw.
        table: numbers; a cell without one stays white.
        digits: behind the point.
        full: the number from which on a cell is darkest.
        empty: the number up to which it is lightest.

    Raises:
        ValueError: ``full`` is not above ``empty``.
    """
    if not full > empty:
        raise ValueError(f"figures: full={full} must be above empty={empty}")
    values = table.to_numpy(float)
    ax.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=empty, vmax=full, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            dark = (value - empty) / (full - empty) > 0.6
            text = f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")
            ax.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    ax.set_xticks(range(table.shape[1]), table.columns)
    ax.set_yticks(range(table.shape[0]), table.index)
    ax.set(xlabel=table.columns.name, ylabel=table.index.name)
    ax.grid(visible=False)


def use_style() -> None:
    """Set the house style: colour, line and marker change together, fonts are embedded as TrueType."""
    sns.set_theme(context="paper", style="whitegrid", palette=list(PALETTE))
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=LINES) + cycler(marker=MARKERS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 90,
            "figure.figsize": (5.5, 3.4),
            "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
            "lines.markersize": 4,
            "pdf.fonttype": 42,
            "ps.fonttype": 42,
            "svg.fonttype": "none",
            "svg.hashsalt": "qtlib",
        }
    )


def save(fig: Figure, name: str, *, synthetic: bool = False) -> None:
    """Write ``figures/<name>.pdf`` and a small preview ``figures/<name>.png``.

    Args:
        fig: the figure.
        name: ``NN_words``, NN being the notebook that writes it.
        synthetic: print "synthetic data" into the figure.

    Raises:
        ValueError: the name is not of the form ``NN_words``.
        OSError: the disk is full or the folder cannot be written; every file is the earlier one or whole.
    """
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", name):
        raise ValueError(f"figures: name={name!r} must be two digits of the notebook and a word, like '02_training'")
    if synthetic:
        fig.text(0.995, 0.005, "synthetic data", ha="right", va="bottom", fontsize="small", color="#D55E00")
    rendered = {}
    for suffix, options in (
        ("pdf", {"metadata": {"CreationDate": None}}),
        ("png", {"metadata": {"Software": None}, "dpi": PREVIEW_DPI}),
    ):
        stream = io.BytesIO()
        fig.savefig(stream, format=suffix, bbox_inches="tight", **options)
        rendered[suffix] = stream.getvalue()
    for suffix, content in rendered.items():
        write_atomic(figures() / f"{name}.{suffix}", content)

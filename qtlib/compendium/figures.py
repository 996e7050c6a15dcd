"""One look for every figure, readable in grey and by the colour-blind, and the same bytes from the same numbers."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qtlib.paths import figures, write_atomic

# Okabe and Ito 2008, "Color Universal Design"; yellow left out because it vanishes in print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
PREVIEW_DPI = 110


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

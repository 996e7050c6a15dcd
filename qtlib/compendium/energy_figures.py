"""Figures of notebook 07: energies beside the published ones, and what they are at other powers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qtlib.compendium.figures import PALETTE
from qtlib.estimate.energy import PUBLISHED, Interval, Power, duration_ms


def against_published(macs: int, energy: Interval, name: str) -> Figure:
    """Draw the energy of a design beside the published points; a point without a known shape is a line.

    Args:
        macs: multiply-accumulates of one inference of the design.
        energy: of one inference, in µJ.
        name: of the design.
    """
    fig, ax = plt.subplots()
    label: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}
    for point in PUBLISHED:
        height = point.energy_mj * 1e3
        if point.model:
            ax.plot(point.model.macs, height, "x", color=PALETTE[1], markersize=7)
            ax.annotate(point.name, (point.model.macs, height), xytext=(6, -3), **label)
        else:
            ax.axhline(height, color=PALETTE[1], linestyle=":", linewidth=1, marker="")
            text = f"{point.name} ({point.origin.partition(',')[0]})"
            ax.annotate(text, (1.1e5, height), xytext=(0, 4), **label)
    middle = (energy.low * energy.high) ** 0.5
    ends = [[middle - energy.low], [energy.high - middle]]
    ax.errorbar(macs, middle, ends, color=PALETTE[0], marker="o", capsize=3, linestyle="")
    ax.annotate(name, (macs, middle), xytext=(7, -3), **label)
    ax.set(xscale="log", yscale="log", xlabel="multiply-accumulates of one inference", ylabel="energy in µJ")
    ax.set(xlim=(min(7e4, 0.75 * macs), 1.5e6))
    ax.set_xticks([1e5, 2e5, 5e5], ["100 k", "200 k", "500 k"])
    _plain_ticks(ax, energies=(1, 3, 10, 30, 100, 300))
    return fig


def over_power(clocks: int, clock_mhz: float, name: str, powers: Mapping[str, Power]) -> Figure:
    """Draw the energy of a design over the power that it may draw, and the ranges of powers that are assumed.

    Args:
        clocks: of one inference.
        clock_mhz: its clock frequency.
        name: of the design.
        powers: what to shade, by the name that the legend prints.
    """
    fig, ax = plt.subplots(figsize=(5.5, 2.8))
    power = np.geomspace(50, 2000, 50)  # mW
    ax.plot(power, duration_ms(clocks, clock_mhz) * power, marker="", label=name)
    for (title, assumed), colour in zip(powers.items(), PALETTE[2::2], strict=False):
        low, high = assumed.total
        ax.axvspan(low, high, alpha=0.25, color=colour, label=f"{title}, {low:.0f} to {high:.0f} mW")
    lowest = min(point.energy_mj for point in PUBLISHED) * 1e3
    ax.axhline(lowest, color=PALETTE[1], linestyle=":", marker="", label="lowest published energy")
    ax.set(xscale="log", yscale="log", xlabel="assumed power in mW", ylabel="energy in µJ")
    ticks = (50, 100, 200, 500, 1000, 2000)
    ax.set_xticks(ticks, map(str, ticks))
    _plain_ticks(ax, energies=(2, 5, 10, 20, 50))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return fig


def _plain_ticks(ax: Axes, energies: tuple[int, ...]) -> None:
    ax.set_yticks(energies, map(str, energies))
    ax.minorticks_off()

"""Figures of a design: where its stores lie, and what it needs of its device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from qtlib.compendium.figures import PALETTE
from qtlib.config import HardwareConfig
from qtlib.estimate.device_fit import UNITS, exceeded
from qtlib.estimate.resources import Estimate
from qtlib.hardware.devices import device
from qtlib.hardware.memory_allocation import Placed

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
        rows: from `qtlib.hardware.placement`.
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
        style: dict[str, Any] = {"color": PALETTE[1], "hatch": "//"} if kind in over else {"color": PALETTE[0]}
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

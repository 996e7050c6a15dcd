"""Read back the reports that AMD Vivado writes for an emitted directory (``vivado -mode batch -source vivado.tcl``).

Strict on purpose: a number that is not where the format has it is an error, never a default. What a power figure rests on (confidence, activity
file, nets matched, process) stays beside it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REPORTS = {"utilisation": "utilisation.rpt", "timing": "timing.rpt", "power": "power.rpt"}
ROWS = {
    "lut": "Slice LUTs",
    "lut_logic": "LUT as Logic",
    "lut_memory": "LUT as Memory",
    "ff": "Register as Flip Flop",
    "latches": "Register as Latch",
    "ramb36": "RAMB36/FIFO",
    "ramb18": "RAMB18",
    "dsp": "DSPs",
}
POWERS = {"total": "Total On-Chip Power (W)", "dynamic": "Dynamic (W)", "static": "Device Static (W)"}
BASIS = {
    "confidence": "Confidence Level",
    "activity_file": "Simulation Activity File",
    "nets_matched": "Design Nets Matched",
    "junction_celsius": "Junction Temperature (C)",
}


def read(directory: Path) -> dict[str, Any]:
    """The three reports of a design directory.

    Returns:
        kind "vendor report", tool, version and part of the reports; ``utilisation`` in cells (``ramb18`` in halves, as everywhere in
        qtlib), ``timing`` in ns and MHz, ``power`` in mW with what it rests on.

    Raises:
        FileNotFoundError: a report is missing; the text says how it is made.
        ValueError: a report is not of the documented format, of another part or version than the others, or not of a routed design.
    """
    directory = Path(directory)
    texts = {}
    for name, file in REPORTS.items():
        if not (directory / file).is_file():
            raise FileNotFoundError(
                f"vendor: {directory.name} has no {file}; in the directory, run: vivado -mode batch -source vivado.tcl"
            )
        texts[name] = (directory / file).read_text(encoding="utf-8", errors="replace")
    heads = {name: _head(text, REPORTS[name]) for name, text in texts.items()}
    first = heads["utilisation"]
    for name, head in heads.items():
        for field in ("version", "part"):
            if head[field] != first[field]:
                raise ValueError(
                    f"vendor: {REPORTS[name]} is of {field} {head[field]}, utilisation.rpt of {first[field]}; make all three again"
                )
        if head["state"] not in ("Routed", "Fully Routed"):
            raise ValueError(f"vendor: {REPORTS[name]} is of a design in state {head['state']!r}, expected Routed")
    return {
        "kind": "vendor report",
        "tool": "vivado",
        "version": first["version"],
        "part": first["part"],
        "utilisation": utilisation(texts["utilisation"]),
        "timing": timing(texts["timing"]),
        "power": power(texts["power"]) | {"process": heads["power"]["process"]},
    }


def _head(text: str, file: str) -> dict[str, str]:
    fields = dict(re.findall(r"^\| ([A-Z][\w ]*?) *: +(.*?) *$", text, re.MULTILINE))
    found = re.match(r"Vivado v\.(\S+)", fields.get("Tool Version", ""))
    # One part has several spellings: xc7s15ftgb196-1, 7s15ftgb196-1, and 7s15-ftgb196 in timing reports.
    part = re.fullmatch(r"(?:xc)?(7[a-z]\d+)-?([a-z]+\d+)(?:-.*)?", fields.get("Device", ""))
    if not found or not part:
        raise ValueError(f"vendor: {file} has no Vivado header with tool version and device")
    return {
        "version": found[1],
        "part": f"xc{part[1]}{part[2]}",
        "state": fields.get("Design State", "not named"),
        "process": fields.get("Process", "not named"),
    }


def utilisation(text: str) -> dict[str, int]:
    """Used cells of ``report_utilization``."""
    used = {}
    for name, row in ROWS.items():
        used[name] = int(_cell(text, row, "utilisation.rpt"))
    used["ramb18"] += 2 * used.pop("ramb36")
    return used


def timing(text: str) -> dict[str, float]:
    """Slacks of ``report_timing_summary`` in ns, the clock, and the frequency that the setup slack allows."""
    numbers = re.search(r"WNS\(ns\).*?\n[ -]+\n\s*(-?[\d.]+)\s+(-?[\d.]+)\s+\d+\s+\d+\s+(-?[\d.]+)", text)
    clock = re.search(r"^Clock .*Period\(ns\).*\n[ -]+\n\S+\s+\{[^}]*\}\s+([\d.]+)", text, re.MULTILINE)
    if not numbers or not clock:
        raise ValueError("vendor: timing.rpt has no design timing summary, or no clock; was clock.xdc read?")
    setup, hold, period = float(numbers[1]), float(numbers[3]), float(clock[1])
    return {"setup_slack": setup, "hold_slack": hold, "period": period, "highest_mhz": 1e3 / (period - setup)}


def power(text: str) -> dict[str, Any]:
    """Power of ``report_power`` in mW, and what it rests on."""
    watts = {name: float(_cell(text, row, "power.rpt").split()[0]) for name, row in POWERS.items()}
    basis = {name: _cell(text, row, "power.rpt") for name, row in BASIS.items()}
    return {f"{name}_mw": round(value * 1e3, 6) for name, value in watts.items()} | basis


def _cell(text: str, row: str, file: str) -> str:
    """Second cell of the table row of this name; a footnote mark after the name is allowed."""
    found = re.search(rf"^\| +{re.escape(row)}\*? *\| *(.*?) *\|", text, re.MULTILINE)
    if not found:
        raise ValueError(f"vendor: {file} has no row {row!r}")
    return found[1]

"""Read back the reports that AMD Vivado writes for an emitted directory (``vivado -mode batch -source vivado.tcl``).

Strict on purpose: a number that is not where the format has it is an error, never a default. What a power figure rests on (confidence, activity
file, nets matched, process) stays beside it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REPORTS = {
    "utilisation": "utilisation.rpt",
    "hierarchy": "hierarchy.rpt",
    "timing": "timing.rpt",
    "power": "power.rpt",
}
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
HIERARCHY = {  # what a cell in each column counts
    "lut_logic": {"Logic LUTs": 1},
    "lut_memory": {"LUTRAMs": 1, "SRLs": 1},
    "ff": {"FFs": 1},
    "ramb18": {"RAMB36": 2, "RAMB18": 1},
    "dsp": {"DSP Blocks": 1},
}
POWERS = {"total": "Total On-Chip Power (W)", "dynamic": "Dynamic (W)", "static": "Device Static (W)"}
BASIS = {
    "confidence": "Confidence Level",
    "activity_file": "Simulation Activity File",
    "nets_matched": "Design Nets Matched",
    "junction_celsius": "Junction Temperature (C)",
}


def read(directory: Path) -> dict[str, Any]:
    """The four reports of a design directory.

    Returns:
        kind "vendor report", tool, version, part and date of the reports; ``utilisation`` in cells (``ramb18`` in halves, as everywhere in
        qtlib), ``hierarchy`` as `hierarchy`, ``timing`` in ns and MHz, ``power`` in mW with what it rests on.

    Raises:
        FileNotFoundError: a report is missing; the text says how it is made.
        ValueError: a report is not of the documented format, of another part or version than the others, or not of a routed design.
    """
    directory = Path(directory)
    texts = {}
    for name, file in REPORTS.items():
        if not (directory / file).is_file():
            raise FileNotFoundError(
                f"vivado_reports: {directory.name} has no {file}; in the directory, run: vivado -mode batch -source vivado.tcl"
            )
        texts[name] = (directory / file).read_text(encoding="utf-8", errors="replace")
    heads = {name: _head(text, REPORTS[name]) for name, text in texts.items()}
    first = heads["utilisation"]
    for name, head in heads.items():
        for field in ("version", "part"):
            if head[field] != first[field]:
                raise ValueError(
                    f"vivado_reports: {REPORTS[name]} is of {field} {head[field]}, utilisation.rpt of {first[field]}; make all four again"
                )
        if head["state"] not in ("Routed", "Fully Routed"):
            raise ValueError(
                f"vivado_reports: {REPORTS[name]} is of a design in state {head['state']!r}, expected Routed"
            )
    return {
        "kind": "vendor report",
        "tool": "vivado",
        "version": first["version"],
        "part": first["part"],
        "date": first["date"],
        "utilisation": utilisation(texts["utilisation"]),
        "hierarchy": hierarchy(texts["hierarchy"]),
        "timing": timing(texts["timing"]),
        "power": power(texts["power"]) | {"process": heads["power"]["process"]},
    }


def _head(text: str, file: str) -> dict[str, str]:
    fields = dict(re.findall(r"^\| ([A-Z][\w ]*?) *: +(.*?) *$", text, re.MULTILINE))
    found = re.match(r"Vivado v\.(\S+)", fields.get("Tool Version", ""))
    # One part has several spellings: xc7s15ftgb196-1, 7s15ftgb196-1, and 7s15-ftgb196 in timing reports.
    part = re.fullmatch(r"(?:xc)?(7[a-z]\d+)-?([a-z]+\d+)(?:-.*)?", fields.get("Device", ""))
    if not found or not part:
        raise ValueError(f"vivado_reports: {file} has no Vivado header with tool version and device")
    return {
        "version": found[1],
        "part": f"xc{part[1]}{part[2]}",
        "state": fields.get("Design State", "not named"),
        "process": fields.get("Process", "not named"),
        "date": fields.get("Date", "not named"),
    }


def utilisation(text: str) -> dict[str, int]:
    """Used cells of ``report_utilization``."""
    used = {}
    for name, row in ROWS.items():
        used[name] = int(_cell(text, row, "utilisation.rpt"))
    used["ramb18"] += 2 * used.pop("ramb36")
    return used


def hierarchy(text: str) -> dict[str, dict[str, int]]:
    """Cells of every instance without those below it, of ``report_utilization -hierarchical``.

    A LUT that holds functions of two instances counts in both, so the LUTs may add up to more than the design has.

    Returns:
        counts by the instance path below the top, spelt as in `qtlib.toolchain.synthesis`: ``weight_store/each[0].segment``
        is ``weight_store/each_n0_segment``.

    Raises:
        ValueError: there is no such table, or a cell of it is no count.
    """
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    heads = [index for index, row in enumerate(rows) if row and row[0].strip() == "Instance"]
    if not heads:
        raise ValueError("vivado_reports: hierarchy.rpt has no table of instances")
    columns = [cell.strip().replace("DSP48", "DSP") for cell in rows[heads[0]]]  # the older spelling
    found: dict[str, dict[str, int]] = {}
    own: set[str] = set()
    path: list[str] = []
    for row in rows[heads[0] + 1 :]:
        name, cells = row[0].strip(), dict(zip(columns, map(str.strip, row), strict=False))
        if bad := [key for of in HIERARCHY.values() for key in of if not cells.get(key, "").isdigit()]:
            raise ValueError(
                f"vivado_reports: hierarchy.rpt, instance {name}: {bad[0]}={cells.get(bad[0])!r} is not a count"
            )
        counts = {kind: sum(each * int(cells[key]) for key, each in of.items()) for kind, of in HIERARCHY.items()}
        depth = (len(row[0]) - len(row[0].lstrip())) // 2  # two blanks for each level
        path = [*path[:depth], re.sub(r"\[(\d+)\]", r"_n\1", name).replace(".", "_")]
        above = "/".join(path[1:depth])
        if name.startswith("("):  # the row of what an instance holds beside those below it
            own.add(above)
            found[above] = counts
            continue
        if depth and above not in own:
            found[above] = dict.fromkeys(counts, 0)
        found["/".join(path[1:])] = counts
    return found


def timing(text: str) -> dict[str, float]:
    """Slacks of ``report_timing_summary`` in ns, the clock, and the frequency that the setup slack allows."""
    numbers = re.search(r"WNS\(ns\).*?\n[ -]+\n\s*(-?[\d.]+)\s+(-?[\d.]+)\s+\d+\s+\d+\s+(-?[\d.]+)", text)
    clock = re.search(r"^Clock .*Period\(ns\).*\n[ -]+\n\S+\s+\{[^}]*\}\s+([\d.]+)", text, re.MULTILINE)
    if not numbers or not clock:
        raise ValueError("vivado_reports: timing.rpt has no design timing summary, or no clock; was clock.xdc read?")
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
        raise ValueError(f"vivado_reports: {file} has no row {row!r}")
    return found[1]

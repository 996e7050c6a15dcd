"""Fit the coefficients of the estimate to counts of designs, component by component.

There is one fit. The default of `qtlib.estimate` is its outcome on data/cell_counts.csv, counts of Yosys
(`qtlib.studies.cell_counts`); `fit_reports` is the same on designs that a user placed and routed with Vivado. A table holds the
counts of one version of one tool, and so do the coefficients.

What Vivado counts by component are LUTs and flip-flops of ``report_utilization -hierarchical``, after the hierarchy was rebuilt: what was optimised
across a boundary lies on one side of it, and a shared LUT on both. By design are the totals of ``report_utilization``; the band is measured
against them, on the very designs of the fit. DSP blocks and memories are not fitted: they follow the rules of Yosys, and the band says what
that costs.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qtlib import __version__
from qtlib.config import HardwareConfig, digest
from qtlib.estimate.coefficients import Coefficients
from qtlib.estimate.quantities import memories, quantities
from qtlib.estimate.resources import by_component, estimate
from qtlib.hardware.engine_schedule import Schedule, schedule
from qtlib.hardware.memory_allocation import allocate
from qtlib.hardware.memory_mapping import Resources
from qtlib.paths import write_atomic
from qtlib.program.file import load as load_program
from qtlib.toolchain import vivado_reports
from qtlib.toolchain.design_directory import describe

COUNTS = ("lut_logic", "lut_memory", "ff", "dsp", "ramb18")
KEYS = ("program", "hardware")  # digests: the configuration of a design
COLUMNS = ("kind", "tool", "version", "part", "date", "qtlib", *KEYS, "component", *COUNTS)

Counts = Mapping[str, Mapping[str, int]]  # component -> cells of each kind


class Reported(NamedTuple):
    """A design and what Vivado counted in it."""

    hardware: HardwareConfig  # as asked for
    plan: Schedule  # allocated
    counts: Counts
    report: dict[str, Any]  # of `qtlib.toolchain.vivado_reports.read`


def read(file: Path, columns: Sequence[str], keys: Sequence[str], numbers: Iterable[str]) -> list[dict[str, Any]]:
    """Rows of a table of counts; ``numbers`` are the columns of integers, ``keys`` those that name a row.

    Raises:
        ValueError: other columns, a number that is none, the same row twice, or counts of two tools or versions.
    """
    with open(file, newline="", encoding="utf-8", errors="replace") as stream:
        table = csv.DictReader(stream)
        if tuple(table.fieldnames or ()) != tuple(columns):
            raise ValueError(
                f"fit: {file} has the columns {table.fieldnames}, expected {', '.join(columns)}; restore it"
            )
        rows: list[dict[str, Any]] = []
        lines: dict[tuple[Any, ...], int] = {}
        for row in table:
            place = f"fit: {file}, line {table.line_num}"
            if None in row:
                raise ValueError(f"{place}: more than {len(columns)} cells; restore the file or delete the line")
            for name in numbers:
                if not (row[name] or "").isdecimal():
                    raise ValueError(
                        f"{place}: {name}={row[name]!r} is not a count; restore the file or delete the line"
                    )
                row[name] = int(row[name])
            first = lines.setdefault(tuple(row[name] for name in keys), table.line_num)
            if first != table.line_num:
                raise ValueError(f"{place}: the same design and component as line {first}; delete one of them")
            rows.append(row)
    _one_tool(rows, f"{file} holds")
    return rows


def _one_tool(rows: Iterable[Mapping[str, Any]], what: str) -> None:
    tools = sorted({f"{row['tool']} {row['version']}" for row in rows})
    if len(tools) > 1:
        raise ValueError(f"fit: {what} counts of {' and '.join(tools)}; fit each by itself, into a table of its own")


def fit(designs: Sequence[tuple[Schedule, Counts]]) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """Coefficients of every quantity, as `qtlib.estimate.COEFFICIENTS`: least squares of relative errors, none below 0.

    Args:
        designs: each as `allocate` leaves it, and its counts; a component that is not counted has no cells.

    Raises:
        ValueError: the designs leave a coefficient open, because they are too few or too much alike.
    """
    sizes_of = [quantities(plan) for plan, _ in designs]
    memories_of = [memories(plan) for plan, _ in designs]
    found = {}
    for name, names in {name: list(sizes) for of in sizes_of for name, sizes in of.items()}.items():
        # A design may be without LayerNorm.
        of = [(k, sizes[name]) for k, sizes in enumerate(sizes_of) if name in sizes]
        _check_determined(name, names, np.array([[*sizes.values()] for _, sizes in of], float))
        pair = []
        for kinds in (("lut_logic", "lut_memory"), ("ff",)):
            rows, wanted = [], []
            for k, sizes in of:
                counts, memory = designs[k][1], memories_of[k].get(name, Resources())
                value: float = sum(counts.get(name, dict.fromkeys(COUNTS, 0))[kind] for kind in kinds)
                value -= memory.ff if kinds == ("ff",) else memory.lut
                whole = sum(row[kind] for row in counts.values() for kind in kinds)
                if not whole:
                    raise ValueError(f"fit: a design counts no {' or '.join(kinds)}; make its reports again")
                rows.append([size / whole for size in sizes.values()])
                wanted.append(max(0, value) / whole)
            chosen = nonnegative(np.array(rows, float), np.array(wanted, float))
            pair.append({q: float(f"{c:.3g}") for q, c in zip(names, chosen, strict=True) if c > 1e-6})
        found[name] = (pair[0], pair[1])
    return found


def _check_determined(component: str, names: Sequence[str], sizes: np.ndarray) -> None:
    """Raise unless the columns of ``sizes``, a row for each design, are independent."""
    lengths = np.linalg.norm(sizes, axis=0)
    scaled = sizes / np.where(lengths, lengths, 1)
    rank = np.linalg.matrix_rank(scaled)
    if rank < len(names):
        which = [name for j, name in enumerate(names) if np.linalg.matrix_rank(np.delete(scaled, j, axis=1)) == rank]
        raise ValueError(
            f"fit: {len(sizes)} designs determine {rank} of the {len(names)} coefficients of {component}; "
            f"open: {', '.join(which)}; add designs that differ in them"
        )


def nonnegative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Least squares with no coefficient below 0: the most negative one is dropped until none is left."""
    kept = [j for j in range(a.shape[1]) if np.any(a[:, j])]
    while True:
        x = np.linalg.lstsq(a[:, kept], b, rcond=None)[0] if kept else np.zeros(0)
        if not kept or x.min() >= 0:
            break
        kept.pop(int(x.argmin()))
    full = np.zeros(a.shape[1])
    full[kept] = x
    return full


def design(directory: Path) -> Reported:
    """A design that `qtlib.toolchain.emit` wrote, and the reports that its ``vivado.tcl`` left there.

    Raises:
        FileNotFoundError: it is no design, or was not reported; the text says how it is.
        ValueError: it is of another version or program, or the reports are of another design, or not of the documented format.
    """
    directory = Path(directory)
    if not (directory / "design.json").is_file():
        raise FileNotFoundError(f"fit: {directory} is not a design directory: it has no design.json")
    text = (directory / "design.json").read_text(encoding="utf-8", errors="replace")
    try:
        described = json.loads(text)
        version = described.get("qtlib", "an older version")
        hardware = HardwareConfig(**described.get("asked") if version == __version__ else {})
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"fit: {directory}/design.json is damaged: {error}; emit the design again") from error
    if version != __version__:
        raise ValueError(f"fit: {directory} is by qtlib {version}, this is {__version__}; emit it and run Vivado again")
    plan = allocate(schedule(load_program(directory / "program.qtp"), hardware))
    today = json.loads(json.dumps(describe(plan)))
    if other := [name for name in today if today[name] != described.get(name)]:
        raise ValueError(
            f"fit: {directory}/design.json has {other[0]}={described.get(other[0])!r}, its program.qtp gives {today[other[0]]!r}; "
            "emit it and run Vivado again"
        )
    report = vivado_reports.read(directory)
    reported = directory / "reported.json"
    if not reported.is_file() or reported.read_text(encoding="utf-8", errors="replace") != text:
        raise ValueError(
            f"fit: the reports of {directory} are not of this design.json, of which reported.json would be a copy; "
            "in the directory, run: vivado -mode batch -source vivado.tcl"
        )
    counts = by_component(report["hierarchy"])
    for kind in ("ff", "dsp", "ramb18"):  # LUTs may be shared
        found, whole = sum(row[kind] for row in counts.values()), report["utilisation"][kind]
        if found != whole:
            raise ValueError(
                f"fit: {directory}: hierarchy.rpt adds up to {kind}={found}, utilisation.rpt has {whole}; make both again"
            )
    if lost := sorted(
        name for name, sizes in quantities(plan).items() if "one" in sizes and not counts.get(name, {}).get("ff")
    ):
        raise ValueError(
            f"fit: {directory}: hierarchy.rpt has no register of {lost[0]}; synthesise without flattening it"
        )
    return Reported(hardware, plan, counts, report)


def fit_reports(directories: Sequence[Path], table: Path) -> tuple[Path, Path]:
    """Fit the coefficients to designs that Vivado reported; returns the table of counts and, beside it, the coefficients.

    Raises:
        ValueError: the same design twice, reports of two versions, a ``table`` that is no CSV, or is there and holds something else or
            designs that are not given; and as `design` and `fit`. Nothing is written then.
    """
    table = Path(table)
    found: dict[tuple[str, str], tuple[Path, Reported]] = {}
    if table.suffix != ".csv":
        raise ValueError(f"fit: the table {table} must end in .csv; the coefficients go beside it as .json")
    for directory in directories:
        one = design(directory)
        key = one.plan.program.digest, digest(asdict(one.hardware))
        if key in found:
            raise ValueError(f"fit: {directory} and {found[key][0]} are the same design; name one of them")
        found[key] = directory, one
    rows = [
        {"qtlib": __version__, **dict(zip(KEYS, key, strict=True)), **one.report, "component": name, **counts}
        for key, (_, one) in found.items()
        for name, counts in one.counts.items()
    ]
    _one_tool(rows, "the directories hold")
    if table.exists():
        known = read(table, COLUMNS, (*KEYS, "component"), COUNTS)
        _one_tool([*rows, *known], f"{table} and the directories hold")
        if lost := [row for row in known if (row["program"], row["hardware"]) not in found]:
            named = " ".join(lost[0][key] for key in KEYS)
            raise ValueError(
                f"fit: {table} has a design that is in no directory: {named}; name its directory, or another table"
            )
    values = fit([(one.plan, one.counts) for _, one in found.values()])
    plain = {name: rows[0][name] for name in ("kind", "tool", "version", "qtlib")}
    plain |= {"designs": len(found), "band": _band([one for _, one in found.values()], values), "values": values}
    lines = [COLUMNS, *([str(row[name]) for name in COLUMNS] for row in rows)]
    coefficients = table.with_suffix(".json")
    write_atomic(table, "".join(",".join(line) + "\n" for line in lines))
    write_atomic(coefficients, json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return table, coefficients


def _band(designs: Iterable[Reported], values: dict[str, Any]) -> dict[str, float]:
    """Largest relative error of each total, rounded up to a thousandth."""
    band = dict.fromkeys(("lut", "ff", "dsp", "ramb18"), 0.0)
    for one in designs:
        total = estimate(one.plan.program, one.hardware, Coefficients("", {}, values)).total
        for kind in band:
            counted = one.report["utilisation"][kind]
            error = abs(getattr(total, kind) - counted) / max(1, counted)
            band[kind] = max(band[kind], math.ceil(1e3 * error) / 1e3)
    return band

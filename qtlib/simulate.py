"""Simulate a design directory and compare every result: a few windows clock by clock in GHDL, a whole split in Verilator.

Everything that a simulator writes goes to ``build`` in the design directory; a report is written only when every result is
right. With ``seed=0`` nothing is stalled and the clocks must be those of the schedule; another seed pauses both streams at random.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from qtlib import integer, tools, verilog
from qtlib.config import check_choice, check_range
from qtlib.emit import SOURCES, TESTBENCH
from qtlib.paths import HDL, write_atomic
from qtlib.program import Codes, Program

TOOLS = ("ghdl", "verilator")
NEEDS = {"ghdl": ("ghdl",), "verilator": ("verilator", "g++", "make", "ghdl")}  # programs
DRIVER = "accelerator.cpp"
CHUNK = 512  # windows between two progress reports
TIMEOUT = 600


def missing(tool: str) -> str | None:
    """Why a simulator cannot run here, with the command that installs what it lacks; None if it can."""
    try:
        for name in NEEDS[tool]:
            tools.locate(name)
    except tools.MissingTool as error:
        return str(error)
    return None


class Mismatch(ValueError):
    """A result or a clock of the hardware is not what it must be; the text holds the first difference."""


class Report(NamedTuple):
    """What was simulated; every result was equal."""

    kind: str
    tool: str
    version: str
    seed: int
    windows: int
    results: int
    mismatches: int
    latency: int | None  # clocks, measured; None where streams were paused
    interval: int | None  # clocks, measured; None with fewer than three windows, too
    clocks: int  # simulated


def simulate(
    directory: Path,
    *,
    tool: str = "ghdl",
    seed: int = 0,
    windows: int | None = None,
    timeout: float = TIMEOUT,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Run the test vectors of a design directory and compare every result.

    Args:
        directory: written by `qtlib.emit.emit`, with codes.
        tool: ``ghdl`` (the VHDL itself) or ``verilator`` (its Verilog, some thousand times faster).
        seed: 0 runs at full speed and checks the clocks; another pauses both streams at random.
        windows: how many of the test vectors, from the first; None: all.
        timeout: seconds for each call of a tool.
        progress: called with the windows done and all windows.

    Returns:
        the report, which is also written to ``simulation_<tool>.json``.

    Raises:
        ValueError: an unknown tool, or fewer test vectors than ``windows``.
        FileNotFoundError: the directory is no design or holds no test vectors.
        Mismatch: a result or a clock differs.
        MissingTool, ToolError: as `qtlib.tools.run`.
    """
    check_choice("simulate", "tool", tool, TOOLS)
    check_range("simulate", "seed", seed, 0, 2**31 - 2)
    directory = Path(directory).resolve()
    target = directory / f"simulation_{tool}.json"
    target.unlink(missing_ok=True)
    design, available = _open(directory)
    windows = available if windows is None else windows
    if not 1 <= windows <= available:
        raise ValueError(f"simulate: windows={windows} is outside 1..{available}, the test vectors of {directory.name}")
    version = tools.find(tool).version
    build = directory / "build" / tool
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    runner = _ghdl if tool == "ghdl" else _verilator
    latency, interval, clocks = runner(directory, build, design, seed, windows, timeout, progress or (lambda *_: None))
    if seed:
        latency = interval = None
    for name, found in (("latency", latency), ("interval", interval)):
        if found is not None and found != design[name]:
            raise Mismatch(f"simulate: {directory.name}: {name} is {found} clocks, scheduled {design[name]}")
    results = windows * design["outputs"]
    report = Report("simulated", tool, version, seed, windows, results, 0, latency, interval, clocks)
    write_atomic(target, json.dumps(report._asdict(), indent=1, sort_keys=True) + "\n")
    return report


def _open(directory: Path) -> tuple[dict[str, Any], int]:
    """The description of a design and the number of its test vectors."""
    if not (directory / "design.json").is_file():
        raise FileNotFoundError(f"simulate: {directory.name} is not a design directory: it has no design.json")
    design = json.loads((directory / "design.json").read_text())
    if not (directory / "stimuli.txt").is_file():
        raise FileNotFoundError(f"simulate: {directory.name} has no stimuli.txt; emit it with input codes")
    codes, results = (len((directory / f"{name}.txt").read_text().split()) for name in ("stimuli", "expected"))
    windows = results // design["outputs"]
    if codes != windows * design["shape"]["window"] * design["features"]:
        raise ValueError(f"simulate: {directory.name}: {codes} codes do not belong to {windows} windows; emit it again")
    return design, windows


def _ghdl(directory, build, design, seed, windows, timeout, progress):
    for name, lines in (("stimuli", design["shape"]["window"] * design["features"]), ("expected", design["outputs"])):
        text = (directory / f"{name}.txt").read_text().split()[: windows * lines]
        (build / f"{name}.txt").write_text("\n".join(text) + "\n")
    for command in (
        ["-a", "--std=08", *(Path("../..") / name for name in (*SOURCES, TESTBENCH))],
        ["-e", "--std=08", "tb_accelerator"],
    ):
        tools.run("ghdl", command, cwd=build, timeout=timeout)
    # At time 0 nothing is reset yet, so only then the metavalue warnings mean nothing.
    command = ["-r", "--std=08", "tb_accelerator", "--ieee-asserts=disable-at-0", f"-gseed={seed}"]
    try:
        text = tools.run("ghdl", command, cwd=build, timeout=timeout, log=build / "ghdl.log")
    except tools.ToolError as error:
        if found := re.search(r"\((?:report|assertion) failure\): (.*)", str(error)):
            raise Mismatch(f"simulate: {directory.name}: {found[1]}") from error
        raise
    if f"checked {windows * design['outputs']} results" not in text:
        raise tools.ToolError(f"simulate: {directory.name}: the testbench ended without its last line:\n{text[-1000:]}")
    progress(windows, windows)
    latency, interval = (
        int(found[1]) if (found := re.search(rf"{name} (\d+) clocks", text)) else None
        for name in ("latency", "interval")
    )
    picoseconds = {"fs": 1e-3, "ps": 1, "ns": 1e3, "us": 1e6, "ms": 1e9}
    time, unit = re.search(r"@(\d+)([fpnum]s):\(report note\): checked", text).groups()
    return latency, interval, round(int(time) * picoseconds[unit] / 10_000)


def _verilator(directory, build, design, seed, windows, timeout, progress):
    widths = design["widths"]
    source = verilog.to_verilog(directory)
    defines = {
        "INPUT_BITS": widths["input_bits"],
        "RESULT_BITS": widths["result_bits"],
        "LIMIT": 20 * design["latency"] + 1000,
    }
    flags = " ".join(f"-D{name}={value}" for name, value in defines.items())
    options = ["--cc", "--exe", "--build", "-O3", "-Wno-fatal", "-Wno-lint", "--top-module", verilog.TOP]
    options += ["--Mdir", "verilated", "-CFLAGS", f"-O1 {flags}", "-MAKEFLAGS", "-s"]
    command = [*options, "-o", "accelerator", source, HDL / "tb" / DRIVER]
    tools.run("verilator", command, cwd=build, timeout=timeout, log=build / "verilator.log")
    program = build / "verilated" / "accelerator"
    codes, outputs = design["shape"]["window"] * design["features"], design["outputs"]
    latency = interval = None
    total = 0
    for first in range(0, windows, CHUNK):
        count = min(CHUNK, windows - first)
        # Every chunk draws its own pauses.
        words = [str(word) for word in (seed and seed + first, codes, outputs, first, count)]
        text = tools.run(program, words, cwd=directory, timeout=timeout)
        if difference := re.search(r"result \d+ of window .*", text):
            raise Mismatch(f"simulate: {directory.name}: {difference[0]}")
        found = re.search(r"checked (\d+) results, 0 mismatches, latency (\d+), interval (\d+), clocks (\d+)", text)
        if not found or int(found[1]) != count * outputs:
            raise tools.ToolError(
                f"simulate: {directory.name}: the driver ended without its last line:\n{text[-1000:]}"
            )
        if first == 0:
            latency, interval = int(found[2]), int(found[3]) if count > 2 else None
        total += int(found[4])
        progress(first + count, windows)
    return latency, interval, total


def stimuli(program: Program, windows: int, seed: int = 0) -> Codes:
    """Input codes that drive a design to its limits: of every four windows one is drawn from the whole range, one from its two
    ends, one is a random walk, one is constant at an end. [windows, n, m], reproducible from the seed.

    Raises:
        ValueError: fewer windows than one.
    """
    if windows < 1:
        raise ValueError(f"simulate: windows={windows} must be at least 1")
    rng = np.random.default_rng(seed)
    low, high = program.input.range
    shape = program.input.shape
    kinds = (
        lambda: rng.integers(low, high + 1, shape),
        lambda: rng.choice([low, high], shape),
        lambda: np.clip(np.cumsum(rng.integers(low // 4, high // 4 + 2, shape), 0), low, high),
        lambda: np.full(shape, rng.choice([low, high])),
    )
    return np.stack([kinds[index % 4]() for index in range(windows)]).astype(np.int64)


def saturated(program: Program, codes: Codes) -> dict[str, tuple[int, int]]:
    """How many codes of each requantised tensor were cut at the lower and at the upper end of their range."""
    tensors = integer.trace(program, codes)
    counts = {}
    for op in program.operations:
        if hasattr(op, "shift"):
            wide = replace(program.tensors[op.y], bits=62, signed=True)
            unlimited = SimpleNamespace(tensors={**program.tensors, op.y: wide}, accumulator=program.accumulator)
            raw = integer.apply(op, unlimited, tensors)
            counts[op.y] = (int((raw < tensors[op.y]).sum()), int((raw > tensors[op.y]).sum()))
    return counts

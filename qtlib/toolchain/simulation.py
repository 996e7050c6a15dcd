"""Simulate a design directory and compare every result: a few windows clock by clock in GHDL, a whole split in Verilator.

Everything that a simulator writes goes to ``build`` in the design directory; a report is written only when every result is
right. With ``seed=0`` nothing is stalled and the clocks must be those of the schedule; another seed pauses both streams at random.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from qtlib.config import check_choice, check_range
from qtlib.paths import write_atomic
from qtlib.toolchain import external_tools, ghdl_verilog, verilator_build
from qtlib.toolchain.design_directory import SOURCES, TESTBENCH

TOOLS = ("ghdl", "verilator")
NEEDS = {"ghdl": ("ghdl",), "verilator": ("verilator", "g++", "make", "ghdl")}  # programs
CHUNK = 512  # windows between two progress reports
TIMEOUT = 600

Progress = Callable[[int, int], None]  # windows done, all windows
Clocks = tuple[int | None, int | None, int]  # latency, interval, simulated


def missing(tool: str) -> str | None:
    """Why a simulator cannot run here, with the command that installs what it lacks; None if it can."""
    try:
        for name in NEEDS[tool]:
            external_tools.locate(name)
    except external_tools.MissingTool as error:
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
    progress: Progress | None = None,
) -> Report:
    """Run the test vectors of a design directory and compare every result.

    Args:
        directory: written by `qtlib.toolchain.design_directory.emit`, with codes.
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
        MissingTool, ToolError: as `qtlib.toolchain.external_tools.run`.
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
    version = external_tools.find(tool).version
    build = directory / "build" / tool
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    runner = _ghdl if tool == "ghdl" else _verilator
    latency, interval, clocks = runner(directory, build, design, seed, windows, timeout, progress or _silent)
    if seed:
        latency = interval = None
    for name, found in (("latency", latency), ("interval", interval)):
        if found is not None and found != design[name]:
            raise Mismatch(f"simulate: {directory.name}: {name} is {found} clocks, scheduled {design[name]}")
    results = windows * design["outputs"]
    report = Report("simulated", tool, version, seed, windows, results, 0, latency, interval, clocks)
    write_atomic(target, json.dumps(report._asdict(), indent=1, sort_keys=True) + "\n")
    return report


def _silent(done: int, windows: int) -> None:
    pass


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


def _ghdl(
    directory: Path, build: Path, design: dict[str, Any], seed: int, windows: int, timeout: float, progress: Progress
) -> Clocks:
    for name, lines in (("stimuli", design["shape"]["window"] * design["features"]), ("expected", design["outputs"])):
        vectors = (directory / f"{name}.txt").read_text().split()[: windows * lines]
        (build / f"{name}.txt").write_text("\n".join(vectors) + "\n")
    sources = [Path("../..") / name for name in (*SOURCES, TESTBENCH)]
    external_tools.run("ghdl", ["-a", "--std=08", *sources], cwd=build, timeout=timeout)
    external_tools.run("ghdl", ["-e", "--std=08", "tb_accelerator"], cwd=build, timeout=timeout)
    # At time 0 nothing is reset yet, so only then the metavalue warnings mean nothing.
    command = ["-r", "--std=08", "tb_accelerator", "--ieee-asserts=disable-at-0", f"-gseed={seed}"]
    try:
        text = external_tools.run("ghdl", command, cwd=build, timeout=timeout, log=build / "ghdl.log")
    except external_tools.ToolError as error:
        if found := re.search(r"\((?:report|assertion) failure\): (.*)", str(error)):
            raise Mismatch(f"simulate: {directory.name}: {found[1]}") from error
        raise
    ended = re.search(r"@(\d+)([fpnum]s):\(report note\): checked", text)
    if not ended or f"checked {windows * design['outputs']} results" not in text:
        raise external_tools.ToolError(
            f"simulate: {directory.name}: the testbench ended without its last line:\n{text[-1000:]}"
        )
    progress(windows, windows)
    latency, interval = (
        int(found[1]) if (found := re.search(rf"{name} (\d+) clocks", text)) else None
        for name in ("latency", "interval")
    )
    picoseconds = {"fs": 1e-3, "ps": 1, "ns": 1e3, "us": 1e6, "ms": 1e9}
    return latency, interval, round(int(ended[1]) * picoseconds[ended[2]] / 10_000)


def _verilator(
    directory: Path, build: Path, design: dict[str, Any], seed: int, windows: int, timeout: float, progress: Progress
) -> Clocks:
    source = ghdl_verilog.to_verilog(directory)
    program = verilator_build.build(build, [source], design, clocks=windows * design["interval"], timeout=timeout)
    codes, outputs = design["shape"]["window"] * design["features"], design["outputs"]
    latency = interval = None
    total = 0
    for first in range(0, windows, CHUNK):
        count = min(CHUNK, windows - first)
        # Every chunk draws its own pauses.
        words = [str(word) for word in (seed and seed + first, codes, outputs, first, count)]
        text = external_tools.run(program, words, cwd=directory, timeout=timeout)
        if difference := re.search(r"result \d+ of window .*", text):
            raise Mismatch(f"simulate: {directory.name}: {difference[0]}")
        found = re.search(r"checked (\d+) results, 0 mismatches, latency (\d+), interval (\d+), clocks (\d+)", text)
        if not found or int(found[1]) != count * outputs:
            raise external_tools.ToolError(
                f"simulate: {directory.name}: the driver ended without its last line:\n{text[-1000:]}"
            )
        if first == 0:
            latency, interval = int(found[2]), int(found[3]) if count > 2 else None
        total += int(found[4])
        progress(first + count, windows)
    return latency, interval, total

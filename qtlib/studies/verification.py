"""What takes too long for the test suite: many random designs, whole test splits and mapped netlists, each compared in every bit.

    python -m qtlib verify                          minutes on two cores; writes data/verification.json
    python -m qtlib verify --first 73 --designs 1   design 73 alone, as it stands in a failure; writes nothing

Every random design runs in GHDL at full speed and with random pauses, and every fourth in Verilator; every 25th is mapped and its
netlist simulated. The trained programs of notebook 02, where they are, run over their whole test split in Verilator. The record says
which RTL it is of (`qtlib.toolchain.design_directory.rtl_digest`): a test asks for a new one when the RTL has changed.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qtlib import __version__, paths
from qtlib.config import DataConfig, HardwareConfig
from qtlib.data.windows import prepare
from qtlib.program.file import load
from qtlib.studies import random_designs
from qtlib.toolchain import external_tools
from qtlib.toolchain.design_directory import emit, rtl_digest
from qtlib.toolchain.input_stimuli import stimuli
from qtlib.toolchain.netlist_simulation import check_netlist
from qtlib.toolchain.simulation import simulate
from qtlib.toolchain.synthesis import synthesise

FILE = paths.DATA / "verification.json"
DESIGNS = 40
WINDOWS = 8  # of a random design
VERILATOR_EACH, NETLIST_EACH = 4, 25
NETLIST_WINDOWS = 2
TOOLS = ("ghdl", "verilator", "yosys")


class Checked(NamedTuple):
    """What was simulated of one design; every result was equal."""

    name: str
    results: int
    simulators: tuple[str, ...]


def check_random(number: int) -> Checked:
    """Simulate random design ``number``.

    Raises:
        Mismatch: a result or a clock differs.
        as `qtlib.toolchain.simulate` and, of every 25th design, `qtlib.toolchain.synthesise`.
    """
    program, hardware = random_designs.draw(number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        emit(program, hardware, folder, stimuli(program, WINDOWS, seed=number))
        reports = [simulate(folder), simulate(folder, seed=number + 1)]
        simulators = ["ghdl", "ghdl, paused"]
        if number % VERILATOR_EACH == 0:
            reports.append(simulate(folder, tool="verilator", seed=number))
            simulators.append("verilator")
        results = sum(report.results for report in reports)
        if number % NETLIST_EACH == 0:
            synthesise(folder)
            results += check_netlist(folder, windows=NETLIST_WINDOWS).results
            simulators.append("netlist")
    return Checked(f"random design {number}", results, tuple(simulators))


def check_trained(file: Path) -> Checked:
    """Simulate a trained program over the test split that it was trained beside, and its netlist on a few windows of it."""
    program = load(file)
    told = program.metadata
    n, m = program.input.shape
    config = DataConfig(
        dataset=told["dataset"],
        window=n,
        horizon=told["horizon"],
        outputs=told["steps"],
        anchored=told["anchored"],
        relative=told["relative"],
        features=tuple(told["features"]),
        targets=tuple(told["targets"]),
    )
    prepared = prepare(config)
    if prepared.series.sha256 != told["sha256"] or prepared.m != m:
        raise ValueError(f"verify: {file.name} was trained on other data than is here; python -m qtlib run 2 trains it")
    codes = program.input.codes(prepared.test.x.astype(np.float64))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        emit(program, HardwareConfig(), folder, codes)
        found = simulate(folder, tool="verilator")
        synthesise(folder)
        mapped = check_netlist(folder, windows=NETLIST_WINDOWS)
    return Checked(file.stem, found.results + mapped.results, ("verilator", "netlist"))


def verify(
    first: int = 0, designs: int = DESIGNS, *, workers: int | None = None, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Check random designs ``first`` to ``first + designs - 1`` and the trained programs.

    Args:
        first, designs: which random designs; the numbers decide everything.
        workers: processes; None: one per core.
        progress: receives a line per design.

    Returns:
        what was checked, by which tools, of which RTL, and what failed: a design that differs does not end the others.

    Raises:
        MissingTool: a tool is not installed.
    """
    versions = {name: external_tools.find(name).version for name in TOOLS}
    programs = sorted((paths.prepared() / "programs").glob("*.qtp"))
    numbers = range(first, first + designs)
    done: list[Checked] = []
    failures: list[str] = []
    context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of torch's threads
    with concurrent.futures.ProcessPoolExecutor(workers or os.cpu_count() or 1, mp_context=context) as pool:
        # The trained programs first: they take longest.
        waiting = {pool.submit(check_trained, file): file.stem for file in programs}
        waiting |= {pool.submit(check_random, number): f"random design {number}" for number in numbers}
        for count, finished in enumerate(concurrent.futures.as_completed(waiting), 1):
            name = waiting[finished]
            try:
                done.append(finished.result())
                said = f"{done[-1].results:,} results equal ({', '.join(done[-1].simulators)})"
            except (ValueError, OSError, RuntimeError) as error:
                failures.append(f"{name}: {error}")
                said = f"FAILED: {error}"
            progress(f"verify: {count}/{len(waiting)}, {len(failures)} failed: {name}: {said}")
    return {
        "date": datetime.date.today().isoformat(),
        "qtlib": __version__,
        "rtl": rtl_digest(),
        "kind": "simulated",
        "tools": versions,
        "first": first,
        "designs": designs,
        "trained": {file.stem: load(file).digest for file in programs},
        "simulations": dict(sorted(_tally(done))),
        "results": sum(checked.results for checked in done),
        "failures": sorted(failures),
    }


def _tally(done: list[Checked]) -> Iterator[tuple[str, int]]:
    kinds = {simulator for checked in done for simulator in checked.simulators}
    return ((kind, sum(kind in checked.simulators for checked in done)) for kind in kinds)


def write(record: dict[str, Any]) -> Path:
    """Write the record of a whole verification."""
    return paths.write_atomic(FILE, json.dumps(record, indent=1, sort_keys=True) + "\n")

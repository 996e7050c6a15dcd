"""Verilog and the C++ driver (hdl/tb/accelerator.cpp), built to a program by Verilator."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtlib import paths
from qtlib.paths import HDL, write_atomic
from qtlib.toolchain import external_tools
from qtlib.toolchain.ghdl_verilog import TOP

DRIVER = "accelerator.cpp"
SHORT = 500_000  # clocks up to which an optimised driver takes longer to compile than it saves
LIBRARY = ("verilated.o", "verilated_threads.o")  # Verilator's own, the same for every design


def build(folder: Path, sources: Sequence[Path], design: dict[str, Any], *, clocks: int, timeout: float) -> Path:
    """Translate Verilog to C++, compile it with the driver and return the path of the program.

    Args:
        folder: where everything is made.
        sources: the Verilog of a design.
        design: its description, as in ``design.json``.
        clocks: about how many will be simulated.
        timeout: seconds for each call of a tool.

    Raises:
        MissingTool, ToolError: as `qtlib.toolchain.external_tools.run`.
    """
    defines = {
        "INPUT_BITS": design["widths"]["input_bits"],
        "RESULT_BITS": design["widths"]["result_bits"],
        "LIMIT": 20 * design["latency"] + 1000,
    }
    flags = " ".join(f"-D{name}={value}" for name, value in defines.items())
    options = ["--cc", "--exe", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module", TOP]
    options += ["--Mdir", "verilated", "-CFLAGS", flags, "-o", "accelerator"]
    command: list[str | Path] = [*options, *sources, HDL / "tb" / DRIVER]
    external_tools.run("verilator", command, cwd=folder, timeout=timeout, log=folder / "verilator.log")
    made = folder / "verilated"
    versions = [external_tools.find(name).version for name in ("verilator", "g++")]
    kept = paths.prepared() / "verilator" / hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16]
    for name in LIBRARY:
        if (kept / name).is_file():
            shutil.copyfile(kept / name, made / name)
    # One file, because every file compiles Verilator's headers again; what runs once is not optimised.
    optimised = "-O1" if clocks > SHORT else "-O0"
    choices = ["VM_PARALLEL_BUILDS=0", f"OPT_FAST={optimised}", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0"]
    make = ["-s", "-f", f"V{TOP}.mk", *choices]
    external_tools.run("make", make, cwd=made, timeout=timeout, log=folder / "make.log")
    for name in LIBRARY:
        if not (kept / name).is_file():
            write_atomic(kept / name, (made / name).read_bytes())
    return made / "accelerator"

"""Cells of a mapped netlist, and what each counts as."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from qtlib.toolchain import ghdl_verilog

# LUTs of a cell that is memory: AMD UG474, 7 Series FPGAs Configurable Logic Block, tables 2-3 (distributed RAM) and 2-5
# (shift registers). An inverter is a LUT here; a placer may absorb it.
LUT_LOGIC = {**{f"LUT{inputs}": 1 for inputs in range(1, 7)}, "INV": 1}
LUT_MEMORY = {
    **{"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4},
    **{"RAM32M": 4, "RAM64M": 4, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1},
}
SINGLE = {
    **dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), "ff"),
    **{"CARRY4": "carry4", "MUXF7": "muxf7", "MUXF8": "muxf8"},
    **{"DSP48E1": "dsp", "RAMB18E1": "ramb18e1", "RAMB36E1": "ramb36e1"},
}
FREE = ("BUFG", "IBUF", "OBUF", "GND", "VCC", "$scopeinfo")
LATCHES = re.compile(r"LDCE|LDPE|\$_?dlatch.*|\$_?sr.*|\$_?adlatch.*", re.IGNORECASE)


class LatchError(ValueError):
    """The netlist holds a latch; the text names the cells."""


class Counts(NamedTuple):
    """Cells of a netlist or of a part of it."""

    lut_logic: int = 0
    lut_memory: int = 0  # LUTs that are distributed RAM or shift registers
    ff: int = 0
    carry4: int = 0
    muxf7: int = 0
    muxf8: int = 0
    dsp: int = 0
    ramb18e1: int = 0
    ramb36e1: int = 0

    @property
    def lut(self) -> int:
        """LUTs of both kinds."""
        return self.lut_logic + self.lut_memory

    @property
    def ramb18(self) -> int:
        """Block RAM in halves; a RAMB36E1 is two."""
        return self.ramb18e1 + 2 * self.ramb36e1


def cells_by_instance(netlist: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Cells by instance path and type; Yosys keeps the path of a flattened cell in its name."""
    (module,) = (m for m in netlist["modules"].values() if int(m["attributes"].get("top", "0"), 2))
    # Yosys leaves one $scopeinfo for each instance that it dissolved.
    scopes = {_plain(name) for name, cell in module["cells"].items() if cell["type"] == "$scopeinfo"}
    found: dict[str, Counter[str]] = {}
    latches = []
    for name, cell in module["cells"].items():
        parts = _plain(name).split("/")
        path = next(("/".join(parts[:n]) for n in range(len(parts), 0, -1) if "/".join(parts[:n]) in scopes), "")
        found.setdefault(path, Counter())[cell["type"]] += 1
        if LATCHES.fullmatch(cell["type"]):
            latches.append(f"{cell['type']} in {path or ghdl_verilog.TOP}")
    if latches:
        raise LatchError(
            f"synthesise: {len(latches)} latch(es): {', '.join(latches[:5])}; write every branch of the process"
        )
    return {path: dict(sorted(types.items())) for path, types in sorted(found.items())}


def _plain(name: str) -> str:
    return name.removeprefix("$flatten").replace("\\", "").replace(".", "/")


def count(cells: Mapping[str, int]) -> Counts:
    """Counts of cells by type.

    Raises:
        ValueError: a cell whose cost is not known.
    """
    counts: Counter[str] = Counter()
    for kind, number in cells.items():
        if kind in LUT_LOGIC:
            counts["lut_logic"] += number * LUT_LOGIC[kind]
        elif kind in LUT_MEMORY:
            counts["lut_memory"] += number * LUT_MEMORY[kind]
        elif kind in SINGLE:
            counts[SINGLE[kind]] += number
        elif kind not in FREE:
            raise ValueError(f"synthesise: {number} cell(s) of type {kind}, whose cost is not known")
    return Counts(**counts)


def add(parts: Iterable[Counts]) -> Counts:
    """Sum of several counts."""
    return Counts(*(sum(column) for column in zip(*parts, strict=True)))

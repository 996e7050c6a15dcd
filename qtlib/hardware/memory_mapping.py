"""What one memory costs: block RAM, distributed RAM or constants in LUTs, by the rules of Yosys 0.70."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

ROWS, COLUMN = 512, 36  # words and bits of the widest arrangement of a RAMB18 (AMD UG473, table 1-10)
# LUTs of each bit of 64 words of a ROM in LUTs that has more than 128, by what it holds; weights by their bits, 4 standing for more. Of
# data/cell_counts.csv, printed by ``python -m qtlib cell-counts coefficients``.
FILLS: dict[str | int, float] = {
    2: 1.68,
    3: 1.43,
    4: 1.35,
    "parameter": 1.28,
    "position": 1.2,
    "table": 1.09,
    "square": 0.755,
}
SMALLEST_ROM = 32  # bits; GHDL 2.0 makes a plain number of so few, which Yosys does not see as a memory


class Resources(NamedTuple):
    """What a component needs; block RAM in halves of 18 kbit."""

    lut: float = 0  # logic and memory
    lut_memory: int = 0  # LUTs that are distributed RAM
    ff: float = 0
    dsp: int = 0
    ramb18: int = 0

    def times(self, copies: int) -> Resources:
        """Of so many components alike."""
        return Resources(
            self.lut * copies, self.lut_memory * copies, self.ff * copies, self.dsp * copies, self.ramb18 * copies
        )


class Memory(NamedTuple):
    """One memory as it is asked for."""

    depth: int
    width: int
    copies: int
    rom: bool
    memory_type: str
    single: bool = False  # one address reads and writes
    fill: float = FILLS[4]
    used: float = 1.0  # part of the bits of a word that synthesis builds in LUTs: neither constant nor equal to another


def address_bits(depth: int) -> int:
    """Bits of an address into so many words, one at least: the twin of address_bits in qt_pkg.vhd."""
    return max(1, (depth - 1).bit_length())


def mux(inputs: int) -> float:
    """LUTs of a one-bit multiplexer: 4 inputs in one LUT6, more joined by F7 and F8 (AMD UG474, Multiplexers)."""
    return math.ceil(inputs / 4) if inputs > 2 else 0.5 * (inputs - 1)


def read_mux(inputs: int) -> float:
    """LUTs of a one-bit multiplexer over memories, as Yosys builds it: in full only for a power of two, else nearly twice as many."""
    if inputs <= 4:
        return min(inputs - 1, 1)
    return inputs / 4 if inputs & (inputs - 1) == 0 else math.ceil(inputs / 2)


@lru_cache(maxsize=4096)
def mapped(memory: Memory) -> Resources:
    """Resources of one memory, as Yosys 0.70 maps it.

    ``auto`` takes what costs least in Yosys' own terms (share/xilinx/lutrams_xc5v.txt, brams_xc4v.txt and
    ``-logic-cost-rom 0.015625`` of synth_xilinx). A RAM of one word is a register.
    """
    depth, width = memory.depth, memory.width
    if depth == 1 and not memory.rom:
        return Resources(ff=2 * width)
    block_cost, blocks, parts = block_ram(depth, width, memory.rom)
    if memory.rom:
        soft_cost, built = depth * width / 64, round(memory.used * width)
        soft = Resources(lut=rom_luts(depth, built, memory.fill), ff=built)
    else:
        soft_cost, soft = distributed(depth, width, memory.single)
    if memory.rom and depth * width <= SMALLEST_ROM:
        return soft
    if memory.memory_type == "block" or (memory.memory_type == "auto" and block_cost <= soft_cost):
        return Resources(lut=width * read_mux(parts), ff=(parts - 1).bit_length(), ramb18=blocks)
    return soft


def block_ram(depth: int, width: int, rom: bool) -> tuple[float, int, int]:
    """Cost, number of RAMB18 and parts of the cheapest arrangement (AMD UG473, table 1-10: words of a RAMB18).

    A memory deeper than a block is cut into as many parts, whose outputs are multiplexed. A block of a ROM holds columns of any parts; one
    of a RAM those of one part, because a part is written as a whole.
    """
    arrangements = []
    for halves, cost, words in ((1, 129, 16_384), (2, 257, 32_768)):
        for bits, step in ((1, 1), (2, 2), (4, 4), (9, 8), (18, 16), (36, 32), (72, 64)):
            if bits == 72 and halves == 1:
                continue
            parts = -(-depth // (words // step))
            count = -(-parts * width // bits) if rom else parts * -(-width // bits)
            arrangements.append((count * cost + 0.5 * (parts - 1) * width, count * halves, parts))
    return min(arrangements)


def distributed(depth: int, width: int, single: bool = False) -> tuple[float, Resources]:
    """Cost and resources in RAM32M (32 x 6) or RAM64M (64 x 3), four LUTs each (AMD UG474, table 2-3).

    With one address for reading and writing the port that writes reads too: 32 x 8 or 64 x 4.
    """
    options = []
    for words, bits in ((32, 8), (64, 4)) if single else ((32, 6), (64, 3)):
        deep, wide = -(-depth // words), -(-width // bits)
        luts = 4 * deep * wide
        # Several blocks in depth: a multiplexer for each bit that is read, a decoder for the writes.
        extra = (width * read_mux(deep) + 1.5 * deep) if deep > 1 else 0
        cost = deep * (wide + 7 * width / bits) + 0.5 * (deep - 1) * (width + 1)
        options.append((cost, Resources(lut=luts + extra, lut_memory=luts, ff=width)))
    return min(options)


def rom_luts(depth: int, width: int, fill: float) -> float:
    """LUTs of a constant: one for each bit up to 64 words, then multiplexed; ``fill`` is that of data/cell_counts.csv."""
    leaves = -(-depth // 64)
    return width * leaves if leaves <= 2 else fill * width * leaves

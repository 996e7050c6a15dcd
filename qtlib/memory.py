"""Where every store of a design lies: block RAM, distributed RAM or constants in LUTs.

A design whose stores fit the device as the synthesis tool would place them is left alone. Otherwise the block RAM is kept for the
weights, which are many and read in order: the other stores whose type is ``auto`` become distributed, the weights are packed so
that block RAM words are full (three of 6 bits in 18, nine of 8 in 72), and what does not fit becomes constants in LUTs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from qtlib.devices import device
from qtlib.program import Linear
from qtlib.schedule import Schedule, norm_widths

ROWS = 512  # words of the widest arrangement of a RAMB18, 36 bits (AMD UG473, table 1-10)
PACKS = range(1, 19)


class Resources(NamedTuple):
    """What a component needs; block RAM in halves of 18 kbit."""

    lut: float = 0  # logic and memory
    lut_memory: int = 0  # LUTs that are distributed RAM
    ff: float = 0
    dsp: int = 0
    ramb18: int = 0


class Memory(NamedTuple):
    """One memory as it is asked for."""

    depth: int
    width: int
    copies: int
    rom: bool
    memory_type: str
    single: bool = False  # one address reads and writes
    fill: float = 1.65  # LUTs of each bit of 64 words, for a ROM in LUTs of random contents


def stores(plan: Schedule) -> dict[str, list[Memory]]:
    """Every memory of a design, by component."""
    s, w, h = plan.shape, plan.widths, plan.hardware
    slices = s.slices * s.groups
    keys = -(-s.window // s.unroll) * s.unroll
    slice_bits, key_bits = _address_bits(slices), _address_bits(keys)
    outputs = -(-plan.program.output.shape[0] // s.unroll) * s.unroll
    parameter = w["mult_bits"] + w["residual_mult_bits"] + w["offset_bits"]

    def ram(depth: int, width: int, copies: int = 1, memory_type: str = h.activations) -> list[Memory]:
        return [Memory(depth, width, copies, False, memory_type)]

    def rom(words: tuple[int, ...], width: int, memory_type: str, copies: int = 1) -> list[Memory]:
        return [Memory(len(words), width, copies, True, memory_type)]

    # Of a LayerNorm: sum and squares of each row, read asynchronously, and a table of squares for each requantiser.
    norm = {}
    if x := plan.norm_input:
        widths = norm_widths(x)
        kept = [Memory(1 << slice_bits, widths.sum + widths.squares, s.requantisers, False, "distributed", single=True)]
        table = Memory(1 << x.bits, widths.square, s.requantisers, True, h.tables, fill=0.75)
        norm = {"layer_norm": kept, "square_tables": [table]}

    return norm | {
        "input_store": ram(plan.program.input.shape[1] * s.groups, s.lanes * w["input_bits"]),
        "activation_store": ram(plan.activation_depth, s.lanes * w["activation_bits"], s.unroll),
        "broadcast_store": ram(plan.broadcast_depth, s.lanes * w["broadcast_bits"], s.unroll),
        "exponential_store": ram(s.window * s.groups, s.requantisers * w["exponential_bits"], s.slices),
        "reciprocal_store": ram(1 << slice_bits, s.requantisers * 17),
        "score_store": ram(1 << (slice_bits + key_bits), s.requantisers * w["score_bits"]),
        # Running maxima of the rows, inside the softmax; Yosys chooses for itself.
        "softmax": ram(1 << slice_bits, s.requantisers * w["score_bits"], memory_type="auto"),
        "unload": ram(1 << _address_bits(outputs), w["result_bits"], memory_type="distributed"),
        "weight_store": [
            Memory(
                words,
                plan.weight_pack * s.unroll * w["weight_bits"],
                1,
                True,
                "block" if k < plan.block_segments else h.weights,
            )
            for k, words in enumerate(plan.weight_segments or (plan.weight_words,))
        ],
        "head_store": rom(plan.head_weights, s.unroll * w["head_bits"], h.weights),
        "parameter_store": rom(plan.parameters, parameter, h.parameters),
        "position_store": rom(plan.positions, s.lanes * w["position_bits"], h.parameters),
        # Exponentials fall smoothly, so neighbouring words share LUTs.
        "exponential_tables": [
            rom(plan.exponentials, w["exponential_bits"], h.tables, s.requantisers)[0]._replace(fill=0.9)
        ],
    }


def _address_bits(depth: int) -> int:
    return max(1, (depth - 1).bit_length())


def mux(inputs: int) -> float:
    """LUTs of a one-bit multiplexer: 4 inputs in one LUT6, more joined by F7 and F8 (AMD UG474, Multiplexers)."""
    return math.ceil(inputs / 4) if inputs > 2 else 0.5 * (inputs - 1)


def mapped(memory: Memory) -> Resources:
    """Resources of one memory, as Yosys 0.70 maps it.

    ``auto`` takes what costs least in Yosys' own terms (share/xilinx/lutrams_xc5v.txt, brams_xc4v.txt and
    ``-logic-cost-rom 0.015625`` of synth_xilinx). A RAM of one word is a register.
    """
    depth, width = memory.depth, memory.width
    if depth == 1 and not memory.rom:
        return Resources(ff=2 * width)
    block_cost, blocks = block_ram(depth, width)
    if memory.rom:
        soft_cost, soft = depth * width / 64, Resources(lut=rom_luts(depth, width, memory.fill), ff=width)
    else:
        soft_cost, soft = distributed(depth, width, memory.single)
    if memory.memory_type == "block" or (memory.memory_type == "auto" and block_cost <= soft_cost):
        return Resources(ramb18=blocks)
    return soft


def block_ram(depth: int, width: int) -> tuple[float, int]:
    """Cost and number of RAMB18 of the cheapest arrangement (AMD UG473, table 1-10: words of a RAMB18)."""
    arrangements = []
    for halves, cost, words in ((1, 129, 16_384), (2, 257, 32_768)):
        for bits, step in ((1, 1), (2, 2), (4, 4), (9, 8), (18, 16), (36, 32), (72, 64)):
            if bits == 72 and halves == 1:
                continue
            count = -(-depth // (words // step)) * -(-width // bits)
            arrangements.append((count * cost, count * halves))
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
        extra = (width * mux(deep) + deep) if deep > 1 else 0
        cost = deep * (wide + 7 * width / bits) + extra
        options.append((cost, Resources(lut=luts + extra, lut_memory=luts, ff=width)))
    return min(options)


def rom_luts(depth: int, width: int, fill: float) -> float:
    """LUTs of a constant: one for each bit up to 64 words, then multiplexed; the factors are those of data/knowledge.csv."""
    return 0.82 * width if depth <= 64 else fill * width * depth / 64


def allocate(plan: Schedule) -> Schedule:
    """Settle the memory types of a design, and the packing and the segments of its weight store.

    Nothing here changes an output bit or a clock.
    """
    budget = device(plan.hardware.device)
    if blocks(plan) <= budget.ramb18:
        return plan
    hardware = plan.hardware
    kept = {
        name: "distributed" for name in ("activations", "parameters", "tables") if getattr(hardware, name) == "auto"
    }
    spare = replace(plan, hardware=replace(hardware, **kept, weights="distributed"))
    available = budget.ramb18 - blocks(spare)
    if hardware.weights == "distributed":
        return spare
    if hardware.weights == "block" or available <= 0:
        return plan  # chosen by hand: obeyed, and the estimate and the count say by how much it exceeds the device
    return _segmented(spare, available)


def blocks(plan: Schedule) -> int:
    """RAMB18 of all stores."""
    return sum(mapped(memory).ramb18 * memory.copies for found in stores(plan).values() for memory in found)


def _best_pack(plan: Schedule, available: int) -> tuple[int, int]:
    """Weights in a memory word, and how many weights then fit the block RAM; the fewest blocks win, then the fewest places."""
    bits = plan.shape.unroll * plan.widths["weight_bits"]
    best = (0, 0, 1, 0)  # weights that fit, blocks saved, places saved, places
    for pack in PACKS:
        columns = -(-pack * bits // 36)
        needed = -(-len(plan.weights) // (pack * ROWS)) * columns
        fitting = min(len(plan.weights), available // columns * ROWS * pack)
        best = max(best, (fitting, -min(needed, available // columns * columns), -pack, pack))
    return best[3], best[0]


def _segmented(plan: Schedule, available: int) -> Schedule:
    """Weights in segments of powers of two words, which synthesis maps without waste; the rest in LUTs."""
    pack, _ = _best_pack(plan, available)
    words = -(-len(plan.weights) // pack)
    columns = -(-pack * plan.shape.unroll * plan.widths["weight_bits"] // 36)
    in_blocks = min(words, available // columns * ROWS)
    segments: list[int] = []
    while sum(segments) < in_blocks:
        left = in_blocks - sum(segments)
        segments.append(min(left, max(ROWS, 1 << (left.bit_length() - 1))))
    block_segments = len(segments)
    if words > in_blocks:
        segments.append(words - in_blocks)
    instructions = []
    for i in plan.instructions:
        base = (
            dict(zip(("w_base", "w_place"), divmod(i.w_base, pack), strict=True))
            if isinstance(i.source, Linear)
            else {}
        )
        instructions.append(replace(i, **base))
    return replace(
        plan,
        instructions=tuple(instructions),
        weight_pack=pack,
        weight_segments=tuple(segments),
        block_segments=block_segments,
    )

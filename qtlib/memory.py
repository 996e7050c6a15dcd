"""Where every store of a design lies: block RAM, distributed RAM or constants in LUTs.

A design whose stores fit the device as the synthesis tool would place them is left alone. Otherwise the block RAM is kept for the
weights, which are many and read in order: the other stores whose type is ``auto`` become distributed, the weights are packed so
that block RAM words are full (three of 6 bits in 18, nine of 8 in 72; of a layer of fewer bits more), and what does not fit becomes
constants in LUTs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from qtlib.config import STORES
from qtlib.devices import device
from qtlib.program import Linear
from qtlib.schedule import Packing, Schedule, norm_widths

ROWS, COLUMN = 512, 36  # words and bits of the widest arrangement of a RAMB18 (AMD UG473, table 1-10)
PACKS = range(1, 19)
# LUTs of each bit of 64 words of a ROM in LUTs that has more than 128, by what it holds; weights by their bits, 4 standing for more. Of
# data/knowledge.csv, printed by `python tests/knowledge.py fit`.
FILLS: dict[str | int, float] = {2: 1.68, 3: 1.43, 4: 1.35, "parameter": 1.28, "position": 1.2, "table": 1.09, "square": 0.755}
SMALLEST_ROM = 32  # bits; GHDL 2.0 makes a plain number of so few, which Yosys does not see as a memory


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
    fill: float = FILLS[4]
    used: float = 1.0  # part of the bits of a word that synthesis builds in LUTs: neither constant nor equal to another


def _weights(plan: Schedule) -> dict[int, list[int]]:
    """How many words of weights each layer has, by the bits of its weights."""
    found: dict[int, list[int]] = {}
    for i in plan.instructions:
        if isinstance(i.source, Linear):
            found.setdefault(i.source.weight_bits, []).append(i.steps * i.inner)
    return dict(sorted(found.items()))


def _weight_fill(layers: dict[int, list[int]], packings: tuple[Packing, ...]) -> float:
    """LUTs of each bit of 64 weights; those of a narrower layer that are extended to the widest repeat their sign, which is worth half a bit."""
    fills = {bits: FILLS[min(bits, 4)] for bits in layers}
    size = {bits: bits * sum(words) for bits, words in layers.items()}
    if len(packings) == len(layers):
        return sum(fills[bits] * n for bits, n in size.items()) / sum(size.values())
    widest, words = max(size), sum(n / bits for bits, n in size.items())
    return fills[widest] * (1 + sum(size.values()) / words / widest) / 2


def _segments(plan: Schedule) -> list[tuple[int, int]]:
    """Words of each segment of the weight store, and the bits of them that any of its layers uses: synthesis builds no others."""
    found, first = [], 0
    layers = [(i.w_base, plan.memory_words(i), plan.weight_packings[i.packing]) for i in plan.instructions if isinstance(i.source, Linear)]
    for words in plan.weight_segments or (plan.weight_words,):
        here = [packing for base, count, packing in layers if base < first + words and first < base + count]
        found.append((words, plan.shape.unroll * max(bits * weights for bits, weights in here)))
        first += words
    return found


def stores(plan: Schedule) -> dict[str, list[Memory]]:
    """Every memory of a design, by component."""
    s, w, h = plan.shape, plan.widths, plan.hardware
    slices = s.slices * s.groups
    keys = -(-s.window // s.unroll) * s.unroll
    slice_bits, key_bits = address_bits(slices), address_bits(keys)
    outputs = -(-plan.program.output.shape[0] // s.unroll) * s.unroll
    parameter = w["mult_bits"] + w["residual_mult_bits"] + w["offset_bits"]
    fill = _weight_fill(_weights(plan), plan.weight_packings)

    def ram(store: str, depth: int, width: int, copies: int = 1) -> list[Memory]:
        return [Memory(depth, width, copies, False, h.memory_type(store))]

    def rom(store: str, words: int, width: int, copies: int = 1, **filled: float) -> list[Memory]:
        return [Memory(words, width, copies, True, h.memory_type(store), **filled)]

    # Of a LayerNorm: sum and squares of each row, read asynchronously, and a table of squares for each requantiser.
    norm = {}
    if x := plan.norm_input:
        widths = norm_widths(x)
        kept = [Memory(1 << slice_bits, widths.sum + widths.squares, s.requantisers, False, "distributed", single=True)]
        norm = {"layer_norm": kept, "square_tables": rom("table", 1 << x.bits, widths.square, s.requantisers, fill=FILLS["square"])}

    return norm | {
        "input_store": ram("input", plan.program.input.shape[1] * s.groups, s.lanes * w["input_bits"]),
        "activation_store": ram("activation", plan.activation_depth, s.lanes * w["activation_bits"], s.unroll),
        "broadcast_store": ram("broadcast", plan.broadcast_depth, s.lanes * w["broadcast_bits"], s.unroll),
        "exponential_store": ram("exponential", s.window * s.groups, s.requantisers * w["exponential_bits"], s.slices),
        "reciprocal_store": ram("reciprocal", 1 << slice_bits, s.requantisers * 17),
        "score_store": ram("score", 1 << (slice_bits + key_bits), s.requantisers * w["score_bits"]),
        # Running maxima of the rows, inside the softmax; Yosys chooses for itself.
        "softmax": [Memory(1 << slice_bits, s.requantisers * w["score_bits"], 1, False, "auto")],
        "unload": [Memory(1 << address_bits(outputs), w["result_bits"], 1, False, "distributed")],
        "weight_store": [
            Memory(words, bits, 1, True, "block" if k < plan.block_segments else h.memory_type("weight"), fill=fill)
            for k, (words, bits) in enumerate(_segments(plan))
        ],
        # Of outputs that there are not, the weights are 0.
        "head_store": rom(
            "head", plan.words.head_weights, s.unroll * w["head_bits"], used=min(1, plan.program.output.shape[0] / s.unroll)
        ),
        "parameter_store": rom("parameter", plan.words.parameters, parameter, fill=FILLS["parameter"]),
        # Sines and cosines: in few words many columns are alike.
        "position_store": rom(
            "position", plan.words.positions, s.lanes * w["position_bits"],
            used=min(0.92, plan.words.positions / 20), fill=FILLS["position"],
        ),
        "exponential_tables": rom("table", plan.words.exponentials, w["exponential_bits"], s.requantisers, fill=FILLS["table"]),
    }


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
    """LUTs of a constant: one for each bit up to 64 words, then multiplexed; ``fill`` is that of data/knowledge.csv."""
    leaves = -(-depth // 64)
    return width * leaves if leaves <= 2 else fill * width * leaves


def allocate(plan: Schedule) -> Schedule:
    """Settle the memory types of a design, and the packing and the segments of its weight store.

    Nothing here changes an output bit or a clock. What was chosen by hand is obeyed, also where the device has less.

    Raises:
        ValueError: an unknown device, or block RAM is asked of a single store that has one word and so becomes a register.
    """
    _check_single_words(plan)
    budget = device(plan.hardware.device)
    if blocks(plan) <= budget.ramb18:
        return plan
    hardware = plan.hardware
    chosen = {store: hardware.memory_type(store) for store in STORES}
    settled = {store: "distributed" if kind == "auto" else kind for store, kind in chosen.items()}
    spare = replace(plan, hardware=replace(hardware, stores=settled | {"weight": "distributed"}))
    available = budget.ramb18 - blocks(spare)
    if chosen["weight"] == "distributed":
        return spare
    if chosen["weight"] == "block" or available <= 0:
        return plan  # chosen by hand: obeyed, and the estimate and the count say by how much it exceeds the device
    return _segmented(spare, available)


def _check_single_words(plan: Schedule) -> None:
    placed = stores(plan)
    for name, memory_type in plan.hardware.stores:
        (memory, *_) = placed["exponential_tables" if name == "table" else f"{name}_store"]
        if memory_type == "block" and memory.depth == 1:
            raise ValueError(
                f"memory: stores[{name!r}]='block', but the store has one word of {memory.width} bits, which is a register; "
                "legal here: auto, distributed"
            )


class Placed(NamedTuple):
    """One row of the memory table: where a store lies, and why; every number is a formula."""

    store: str
    words: int
    bits: int  # of a word
    copies: int
    memory_type: str  # block | distributed | constants (in LUTs) | register
    ramb18: int
    lut_memory: int  # LUTs that are distributed RAM
    lut_logic: int  # constants in LUTs; of distributed RAM the selection of its words
    why: str

    @property
    def total_bits(self) -> int:
        """Bits that the store holds."""
        return self.words * self.bits * self.copies


def placement(plan: Schedule) -> list[Placed]:
    """Where `allocate` puts every memory of a schedule, the largest in block RAM first.

    Args:
        plan: as `qtlib.schedule.schedule` returns it, so that what was chosen by hand can be told from what was decided.
    """
    after = allocate(plan)
    asked = stores(plan)
    rows = []
    for name, found in stores(after).items():
        for k, memory in enumerate(found):
            need = mapped(memory)
            place = (
                "block"
                if need.ramb18
                else "distributed"
                if need.lut_memory
                else "constants"
                if memory.rom
                else "register"
            )
            choice = "fixed" if name == "unload" else asked[name][0].memory_type
            why = _why(memory, choice, place, name == "weight_store" and bool(after.weight_segments))
            label = name if len(found) == 1 else f"{name} {k + 1}"
            numbers = (need.ramb18, need.lut_memory, round(need.lut - need.lut_memory))
            scaled = (value * memory.copies for value in numbers)
            rows.append(Placed(label, memory.depth, memory.width, memory.copies, place, *scaled, why))
    return sorted(rows, key=lambda row: (-row.ramb18, -row.lut_memory, -row.lut_logic))


def _why(memory: Memory, asked: str, place: str, segmented: bool) -> str:
    """The reason for the place of one memory, as a phrase."""
    if place == "register":
        return "one word"
    if segmented:
        return "fills the block RAM that the other stores leave" if place == "block" else "no block RAM is left for it"
    if asked != "auto":
        return "fixed by the engine" if asked == "fixed" else "chosen"
    if memory.memory_type == "distributed" and mapped(memory._replace(memory_type="auto")).ramb18:
        return "block RAM is kept for the weights"
    blocks_needed = block_ram(memory.depth, memory.width, memory.rom)[1] * memory.copies
    luts = round(mapped(memory._replace(memory_type="distributed")).lut) * memory.copies
    better, worse = (f"{blocks_needed} RAMB18", f"{luts:,} LUTs")[:: 1 if place == "block" else -1]
    return f"{better} instead of {worse}"


def blocks(plan: Schedule) -> int:
    """RAMB18 of all stores."""
    return sum(mapped(memory).ramb18 * memory.copies for found in stores(plan).values() for memory in found)


def _columns(bits: int) -> int:
    return -(-bits // COLUMN)


def _packings(widths: Iterable[int], unroll: int) -> Iterator[tuple[Packing, ...]]:
    """Every way to hold weights of rising widths: all extended to the widest, or each as many as fill the columns of block RAM that the widest do."""
    *narrow, widest = widths
    for weights in PACKS:
        of_widest = Packing(widest, weights)
        yield (of_widest,)
        if narrow:
            room = _columns(weights * unroll * widest) * COLUMN
            yield (*(Packing(bits, room // (unroll * bits)) for bits in narrow), of_widest)


def _index(bits: int, packings: tuple[Packing, ...]) -> int:
    """Which packing holds the weights of a layer: that of its width, or the only one."""
    return next((k for k, packing in enumerate(packings) if packing.bits == bits), 0)


def _packed(plan: Schedule, available: int) -> Schedule:
    """The weights so in memory words that constants and multiplexers take the fewest LUTs; of equals, the fewest blocks."""
    layers = _weights(plan)
    best = None
    for packings in _packings(layers, plan.shape.unroll):
        words = sum(-(-n // packings[_index(bits, packings)].weights) for bits, counts in layers.items() for n in counts)
        bits = max(plan.shape.unroll * b * count for b, count in packings)
        blocks_in, left = _cut(words, bits, available)
        constants = rom_luts(left, bits, _weight_fill(layers, packings)) if left else 0
        luts = constants + _select(packings, plan.shape.unroll) + bits * (len(blocks_in) + bool(left) - 1)
        score = (luts, sum(blocks_in) // ROWS * _columns(bits))
        if best is None or score < best[0]:
            best = score, packings
    return _placed(plan, best[1])


def _select(packings: tuple[Packing, ...], unroll: int) -> float:
    """LUTs that choose the place in a memory word, and the packing: nine places of 8 bits were counted as 24 (docs/design.md, Memory)."""
    places = sum(bits * count for bits, count in packings if count > 1)
    return unroll * (places / 3 + (len(packings) - 1) * packings[-1].bits)


def _cut(words: int, bits: int, available: int) -> tuple[list[int], int]:
    """Segments in block RAM, of powers of two words, which synthesis maps without waste; and how many words are left for LUTs."""
    in_blocks = min(words, available // _columns(bits) * ROWS)
    segments: list[int] = []
    while (left := in_blocks - sum(segments)) > 0:
        segments.append(min(left, max(ROWS, 1 << (left.bit_length() - 1))))
    return segments, words - in_blocks


def _placed(plan: Schedule, packings: tuple[Packing, ...]) -> Schedule:
    """The weights in memory words of these packings. Every layer begins a word."""
    plan = replace(plan, weight_packings=packings)
    base, instructions = 0, []
    for i in plan.instructions:
        if isinstance(i.source, Linear):
            i = replace(i, packing=_index(i.source.weight_bits, packings), w_base=base)
            base += plan.memory_words(i)
        else:
            # Reads no weight, so any would do; the committed counts are of this one.
            i = replace(i, packing=len(packings) - 1)
        instructions.append(i)
    return replace(plan, instructions=tuple(instructions))


def _segmented(plan: Schedule, available: int) -> Schedule:
    """Weights in segments of block RAM; the rest in LUTs."""
    plan = _packed(plan, available)
    blocks_in, left = _cut(plan.weight_words, plan.weight_word_bits, available)
    segments = (*blocks_in, left) if left else tuple(blocks_in)
    return replace(plan, weight_segments=segments, block_segments=len(blocks_in))

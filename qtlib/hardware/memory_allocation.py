"""Where every store of a design lies: block RAM, distributed RAM or constants in LUTs.

A design whose stores fit the device as the synthesis tool would place them is left alone. Otherwise the block RAM is kept for the
weights, which are many and read in order: the other stores whose type is ``auto`` become distributed, the weights are packed so
that block RAM words are full (three of 6 bits in 18, nine of 8 in 72; of a layer of fewer bits more), and what does not fit becomes
constants in LUTs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from qtlib.config import STORES
from qtlib.hardware.devices import device
from qtlib.hardware.engine_schedule import Schedule
from qtlib.hardware.memory_mapping import FILLS, Memory, address_bits, block_ram, mapped
from qtlib.hardware.pipeline import norm_widths
from qtlib.hardware.weight_packing import segmented, weight_fill, weight_segments, weight_words


def stores(plan: Schedule) -> dict[str, list[Memory]]:
    """Every memory of a design, by component."""
    s, w, h = plan.shape, plan.widths, plan.hardware
    slices = s.slices * s.groups
    keys = -(-s.window // s.unroll) * s.unroll
    slice_bits, key_bits = address_bits(slices), address_bits(keys)
    outputs = -(-plan.program.output.shape[0] // s.unroll) * s.unroll
    parameter = w["mult_bits"] + w["residual_mult_bits"] + w["offset_bits"]
    fill = weight_fill(weight_words(plan), plan.weight_packings)

    def ram(store: str, depth: int, width: int, copies: int = 1) -> list[Memory]:
        return [Memory(depth, width, copies, False, h.memory_type(store))]

    def rom(
        store: str, words: int, width: int, copies: int = 1, fill: float = FILLS[4], used: float = 1.0
    ) -> list[Memory]:
        return [Memory(words, width, copies, True, h.memory_type(store), fill=fill, used=used)]

    # Of a LayerNorm: sum and squares of each row, read asynchronously, and a table of squares for each requantiser.
    norm = {}
    if x := plan.norm_input:
        widths = norm_widths(x)
        kept = [Memory(1 << slice_bits, widths.sum + widths.squares, s.requantisers, False, "distributed", single=True)]
        norm = {
            "layer_norm": kept,
            "square_tables": rom("table", 1 << x.bits, widths.square, s.requantisers, fill=FILLS["square"]),
        }

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
            for k, (words, bits) in enumerate(weight_segments(plan))
        ],
        # Of outputs that there are not, the weights are 0.
        "head_store": rom(
            "head",
            plan.words.head_weights,
            s.unroll * w["head_bits"],
            used=min(1, plan.program.output.shape[0] / s.unroll),
        ),
        "parameter_store": rom("parameter", plan.words.parameters, parameter, fill=FILLS["parameter"]),
        # Sines and cosines: in few words many columns are alike.
        "position_store": rom(
            "position",
            plan.words.positions,
            s.lanes * w["position_bits"],
            used=min(0.92, plan.words.positions / 20),
            fill=FILLS["position"],
        ),
        "exponential_tables": rom(
            "table", plan.words.exponentials, w["exponential_bits"], s.requantisers, fill=FILLS["table"]
        ),
    }


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
    return segmented(spare, available)


def _check_single_words(plan: Schedule) -> None:
    placed = stores(plan)
    for name, memory_type in dict(plan.hardware.stores).items():
        (memory, *_) = placed["exponential_tables" if name == "table" else f"{name}_store"]
        if memory_type == "block" and memory.depth == 1:
            raise ValueError(
                f"memory_allocation: stores[{name!r}]='block', but the store has one word of {memory.width} bits, which is a register; "
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
        plan: as `qtlib.hardware.engine_schedule.schedule` returns it, so that what was chosen by hand can be told from what was decided.
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
            rows.append(
                Placed(
                    label,
                    memory.depth,
                    memory.width,
                    memory.copies,
                    place,
                    ramb18=need.ramb18 * memory.copies,
                    lut_memory=need.lut_memory * memory.copies,
                    lut_logic=round(need.lut - need.lut_memory) * memory.copies,
                    why=why,
                )
            )
    return sorted(rows, key=lambda row: (-row.ramb18, -row.lut_memory, -row.lut_logic))


def _why(memory: Memory, asked: str, place: str, in_segments: bool) -> str:
    """The reason for the place of one memory, as a phrase."""
    if place == "register":
        return "one word"
    if in_segments:
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

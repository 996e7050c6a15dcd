"""What an estimate adds up: the sizes that decide the LUTs and flip-flops of each component, and the memories."""

from __future__ import annotations

from qtlib.hardware.engine_schedule import Schedule
from qtlib.hardware.memory_allocation import stores
from qtlib.hardware.memory_mapping import Resources, address_bits, mapped, mux
from qtlib.hardware.pipeline import norm_widths

SHORTEST_PRODUCT = 9  # bits of a DSP48E1, DSP_Y_MINWIDTH of synth_xilinx in Yosys 0.70


def mapped_macs(plan: Schedule) -> int:
    """Multipliers that Yosys makes DSP blocks: of those asked for all, unless their product is too short for it."""
    short = plan.operands == 1 and plan.widths["x_bits"] + plan.widths["w_bits"] < SHORTEST_PRODUCT
    return 0 if short else plan.dsp_macs


def quantities(plan: Schedule) -> dict[str, dict[str, float]]:
    """Sizes that decide the LUTs and flip-flops of each component."""
    s, w = plan.shape, plan.widths
    lanes, unroll, slices, requantisers = s.lanes, s.unroll, s.slices, s.requantisers
    macs = unroll * -(-lanes // plan.operands)
    dsp_macs = mapped_macs(plan)
    soft_macs = macs - dsp_macs
    grouped, normed = s.groups > 1, plan.norm is not None
    residual = max(w["broadcast_bits"], w["position_bits"])
    codes = max(plan.code_widths)
    row_slices = s.slices * s.groups
    keys, results = (-(-count // unroll) * unroll for count in (s.window, plan.program.output.shape[0]))
    key = max(keys, -(-plan.program.tensors[plan.norm.x].shape[-1] // unroll) * unroll if plan.norm else 0)
    norm: dict[str, dict[str, float]] = {}
    if x := plan.norm_input:
        bits = norm_widths(x)
        norm = {"layer_norm": {"row bits": requantisers * (bits.sum + bits.squares + bits.root), "one": 1}}
    engine: dict[str, dict[str, float]] = {
        "multipliers": {
            "macs": macs,
            "accumulator bits": macs * plan.operands * w["acc_bits"] * (plan.operands > 1 or dsp_macs == 0)
            if dsp_macs in (0, macs)
            else (dsp_macs * (plan.operands > 1) + soft_macs) * plan.operands * w["acc_bits"],
            # One row for each bit of w; what lies beyond the width of the product is not built.
            "partial product bits": soft_macs
            * plan.operands
            * sum(min(w["x_bits"], w["product_bits"] - row) for row in range(w["w_bits"])),
            "operand bits": soft_macs * plan.operands * (w["x_bits"] + w["w_bits"]),
        },
        "capture": {
            "held bits": unroll * lanes * w["acc_bits"],
            "one": 1,
            "moved bits": (unroll * lanes - requantisers) * w["acc_bits"],
        },
        "operands": {
            "lane bits": lanes * w["x_bits"],
            "unrolled lane bits": unroll * lanes * w["x_bits"],
            "word bits": lanes * (w["input_bits"] + w["exponential_bits"] + unroll * w["activation_bits"]),
            "code bits": unroll * -(-lanes * unroll // 4) * w["key_bits"],  # one of four, registered
            "key bits": unroll * lanes * w["key_bits"],
            "address bits": plan.address_width,
            "grouped outputs": unroll * grouped,
            "normed outputs": unroll * normed,
            "one": 1,
        },
        "requantisers": {
            "sum bits": requantisers * w["sum_bits"],
            "shifted bits": requantisers * len(plan.shifts) * w["sum_bits"],
            "saturated bits": requantisers * len(plan.code_widths) * codes,
            "requantisers": requantisers,
        },
        "retire": {
            "residual bits": requantisers * residual * mux(slices * (1 + unroll)),
            "operand bits": requantisers * (2 * w["acc_bits"] + w["mult_bits"]),
            "multiplier bits": requantisers * w["mult_bits"],
            "total bits": w["result_bits"] * (2 + unroll),
            "summed bits": w["result_bits"] * requantisers,
            "offset bits": w["offset_bits"],
            "word bits": lanes * codes,
            # What travels with a slot, in as many stages as it is wanted.
            "tag bits": 6 * (address_bits(plan.activation_depth) + address_bits(plan.broadcast_depth))
            + 5 * (address_bits(key) + address_bits(row_slices))
            + 4 * address_bits(results),
            "address bits": plan.address_width,
            "grouped address bits": grouped * plan.address_width,
            "slice bits": (slices - 1).bit_length(),
            "group bits": (s.groups - 1).bit_length(),
            "instructions": len(plan.instructions),
            "one": 1,
        },
        "issue": {
            "address bits": plan.address_width,
            "grouped address bits": grouped * plan.address_width,
            "counter bits": plan.count_width,
            "normed counter bits": normed * plan.count_width,
            "bank and lane bits": (unroll - 1).bit_length() + (lanes - 1).bit_length(),
            "place bits": (max(count for _, count in plan.weight_packings) - 1).bit_length(),
            "instructions": len(plan.instructions),
            "instruction bits": (len(plan.instructions) - 1).bit_length(),
            "one": 1,
        },
        "weight_store": {
            "segment bits": max(0, len(plan.weight_segments) - 1) * plan.weight_word_bits,
            "place bits": unroll * sum(bits * count for bits, count in plan.weight_packings if count > 1),
        },
        "load": {
            "word bits": lanes * w["input_bits"],
            "lane bits": (lanes - 1).bit_length(),
            "address bits": (plan.program.input.shape[1] * s.groups - 1).bit_length(),
            "one": 1,
        },
        "unload": {"one": 1},
        "softmax": {
            "score bits": requantisers * w["score_bits"],
            # So few running maxima are registers.
            "kept score bits": (row_slices <= 2) * requantisers * w["score_bits"],
            "total bits": requantisers * w["total_bits"],
            "address bits": address_bits(s.window * s.groups),
            "slice bits": (row_slices - 1).bit_length(),
            "one": 1,
        },
        "dividers": {"total bits": requantisers * w["total_bits"], "requantisers": requantisers},
    }
    return norm | engine


def memories(plan: Schedule) -> dict[str, Resources]:
    """Resources of every store."""
    return {
        name: summed(*(mapped(memory).times(memory.copies) for memory in found)) for name, found in stores(plan).items()
    }


def summed(*parts: Resources) -> Resources:
    """Sum of several components."""
    return Resources(*(sum(column) for column in zip(*parts, strict=True)))

"""Bits of every store, operand and sum of the engine: proven from the program, never assumed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qtlib.hardware.microprogram import Instruction, expand
from qtlib.program.codes import Range, Tensor
from qtlib.program.operations import Context, Head, LayerNorm, Linear, Scores
from qtlib.program.program import Program
from qtlib.program.rounding import MULT_BITS


def _signed_bits(*values: int) -> int:
    return Range(min(*values, 0), max(*values, 0)).bits


@lru_cache(maxsize=32)
def engine_widths(program: Program) -> dict[str, int]:
    """Bits of every store, operand and sum: proven from the program, never assumed."""
    tensors, instructions = program.tensors, expand(program, 1)
    linears = [i.source for i in instructions if isinstance(i.source, Linear)]
    products = [i.source for i in instructions if not isinstance(i.source, Head)]
    head = [i.source for i in instructions if isinstance(i.source, Head)][-1]
    scores = [i.source for i in instructions if isinstance(i.source, Scores)]
    contexts = [i.source for i in instructions if isinstance(i.source, Context)]

    def widest(found: list[Tensor], default: int = 2) -> int:
        return max((t.bits for t in found), default=default)

    streams = [tensors[op.residual] for op in linears if op.residual and op.residual not in program.constants]
    others = [op.other for op in scores] + [op.other for op in contexts]
    keys = widest([tensors[name] for name in others])
    exponential = widest([tensors[op.x] for op in contexts])
    activation = widest([tensors[i.tensor] for i in instructions if i.activation])
    pooled = tensors[instructions[-1].x].range
    positive, negative = np.maximum(head.weight, 0).sum(1), np.minimum(head.weight, 0).sum(1)
    head_sums = [positive * pooled.high + negative * pooled.low, positive * pooled.low + negative * pooled.high]
    sums = [program.accumulator(op) for op in products] + [Range(int(np.min(head_sums)), int(np.max(head_sums)))]
    result = program.accumulator(head)
    scaled = []
    for op in products:
        acc, whole = program.accumulator(op), program.scaled(op)
        largest = int(np.abs(np.asarray(op.mult)).max()) if hasattr(op, "mult") else 1 << 17
        scaled += [*whole, largest * acc.low, largest * acc.high, -largest * acc.low, -largest * acc.high]
        scaled += [int(o) for o in np.ravel(op.offset)]
        if isinstance(op, Linear) and op.residual:
            extra = int(np.abs(op.residual_factor).max()) << (tensors[op.residual].bits - 1 + op.residual_shift)
            scaled += [-extra, extra]
    multipliers = [int(m) for op in products if hasattr(op, "mult") for m in np.ravel(op.mult)]
    extras = [int(m) for op in linears if op.residual for m in op.residual_factor]
    offsets = [int(o) for i in instructions for o in np.ravel(i.source.offset)]
    corners = [a * b for i in instructions for a in operand_range(i, program) for b in broadcast_range(i, program)]
    centres = [broadcast_range(i, program).bits for i in instructions if isinstance(i.source, LayerNorm)]
    return {
        "input_bits": program.input.bits,
        "activation_bits": activation,
        "broadcast_bits": max(keys, widest(streams)),
        "key_bits": keys,
        "score_bits": widest([tensors[op.y] for op in scores]),
        "exponential_bits": exponential,
        "total_bits": (program.input.shape[0] * ((1 << exponential) - 1)).bit_length(),
        "position_bits": widest([tensors[name] for name in program.constants]),
        "weight_bits": max(op.weight_bits for op in linears),
        "head_bits": head.weight_bits,
        "x_bits": max(activation, program.input.bits, exponential + 1),
        "w_bits": max(max(op.weight_bits for op in linears), head.weight_bits, keys, *centres),
        # In a packed product a field holds one less where the field below is negative (mac.vhd): -1 times the lowest power of two.
        "product_bits": _signed_bits(*corners, min(corners) - 1),
        "acc_bits": max(bound.bits for bound in sums),
        "mult_bits": max(_signed_bits(*multipliers), MULT_BITS if contexts else 2),
        "residual_mult_bits": max(_signed_bits(*extras, 0), 2),
        "offset_bits": max(_signed_bits(*offsets, 0), 2),
        "sum_bits": _signed_bits(*scaled),
        "result_bits": _signed_bits(
            result.low + min(int(head.offset.min()), 0), result.high + max(int(head.offset.max()), 0)
        ),
    }


def operand_range(i: Instruction, program: Program) -> Range:
    """Range of the lane operand."""
    return program.tensors[i.x.split("[")[0]].range


def broadcast_range(i: Instruction, program: Program) -> Range:
    """Range of the broadcast operand."""
    if isinstance(i.source, (Linear, Head)):
        top = (1 << (i.source.weight_bits - 1)) - 1
        return Range(-top, top)
    if isinstance(i.source, LayerNorm):
        return Range(-1, program.tensors[i.source.x].shape[-1] - 1)
    return program.tensors[i.source.other].range

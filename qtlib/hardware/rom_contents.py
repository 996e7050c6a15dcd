"""What the memories of constants hold: the codes of a `Program`, in the order in which the engine reads them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qtlib.hardware.engine_schedule import Schedule
from qtlib.hardware.microprogram import Instruction
from qtlib.program.codes import Codes
from qtlib.program.operations import Head, Linear, Softmax


class Contents(NamedTuple):
    """Words of each memory."""

    weights: tuple[int, ...]
    head_weights: tuple[int, ...]
    parameters: tuple[int, ...]
    positions: tuple[int, ...]
    exponentials: tuple[int, ...]


def contents(plan: Schedule) -> Contents:
    """Every constant of a design."""
    widths = plan.widths
    linears = [(i, i.source) for i in plan.instructions if isinstance(i.source, Linear)]
    heads = [(i, i.source) for i in plan.instructions if isinstance(i.source, Head)]
    softmax = [op for op in plan.program.operations if isinstance(op, Softmax)]
    entries = max(len(op.table) for op in softmax)
    return Contents(
        weights=tuple(word for i, op in linears for word in _memory_words(plan, i, op.weight)),
        head_weights=tuple(word for i, op in heads for word in _weights(plan, i, op.weight, widths["head_bits"])),
        parameters=tuple(word for i in plan.instructions for word in _parameters(i, widths)),
        positions=tuple(word for i, _ in linears if i.residual == "position" for word in _positions(plan, i)),
        exponentials=tuple(int(code) for op in softmax for code in np.pad(op.table, (0, entries - len(op.table)))),
    )


def pack(codes: list[int], bits: int) -> int:
    """One memory word of several codes, the first in the lowest bits."""
    return sum((int(code) & ((1 << bits) - 1)) << (index * bits) for index, code in enumerate(codes))


def _weights(plan: Schedule, i: Instruction, weight: Codes, bits: int) -> list[int]:
    """A word for each term of each step: a weight for each output of the step."""
    unroll, matrix = plan.shape.unroll, _pick(weight, i.rows, i.columns)  # [out, in]
    steps = (matrix[step * unroll : (step + 1) * unroll].T.tolist() for step in range(i.steps))
    return [pack(word, bits) for step in steps for word in step]


def _memory_words(plan: Schedule, i: Instruction, weight: Codes) -> list[int]:
    """Weights as the packing of their layer holds them; each layer begins a memory word, and places behind its last weight are 0."""
    bits, count = plan.weight_packings[i.packing]
    words = _weights(plan, i, weight, bits)
    return [pack(words[first : first + count], plan.shape.unroll * bits) for first in range(0, len(words), count)]


def _pick(weight: Codes, rows: tuple[int, ...], columns: tuple[int, ...]) -> Codes:
    """Rows and columns of a matrix; 0 where either is -1."""
    row, column = np.array(rows), np.array(columns)
    return np.where((row[:, None] >= 0) & (column >= 0), weight[np.ix_(row, column)], 0)


def _parameters(i: Instruction, widths: dict[str, int]) -> list[int]:
    """Multiplier, residual multiplier and offset in one word, the offset in the lowest bits."""
    op = i.source
    if isinstance(op, Linear):
        extra = op.residual_factor
        triples = [
            (0, 0, 0) if row < 0 else (int(op.mult[row]), int(extra[row]), int(op.offset[row])) for row in i.rows
        ]
    elif isinstance(op, Head):
        triples = [(0, 0, 0 if row < 0 else int(op.offset[row])) for row in i.rows]
    else:
        triples = [(int(getattr(op, "mult", 0)), 0, int(op.offset))]
    extra_bits, offset_bits = widths["residual_mult_bits"], widths["offset_bits"]
    bits = (widths["mult_bits"], extra_bits, offset_bits)
    words = []
    for triple in triples:
        high, middle, low = (value & ((1 << width) - 1) for value, width in zip(triple, bits, strict=True))
        words.append((high << (extra_bits + offset_bits)) | (middle << offset_bits) | low)
    return words


def _positions(plan: Schedule, i: Instruction) -> list[int]:
    """A word for each output of each group: a code for each lane; 0 for tokens behind the window."""
    shape, position = plan.shape, plan.program.constants[i.residual_tensor]  # [n, d]
    table = np.zeros((shape.groups * shape.lanes, len(i.rows)), np.int64)
    table[: shape.window] = _pick(position, tuple(range(shape.window)), i.rows)
    return [
        pack(table[group * shape.lanes : (group + 1) * shape.lanes, step * shape.unroll + unit].tolist(), plan.widths["position_bits"])
        for step in range(i.steps) for group in range(shape.groups) for unit in range(shape.unroll)
    ]  # fmt: skip

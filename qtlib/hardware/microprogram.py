"""The instructions of the engine, one for each operation of a `Program` or for each of its heads.

The engine computes one sum at a time on every lane: a *sum* is `inner` terms of one step (`unroll` output features) of one group
of tokens, and takes `period` clocks. Sums are issued in the order step, group, term; a finished sum is captured and retired in
`unroll * slices` slots, in the order output, slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qtlib.hardware.lane_shape import listed
from qtlib.hardware.pipeline import root_clocks
from qtlib.program.operations import Context, Head, LayerNorm, Linear, Pool, Scores, Softmax
from qtlib.program.program import Program


@dataclass(frozen=True, kw_only=True, eq=False)
class Instruction:
    """One operation on the engine; of an operation with heads, one head."""

    name: str  # of the tensor that it computes, with its head
    tensor: str
    source: Linear | Scores | Context | LayerNorm | Head
    x_source: str  # input_store | activation_store | exponential_store
    w_source: str  # weight_rom | head_rom | keys | values_t | centre
    x: str  # region or tensor of the lane operand
    w: str = ""  # region of K or V
    rows: tuple[int, ...] = ()  # output feature of each output; -1: none
    columns: tuple[int, ...] = ()  # input feature of each term; -1: none
    inner: int
    steps: int
    period: int = 0
    hold: int = 0
    x_base: int = 0
    w_base: int = 0  # of weights: their first memory word
    packing: int = 0  # and how it holds them, of `Schedule.weight_packings`
    parameter_base: int = 0
    residual: str = "none"  # none | stream | position
    residual_tensor: str = ""
    residual_base: int = 0
    activation: str = ""  # region that it writes
    activation_base: int = 0
    broadcast: str = ""
    broadcast_base: int = 0
    table: int = 0  # of exponentials
    root_clocks: int = 0  # of sums that layer_norm.vhd reads: from their last code to the first reciprocals; else 0
    start: int = 0  # clock of its first term, counted from the fetch of the first operation
    macs: int = 0

    def end(self, groups: int) -> int:
        """Clock after its last term."""
        return self.start + self.steps * groups * self.period


def _padded(features: list[int], unroll: int) -> list[int]:
    return features + [-1] * (-len(features) % unroll)


@lru_cache(maxsize=32)
def expand(program: Program, unroll: int) -> tuple[Instruction, ...]:
    """Operations with heads become one instruction per head; q, k and v are computed just before they are used."""
    window = program.input.shape[0]
    operations = {op.y: op for op in program.operations}
    linears = {op.y: op for op in program.operations if isinstance(op, Linear)}
    scores = {op.y: op for op in program.operations if isinstance(op, Scores)}
    of_heads = {name for op in scores.values() for name in (op.x, op.other)}
    of_heads |= {op.other for op in program.operations if isinstance(op, Context)}
    residuals = {op.residual for op in program.operations if isinstance(op, Linear)}
    normalised = _normalised(program)
    layout: dict[str, list[int]] = {}  # tensor in the activation store -> feature at each place
    result: list[Instruction] = []

    def places(name: str) -> list[int]:
        """Features that a reader of a tensor goes through: padding in the middle, none at the end."""
        columns = list(layout[name])
        while columns[-1] < 0:
            columns.pop()
        return columns

    def add(op: Any, head: int | None, rows: list[int], columns: list[int], **more: Any) -> Instruction:
        """The next instruction; ``columns`` are the terms of its sums, ``rows`` its outputs."""
        found = Instruction(
            name=op.y if head is None else f"{op.y}[{head}]",
            tensor=op.y,
            source=op,
            rows=tuple(rows),
            columns=tuple(columns),
            inner=len(columns),
            **{"x_source": "activation_store", "x": op.x, "steps": len(rows) // unroll} | more,
        )
        result.append(found)
        return found

    def linear(op: Linear, head: int | None, rows: list[int], activation: bool, broadcast: bool) -> Instruction:
        first = op.x == program.input.name
        name = op.y if head is None else f"{op.y}[{head}]"
        return add(
            op,
            head,
            rows,
            list(range(program.input.shape[1])) if first else places(op.x),
            x_source="input_store" if first else "activation_store",
            w_source="weight_rom",
            residual="none" if op.residual is None else "position" if op.residual in program.constants else "stream",
            residual_tensor=op.residual or "",
            activation=name if activation else "",
            broadcast=name if broadcast else "",
            root_clocks=root_clocks(program.tensors[op.y]) if op.y in normalised else 0,
            macs=window * sum(row >= 0 for row in rows) * op.weight.shape[1],
        )

    for op in program.operations:
        if isinstance(op, Linear) and op.y not in of_heads:
            rows = _padded(list(range(len(op.mult))), unroll)
            layout[op.y] = rows
            linear(op, None, rows, True, op.y in residuals)
        elif isinstance(op, Context):
            score = scores[operations[op.x].x]
            width = program.tensors[op.y].shape[1] // op.heads
            layout[op.y] = []
            for head in range(op.heads):
                rows = _padded(list(range(head * width, (head + 1) * width)), unroll)
                macs = window**2 * width
                q = linear(linears[score.x], head, rows, True, False)
                k = linear(linears[score.other], head, rows, False, True)
                keys = -(-window // unroll)
                add(score, head, [], list(range(width)), w_source="keys", x=q.name, w=k.name, steps=keys, macs=macs)
                v = linear(linears[op.other], head, rows, False, True)
                more = {"x_source": "exponential_store", "w": v.name, "activation": op.y, "macs": macs}
                # A term is a token here, not a feature.
                add(op, head, rows, list(range(window)), w_source="values_t", **more)
                layout[op.y] += rows
        elif isinstance(op, LayerNorm):
            layout[op.y] = layout[op.x]
            kept = op.y if op.y in residuals else ""
            width = program.tensors[op.x].shape[-1]
            add(op, None, layout[op.x], list(range(width)), w_source="centre", activation=op.y, broadcast=kept)
        elif isinstance(op, Head):
            pool = operations.get(op.x)
            if not isinstance(pool, Pool):
                raise ValueError(
                    f"schedule: the head reads {op.x}, which is not a pool; the engine sums its results over tokens"
                )
            rows = _padded(list(range(len(op.offset))), unroll)
            add(op, None, rows, places(pool.x), w_source="head_rom", x=pool.x, macs=op.weight.size)
    exponentials = {program.tensors[op.y].bits for op in program.operations if isinstance(op, Softmax)}
    if len(exponentials) > 1:
        raise ValueError(
            f"schedule: exponentials of {listed(sorted(exponentials))} bits; the engine has one width for all layers"
        )
    if not result or not isinstance(result[-1].source, Head):
        raise ValueError("schedule: the program does not end with a head; the engine sends the results of a head")
    return tuple(result)


def _normalised(program: Program) -> set[str]:
    """Tensors that a LayerNorm reads: each is written by the linear layer right before it, whose codes layer_norm.vhd sums."""
    found: dict[str, tuple[int, int, int]] = {}
    for before, op in zip((None, *program.operations), program.operations, strict=False):
        if isinstance(op, LayerNorm):
            if not isinstance(before, Linear) or before.y != op.x:
                raise ValueError(
                    f"schedule: {op.y} normalises {op.x}, which is not the result of a linear layer right before it"
                )
            x = program.tensors[op.x]
            found[op.x] = x.shape[-1], x.bits, op.reciprocal_bits
    if len(set(found.values())) > 1:
        each = "; ".join(f"{name}: {d}, {bits}, {e}" for name, (d, bits, e) in found.items())
        raise ValueError(f"schedule: the engine has one LayerNorm; features, bits and reciprocal_bits differ: {each}")
    return set(found)

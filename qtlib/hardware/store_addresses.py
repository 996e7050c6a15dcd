"""Where every tensor lies in the activation and broadcast stores, and every constant in its memory."""

from __future__ import annotations

from typing import NamedTuple

from qtlib.hardware.lane_shape import Shape
from qtlib.hardware.microprogram import Instruction
from qtlib.program.operations import Head, Linear, Softmax
from qtlib.program.program import Program


class Words(NamedTuple):
    """How many words each memory of constants holds; what they are is in `qtlib.hardware.rom_contents`."""

    weights: int
    head_weights: int
    parameters: int
    positions: int
    exponentials: int


def allocate_tensors(instructions: list[Instruction], shape: Shape, store: str) -> tuple[list[dict[str, int]], int]:
    """Base addresses of every instruction in a store, and its depth; an address is free again after its last reader.

    The residual stream is updated in place: each word is read just before it is written.
    """
    blocks: dict[str, int] = {}
    written: dict[str, int] = {}
    read: dict[str, int] = {}
    in_place: dict[str, str] = {}
    for index, i in enumerate(instructions):
        readers = [i.x] if store == "activation" and i.x_source == "activation_store" else []
        if store == "broadcast":
            readers = [i.w] if i.w else []
            if i.residual == "stream":
                readers.append(i.residual_tensor)
                if i.broadcast:
                    in_place[i.broadcast] = i.residual_tensor
        for name in readers:
            read[name] = index
        name = getattr(i, store)
        if name:
            written.setdefault(name, index)
            blocks[name] = blocks.get(name, 0) + i.steps
    # A tensor that is updated in place lives on in its successor, under one address.
    root = {name: name for name in written}
    for name, donor in in_place.items():
        if read[donor] == written[name]:
            root[name] = root[donor]
    spans = {
        owner: (
            min(written[name] for name in written if root[name] == owner),
            max(read.get(name, written[name]) for name in written if root[name] == owner),
        )
        for owner in set(root.values())
    }
    # The largest first: a small tensor finds a gap beside a large one, but not the other way round.
    bases: dict[str, int] = {}
    for owner in sorted(spans, key=lambda n: (-blocks[n], spans[n])):
        start, end = spans[owner]
        taken = sorted(
            (bases[other], bases[other] + blocks[other])
            for other in bases
            if spans[other][0] <= end and spans[other][1] >= start
        )
        base = 0
        for low, high in taken:
            if base + blocks[owner] <= low:
                break
            base = max(base, high)
        bases[owner] = base
    bases = {name: bases[root[name]] for name in written}
    depth = max((bases[name] + blocks[name] for name in bases), default=1) * shape.groups
    filled: dict[str, int] = {}
    placed = []
    for i in instructions:
        changes = {}
        name = getattr(i, store)
        if name:
            changes[f"{store}_base"] = (bases[name] + filled.get(name, 0)) * shape.groups
            filled[name] = filled.get(name, 0) + i.steps
        if store == "activation" and i.x_source == "activation_store":
            changes["x_base"] = bases[i.x] * shape.groups
        if store == "broadcast":
            if i.w:
                changes["w_base"] = bases[i.w] * shape.groups
            if i.residual == "stream":
                changes["residual_base"] = bases[i.residual_tensor] * shape.groups
        placed.append(changes)
    return placed, max(depth, 1)


def lay_out_constants(
    instructions: list[Instruction], program: Program, shape: Shape
) -> tuple[list[dict[str, int]], Words]:
    """Where the constants of every instruction begin, and how many words each memory of constants has."""
    softmax = [op for op in program.operations if isinstance(op, Softmax)]
    table_of = {op.x: index for index, op in enumerate(softmax)}  # scores -> table
    weights = head_weights = parameters = positions = 0
    bases = []
    for i in instructions:
        changes = {"parameter_base": parameters}
        if isinstance(i.source, Linear):
            changes["w_base"] = weights
            weights += i.steps * i.inner
        elif isinstance(i.source, Head):
            changes["w_base"] = head_weights
            head_weights += i.steps * i.inner
        else:
            changes["table"] = table_of.get(i.tensor, 0)
        parameters += len(i.rows) if isinstance(i.source, (Linear, Head)) else 1
        if i.residual == "position":
            positions += len(i.rows) * shape.groups
        bases.append(changes)
    entries = len(softmax) * max(len(op.table) for op in softmax)
    return bases, Words(weights, head_weights, parameters, positions, entries)

"""What every clock does: what is issued, and when each unit of the engine works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from qtlib.hardware.engine_schedule import Schedule
from qtlib.hardware.pipeline import CAPTURE, CODE, DIVIDE, RECIPROCAL_READABLE, UNLOAD
from qtlib.program.operations import Scores


class Issue(NamedTuple):
    """What issue.vhd shows in one clock; without `valid` the rest means nothing."""

    valid: bool
    first: bool = False
    last: bool = False
    x_source: str = "input_store"
    x_address: int = 0
    x_bank: int = 0
    w_source: str = "weight_rom"
    w_address: int = 0
    w_lane: int = 0
    w_place: int = 0
    w_packing: int = 0
    diagonal: bool = False  # centre: the term is one of the outputs of the step


def issued(plan: Schedule) -> Iterator[Issue]:
    """Every clock of a window, from the fetch of the first operation to the last term of the last. Twin: hdl/rtl/issue.vhd."""
    groups, lanes, unroll = plan.shape.groups, plan.shape.lanes, plan.shape.unroll
    clock = 0
    for i in plan.instructions:
        for _ in range(i.start - clock):
            yield Issue(False)
        clock = i.end(groups)
        for step, group, term in np.ndindex(i.steps, groups, i.period):
            if term >= i.inner:
                yield Issue(False)
                continue
            banked = i.x_source == "activation_store"
            block, bank = divmod(term, unroll) if banked else (term, 0)
            w, lane, place = i.w_base + step * i.inner + term, 0, 0
            if i.w_source == "weight_rom":
                word, place = divmod(step * i.inner + term, plan.weight_packings[i.packing].weights)
                w = i.w_base + word
            if i.w_source == "keys":
                w, lane = i.w_base + block * groups + step * unroll // lanes, step * unroll % lanes
            elif i.w_source == "values_t":
                w, lane = i.w_base + step * groups + term // lanes, term % lanes
            elif i.w_source == "centre":
                w = i.w_base
            x = i.x_base + block * groups + group
            diagonal = i.w_source == "centre" and block == step
            ends = term == 0, term == i.inner - 1
            yield Issue(True, *ends, i.x_source, x, bank, i.w_source, w, lane, place, i.packing, diagonal)


class Span(NamedTuple):
    """What a unit does, in clocks from the fetch of the first operation; ``end`` is the clock after."""

    unit: str  # lanes | requantisers | softmax | layer_norm | load | unload
    name: str
    start: int
    end: int


def timeline(plan: Schedule) -> list[Span]:
    """When each unit works during one window; ``load`` already receives the next window."""
    shape, spans = plan.shape, []
    for i in plan.instructions:
        spans.append(Span("lanes", i.name, i.start, i.end(shape.groups)))
        first = i.start + i.inner - 1 + CAPTURE
        last = i.end(shape.groups) - i.period + i.inner - 1 + CAPTURE + shape.slots
        spans.append(Span("requantisers", i.name, first, last))
        if isinstance(i.source, Scores):
            first = last + CODE
            last = first + (shape.groups * shape.slices - 1) * max(shape.window, DIVIDE) + shape.window
            spans.append(Span("softmax", i.name, first, last - 1 + RECIPROCAL_READABLE))
        if i.root_clocks:
            last += CODE - 1  # of the last code
            spans.append(
                Span(
                    "layer_norm",
                    i.name,
                    first + CODE,
                    last + (shape.groups * shape.slices - 1) * DIVIDE + i.root_clocks,
                )
            )
    taken = plan.instructions[0].end(shape.groups) + 1
    spans.append(Span("load", plan.program.input.name, taken, taken + plan.load_clocks))
    done = plan.latency - plan.load_clocks - 2
    spans.append(Span("unload", plan.program.output.name, done - UNLOAD * plan.program.output.shape[0], done))
    return spans

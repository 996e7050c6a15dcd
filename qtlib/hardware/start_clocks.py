"""When every instruction starts: as soon as the first word that it reads is written. Nothing depends on the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from qtlib.hardware.lane_shape import Shape
from qtlib.hardware.microprogram import Instruction
from qtlib.hardware.pipeline import CAPTURE, CODE, DIVIDE, EXPONENTIAL, READABLE, RECIPROCAL_READABLE, START
from qtlib.program.operations import Scores


class _Written(NamedTuple):
    """When the words of a region can be read: ``first + (step * groups + group) * period + unit * slices``.

    Of a region that several instructions write, the last part: it is ready last.
    """

    first: int
    period: int
    steps: int
    before: int = 0  # places in the parts before


def starts(instructions: Iterable[Instruction], shape: Shape) -> list[tuple[int, int]]:
    """Clock of the first term of every instruction, and how long it was held for that.

    An instruction is held until every word is written when its turn to be read comes. Both times are linear in step, output and
    group, so the latest word is at a corner; and words are written in the order of their places with at least one clock between
    them, while a sum reads one place a clock, so of the terms of a sum the last one decides.
    """
    groups, unroll, slots, lanes, slices = shape.groups, shape.unroll, shape.slots, shape.lanes, shape.slices
    ends = {0, groups - 1}
    written: dict[str, _Written] = {}
    found = []
    clock = 0
    # The window before this one may still be retiring: its last term came two clocks before the first fetch.
    last_capture = -2 + CAPTURE
    stream_slot = -1  # last slot that reads the residual stream
    # First address of a score; readable reciprocal of the first slice, clocks to the next.
    softmax = row = row_period = 0

    def last_term(i: Instruction, w: _Written, group_clocks: int) -> list[int]:
        """Earliest starts by the last term of a sum, which reads a place of ``w``."""
        step, unit = divmod(i.inner - 1 - w.before, unroll)
        time = w.first + step * groups * w.period + unit * slices - (i.inner - 1)
        return [time + g * (w.period - group_clocks) for g in ends]

    for i in instructions:
        period = max(i.inner, slots)
        first_sum = i.inner - 1 + CAPTURE  # from its first term to the slot of its first sum
        start = clock + START
        earliest = [start, last_capture + slots - first_sum]

        if i.x_source == "activation_store":
            earliest += last_term(i, written[i.x], period)
        if i.w_source == "keys":
            earliest += last_term(i, written[i.w], lanes // unroll * groups * period)
        if i.w_source == "values_t":
            w = written[i.w]
            for step in {0, w.steps - 1}:
                time = w.first + step * groups * (w.period - period) + (unroll - 1) * slices
                earliest += [time + g * (w.period - lanes) for g in ends]
            each = max(shape.window, DIVIDE)
            earliest += [softmax + ((g + 1) * slices - 1) * each + EXPONENTIAL - g * period for g in ends]
        if i.w_source in ("values_t", "centre"):
            last = slices - 1
            earliest += [row + (g * slices + last) * row_period - g * period - first_sum - last for g in ends]
        if i.w_source in ("keys", "values_t"):
            earliest.append(stream_slot + 1)
        if i.residual == "stream":
            w = written[i.residual_tensor]
            for step in {0, i.steps - 1}:
                earliest += [w.first + (step * groups + g) * (w.period - period) - first_sum for g in ends]

        begin = max(earliest)
        found.append((begin, begin - start))
        clock = begin + i.steps * groups * period
        last_capture = clock - period + first_sum
        if i.residual == "stream":
            stream_slot = last_capture + slots - 1
        for name in {i.activation, i.broadcast} - {""}:
            earlier = written.get(name)
            before = earlier.before + earlier.steps * unroll if earlier is not None else 0
            written[name] = _Written(begin + first_sum + slices - 1 + READABLE, period, i.steps, before)
        last_code = last_capture + slots - 1 + CODE
        if isinstance(i.source, Scores):
            softmax, row_period = last_code + 1, max(shape.window, DIVIDE)
            row = softmax + shape.window - 1 + RECIPROCAL_READABLE
        if i.root_clocks:
            row, row_period = last_code + i.root_clocks, DIVIDE
    return found


def last_clock(instructions: Sequence[Instruction], shape: Shape) -> int:
    """Clock after the last term of the last instruction."""
    last = instructions[-1]
    return starts(instructions, shape)[-1][0] + last.steps * shape.groups * max(last.inner, shape.slots)

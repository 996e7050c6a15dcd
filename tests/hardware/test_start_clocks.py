"""Every operation starts when the last word that it reads is ready."""

from dataclasses import replace

import numpy as np
import pytest

from qtlib.hardware import pipeline
from qtlib.hardware.engine_schedule import schedule
from qtlib.studies import random_designs


def starts_word_by_word(plan):
    """Earliest start of every instruction, from the time of every single word that it reads: what `start_clocks.starts` has in closed form."""
    shape = plan.shape
    groups, unroll, slots, slices, lanes = shape.groups, shape.unroll, shape.slots, shape.slices, shape.lanes
    group, slot = np.arange(groups), np.arange(groups * slices)
    ready, found, clock = {}, [], 0
    last_capture, stream_slot = -2 + pipeline.CAPTURE, -1
    exponentials = reciprocals = np.zeros(0, int)
    for i in plan.instructions:
        first_sum = i.inner - 1 + pipeline.CAPTURE
        limits = [clock + pipeline.START, last_capture + slots - first_sum]
        term = np.arange(i.inner)[:, None]
        if i.x_source == "activation_store":
            limits.append((ready[i.x][: i.inner] - term - group * i.period).max())
        if i.w_source == "keys":
            limits.append((ready[i.w][: i.inner] - term - group * (lanes // unroll) * groups * i.period).max())
        if i.w_source == "values_t":
            place = np.arange(len(ready[i.w]))[:, None]
            limits.append((ready[i.w] - place // unroll * groups * i.period - group * lanes).max())
            limits.append((exponentials - group * i.period).max())
        if i.w_source in ("values_t", "centre"):
            limits.append((reciprocals - slot // slices * i.period - first_sum - slot % slices).max())
        if i.w_source in ("keys", "values_t"):
            limits.append(stream_slot + 1)
        if i.residual == "stream":
            place = np.arange(i.steps * unroll)[:, None]
            read = (place // unroll * groups + group) * i.period + first_sum + place % unroll * slices
            limits.append((ready[i.source.residual] - read).max())
        found.append(int(max(limits)))
        step, unit = np.arange(i.steps)[:, None, None], np.arange(unroll)[None, :, None]
        capture = found[-1] + (step * groups + group) * i.period + first_sum  # [step, 1, group]
        last_capture = int(capture.max())
        if i.residual == "stream":
            stream_slot = last_capture + slots - 1
        words = (capture + (unit + 1) * slices - 1 + pipeline.READABLE).reshape(-1, groups)
        for name in {i.activation, i.broadcast} - {""}:
            ready[name] = np.concatenate([ready[name], words]) if name in ready else words
        last_code = last_capture + slots - 1 + pipeline.CODE
        if i.w_source == "keys":
            each = max(shape.window, pipeline.DIVIDE)
            exponentials = last_code + 1 + ((group + 1) * slices - 1) * each + pipeline.EXPONENTIAL
            reciprocals = last_code + 1 + slot * each + shape.window - 1 + pipeline.RECIPROCAL_READABLE
        if i.root_clocks:
            reciprocals = last_code + i.root_clocks + slot * pipeline.DIVIDE
        clock = i.end(groups)
    return found


@pytest.mark.parametrize("number", range(60))
def test_every_operation_starts_when_the_last_word_that_it_reads_is_ready(number):
    program, hardware = random_designs.draw(number)
    plan = schedule(program, replace(hardware, multiplier="auto"))
    assert [i.start for i in plan.instructions] == starts_word_by_word(plan)

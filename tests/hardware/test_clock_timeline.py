"""What every clock does agrees with how many there are."""

from dataclasses import replace
from itertools import pairwise

import pytest
from published_schedule import published

from qtlib.config import HardwareConfig
from qtlib.hardware.clock_timeline import issued, timeline
from qtlib.hardware.engine_schedule import schedule
from qtlib.studies import random_designs


def test_a_pass_starts_so_that_its_last_slice_meets_its_reciprocals():
    plan = published(HardwareConfig(requantisers=3), norm="layer")
    spans = {(span.unit, span.name): span for span in timeline(plan)}
    for name in ("0.attention", "0.output"):
        unit = spans["layer_norm", f"{name}_sum"]
        assert unit.end == spans["requantisers", name].start + plan.shape.slices - 1
        assert unit.start > spans["lanes", f"{name}_sum"].start


@pytest.mark.parametrize("number", range(30))
def test_the_issued_clocks_do_every_multiplication_once_and_fill_the_time(number):
    program, hardware = random_designs.draw(number)
    plan = schedule(program, replace(hardware, multiplier="auto"))
    clocks = list(issued(plan))
    assert len(clocks) == plan.compute_clocks
    valid = [clock for clock in clocks if clock.valid]
    sums = sum(i.steps * plan.shape.groups for i in plan.instructions)
    assert sum(clock.first for clock in valid) == sum(clock.last for clock in valid) == sums
    # Padded places and surplus lanes multiply too.
    assert sum(i.macs for i in plan.instructions) <= len(valid) * plan.multipliers + program.macs
    assert max(clock.x_bank for clock in valid) < plan.shape.unroll
    assert max(clock.w_lane for clock in valid) < plan.shape.lanes


def test_the_timeline_agrees_with_the_clocks():
    plan = published()
    spans = timeline(plan)
    lanes = [span for span in spans if span.unit == "lanes"]
    assert [span.start for span in lanes] == [i.start for i in plan.instructions]
    assert all(a.end <= b.start for a, b in pairwise(lanes))
    assert sum(span.end - span.start for span in lanes) == sum(i.steps * i.period for i in plan.instructions)
    assert lanes[-1].end == plan.compute_clocks
    softmax = next(span for span in spans if span.unit == "softmax")
    values = next(span for span in lanes if ".v" in span.name)
    assert softmax.start < values.end and values.start < softmax.end  # both work at once

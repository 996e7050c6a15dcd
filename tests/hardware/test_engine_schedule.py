"""The schedule is a formula: shapes and clocks, before any VHDL."""

import re
from dataclasses import replace

import numpy as np
import pytest
from published_schedule import published

from qtlib.config import HardwareConfig
from qtlib.hardware import engine_schedule
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.lane_shape import legal_lanes
from qtlib.hardware.rom_contents import contents
from qtlib.training import random_models


@pytest.mark.parametrize(
    ("hardware", "text"),
    [
        ({"lanes": 5}, "schedule: lanes=5 do not fold a window of 6; legal: 1, 2, 3, 6"),
        ({"lanes": 7}, "schedule: lanes=7 do not fold a window of 6; legal: 1, 2, 3, 6"),
        ({"unroll": 4}, "schedule: unroll=4 does not divide lanes=6; legal: 1, 2, 3, 6"),
        ({"lanes": 3, "unroll": 2}, "schedule: unroll=2 does not divide lanes=3; legal: 1, 3"),
        ({"requantisers": 4}, "schedule: requantisers=4 does not divide lanes=6; legal: 1, 2, 3, 6"),
        ({"lanes": 2, "requantisers": 6}, "schedule: requantisers=6 does not divide lanes=2; legal: 1, 2"),
        (
            {"lanes": 1, "multiplier": "packed"},
            "schedule: multiplier='packed' needs two lanes whose operands fit 25 bits together; with lanes=1 and products of "
            "16 bits they do not; legal here: auto, dsp, lut",
        ),
        ({"device": "xc7s16"}, "hardware: device='xc7s16' is not one of xc7s6, xc7s15, xc7s25, xc7s50"),
    ],
)
def test_an_illegal_choice_is_refused_with_the_legal_ones(hardware, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        schedule(random_models.program(), HardwareConfig(**hardware))


@pytest.mark.parametrize("shape", random_models.SHAPES)
def test_every_legal_combination_is_accepted_and_every_other_one_refused(shape):
    program = random_models.program(random_models.SHAPES[shape], random_models.WIDTHS["4-bit"])
    window = program.input.shape[0]
    for lanes in range(1, window + 2):
        for unroll in range(1, window + 2):
            for requantisers in (None, *range(1, window + 2)):
                hardware = HardwareConfig(lanes=lanes, unroll=unroll, requantisers=requantisers)
                legal = (
                    lanes in legal_lanes(window)
                    and lanes % unroll == 0
                    and (not requantisers or lanes % requantisers == 0)
                )
                try:
                    engine_schedule.choose_shape(program, hardware)
                    refused = ""
                except ValueError as error:
                    refused = str(error)
                assert legal == (not refused)
                assert legal or "legal: 1" in refused


def test_the_published_shape_needs_the_recorded_clocks():
    plan = published()
    assert plan.program.macs == 92_560
    assert plan.multipliers == 24
    # As in docs and README; a change of the engine's pipeline changes them on purpose.
    assert 92_560 / 24 < plan.interval < plan.latency < 1.1 * 92_560 / 24


def test_a_layer_norm_costs_a_pass_of_the_lanes_and_the_wait_for_its_roots():
    plain, normed = published(HardwareConfig(requantisers=3)), published(HardwareConfig(requantisers=3), norm="layer")
    assert plain.program.macs == normed.program.macs
    passes = [i for i in normed.instructions if i.w_source == "centre"]
    assert [(i.inner, i.steps) for i in passes] == [(16, 16)] * 2
    # Eight slices of 18 clocks follow the first root; the first sum of the pass is computed meanwhile.
    wait = normed.latency - plain.latency - 2 * 16 * 16
    assert 2 * (7 * 18) < wait < 2 * (7 * 18 + 60)


def test_more_lanes_or_more_unroll_never_cost_clocks():
    lanes = [published(HardwareConfig(lanes=count)).latency for count in legal_lanes(24)]
    unroll = [published(HardwareConfig(unroll=count)).latency for count in (1, 2, 3, 4, 6)]
    assert lanes == sorted(lanes, reverse=True)
    assert unroll == sorted(unroll, reverse=True)


def test_the_same_program_and_hardware_give_the_same_plan():
    a, b = (schedule(random_models.program(), HardwareConfig(unroll=2)) for _ in range(2))
    assert [replace(i, source=None) for i in a.instructions] != []
    assert (contents(a), a.latency) == (contents(b), b.latency)
    assert all(
        np.array_equal(x.rows, y.rows) and x.start == y.start
        for x, y in zip(a.instructions, b.instructions, strict=True)
    )

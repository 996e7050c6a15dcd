"""The schedule is a formula: shapes, stores, holds and clocks, before any VHDL."""

import re
from dataclasses import replace

import numpy as np
import pytest
import random_designs
import small

from qtlib import schedule as module
from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.contents import contents, pack
from qtlib.devices import DEVICES
from qtlib.program import Linear
from qtlib.schedule import issued, legal_lanes, schedule


def test_a_word_holds_its_first_code_in_the_lowest_bits():
    assert pack([1, -1, 0, -8], 4) == 0x80F1


@pytest.mark.parametrize(("window", "legal"), [(1, [1]), (6, [1, 2, 3, 6]), (7, [1, 2, 3, 4, 7]), (24, [1, 2, 3, 4, 5, 6, 8, 12, 24])])
def test_lanes_are_legal_where_fewer_would_need_more_groups(window, legal):
    assert legal_lanes(window) == legal


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
        schedule(small.program(), HardwareConfig(**hardware))


@pytest.mark.parametrize(
    ("hardware", "error", "text"),
    [
        ({"multiplier": "dps"}, ValueError, "hardware: multiplier='dps' is not one of auto, dsp, lut, packed"),
        *(
            ({name: "registers"}, ValueError, f"hardware: {name}='registers' is not one of auto, block, distributed")
            for name in ("activations", "weights", "parameters", "tables")
        ),
        ({"lanes": 0}, ValueError, "hardware: lanes=0 is outside 1..1024"),
        ({"unroll": 0}, ValueError, "hardware: unroll=0 is outside 1..1024"),
        ({"requantisers": -1}, ValueError, "hardware: requantisers=-1 is outside 1..1024"),
        ({"lanes": 2.0}, TypeError, "hardware: lanes=2.0 must be an integer"),
        (
            {"stores": {"brodcast": "block"}},
            ValueError,
            "hardware: store='brodcast' is not one of input, activation, broadcast, exponential, reciprocal, score, weight, head, "
            "parameter, position, table",
        ),
        (
            {"stores": {"broadcast": "registers"}},
            ValueError,
            "hardware: stores['broadcast']='registers' is not one of auto, block, distributed",
        ),
        ({"stores": "broadcast"}, TypeError, "hardware: stores='broadcast' must map names of stores to memory types"),
        ({"clock_mhz": 0}, ValueError, "hardware: clock_mhz=0 must be above 0"),
    ],
)
def test_a_wrong_value_is_refused_before_any_program_is_seen(hardware, error, text):
    with pytest.raises(error, match=re.escape(text)):
        HardwareConfig(**hardware)


@pytest.mark.parametrize("shape", small.SHAPES)
def test_every_legal_combination_is_accepted_and_every_other_one_refused(shape):
    program = small.program(small.SHAPES[shape], small.WIDTHS["4-bit"])
    window = program.input.shape[0]
    for lanes in range(1, window + 2):
        for unroll in range(1, window + 2):
            for requantisers in (None, *range(1, window + 2)):
                hardware = HardwareConfig(lanes=lanes, unroll=unroll, requantisers=requantisers)
                legal = lanes in legal_lanes(window) and lanes % unroll == 0 and (not requantisers or lanes % requantisers == 0)
                try:
                    module.choose_shape(program, hardware)
                except ValueError as error:
                    assert not legal and "legal: 1" in str(error)
                else:
                    assert legal


def published(hardware=None, norm="batch", **quant):
    shape = ModelConfig(window=24, d_model=16, norm=norm)
    return schedule(small.program(shape, QuantConfig(**quant)), hardware or HardwareConfig())


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


def test_a_pass_starts_so_that_its_last_slice_meets_its_reciprocals():
    plan = published(HardwareConfig(requantisers=3), norm="layer")
    spans = {(span.unit, span.name): span for span in module.timeline(plan)}
    for name in ("0.attention", "0.output"):
        unit = spans["layer_norm", f"{name}_sum"]
        assert unit.end == spans["requantisers", name].start + plan.shape.slices - 1
        assert unit.start > spans["lanes", f"{name}_sum"].start


def changed(program, y, **changes):
    operations = [replace(op, **changes) if op.y == y else op for op in program.operations]
    return replace(program, operations=tuple(operations))


def test_a_layer_norm_that_does_not_follow_its_sum_is_refused():
    program = small.program(small.SHAPES["layer-norm"])
    text = "schedule: 0.output normalises 0.attention_sum, which is not the result of a linear layer right before it"
    with pytest.raises(ValueError, match=re.escape(text)):
        schedule(changed(program, "0.output", x="0.attention_sum"), HardwareConfig())


def test_layer_norms_that_differ_are_refused():
    program = changed(small.program(small.SHAPES["layer-norm"]), "0.output", reciprocal_bits=4, shift=15)
    text = (
        "schedule: the engine has one LayerNorm; features, bits and reciprocal_bits differ: "
        "0.attention_sum: 7, 8, 2; 0.output_sum: 7, 8, 4"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        schedule(program, HardwareConfig())


def test_more_lanes_or_more_unroll_never_cost_clocks():
    lanes = [published(HardwareConfig(lanes=count)).latency for count in legal_lanes(24)]
    unroll = [published(HardwareConfig(unroll=count)).latency for count in (1, 2, 3, 4, 6)]
    assert lanes == sorted(lanes, reverse=True)
    assert unroll == sorted(unroll, reverse=True)


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


@pytest.mark.parametrize("number", range(30))
def test_addresses_stay_inside_their_stores(number):
    program, hardware = random_designs.draw(number)
    plan = schedule(program, replace(hardware, multiplier="auto"))
    shape = plan.shape
    depths = {
        "input_store": program.input.shape[1] * shape.groups,
        "activation_store": plan.activation_depth,
        "exponential_store": shape.window * shape.groups,
        "weight_rom": plan.words.weights,
        "head_rom": plan.words.head_weights,
        "keys": plan.broadcast_depth,
        "values_t": plan.broadcast_depth,
        "centre": 1,
    }
    for clock in issued(plan):
        if clock.valid:
            assert clock.x_address < depths[clock.x_source]
            assert clock.w_address < depths[clock.w_source]
    for i in plan.instructions:
        if i.activation:
            assert i.activation_base + i.steps * shape.groups <= plan.activation_depth
        if i.broadcast:
            assert i.broadcast_base + i.steps * shape.groups <= plan.broadcast_depth


@pytest.mark.parametrize("number", range(30))
def test_no_tensor_is_overwritten_before_its_last_reader(number):
    """Every block read holds what its writer put there: replay the stores word by word."""
    program, hardware = random_designs.draw(number)
    plan = schedule(program, replace(hardware, multiplier="auto"))
    groups, unroll = plan.shape.groups, plan.shape.unroll
    activation, broadcast = {}, {}
    for i in plan.instructions:
        if i.x_source == "activation_store":
            for block in range(-(-i.inner // unroll)):
                assert activation[i.x_base + block * groups] == (i.x, block)
        if i.w:
            blocks = -(-i.inner // unroll) if i.w_source == "keys" else i.steps
            for block in range(blocks):
                assert broadcast[i.w_base + block * groups] == (i.w, block)
        for step in range(i.steps):
            if i.residual == "stream":
                assert broadcast[i.residual_base + step * groups] == (i.source.residual, step)
            if i.broadcast:
                broadcast[i.broadcast_base + step * groups] = (i.broadcast, step)
        if i.activation:
            # A tensor of several heads is written by one instruction for each.
            first = sum(1 for key, value in activation.items() if value[0] == i.activation)
            for step in range(i.steps):
                activation[i.activation_base + step * groups] = (i.activation, first + step)


def test_padded_places_have_no_weight_and_no_offset():
    program = small.program(small.SHAPES["two-layers-three-outputs"], small.MIXED)
    plan = schedule(program, HardwareConfig(lanes=4, unroll=4))
    for i in plan.instructions:
        if isinstance(i.source, Linear):
            words = contents(plan).weights[i.w_base : i.w_base + i.steps * i.inner]
            bits = plan.widths["weight_bits"]
            for place, row in enumerate(i.rows):
                column = [words[place // 4 * i.inner + term] >> (place % 4 * bits) & ((1 << bits) - 1) for term in range(i.inner)]
                if row < 0:
                    assert not any(column) and contents(plan).parameters[i.parameter_base + place] == 0


@pytest.mark.parametrize("multiplier", ["auto", "dsp", "lut", "packed"])
def test_multipliers_are_counted_as_they_are_chosen(multiplier):
    plan = published(HardwareConfig(multiplier=multiplier), bits=4)
    assert {"dsp": (1, 24), "lut": (1, 0), "packed": (plan.operands, -(-24 // plan.operands))}.get(
        multiplier, (plan.operands, plan.dsp_macs)
    ) == (plan.operands, plan.dsp_macs)
    if multiplier == "packed":
        assert plan.operands >= 2 and plan.widths["packed_bits"] <= module.DSP_BITS
    if multiplier == "auto":
        assert plan.dsp_macs <= DEVICES["xc7s15"].dsp


def test_the_same_program_and_hardware_give_the_same_plan():
    a, b = (schedule(small.program(), HardwareConfig(unroll=2)) for _ in range(2))
    assert [replace(i, source=None) for i in a.instructions] != []
    assert (contents(a), a.latency) == (contents(b), b.latency)
    assert all(np.array_equal(x.rows, y.rows) and x.start == y.start for x, y in zip(a.instructions, b.instructions, strict=True))


def test_the_timeline_agrees_with_the_clocks():
    plan = published()
    spans = module.timeline(plan)
    lanes = [span for span in spans if span.unit == "lanes"]
    assert [span.start for span in lanes] == [i.start for i in plan.instructions]
    assert all(a.end <= b.start for a, b in zip(lanes, lanes[1:], strict=False))
    assert sum(span.end - span.start for span in lanes) == sum(i.steps * i.period for i in plan.instructions)
    assert lanes[-1].end == plan.compute_clocks
    softmax = next(span for span in spans if span.unit == "softmax")
    values = next(span for span in lanes if ".v" in span.name)
    assert softmax.start < values.end and values.start < softmax.end  # both work at once


def starts_word_by_word(plan):
    """Earliest start of every instruction, from the time of every single word that it reads: what `schedule._starts` has in closed form."""
    shape = plan.shape
    groups, unroll, slots, slices, lanes = shape.groups, shape.unroll, shape.slots, shape.slices, shape.lanes
    group, slot = np.arange(groups), np.arange(groups * slices)
    ready, found, clock = {}, [], 0
    last_capture, stream_slot = -2 + module.CAPTURE, -1
    exponentials = reciprocals = np.zeros(0, int)
    for i in plan.instructions:
        first_sum = i.inner - 1 + module.CAPTURE
        limits = [clock + module.START, last_capture + slots - first_sum]
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
        words = (capture + (unit + 1) * slices - 1 + module.READABLE).reshape(-1, groups)
        for name in {i.activation, i.broadcast} - {""}:
            ready[name] = np.concatenate([ready[name], words]) if name in ready else words
        last_code = last_capture + slots - 1 + module.CODE
        if i.w_source == "keys":
            each = max(shape.window, module.DIVIDE)
            exponentials = last_code + 1 + ((group + 1) * slices - 1) * each + module.EXPONENTIAL
            reciprocals = last_code + 1 + slot * each + shape.window - 1 + module.RECIPROCAL_READABLE
        if i.root_clocks:
            reciprocals = last_code + i.root_clocks + slot * module.DIVIDE
        clock = i.end(groups)
    return found


@pytest.mark.parametrize("number", range(60))
def test_every_operation_starts_when_the_last_word_that_it_reads_is_ready(number):
    program, hardware = random_designs.draw(number)
    plan = schedule(program, replace(hardware, multiplier="auto"))
    assert [i.start for i in plan.instructions] == starts_word_by_word(plan)

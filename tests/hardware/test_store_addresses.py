"""Stores are large enough, and nothing is overwritten too early."""

from dataclasses import replace

import pytest

from qtlib.hardware.clock_timeline import issued
from qtlib.hardware.engine_schedule import schedule
from qtlib.studies import random_designs


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

"""Where the stores of a design lie, and why."""

import re

from qtlib.config import STORES, HardwareConfig, ModelConfig, QuantConfig
from qtlib.estimate.quantities import memories
from qtlib.hardware import memory_allocation
from qtlib.hardware.devices import DEVICES
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.memory_allocation import allocate, blocks
from qtlib.hardware.memory_mapping import ROWS
from qtlib.training import random_models


def test_a_design_that_fits_is_left_alone():
    plan = schedule(random_models.program(), HardwareConfig())
    assert allocate(plan) is plan


def test_weights_that_exceed_the_block_ram_fill_it_and_the_rest_becomes_luts(large):
    plan = allocate(schedule(large, HardwareConfig()))
    assert blocks(plan) == DEVICES["xc7s15"].ramb18
    assert plan.weight_packings == ((8, 9),)  # nine weights of 8 bits fill the 72 bits of two RAMB18, parity included
    assert sum(plan.weight_segments) == plan.weight_words
    assert sum(plan.weight_segments[: plan.block_segments]) == 10 * ROWS
    assert plan.weight_segments[plan.block_segments :] == (plan.weight_words - 10 * ROWS,)


def test_layers_of_few_bits_leave_fewer_constants_in_luts(large):
    """Two thirds of the weights at 4 bits: extended to the widest they would save nothing."""
    narrow = QuantConfig(bits=8, overrides=(("0.hidden.weight", 4), ("0.output.weight", 4)))
    shape = ModelConfig(window=24, features=7, d_model=64)
    plans = [
        allocate(schedule(program, HardwareConfig(device="xc7s6")))
        for program in (large, random_models.program(shape, narrow))
    ]
    left = [plan.weight_segments[-1] * plan.weight_word_bits for plan in plans]
    assert plans[1].weight_packings[0].bits == 4
    assert left[0] - left[1] > 0.9 * 4 * 2 * 4 * 64**2


def test_allocation_changes_neither_clocks_nor_what_was_chosen_by_hand(large):
    hardware = HardwareConfig(activations="distributed", parameters="block")
    before = schedule(large, hardware)
    after = allocate(before)
    assert (after.latency, after.interval) == (before.latency, before.interval)
    assert (after.hardware.activations, after.hardware.parameters) == ("distributed", "block")
    by_hand = schedule(large, HardwareConfig(weights="block"))
    assert allocate(by_hand) is by_hand  # obeyed; the estimate says by how much it exceeds the device


def test_weights_may_all_be_luts(large):
    plan = allocate(schedule(large, HardwareConfig(weights="distributed")))
    assert plan.weight_packings == ((8, 1),) and plan.block_segments == 0
    assert blocks(plan) <= DEVICES["xc7s15"].ramb18


def test_the_choice_of_a_store_goes_before_that_of_its_kind(large):
    hardware = HardwareConfig(activations="block", stores={"broadcast": "distributed"})
    assert (hardware.memory_type("activation"), hardware.memory_type("broadcast")) == ("block", "distributed")
    placed = memory_allocation.stores(schedule(random_models.program(), hardware))
    assert [placed[name][0].memory_type for name in ("activation_store", "broadcast_store")] == ["block", "distributed"]
    after = allocate(schedule(large, HardwareConfig(stores={"broadcast": "block", "head": "block"})))
    chosen = {name: after.hardware.memory_type(name) for name in ("broadcast", "head", "activation")}
    assert chosen == {"broadcast": "block", "head": "block", "activation": "distributed"}
    assert after.block_segments and blocks(after) <= DEVICES["xc7s15"].ramb18


def test_every_store_of_the_engine_can_be_chosen():
    names = {
        name.removesuffix("_store")
        for name in memory_allocation.stores(schedule(random_models.program(), HardwareConfig()))
    }
    assert names - {"softmax", "unload"} == set(STORES) - {"table"} | {"exponential_tables"}


def test_the_table_of_stores_adds_up_to_the_estimate_and_says_why(large):
    plan = schedule(large, HardwareConfig())
    rows = memory_allocation.placement(plan)
    estimated = memories(allocate(plan))
    assert sum(row.ramb18 for row in rows) == sum(found.ramb18 for found in estimated.values()) == 20
    assert sum(row.lut_memory for row in rows) == sum(found.lut_memory for found in estimated.values())
    by_store = {row.store: row for row in rows}
    first, second, last = (by_store[f"weight_store {k}"] for k in (1, 2, 3))
    assert (first.words, second.words, first.bits, first.memory_type) == (4096, 1024, 72, "block")
    assert first.why == "fills the block RAM that the other stores leave"
    assert (last.memory_type, last.why) == ("constants", "no block RAM is left for it")
    assert by_store["broadcast_store"].why == "block RAM is kept for the weights"
    assert by_store["unload"].why == "fixed by the engine"
    assert by_store["head_store"].why == "8 LUTs instead of 1 RAMB18"  # also where block RAM is plenty


def test_the_table_tells_what_synthesis_decides_from_what_was_chosen():
    rows = memory_allocation.placement(schedule(random_models.program(), HardwareConfig(stores={"broadcast": "block"})))
    why = {row.store: row.why for row in rows}
    assert why["broadcast_store"] == "chosen"
    assert why["input_store"] == "one word"
    assert re.fullmatch(r"[\d,]+ LUTs instead of \d+ RAMB18", why["score_store"])
    wide = memory_allocation.placement(
        schedule(random_models.program(ModelConfig(window=24, d_model=16)), HardwareConfig())
    )
    assert re.fullmatch(r"\d RAMB18 instead of [\d,]+ LUTs", wide[0].why)
    assert [row.ramb18 for row in rows] == sorted((row.ramb18 for row in rows), reverse=True)

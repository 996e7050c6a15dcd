"""Where the stores of a design lie; packing and segments keep every weight."""

import re
from dataclasses import replace

import numpy as np
import pytest
import small

from qtlib import memory, resources
from qtlib.config import STORES, HardwareConfig, ModelConfig, QuantConfig
from qtlib.contents import contents
from qtlib.devices import DEVICES
from qtlib.memory import ROWS, allocate, blocks
from qtlib.schedule import schedule


@pytest.fixture(scope="module")
def large():
    """The published shape that did not fit: 49,600 weights of 8 bits are more than all block RAM."""
    return small.program(ModelConfig(window=24, features=7, d_model=64), QuantConfig(bits=8))


def flat(plan):
    """Codes of every layer in the order of their addresses, read back from the memory words as weight_store.vhd does."""
    words, unroll = contents(plan).weights, plan.shape.unroll
    for i in plan.instructions:
        if i.w_source == "weight_rom":
            bits, count = plan.weight_packings[i.packing]
            held = words[i.w_base : i.w_base + plan.memory_words(i)]
            firsts = range(0, count * unroll * bits, unroll * bits)
            codes = [[word >> (first + u * bits) & (1 << bits) - 1 for u in range(unroll)] for word in held for first in firsts]
            used = i.steps * i.inner
            assert not any(map(any, codes[used:]))  # behind the last weight of a layer
            yield [[code - (code >> bits - 1 << bits) for code in term] for term in codes[:used]]


def expected(plan):
    """The same from the matrices of the program."""
    for i in plan.instructions:
        if i.w_source == "weight_rom":
            matrix = np.array([[i.source.weight[row, c] if min(row, c) >= 0 else 0 for c in i.columns] for row in i.rows])
            unroll = plan.shape.unroll
            yield [list(term) for step in range(i.steps) for term in matrix[step * unroll : (step + 1) * unroll].T]


def test_a_design_that_fits_is_left_alone():
    plan = schedule(small.program(), HardwareConfig())
    assert allocate(plan) is plan


def test_weights_that_exceed_the_block_ram_fill_it_and_the_rest_becomes_luts(large):
    plan = allocate(schedule(large, HardwareConfig()))
    assert blocks(plan) == DEVICES["xc7s15"].ramb18
    assert plan.weight_packings == ((8, 9),)  # nine weights of 8 bits fill the 72 bits of two RAMB18, parity included
    assert sum(plan.weight_segments) == plan.weight_words
    assert sum(plan.weight_segments[: plan.block_segments]) == 10 * ROWS
    assert plan.weight_segments[plan.block_segments :] == (plan.weight_words - 10 * ROWS,)


MIXED = QuantConfig(bits=4, overrides=(("0.q.weight", 3), ("0.k.weight", 3), ("0.hidden.weight", 8), ("0.output.weight", 2)))


@pytest.mark.parametrize(("bits", "unroll"), [(8, 1), (8, 6), (6, 3), (6, 1), (4, 1), (5, 2), ("mixed", 1), ("mixed", 3)])
def test_packing_keeps_every_weight_in_its_place(large, bits, unroll):
    quant = MIXED if bits == "mixed" else QuantConfig(bits=bits)
    program = large if bits == 8 else small.program(ModelConfig(window=12, features=7, d_model=64, heads=2), quant)
    before = schedule(program, HardwareConfig(unroll=unroll))
    after = memory._segmented(before, 5)
    assert list(flat(before)) == list(flat(after)) == list(expected(before))
    for old, new in zip(before.instructions, after.instructions, strict=True):
        if old.w_source == "weight_rom":
            assert after.weight_packings[new.packing].bits == new.source.weight_bits
        else:
            assert new.w_base == old.w_base
    assert after.weight_words == sum(after.weight_segments) == len(contents(after).weights)


def test_weights_of_mixed_widths_share_a_packing_where_block_RAM_is_not_short():
    """Extended to the widest they need no choice among packings."""
    program = small.program(ModelConfig(window=12, features=7, d_model=64, heads=2), MIXED)
    before = schedule(program, HardwareConfig())
    plans = [memory._segmented(before, available) for available in (40, 5)]
    assert [[packing.bits for packing in plan.weight_packings] for plan in plans] == [[8], [2, 3, 4, 8]]
    assert list(flat(plans[0])) == list(expected(before))


def test_layers_of_few_bits_leave_fewer_constants_in_luts(large):
    """Two thirds of the weights at 4 bits: extended to the widest they would save nothing."""
    narrow = QuantConfig(bits=8, overrides=(("0.hidden.weight", 4), ("0.output.weight", 4)))
    shape = ModelConfig(window=24, features=7, d_model=64)
    plans = [allocate(schedule(program, HardwareConfig(device="xc7s6"))) for program in (large, small.program(shape, narrow))]
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


def test_segments_are_powers_of_two_rows_except_the_last():
    plan = schedule(small.program(ModelConfig(window=6, features=7, d_model=64), QuantConfig(bits=8)), HardwareConfig(unroll=6))
    split = memory._segmented(replace(plan), 20)
    *first, last = split.weight_segments
    assert all(words & (words - 1) == 0 for words in first)
    assert split.weight_words - sum(first) == last


def test_the_choice_of_a_store_goes_before_that_of_its_kind(large):
    hardware = HardwareConfig(activations="block", stores={"broadcast": "distributed"})
    assert (hardware.memory_type("activation"), hardware.memory_type("broadcast")) == ("block", "distributed")
    placed = memory.stores(schedule(small.program(), hardware))
    assert [placed[name][0].memory_type for name in ("activation_store", "broadcast_store")] == ["block", "distributed"]
    after = allocate(schedule(large, HardwareConfig(stores={"broadcast": "block", "head": "block"})))
    chosen = {name: after.hardware.memory_type(name) for name in ("broadcast", "head", "activation")}
    assert chosen == {"broadcast": "block", "head": "block", "activation": "distributed"}
    assert after.block_segments and blocks(after) <= DEVICES["xc7s15"].ramb18


def test_equal_choices_of_stores_are_one_config_whatever_their_order_and_form():
    pairs = {"head": "block", "table": "block"}
    made = [HardwareConfig(stores=stores) for stores in (pairs, dict(reversed(pairs.items())), [["head", "block"], ["table", "block"]])]
    assert len(set(made)) == 1


def test_every_store_of_the_engine_can_be_chosen():
    names = {name.removesuffix("_store") for name in memory.stores(schedule(small.program(), HardwareConfig()))}
    assert names - {"softmax", "unload"} == set(STORES) - {"table"} | {"exponential_tables"}


def test_the_table_of_stores_adds_up_to_the_estimate_and_says_why(large):
    plan = schedule(large, HardwareConfig())
    rows = memory.placement(plan)
    estimated = resources.memories(allocate(plan))
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
    rows = memory.placement(schedule(small.program(), HardwareConfig(stores={"broadcast": "block"})))
    why = {row.store: row.why for row in rows}
    assert why["broadcast_store"] == "chosen"
    assert why["input_store"] == "one word"
    assert re.fullmatch(r"[\d,]+ LUTs instead of \d+ RAMB18", why["score_store"])
    wide = memory.placement(schedule(small.program(ModelConfig(window=24, d_model=16)), HardwareConfig()))
    assert re.fullmatch(r"\d RAMB18 instead of [\d,]+ LUTs", wide[0].why)
    assert [row.ramb18 for row in rows] == sorted((row.ramb18 for row in rows), reverse=True)

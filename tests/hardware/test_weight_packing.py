"""Packing and segments keep every weight."""

from dataclasses import replace

import numpy as np
import pytest

from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.hardware import weight_packing
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.rom_contents import contents
from qtlib.training import random_models


def flat(plan):
    """Codes of every layer in the order of their addresses, read back from the memory words as weight_store.vhd does."""
    words, unroll = contents(plan).weights, plan.shape.unroll
    for i in plan.instructions:
        if i.w_source == "weight_rom":
            bits, count = plan.weight_packings[i.packing]
            held = words[i.w_base : i.w_base + plan.memory_words(i)]
            firsts = range(0, count * unroll * bits, unroll * bits)
            codes = [
                [word >> (first + u * bits) & (1 << bits) - 1 for u in range(unroll)]
                for word in held
                for first in firsts
            ]
            used = i.steps * i.inner
            assert not any(map(any, codes[used:]))  # behind the last weight of a layer
            yield [[code - (code >> bits - 1 << bits) for code in term] for term in codes[:used]]


def expected(plan):
    """The same from the matrices of the program."""
    for i in plan.instructions:
        if i.w_source == "weight_rom":
            matrix = np.array(
                [[i.source.weight[row, c] if min(row, c) >= 0 else 0 for c in i.columns] for row in i.rows]
            )
            unroll = plan.shape.unroll
            yield [list(term) for step in range(i.steps) for term in matrix[step * unroll : (step + 1) * unroll].T]


MIXED = QuantConfig(
    bits=4, overrides=(("0.q.weight", 3), ("0.k.weight", 3), ("0.hidden.weight", 8), ("0.output.weight", 2))
)


@pytest.mark.parametrize(
    ("bits", "unroll"), [(8, 1), (8, 6), (6, 3), (6, 1), (4, 1), (5, 2), ("mixed", 1), ("mixed", 3)]
)
def test_packing_keeps_every_weight_in_its_place(large, bits, unroll):
    quant = MIXED if bits == "mixed" else QuantConfig(bits=bits)
    program = (
        large if bits == 8 else random_models.program(ModelConfig(window=12, features=7, d_model=64, heads=2), quant)
    )
    before = schedule(program, HardwareConfig(unroll=unroll))
    after = weight_packing.segmented(before, 5)
    assert list(flat(before)) == list(flat(after)) == list(expected(before))
    for old, new in zip(before.instructions, after.instructions, strict=True):
        if old.w_source == "weight_rom":
            assert after.weight_packings[new.packing].bits == new.source.weight_bits
        else:
            assert new.w_base == old.w_base
    assert after.weight_words == sum(after.weight_segments) == len(contents(after).weights)


def test_weights_of_mixed_widths_share_a_packing_where_block_RAM_is_not_short():
    """Extended to the widest they need no choice among packings."""
    program = random_models.program(ModelConfig(window=12, features=7, d_model=64, heads=2), MIXED)
    before = schedule(program, HardwareConfig())
    plans = [weight_packing.segmented(before, available) for available in (40, 5)]
    assert [[packing.bits for packing in plan.weight_packings] for plan in plans] == [[8], [2, 3, 4, 8]]
    assert list(flat(plans[0])) == list(expected(before))


def test_segments_are_powers_of_two_rows_except_the_last():
    plan = schedule(
        random_models.program(ModelConfig(window=6, features=7, d_model=64), QuantConfig(bits=8)),
        HardwareConfig(unroll=6),
    )
    split = weight_packing.segmented(replace(plan), 20)
    *first, last = split.weight_segments
    assert all(words & (words - 1) == 0 for words in first)
    assert split.weight_words - sum(first) == last

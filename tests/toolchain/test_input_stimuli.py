"""Stimuli drive a design to its limits."""

import numpy as np

from qtlib.program import reference
from qtlib.toolchain.input_stimuli import saturated, stimuli
from qtlib.training import random_models


def test_stimuli_reach_both_ends_and_are_reproducible():
    prog = random_models.program(random_models.SHAPES["two-heads"])
    codes = stimuli(prog, 8)
    assert codes.shape == (8, *prog.input.shape)
    assert (codes.min(), codes.max()) == tuple(prog.input.range)
    assert np.array_equal(codes, stimuli(prog, 8))
    assert not np.array_equal(codes, stimuli(prog, 8, seed=1))


def test_saturated_counts_the_codes_that_were_cut():
    prog = random_models.program(random_models.SHAPES["one-layer"], random_models.WIDTHS["4-bit"])
    codes = stimuli(prog, 8)
    op = prog.operations[0]
    total = codes @ op.weight.T * op.mult + op.offset
    total += (prog.constants[op.residual] * op.residual_mult) << op.residual_shift
    raw, y = total >> op.shift, prog.tensors[op.y].range
    assert saturated(prog, codes)[op.y] == ((raw < y.low).sum(), (raw > y.high).sum()) != (0, 0)
    inside = reference.trace(prog, codes[:1])[op.y]
    assert inside.min() >= y.low and inside.max() <= y.high

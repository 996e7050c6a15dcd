import re
from fractions import Fraction
from math import floor, isqrt
from types import SimpleNamespace

import numpy as np
import pytest
from small import SHAPES, WIDTHS, codes, program

from qtlib import integer
from qtlib.integer import requantise
from qtlib.program import (
    ACC_BITS,
    Context,
    Head,
    LayerNorm,
    Linear,
    Operation,
    Pool,
    Program,
    Scores,
    Softmax,
    Tensor,
    choose_shift,
    code_range,
    reciprocal,
)

EIGHT = Tensor(name="y", shape=(1,), bits=8)


@pytest.mark.parametrize(("total", "code"), [(5, 3), (3, 2), (1, 1), (-1, 0), (-3, -1), (-5, -2)])
def test_requantise_rounds_ties_towards_plus_infinity(total, code):
    half = 1
    assert requantise(np.array([(total + half) / 2]), EIGHT) == code


@pytest.mark.parametrize(("total", "code"), [(1 << 40, 127), (-(1 << 40), -128), (256, 127), (-258, -128)])
def test_requantise_saturates_instead_of_wrapping(total, code):
    assert requantise(np.array([total / 2]), EIGHT) == code


def _plain(prog: Program, window: np.ndarray) -> dict[str, np.ndarray]:
    """The contract once more, in Python integers and loops, from the docstring of qtlib.program."""
    held = {name: value.tolist() for name, value in prog.constants.items()} | {prog.input.name: window.tolist()}

    def sat(total, shift, y):
        return max(y.range.low, min(y.range.high, floor(Fraction(total, 1 << shift))))

    for op in prog.operations:
        x, y = held[op.x], prog.tensors[op.y]
        if isinstance(op, Linear):
            r = held[op.residual] if op.residual else None
            rows = []
            for t, row in enumerate(x):
                rows.append([])
                for o, w in enumerate(op.weight.tolist()):
                    total = sum(a * b for a, b in zip(row, w)) * int(op.mult[o]) + int(op.offset[o])
                    if r:
                        total += r[t][o] * int(op.residual_mult[o]) * 2**op.residual_shift
                    rows[-1].append(sat(total, op.shift, y))
            held[op.y] = rows
        elif isinstance(op, Scores):
            k, width = held[op.other], len(x[0]) // op.heads
            held[op.y] = [
                [[
                    sat(sum(q[f] * other[f] for f in range(h * width, h * width + width)) * op.mult + op.offset, op.shift, y)
                    for other in k] for q in x] for h in range(op.heads)
            ]  # fmt: skip
        elif isinstance(op, Softmax):
            held[op.y] = [[[int(op.table[max(row) - s]) for s in row] for row in head] for head in x]
        elif isinstance(op, Context):
            v, width = held[op.other], y.shape[1] // op.heads
            e_bits = prog.tensors[op.x].bits
            held[op.y] = [
                [
                    sat(
                        sum(e * v[j][f] for j, e in enumerate(x[f // width][t]))
                        * (2 ** (e_bits + 16) // sum(x[f // width][t]))
                        + op.offset,
                        op.shift,
                        y,
                    )
                    for f in range(y.shape[1])
                ]
                for t in range(y.shape[0])
            ]
        elif isinstance(op, LayerNorm):
            held[op.y] = []
            for row in x:
                d, total = len(row), sum(row)
                root = isqrt(d * sum(a * a for a in row) - total**2)
                inverse = 2 ** (op.reciprocal_bits + 16) // max(root, 2**op.reciprocal_bits - 1)
                held[op.y].append([sat((d * a - total) * inverse + op.offset, op.shift, y) for a in row])
        elif isinstance(op, Pool):
            held[op.y] = [sum(column) for column in zip(*x)]
        elif isinstance(op, Head):
            held[op.y] = [sum(a * b for a, b in zip(w, x)) + int(c) for w, c in zip(op.weight.tolist(), op.offset)]
    return held


@pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_fast_reference_equals_the_contract_in_plain_python(config, quant):
    prog = program(config, quant)
    windows = codes(prog, 3)
    found = integer.trace(prog, windows)
    for index, window in enumerate(windows):
        for name, expected in _plain(prog, window).items():
            assert (found[name][min(index, len(found[name]) - 1)] == np.array(expected)).all(), name


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_no_sum_leaves_its_proven_range_on_any_partial_sum(config):
    prog = program(config)
    windows = codes(prog, 32)
    held = integer.trace(prog, windows)
    for op in prog.operations:
        if isinstance(op, Linear):
            partial = np.cumsum(held[op.x][:, :, None, :] * op.weight, axis=-1)
            proven = prog.accumulator(op)
            assert proven.low <= partial.min() and partial.max() <= proven.high
            assert proven.bits <= ACC_BITS


def test_the_proven_range_is_reached_so_it_is_not_wider_than_needed():
    prog = program()
    op = next(o for o in prog.operations if o.y == "0.hidden")
    proven, x = prog.accumulator(op), prog.tensors[op.x].range
    worst = np.where(op.weight > 0, x.low, x.high)  # [out, in]
    assert (worst * op.weight).sum(1).min() == proven.low


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_reciprocal_rounds_down_and_fits_seventeen_bits(bits):
    top = code_range(bits, signed=False).high
    totals = np.arange(top, 256 * top + 1)
    found = reciprocal(totals, bits)
    assert (found == [floor(Fraction(2 ** (bits + 16), int(total))) for total in totals]).all()
    assert found.max() < 1 << 17


def normalised(x, op, bits=8):
    """A LayerNorm of codes [tokens, d]."""
    x = np.asarray(x)[None]
    tensors = {"x": Tensor(name="x", shape=x.shape[1:], bits=8), "y": Tensor(name="y", shape=x.shape[1:], bits=bits)}
    return integer.layer_norm(op, SimpleNamespace(tensors=tensors), x)[0]


NORM = LayerNorm(x="x", y="y", reciprocal_bits=3, offset=1 << 13, shift=14)  # codes of 2**-5


def test_a_layer_norm_is_that_of_real_numbers_to_a_code():
    x = np.random.default_rng(0).integers(-60, 90, (200, 16))
    real = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    assert np.abs(normalised(x, NORM) - 32 * real).max() < 1.0


def test_a_layer_norm_ignores_what_all_features_have_in_common():
    x = np.random.default_rng(0).integers(-40, 40, (50, 16))
    assert (normalised(x + 60, NORM) == normalised(x, NORM)).all()


def test_a_token_of_equal_features_is_normalised_to_zero():
    assert not normalised(np.array([[-128] * 16, [0] * 16, [127] * 16]), NORM).any()


def test_the_limit_of_the_root_keeps_the_noise_of_one_code_small():
    one = np.zeros((1, 16), np.int64)
    one[0, 3] = 1  # root = 3, below the limit 7
    assert normalised(one, NORM).tolist() == [[-5] * 3 + [69] + [-5] * 12]  # 15 / 7 and -1 / 7 of 32
    one[0, 3] = 2  # root = 7, at the limit
    assert normalised(one, NORM)[0, 3] == 127  # 30 / 7 of 32 is 137: saturated


def test_a_softmax_row_of_equal_scores_averages_v():
    prog = program()
    op = next(o for o in prog.operations if o.kind == "context")
    e = np.full((1, 1, 6, 6), 255.0)
    v = np.tile(np.arange(-4, 4) * 6, (6, 1))[None]  # the same row for all tokens
    gain = 8 + 16 - op.shift
    found = integer.context(op, prog, e, v)
    assert np.abs(found - np.clip(v * 2**gain, -128, 127)).max() <= 1


def test_predict_equals_running_codes_by_hand_in_any_batch(monkeypatch):
    monkeypatch.setattr(integer, "TILE", 4)
    prog = program(SHAPES["two-layers-three-outputs"])
    values = np.random.default_rng(0).normal(size=(11, *prog.input.shape)).astype(np.float32)
    by_hand = integer.run(prog, prog.input.codes(values)) * np.array(prog.output.scale)
    assert (integer.predict(prog, values) == by_hand).all()
    assert integer.predict(prog, values[:0]).shape == (0, 3)


def test_an_input_of_floats_is_refused():
    with pytest.raises(TypeError, match="integer: the input is float64, expected integer codes"):
        integer.run(program(), np.zeros((1, 6, 1)))


def test_an_input_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=re.escape("integer: the input has shape (1, 6, 2), expected [batch, 6, 1]")):
        integer.run(program(), np.zeros((1, 6, 2), np.int64))


def test_an_input_code_beyond_its_width_is_refused():
    expected = re.escape("integer: input codes span [0, 128], outside the [-128, 127] of 8 bits")
    with pytest.raises(OverflowError, match=expected):
        integer.run(program(), np.array([[[0], [128], [0], [0], [0], [0]]]))


def test_an_operation_without_arithmetic_is_refused():
    prog = program()
    with pytest.raises(TypeError, match="integer: no arithmetic for Operation"):
        integer.apply(Operation(x="input", y="y"), prog, {"input": np.zeros((1, 6, 1), np.int64)})


def test_a_ratio_gets_the_largest_shift_that_fits():
    for ratio in np.geomspace(1e-5, 8000, 60):
        shift = choose_shift(ratio)
        assert shift % 4 == 0 and ratio * 2**shift <= 2**17 - 1
        assert shift == 24 or ratio * 2 ** (shift + 4) > 2**17 - 1

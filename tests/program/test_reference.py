"""The fast reference equals the contract in plain Python, and nothing leaves its proven range."""

import re
from fractions import Fraction
from math import floor, isqrt
from types import SimpleNamespace

import numpy as np
import pytest

from qtlib.program import reference
from qtlib.program.codes import Tensor
from qtlib.program.operations import Context, Head, LayerNorm, Linear, Operation, Pool, Scores, Softmax
from qtlib.program.program import ACC_BITS, Program
from qtlib.training.random_models import SHAPES, WIDTHS, codes, program


def _plain(prog: Program, window: np.ndarray) -> dict[str, np.ndarray]:
    """The contract once more, in Python integers and loops, from the docstring of qtlib.program.operations."""
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
                    total = sum(a * b for a, b in zip(row, w, strict=True)) * int(op.mult[o]) + int(op.offset[o])
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
            held[op.y] = [sum(column) for column in zip(*x, strict=True)]
        elif isinstance(op, Head):
            held[op.y] = [
                sum(a * b for a, b in zip(w, x, strict=True)) + int(c)
                for w, c in zip(op.weight.tolist(), op.offset, strict=True)
            ]
    return held


@pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_fast_reference_equals_the_contract_in_plain_python(config, quant):
    prog = program(config, quant)
    windows = codes(prog, 3)
    found = reference.trace(prog, windows)
    for index, window in enumerate(windows):
        for name, expected in _plain(prog, window).items():
            assert (found[name][min(index, len(found[name]) - 1)] == np.array(expected)).all(), name


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_no_sum_leaves_its_proven_range_on_any_partial_sum(config):
    prog = program(config)
    windows = codes(prog, 32)
    held = reference.trace(prog, windows)
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


def normalised(x, op, bits=8):
    """A LayerNorm of codes [tokens, d]."""
    x = np.asarray(x)[None]
    tensors = {"x": Tensor(name="x", shape=x.shape[1:], bits=8), "y": Tensor(name="y", shape=x.shape[1:], bits=bits)}
    return reference.layer_norm(op, SimpleNamespace(tensors=tensors), x)[0]


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
    found = reference.context(op, prog, e, v)
    assert np.abs(found - np.clip(v * 2**gain, -128, 127)).max() <= 1


def test_predict_equals_running_codes_by_hand_in_any_batch(monkeypatch):
    monkeypatch.setattr(reference, "TILE", 4)
    prog = program(SHAPES["two-layers-three-outputs"])
    values = np.random.default_rng(0).normal(size=(11, *prog.input.shape)).astype(np.float32)
    by_hand = reference.run(prog, prog.input.codes(values)) * np.array(prog.output.scale)
    assert (reference.predict(prog, values) == by_hand).all()
    assert reference.predict(prog, values[:0]).shape == (0, 3)


def test_an_input_of_floats_is_refused():
    with pytest.raises(TypeError, match="reference: the input is float64, expected integer codes"):
        reference.run(program(), np.zeros((1, 6, 1)))


def test_an_input_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=re.escape("reference: the input has shape (1, 6, 2), expected [batch, 6, 1]")):
        reference.run(program(), np.zeros((1, 6, 2), np.int64))


def test_an_input_code_beyond_its_width_is_refused():
    expected = re.escape("reference: input codes span [0, 128], outside the [-128, 127] of 8 bits")
    with pytest.raises(OverflowError, match=expected):
        reference.run(program(), np.array([[[0], [128], [0], [0], [0], [0]]]))


def test_an_operation_without_arithmetic_is_refused():
    prog = program()
    with pytest.raises(TypeError, match="reference: no arithmetic for Operation"):
        reference.apply(Operation(x="input", y="y"), prog, {"input": np.zeros((1, 6, 1), np.int64)})

import numpy as np
import pytest

from qtlib.program import reference
from qtlib.program.codes import code_range
from qtlib.program.operations import Context, LayerNorm, Softmax
from qtlib.program.rounding import norm_reciprocal_bits
from qtlib.studies import table_precision
from qtlib.training.random_models import SHAPES, WIDTHS, codes, program

each_width = pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)


def rounded(y, tensor):
    return np.clip(np.floor(y + 0.5), *tensor.range)


@each_width
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_at_the_widths_of_a_program_the_context_is_that_of_the_integer_reference(config, quant):
    prog = program(config, quant)
    traced, tensors = reference.trace(prog, codes(prog)), prog.tensors
    softmax = {op.y: op for op in prog.operations if isinstance(op, Softmax)}
    contexts = [op for op in prog.operations if isinstance(op, Context)]
    assert len(contexts) == config.layers
    for op in contexts:
        scores = softmax[op.x].x
        found = table_precision.context(
            traced[scores],
            traced[op.other],
            scale=tensors[scores].scale[0],
            bits=tensors[op.x].bits,
            factor=tensors[op.other].scale[0] / tensors[op.y].scale[0],
        )
        assert (rounded(found, tensors[op.y]) == traced[op.y]).all()


@each_width
@pytest.mark.parametrize("name", ["layer-norm", "two-layers-layer-norm"])
def test_at_the_widths_of_a_program_the_norm_is_that_of_the_integer_reference(name, quant):
    prog = program(SHAPES[name], quant)
    traced = reference.trace(prog, codes(prog))
    norms = [op for op in prog.operations if isinstance(op, LayerNorm)]
    assert len(norms) == 2 * SHAPES[name].layers
    for op in norms:
        y = prog.tensors[op.y]
        e = norm_reciprocal_bits(y.shape[-1], prog.tensors[op.x].bits)
        found = table_precision.norm(traced[op.x], factor=1 / y.scale[0], reciprocal_bits=e)
        assert (rounded(found, y) == traced[op.y]).all()


def test_a_quiet_token_meets_the_same_limit_of_the_root_as_in_the_integer_reference():
    prog = program(SHAPES["layer-norm"], WIDTHS["8-bit"])
    op = next(op for op in prog.operations if isinstance(op, LayerNorm))
    x, y = np.zeros((1, 6, 7), np.int64), prog.tensors[op.y]
    x[0, :, 0] = range(6)  # roots 0, 2, 4, ... and a limit of 3
    found = table_precision.norm(x, factor=1 / y.scale[0], reciprocal_bits=op.reciprocal_bits)
    assert (rounded(found, y) == reference.layer_norm(op, prog, x.astype(float))).all()
    assert table_precision.error(found[0, 1], table_precision.exact_norm(x, factor=1 / y.scale[0])[0, 1], 8).largest > 1


def test_exact_softmax_weighs_by_the_exponential_of_the_difference():
    scores = np.array([[[[3, 1], [-7, -7]]]])  # [B, H, n, n]
    v = np.array([[[10], [20]]])
    p = 1 / (1 + np.exp(-0.5 * 2))
    found = table_precision.exact_context(scores, v, scale=0.5, factor=4.0)
    assert found.ravel() == pytest.approx([4 * (10 * p + 20 * (1 - p)), 60])


def test_exact_norm_has_one_standard_deviation_and_equal_features_give_zero():
    found = table_precision.exact_norm(np.array([[5, 7, 5, 7], [9, 9, 9, 9]]), factor=32.0)
    assert found.tolist() == [[-32, 32, -32, 32], [0, 0, 0, 0]]


def test_an_error_beyond_the_code_range_does_not_count():
    assert table_precision.error(np.array([200.0, -1.5]), np.array([500.0, -1.0]), 8) == (0.5, 0.25)


def test_wide_tables_and_reciprocals_come_as_close_as_one_likes():
    rng = np.random.default_rng(0)
    scores, v = rng.integers(-128, 128, (4, 2, 24, 24)), rng.integers(-128, 128, (4, 24, 16))
    exact = table_precision.exact_context(scores, v, scale=0.05)
    wide = table_precision.context(scores, v, scale=0.05, bits=16, precision=24)
    assert table_precision.error(wide, exact, 8).largest < 0.01


@pytest.mark.parametrize("tokens", [6, 24, 100, 256])
@pytest.mark.parametrize("precision", [12, 14, 16])
def test_the_reciprocal_of_a_row_costs_less_than_its_bound(tokens, precision):
    scores = np.random.default_rng(0).integers(0, 2, (8, 1, tokens, tokens))  # nearly even rows: the largest sums
    v = np.full((8, tokens, 1), code_range(8).low)
    cut = [table_precision.context(scores, v, scale=0.01, bits=8, precision=p) for p in (precision, 36)]
    assert table_precision.error(*cut, 8).largest < table_precision.context_bound(tokens, 8, precision)


def test_the_reciprocal_has_the_fewest_bits_that_guarantee_half_a_code_for_the_largest_window_and_width():
    assert table_precision.context_bound(256, 8) == 0.5
    assert table_precision.context_bound(256, 8, precision=15) > 0.5


@pytest.mark.parametrize("features", range(2, 129))
def test_the_reciprocal_of_a_root_costs_less_than_half_a_code_of_a_32nd_deviation(features):
    assert max(table_precision.norm_bound(features, bits, 32.0) for bits in range(2, 9)) < 0.5


def test_the_reciprocal_of_a_root_costs_less_than_its_bound():
    x = np.random.default_rng(0).choice([-128, 127], (4096, 16))  # the largest roots
    for e in (2, 3, 5):
        cut = [table_precision.norm(x, factor=32.0, reciprocal_bits=e, precision=p) for p in (16, 30)]
        assert table_precision.error(*cut, 8).largest < table_precision.norm_bound(16, 8, 32.0, e)


def moved(name, widths):
    """By how much real softmax moves the forecasts of a random program at most, in their spread."""
    prog = program(SHAPES[name], WIDTHS[widths])
    values = prog.input.values(codes(prog, 64))
    exact, tabled = table_precision.predict_with_exact_softmax(prog, values), reference.predict(prog, values)
    assert exact.shape == tabled.shape
    return np.abs(exact - tabled).max() / tabled.std()


@pytest.mark.parametrize("name", ["one-layer", "two-heads", "two-layers-three-outputs"])
def test_real_softmax_moves_the_forecast_where_exponentials_are_narrow_and_hardly_where_they_are_wide(name):
    assert moved(name, "8-bit") < 0.1
    assert moved(name, "2-bit") > 2 * moved(name, "8-bit")


def test_at_the_real_softmax_of_even_scores_a_context_is_the_mean_of_v():
    v = np.random.default_rng(0).integers(-128, 128, (2, 6, 8))
    even = np.full((2, 2, 6, 6), 3)
    assert np.allclose(table_precision.exact_context(even, v, scale=0.1), v.mean(1, keepdims=True))

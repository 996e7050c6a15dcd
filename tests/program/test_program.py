"""A program is proven when it is made: shapes, ranges and widths, each refusal in its words."""

import dataclasses

import numpy as np
import pytest
from refusals import raises

from qtlib.config import ModelConfig
from qtlib.program import reference, rounding
from qtlib.training.random_models import SHAPES, codes, program


def changed(prog, y, **changes):
    """The program with one operation changed."""
    operations = [dataclasses.replace(op, **changes) if op.y == y else op for op in prog.operations]
    return dataclasses.replace(prog, operations=tuple(operations))


def resized(prog, name, **changes):
    """The program with one tensor changed."""
    return dataclasses.replace(prog, tensors=prog.tensors | {name: dataclasses.replace(prog.tensors[name], **changes)})


def operation(prog, y):
    return next(op for op in prog.operations if op.y == y)


def test_the_digest_covers_every_integer_but_not_the_metadata():
    prog = program()
    offset = operation(prog, "0.q").offset.copy()
    offset[0] += 1
    assert changed(prog, "0.q", offset=offset).digest != prog.digest
    assert dataclasses.replace(prog, constants={"position": prog.constants["position"] // 2}).digest != prog.digest
    assert dataclasses.replace(prog, metadata={}).digest == prog.digest


def test_the_integers_of_a_program_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        operation(program(), "0.q").weight[0, 0] = 1


def test_a_program_counts_its_multiplications():
    prog, (n, d) = program(), (6, 8)
    assert prog.macs == n * d * 1 + 12 * n * d * d + 2 * n * n * d + d


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_tells_the_multiplications_of_its_programs(shape):
    assert SHAPES[shape].macs == program(SHAPES[shape]).macs


def test_the_scaled_range_holds_every_shifted_sum():
    prog = program()
    held = reference.trace(prog, codes(prog, 64))
    for name in ("0.attention", "0.hidden"):
        op = operation(prog, name)
        total = (held[op.x] @ op.weight.T) * op.mult + op.offset
        if op.residual:
            total = total + ((held[op.residual] * op.residual_mult) << op.residual_shift)
        proven = prog.scaled(op)
        assert proven.low <= total.min() and total.max() <= proven.high
    scores = operation(prog, "0.scores")
    total = (held["0.q"] @ held["0.k"].swapaxes(1, 2)) * scores.mult + scores.offset
    assert prog.scaled(scores).low <= total.min() and total.max() <= prog.scaled(scores).high
    norm, normed_held = operation(normed(), "0.attention"), reference.trace(normed(), codes(normed(), 64))
    x = normed_held["0.attention_sum"]
    acc = 7 * x - x.sum(-1, keepdims=True)
    root = np.floor(np.sqrt((acc * acc).sum(-1, keepdims=True) // 7))
    total = acc * rounding.reciprocal(np.maximum(root, 3).astype(int), norm.reciprocal_bits) + norm.offset
    assert normed().scaled(norm).low <= total.min() and total.max() <= normed().scaled(norm).high
    context = operation(prog, "0.context")
    e = held["0.exponentials"][:, 0]
    total = (e @ held["0.v"]) * rounding.reciprocal(e.sum(-1, keepdims=True), 8) + context.offset
    assert prog.scaled(context).low <= total.min() and total.max() <= prog.scaled(context).high


def test_an_operation_of_floats_is_refused():
    prog = program()
    with raises(TypeError, "program: an operation holds float64 values, expected integers"):
        changed(prog, "0.q", weight=operation(prog, "0.q").weight * 1.0)


def test_a_tensor_that_nobody_writes_is_refused():
    text = "program: 0.q reads 'nothing', which no earlier operation writes; known: embed, input, position"
    with raises(ValueError, text):
        changed(program(), "0.q", x="nothing")


def test_a_residual_that_comes_later_is_refused():
    with pytest.raises(
        ValueError, match="^program: 0.attention reads '0.output', which no earlier operation writes; known: "
    ):
        changed(program(), "0.attention", residual="0.output")


def test_a_tensor_without_description_is_refused():
    prog = program()
    tensors = {name: tensor for name, tensor in prog.tensors.items() if name != "0.q"}
    with raises(ValueError, f"program: linear names the tensor '0.q'; known: {', '.join(tensors)}"):
        dataclasses.replace(prog, tensors=tensors)


def test_a_constant_without_description_is_refused():
    prog = program()
    with raises(ValueError, f"program: constant names the tensor 'bias'; known: {', '.join(prog.tensors)}"):
        dataclasses.replace(prog, constants=prog.constants | {"bias": [1]})


@pytest.mark.parametrize(("field", "shape"), [("weight", (8, 8)), ("mult", (8,)), ("offset", (8,))])
def test_an_array_of_another_shape_is_refused(field, shape):
    prog = program()
    short = getattr(operation(prog, "0.q"), field)[:-1]
    with raises(ValueError, f"program: 0.q {field} has shape {short.shape}, expected {shape}"):
        changed(prog, "0.q", **{field: short})


def test_a_residual_without_multipliers_is_refused():
    with raises(ValueError, "program: 0.attention residual_mult has shape None, expected (8,)"):
        changed(program(), "0.attention", residual_mult=None)


def test_a_constant_of_another_shape_is_refused():
    prog = program()
    with raises(ValueError, "program: constant position has shape (5, 8), expected (6, 8)"):
        dataclasses.replace(prog, constants={"position": prog.constants["position"][:-1]})


def test_a_weight_code_beyond_its_width_is_refused():
    prog = program()
    weight = np.zeros_like(operation(prog, "0.q").weight)
    weight[0, 0] = -128
    with raises(OverflowError, "program: 0.q weight spans [-128, 0], outside [-127, 127]"):
        changed(prog, "0.q", weight=weight)


@pytest.mark.parametrize("field", ["mult", "residual_mult"])
def test_a_multiplier_beyond_its_port_is_refused(field):
    mult = np.zeros(8, np.int64)
    mult[3] = 1 << 17
    with raises(OverflowError, f"program: 0.attention {field} spans [0, 131072], outside [-131072, 131071]"):
        changed(program(), "0.attention", **{field: mult})


def test_a_score_multiplier_beyond_its_port_is_refused():
    with raises(OverflowError, "program: 0.scores mult spans [131072, 131072], outside [-131072, 131071]"):
        changed(program(), "0.scores", mult=1 << 17)


def test_a_constant_beyond_its_width_is_refused():
    prog = program()
    with raises(OverflowError, "program: constant position spans [200, 200], outside [-128, 127]"):
        dataclasses.replace(prog, constants={"position": np.full((6, 8), 200)})


@pytest.mark.parametrize("y", ["0.scores", "0.context"])
def test_heads_that_do_not_divide_are_refused(y):
    shape = (6, 8) if y == "0.scores" else (1, 6, 6)
    with raises(ValueError, f"program: {y}: heads=3 does not divide {shape}"):
        changed(program(), y, heads=3)


def test_a_table_of_another_length_is_refused():
    with raises(ValueError, "program: 0.exponentials table has shape (255,), expected (256,)"):
        changed(program(), "0.exponentials", table=operation(program(), "0.exponentials").table[:-1])


def test_a_table_entry_beyond_its_width_is_refused():
    with raises(OverflowError, "program: 0.exponentials table spans [256, 256], outside [0, 255]"):
        changed(program(), "0.exponentials", table=np.full(256, 256))


def test_a_table_that_does_not_start_full_is_refused():
    with raises(ValueError, "program: 0.exponentials: table[0]=254 must be the largest unsigned code, 255"):
        changed(program(), "0.exponentials", table=np.full(256, 254))


def normed():
    return program(SHAPES["layer-norm"])


def test_a_layer_norm_of_another_shape_is_refused():
    text = (
        "program: 0.attention: 0.attention_sum has shape (6, 7) and signed=True, expected signed codes of shape (6, 8)"
    )
    with raises(ValueError, text):
        resized(normed(), "0.attention", shape=(6, 8))


def test_a_layer_norm_of_unsigned_codes_is_refused():
    text = (
        "program: 0.attention: 0.attention_sum has shape (6, 7) and signed=False, expected signed codes of shape (6, 7)"
    )
    with raises(ValueError, text):
        resized(normed(), "0.attention_sum", signed=False)


def test_a_layer_norm_of_more_features_than_its_operand_counts_is_refused():
    config = ModelConfig(window=2, d_model=129, ffn=1, norm="layer")
    text = "program: 0.attention: LayerNorm of 129 features needs the operand 128; 8 bits hold those of at most 128"
    with raises(ValueError, text):
        program(config)
    program(dataclasses.replace(config, d_model=128))


@pytest.mark.parametrize("bits", [1, 17])
def test_a_reciprocal_beyond_the_divider_is_refused(bits):
    with raises(ValueError, f"program: 0.attention: reciprocal_bits={bits} is outside 2..16"):
        changed(normed(), "0.attention", reciprocal_bits=bits)


def test_a_shift_of_a_layer_norm_beyond_the_shifter_is_refused():
    with raises(ValueError, "program: 0.output: shift=25 is outside 1..24"):
        changed(normed(), "0.output", shift=25)


def test_a_layer_norm_that_the_accumulator_cannot_hold_is_refused():
    span = 6 * (2**23 - 1)
    text = f"program: 0.attention: sums span [{-span}, {span}], which needs 27 bits; the accumulator has 25"
    with raises(OverflowError, text):
        resized(normed(), "0.attention_sum", bits=23)


@pytest.mark.parametrize("shift", [0, 25])
def test_a_shift_beyond_the_shifter_is_refused(shift):
    with raises(ValueError, f"program: 0.q: shift={shift} is outside 1..24"):
        changed(program(), "0.q", shift=shift)


def test_an_accumulator_that_is_too_narrow_is_refused_with_the_width_it_needs():
    prog = program()
    largest = int(np.abs(operation(prog, "embed").weight).max()) << 19
    with raises(
        OverflowError,
        f"program: embed: sums span [{-largest}, {largest}], which needs {largest.bit_length() + 1} bits; the accumulator has 25",
    ):
        resized(prog, "input", bits=20)

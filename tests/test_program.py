import dataclasses
import io
import json
import re
import zipfile

import numpy as np
import pytest
from small import SHAPES, WIDTHS, codes, program

from qtlib import integer
from qtlib import program as programs
from qtlib.config import ModelConfig
from qtlib.program import (
    Context,
    Head,
    LayerNorm,
    Linear,
    Operation,
    Pool,
    Program,
    Range,
    Scores,
    Softmax,
    Tensor,
    choose_shift,
    code_range,
)


def changed(prog, y, **changes):
    """The program with one operation changed."""
    operations = [dataclasses.replace(op, **changes) if op.y == y else op for op in prog.operations]
    return dataclasses.replace(prog, operations=tuple(operations))


def resized(prog, name, **changes):
    """The program with one tensor changed."""
    return dataclasses.replace(prog, tensors=prog.tensors | {name: dataclasses.replace(prog.tensors[name], **changes)})


def operation(prog, y):
    return next(op for op in prog.operations if op.y == y)


def raises(kind, text):
    return pytest.raises(kind, match=f"^{re.escape(text)}$")


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(-128, 127, 8), (-129, 0, 9), (0, 127, 8), (0, 128, 9), (0, 0, 1), (-1, 0, 1)]
)
def test_the_width_of_a_range_is_that_of_twos_complement(low, high, bits):
    assert Range(low, high).bits == bits


def test_code_ranges_are_those_of_twos_complement():
    assert code_range(4) == (-8, 7)
    assert code_range(4, signed=False) == (0, 15)


def test_codes_round_half_up_saturate_and_give_their_value_back():
    tensor = Tensor(name="x", shape=(4,), bits=4, scale=(0.5,), zero_point=-2)
    assert tensor.codes(np.array([0.25, -0.25, 100.0, -100.0])).tolist() == [-1, -2, 7, -8]
    assert tensor.values(np.array([-2, 0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_a_program_survives_the_disk_bit_for_bit(tmp_path, config, quant):
    prog = program(config, quant)
    again = programs.load(programs.save(prog, tmp_path / "a.qtp"))
    assert again.digest == prog.digest
    assert again.tensors == prog.tensors and again.metadata == prog.metadata
    assert (integer.run(again, codes(prog)) == integer.run(prog, codes(prog))).all()


def test_equal_programs_give_equal_bytes(tmp_path):
    first, second = (programs.save(program(), tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


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


def test_the_scaled_range_holds_every_shifted_sum():
    prog = program()
    held = integer.trace(prog, codes(prog, 64))
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
    norm, normed_held = operation(normed(), "0.attention"), integer.trace(normed(), codes(normed(), 64))
    x = normed_held["0.attention_sum"]
    acc = 7 * x - x.sum(-1, keepdims=True)
    root = np.floor(np.sqrt((acc * acc).sum(-1, keepdims=True) // 7))
    total = acc * programs.reciprocal(np.maximum(root, 3).astype(int), norm.reciprocal_bits) + norm.offset
    assert normed().scaled(norm).low <= total.min() and total.max() <= normed().scaled(norm).high
    context = operation(prog, "0.context")
    e = held["0.exponentials"][:, 0]
    total = (e @ held["0.v"]) * programs.reciprocal(e.sum(-1, keepdims=True), 8) + context.offset
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
    text = "program: 0.attention: 0.attention_sum has shape (6, 7) and signed=True, expected signed codes of shape (6, 8)"
    with raises(ValueError, text):
        resized(normed(), "0.attention", shape=(6, 8))


def test_a_layer_norm_of_unsigned_codes_is_refused():
    text = "program: 0.attention: 0.attention_sum has shape (6, 7) and signed=False, expected signed codes of shape (6, 7)"
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


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_smallest_reciprocal_of_a_layer_norm_keeps_eight_bits_and_the_largest_seventeen(bits):
    for d in range(1, 129):
        e = programs.norm_reciprocal_bits(d, bits)
        root = d * (2**bits - 1) // 2  # at both ends, half and half
        assert programs.reciprocal(np.array(max(root, 2**e - 1)), e).item() >= 2**7
        assert programs.reciprocal(np.array(2**e - 1), e).item() < 2**17


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


def test_a_ratio_above_the_limit_is_refused():
    with raises(OverflowError, "requantise: the ratio 8192 is above the limit 8191.94 of 18 bits"):
        choose_shift(8192.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_ratio_that_is_not_finite_is_refused(bad):
    with raises(OverflowError, f"requantise: the ratio {bad} is above the limit 8191.94 of 18 bits"):
        choose_shift(bad)


def test_a_missing_file_is_named(tmp_path):
    with raises(FileNotFoundError, f"program: {tmp_path / 'none.qtp'} does not exist"):
        programs.load(tmp_path / "none.qtp")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.qtp").write_text("hello")
    with raises(ValueError, f"program: {tmp_path / 'a.qtp'} is not a program file: File is not a zip file"):
        programs.load(tmp_path / "a.qtp")


def rewritten(path, change):
    """Rewrite the entries of an archive."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_an_archive_without_a_program_is_refused(tmp_path):
    path = rewritten(programs.save(program(), tmp_path / "a.qtp"), lambda entries: entries.pop("program.json"))
    with pytest.raises(ValueError, match="^program: .*a.qtp is not a program file: .*program.json"):
        programs.load(path)


def test_another_version_is_refused(tmp_path):
    def change(entries):
        entries["program.json"] = json.dumps(json.loads(entries["program.json"]) | {"version": 99}).encode()

    path = rewritten(programs.save(program(), tmp_path / "a.qtp"), change)
    with raises(ValueError, f"program: {path} has version 99, this qtlib reads version 1; lower the model again"):
        programs.load(path)


def test_a_changed_array_is_refused(tmp_path):
    name = "001/weight.npy"

    def change(entries):
        array = np.load(io.BytesIO(entries[name]))
        array[0, 0] ^= 1
        stream = io.BytesIO()
        np.save(stream, array)
        entries[name] = stream.getvalue()

    path = rewritten(programs.save(program(), tmp_path / "a.qtp"), change)
    with pytest.raises(
        ValueError, match=r"^program: array 001/weight of .*a.qtp is damaged: SHA-256 \w{12}, expected \w{12}$"
    ):
        programs.load(path)


def test_a_missing_array_is_refused(tmp_path):
    path = rewritten(programs.save(program(), tmp_path / "a.qtp"), lambda entries: entries.pop("001/weight.npy"))
    with pytest.raises(ValueError, match=r"^program: array 001/weight of .*a.qtp is damaged or missing: "):
        programs.load(path)


def test_half_a_file_is_refused(tmp_path):
    path = programs.save(program(), tmp_path / "a.qtp")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"^program: .*a.qtp is not a program file: "):
        programs.load(path)


def test_any_flipped_byte_is_refused_or_harmless(tmp_path):
    prog = program()
    path = programs.save(prog, tmp_path / "a.qtp")
    whole = path.read_bytes()
    refused = 0
    for position in np.random.default_rng(0).integers(0, len(whole), 300):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            assert programs.load(path).digest == prog.digest
        except ValueError as error:
            refused += 1
            assert str(error).startswith("program: ")
    assert refused > 200


def test_a_write_that_fails_leaves_the_old_program(tmp_path, monkeypatch):
    path = programs.save(program(), tmp_path / "a.qtp")
    before = path.read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qtlib.paths.os.replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        programs.save(program(quant=WIDTHS["4-bit"]), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.qtp"]


def test_every_kind_of_operation_is_named_once():
    assert programs.KINDS == {
        "linear": Linear, "scores": Scores, "softmax": Softmax, "context": Context, "layer_norm": LayerNorm, "pool": Pool,
        "head": Head,
    }  # fmt: skip
    assert issubclass(Linear, Operation) and isinstance(program(), Program)

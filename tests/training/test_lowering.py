import numpy as np
import pytest
import torch

from qtlib.config import ModelConfig, QuantConfig
from qtlib.program import reference
from qtlib.program.codes import code_range
from qtlib.training.lowering import lower
from qtlib.training.quantised_encoder import QuantisedEncoder
from qtlib.training.random_models import MIXED, SHAPES, WIDTHS, encoder, quantised, windows

LAYER = ["q", "k", "scores", "exponentials", "v", "context", "attention", "hidden", "output"]


def operations(program):
    return {op.y: op for op in program.operations}


def test_operations_come_in_the_order_of_the_engine():
    program = lower(quantised(SHAPES["two-layers-three-outputs"], MIXED))
    layers = [f"{i}.{name}" for i in (0, 1) for name in LAYER]
    assert [op.y for op in program.operations] == ["embed", *layers, "pooled", "forecast"]


def test_a_layer_norm_comes_right_behind_the_sum_that_it_reads():
    program = lower(quantised(SHAPES["two-layers-layer-norm"], MIXED))
    layer = [*LAYER[:6], "attention_sum", "attention", "hidden", "output_sum", "output"]
    assert [op.y for op in program.operations] == [
        "embed",
        *(f"{i}.{n}" for i in (0, 1) for n in layer),
        "pooled",
        "forecast",
    ]
    assert [op.x for op in program.operations if op.kind == "layer_norm"] == [
        f"{i}.{name}_sum" for i in (0, 1) for name in ("attention", "output")
    ]


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_every_tensor_has_the_width_that_the_config_asks_for(config):
    bits = {name: tensor.bits for name, tensor in lower(quantised(config, MIXED)).tensors.items()}
    assert bits.pop("pooled") == 8 + (config.window - 1).bit_length()
    assert bits.pop("forecast") == 32
    for name, found in bits.items():
        kind = name.partition(".")[2] or name
        expected = {"input": 7, "position": 7, "exponentials": 6} | dict.fromkeys(("embed", "attention", "output"), 8)
        expected |= dict.fromkeys(("attention_sum", "output_sum"), 7)
        assert found == expected.get(kind, MIXED.bits), name


def test_weights_have_their_own_width_and_the_head_another():
    for name, op in operations(lower(quantised(SHAPES["one-layer"], MIXED))).items():
        if hasattr(op, "weight"):
            assert op.weight_bits == (MIXED.head_bits if name == "forecast" else MIXED.weights)
            assert np.abs(op.weight).max() == code_range(op.weight_bits).high


def test_only_hidden_features_have_a_zero_point_and_it_is_the_lowest_code():
    for name, tensor in lower(quantised(SHAPES["two-layers-three-outputs"], WIDTHS["4-bit"])).tensors.items():
        assert tensor.zero_point == (-8 if name.endswith(".hidden") else 0)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_scales_read_the_codes_back_as_the_float_models_values(config):
    model, x = encoder(config), windows(config)
    program = lower(QuantisedEncoder(model, WIDTHS["8-bit"], x))
    real, codes = model.trace(x), reference.trace(program, program.input.codes(x.numpy()))
    for name, tensor in program.tensors.items():
        values, expected = tensor.values(codes[name]), real[name].numpy()
        ratio = np.sqrt(np.mean((values - expected) ** 2)) / expected.std()
        assert ratio < 0.12, (name, ratio)


def test_the_norm_is_folded_with_its_gain_statistics_and_bias():
    model = encoder(SHAPES["one-layer"])
    norm, linear = model.layers[0].norm1, model.layers[0].o
    quantised_model = QuantisedEncoder(model, WIDTHS["8-bit"], windows(model.config))
    program, scales = lower(quantised_model), quantised_model.scales()
    op, y = operations(program)["0.attention"], scales["0.attention"]
    gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy()
    assert (gain < 0).any() and (gain > 0).any()
    assert (np.sign(op.residual_mult) == np.sign(gain)).all()
    residual = op.residual_mult / 2.0 ** (op.shift - op.residual_shift)
    assert residual == pytest.approx(gain * scales["embed"] / y, rel=1e-3)
    bias = gain * (linear.bias - norm.running_mean).detach().numpy() + norm.bias.detach().numpy()
    assert (op.offset - 2 ** (op.shift - 1)) / 2**op.shift == pytest.approx(bias / y, abs=1e-3)


def test_gain_and_bias_of_a_layer_norm_are_folded_into_all_that_read_it():
    model = encoder(SHAPES["two-layers-layer-norm"])
    first, second = model.layers
    quantised_model = QuantisedEncoder(model, WIDTHS["8-bit"], windows(model.config))
    program, scales = lower(quantised_model), quantised_model.scales()
    found = operations(program)
    for name, linear, norm in (("1.q", second.q, first.norm2), ("0.hidden", first.ffn1, first.norm1)):
        op, x, y = found[name], program.tensors[found[name].x], scales[name]
        assert (norm.weight < 0).any() and (norm.weight > 0).any()
        step = op.mult / 2**op.shift * y / scales[op.x]  # of a weight code, for each channel
        weight = (linear.weight * norm.weight).detach().numpy()
        assert np.abs(op.weight * step[:, None] - weight).max() < 0.02 * np.abs(weight).max()
        bias = (linear.bias + linear.weight @ norm.bias).detach().numpy()
        zero = program.tensors[name].zero_point
        assert (op.offset - 2 ** (op.shift - 1)) / 2**op.shift == pytest.approx(bias / y + zero, abs=1e-3)
        assert x.scale[0] == 2.0 ** round(np.log2(x.scale[0]))
    op, y = found["1.attention_sum"], scales["1.attention_sum"]
    gain, bias = first.norm2.weight.detach().numpy(), (second.o.bias + first.norm2.bias).detach().numpy()
    residual = op.residual_mult / 2.0 ** (op.shift - op.residual_shift)
    assert residual == pytest.approx(gain * scales["0.output"] / y, rel=1e-3)
    assert (op.offset - 2 ** (op.shift - 1)) / 2**op.shift == pytest.approx(bias / y, abs=1e-3)
    head = model.head
    bias = (head.bias + head.weight @ second.norm2.bias).detach().numpy()
    assert found["forecast"].offset * program.output.scale == pytest.approx(bias, abs=1e-3)


def test_the_score_multiplier_holds_the_width_of_one_head():
    config = SHAPES["two-heads"]
    model = quantised(config, WIDTHS["8-bit"])
    program, scales = lower(model), model.scales()
    op = operations(program)["0.scores"]
    expected = scales["0.q"] * scales["0.k"] / scales["0.scores"] / np.sqrt(config.d_model / config.heads)
    assert op.mult / 2**op.shift == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads_lower_and_agree(heads):
    config = ModelConfig(window=4, d_model=8, heads=heads)
    model, x = quantised(config, WIDTHS["4-bit"]), windows(config)
    program = lower(model)
    results = reference.run(program, program.input.codes(x.numpy()))
    assert (model.trace(x)["forecast"].numpy() == results).all()


def test_the_position_table_is_a_constant_of_the_input_width():
    program = lower(quantised(SHAPES["one-layer"], MIXED))
    codes = program.constants["position"]
    assert program.tensors["position"].values(codes) == pytest.approx(
        encoder(SHAPES["one-layer"]).position.numpy(), abs=0.5 / 63
    )
    assert codes.max() == 63


def test_the_rounding_half_is_in_every_offset():
    model = encoder(SHAPES["one-layer"])
    with torch.no_grad():
        model.layers[0].q.bias.zero_()
    op = operations(lower(QuantisedEncoder(model, WIDTHS["8-bit"], windows(model.config))))["0.q"]
    assert (op.offset == 2 ** (op.shift - 1)).all()


def test_metadata_is_carried_and_changes_no_integer():
    model = quantised(SHAPES["one-layer"], WIDTHS["8-bit"])
    program = lower(model, {"unit": "vehicles"})
    assert program.metadata == {"unit": "vehicles"}
    assert program.digest == lower(model).digest


def test_weights_that_are_not_finite_are_refused():
    model = quantised(SHAPES["one-layer"], QuantConfig(bits=8))
    with torch.no_grad():
        model.log_scale[2] = float("nan")
    with pytest.raises(OverflowError, match="requantise: the ratio nan is above the limit 8191.94 of 18 bits"):
        lower(model)

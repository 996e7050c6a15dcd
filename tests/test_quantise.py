import math

import numpy as np
import pytest
import torch
from small import MIXED, SHAPES, WIDTHS, encoder, quantised, windows

from qtlib import integer
from qtlib.calibrate import calibrate, calibrate_channels, calibrate_gain, largest_scale, rounded
from qtlib.config import ModelConfig, QuantConfig
from qtlib.lower import lower
from qtlib.model import merge_heads, split_heads
from qtlib.program import MULT_BITS, code_range
from qtlib.quantise import (
    MULT_TOP,
    AttentionCodes,
    LayerNormCodes,
    LayerNormPlan,
    LinearCodes,
    QuantisedEncoder,
    QuantiseInput,
    ScaledWeight,
    choose_residual_shift,
    exponential_table,
    fold,
)


@pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_every_tensor_of_the_quantised_forward_equals_the_integer_reference(config, quant):
    model, x = quantised(config, quant), windows(config)
    program = lower(model)
    reference, found = integer.trace(program, program.input.codes(x.numpy())), model.trace(x)
    assert set(found) == set(reference)
    for name, expected in reference.items():
        assert (found[name].numpy() == expected).all(), name


def test_the_equality_test_reaches_saturation_and_varied_codes():
    config = SHAPES["two-layers-three-outputs"]
    model, x = quantised(config, WIDTHS["4-bit"]), windows(config)
    kept = model.trace(x)
    for name, bits in model.bits.items():
        low, high = code_range(bits)
        at_ends = ((kept[name] == low) | (kept[name] == high)).float().mean().item()
        assert (0 if "context" in name else 1e-9) <= at_ends < (0.9 if "hidden" in name else 0.5), name
        assert len(kept[name].unique()) > 5, name


def test_equality_holds_after_training_steps():
    config = SHAPES["two-heads"]
    model, x = quantised(config, MIXED), windows(config)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-2)
    before = [p.clone() for p in model.parameters() if p.requires_grad]
    model.train()
    for _ in range(10):
        optimiser.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimiser.step()
    assert sum(not torch.equal(a, b) for a, b in zip(before, model.parameters())) == len(before)
    program = lower(model)
    results = integer.run(program, program.input.codes(x.numpy()))
    assert (model.trace(x)["forecast"].numpy() == results).all()
    assert (integer.predict(program, x.numpy()).astype(np.float32) == model.eval()(x).detach().numpy()).all()


@pytest.mark.parametrize("shape", ["two-heads", "two-layers-layer-norm"])
def test_a_narrower_model_has_the_weights_of_the_wider_one_it_starts_from(shape):
    config = SHAPES[shape]
    wide, x = quantised(config, QuantConfig(bits=8)), windows(config, 32)
    same, narrow = (QuantisedEncoder(wide, QuantConfig(bits=bits), x) for bits in (8, 4))
    for name in ("bias", "residual_gain", "position"):
        assert torch.equal(getattr(narrow, name), getattr(wide, name))
    assert all(torch.equal(a, b) for a, b in zip(narrow.weight, wide.weight, strict=True))
    # Calibrated again on what the wide model computes, the same widths give nearly the same forecasts.
    error = {bits: (model.eval()(x) - wide(x)).std() for bits, model in ((8, same), (4, narrow))}
    assert error[8] < 0.1 * wide(x).std()
    assert error[8] < error[4] < wide(x).std()
    program = lower(narrow)
    assert (narrow.trace(x)["forecast"].numpy() == integer.run(program, program.input.codes(x.numpy()))).all()


def test_eight_bits_stay_close_to_the_float_model_and_two_bits_do_not():
    config = SHAPES["two-layers-three-outputs"]
    real = encoder(config)(windows(config))
    error = {
        bits: (
            QuantisedEncoder(encoder(config), QuantConfig(bits=bits), windows(config, 32))(windows(config)) - real
        ).std()
        for bits in (2, 8)
    }
    assert error[8] < 0.1 * real.std()
    assert error[2] > 3 * error[8]


def scaled_weight(weight, top, scale=1.0, ratio=1.0):
    rows = len(weight)
    vectors = [torch.full((rows,), value, dtype=torch.float64) for value in (scale, ratio)]
    return ScaledWeight.apply(weight, *vectors, torch.full((rows, 1), float(top)))


@pytest.mark.parametrize(("value", "code"), [(2.5, 3), (1.5, 2), (0.5, 1), (-0.5, 0), (-1.5, -1), (-2.5, -2)])
def test_training_rounds_half_up_and_not_to_even(value, code):
    one = torch.ones((), dtype=torch.float64)
    assert rounded(torch.tensor(value)) == code
    assert QuantiseInput.apply(torch.tensor([value]), one, -8, 7) == code
    assert scaled_weight(torch.tensor([[value]]), 7)[1] == code


def test_weight_codes_are_symmetric():
    assert scaled_weight(torch.tensor([[-9.0, 9.0]]), 7)[1].tolist() == [[-7.0, 7.0]]


def with_ratio(ratio, bits=8):
    """The plan of a layer one step of whose accumulator is `ratio` codes of its result."""
    model = quantised(SHAPES["one-layer"], QuantConfig(bits=bits))
    with torch.no_grad():
        place = next(w.channels for w in model.wires if w.y == "0.hidden")
        scales = model.scales()
        model.weight_log_scale[place] = math.log(ratio * scales["0.hidden"] / scales["0.attention"])
    return model.plan()["0.hidden"]


@pytest.mark.parametrize("ratio", [3e-6, 0.0123, 0.99, 1.0, 77.7, 8191.0])
def test_the_relative_error_of_a_multiplier_is_below_2_to_the_minus_14(ratio):
    plan = with_ratio(ratio)
    assert plan.mult.abs().max() <= MULT_TOP
    assert (plan.mult == plan.mult.round()).all()
    bound = max(2.0**-14, 0.5 / (ratio * 2**24))  # below, the largest shift decides
    assert ((plan.mult / 2**plan.shift / ratio - 1).abs() <= bound + 1e-6).all()


def test_a_ratio_that_does_not_fit_is_an_error():
    with pytest.raises(OverflowError, match=r"requantise: the ratio 9000 is above the limit 8191.94 of 18 bits"):
        with_ratio(9000.0)


def test_a_norm_is_folded_into_the_layer_in_front_of_it_and_a_negative_gain_keeps_its_sign():
    model = encoder(SHAPES["one-layer"])
    layer = model.layers[0]
    folded = {part.y: part for part in fold(model)}["0.attention"]
    context, stream = torch.randn(2, 6, 8), torch.randn(2, 6, 8)
    expected = layer.norm1((stream + layer.o(context)).flatten(0, 1)).view_as(stream)
    found = context @ folded.weight.T + folded.bias + stream * folded.gain
    assert torch.allclose(found, expected, atol=1e-5)
    assert ((folded.gain < 0) == (layer.norm1.weight < 0)).all() and (folded.gain < 0).any()


def test_no_multiplier_of_a_dead_channel_is_rounded_to_zero():
    model = encoder(SHAPES["one-layer"])
    with torch.no_grad():
        model.layers[0].ffn1.weight[3] *= 1e-9
    quantised_model = QuantisedEncoder(model, QuantConfig(bits=8), windows(model.config))
    mult = quantised_model.plan()["0.hidden"].mult
    assert mult.abs().min() >= mult.abs().max() / 65 > 0


def test_dead_channels_are_counted():
    model = encoder(SHAPES["one-layer"])
    with torch.no_grad():
        model.layers[0].ffn1.weight[3:5] = 0
    quantised_model = QuantisedEncoder(model, QuantConfig(bits=8), windows(model.config))
    assert quantised_model.dead_channels() == 2
    assert torch.isfinite(quantised_model.train()(windows(model.config))).all()


def test_a_collapsed_scale_is_an_error_that_names_the_tensor():
    model = quantised(SHAPES["one-layer"], WIDTHS["8-bit"])
    with torch.no_grad():
        model.log_scale[list(model.bits).index("0.k")] = -40
    with pytest.raises(OverflowError, match=r"0.k: requantise: the ratio .* is above the limit"):
        model.plan()


def test_the_zero_point_of_hidden_features_is_folded_exactly():
    model = quantised(SHAPES["one-layer"], WIDTHS["4-bit"])
    plan, x = model.plan()["0.output"], torch.randint(-8, 8, (5, 32)).double()
    bare = plan.offset - 8 * plan.weight.double().sum(1) * plan.mult  # of codes that count from 0
    assert torch.equal(
        (x @ plan.weight.double().T) * plan.mult + plan.offset, ((x + 8) @ plan.weight.double().T) * plan.mult + bare
    )
    real = (bare / 2.0**plan.shift - 0.5) * model.scales()["0.output"]  # the bias, rounded to a fraction of a code
    place = {w.y: w.channels for w in model.wires}["0.output"]
    assert (real - model.bias[place]).abs().max() <= 0.5 * 2.0**-plan.shift * model.scales()["0.output"] + 1e-6


def test_the_residual_multiplier_fits_and_keeps_fifteen_bits():
    for largest in (0.01, 0.9, 1.0, 3.7, 100.0):
        behind = choose_residual_shift(largest, 16)
        assert behind % 4 == 0
        assert largest * 2 ** (16 - behind) <= MULT_TOP
        assert behind == 0 or largest * 2 ** (16 - behind + 4) > MULT_TOP


def test_a_residual_that_does_not_fit_is_an_error():
    with pytest.raises(
        OverflowError, match=r"quantise: the residual ratio 200000 is above the limit 131071 of 18 bits"
    ):
        choose_residual_shift(200_000.0, 16)


def test_the_exponential_table_is_at_the_scale_of_the_scores():
    model, x = quantised(SHAPES["two-heads"], WIDTHS["8-bit"]), windows(SHAPES["two-heads"])
    kept, scale = model.trace(x), model.scales()["0.scores"]
    scores = kept["0.scores"] * scale
    expected = (scores - scores.amax(-1, keepdim=True)).exp()
    assert (kept["0.exponentials"] / 255 - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_the_exponential_table_starts_full_falls_and_rounds_half_up():
    table = exponential_table(math.log(2), 4, 16).tolist()
    assert table[:6] == [15, 8, 4, 2, 1, 0]  # 15, 7.5, 3.75, 1.875, 0.94, 0.47
    assert table == sorted(table, reverse=True)


def _straight_through(exact, real):
    return real + (exact - real).detach()


def _saturated(real, low, high):
    return _straight_through(torch.floor(real.detach() + 0.5).clamp(low, high), real.clamp(low - 0.5, high + 0.5))


def test_gradients_of_a_linear_layer_are_those_of_the_real_expression():
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-8, 8, (4, 5, 6), generator=generator).double()
    weight = torch.randint(-7, 8, (3, 6), generator=generator).double()
    residual = torch.randint(-8, 8, (4, 5, 3), generator=generator).double()
    bias, gain = (torch.rand(3, generator=generator).double() * 0.1 + 0.02 for _ in range(2))
    upstream = torch.randn(4, 5, 3, generator=generator).double()

    def gradients(function):
        leaves = [t.clone().requires_grad_() for t in (x, weight * 0.07, bias, residual, gain)]
        y = function(*leaves)
        y.backward(upstream.to(y.dtype))
        return [y.detach().double(), *(leaf.grad for leaf in leaves)]

    def reference(x, weight, bias, residual, gain):
        return _saturated(x @ weight.T + residual * gain + bias, -4, 3)

    def tested(*leaves):
        return LinearCodes.apply(*(t.float() for t in leaves), -4, 3)[0]

    expected, found = gradients(reference), gradients(tested)
    assert 0.1 < (expected[0].abs() > 2).double().mean() < 0.9
    for a, b in zip(expected, found):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_gradients_of_a_weight_are_those_of_lsq():
    weight = torch.tensor([[0.3, 2.6, 40.0, -40.0]], requires_grad=True)
    scale = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    scaled_codes, _ = ScaledWeight.apply(weight, scale, scale * 0.5, torch.tensor([[7.0]]))
    scaled_codes.sum().backward()
    assert weight.grad.tolist() == [[0.5, 0.5, 0.0, 0.0]]
    expected = 0.5 * ((0 - 0.3) + (3 - 2.6) + 7 - 7)  # code - weight/scale inside, the end outside (LSQ, eq. 3)
    assert scale.grad.item() == pytest.approx(expected, abs=1e-6)


def test_gradients_of_attention_are_those_of_the_real_expression():
    model = quantised(SHAPES["two-heads"], WIDTHS["8-bit"])
    plan, heads = model.plan()["0.context"], 2
    low, high = code_range(8)
    kept = model.trace(windows(model.config))
    leaves = [kept[f"0.{name}"].double() for name in "qkv"] + [plan.ratio.detach(), plan.score_scale.detach()]
    upstream = torch.randn(leaves[0].shape, generator=torch.Generator().manual_seed(2)).double()

    def gradients(function):
        inputs = [t.clone().requires_grad_() for t in leaves]
        y = function(*inputs)
        y.backward(upstream.to(y.dtype))
        return [y.detach().double(), *(t.grad for t in inputs)]

    def reference(q, k, v, ratio, scale):
        q, k, v = (split_heads(t, heads) for t in (q, k, v))
        scores = _saturated(q @ k.transpose(-1, -2) * ratio, low, high)
        exact = plan.table[(scores.amax(-1, keepdim=True) - scores).detach().long()]
        p = _straight_through(exact / exact.sum(-1, keepdim=True), (scores * scale).softmax(-1))
        return merge_heads(_saturated(p @ v * 2.0**plan.context_gain, low, high))

    def tested(q, k, v, ratio, scale):
        return AttentionCodes.apply(
            q.float(), k.float(), v.float(), ratio, scale, plan, heads, (low, high), (low, high)
        )[0]

    expected, found = gradients(reference), gradients(tested)
    # The rounded multiplier lets a near tie fall to the other side.
    assert (expected[0] != found[0]).double().mean() < 1e-2
    for name, a, b in zip(("q", "k", "v", "ratio", "scale"), expected[1:], found[1:]):
        # The real softmax and the tabulated one differ by half a step of the table.
        assert (a - b).norm() < 0.03 * a.norm(), name


def test_gradients_of_a_layer_norm_are_those_of_the_real_expression():
    plan, low, high = LayerNormPlan(3, 5, 1 << 13, 14), -128, 127
    x = torch.randint(-60, 60, (4, 5, 16), generator=torch.Generator().manual_seed(1)).double()
    x[0, 0] = 7.0  # equal features and nearly equal ones: below the limit of the root
    x[0, 1] = torch.tensor([1.0] + [0.0] * 15)
    x[1, 1, 0] = 127.0
    x[1, 1, 1:] = -20.0  # saturates: 3.87 standard deviations are 123.9, of a few features less
    x[1, 2, 1:] = torch.linspace(-3, 3, 15).round()
    x[1, 2, 0] = 120.0
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    low, high = -64, 63  # a tensor of 7 bits, so that codes saturate

    def gradients(function):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        y.backward(upstream.to(y.dtype))
        return y.detach().double(), leaf.grad

    def reference(x):
        acc = 16 * x - x.sum(-1, keepdim=True)
        variance = 16 * (x * x).sum(-1, keepdim=True) - x.sum(-1, keepdim=True) ** 2
        limited = variance.clamp_min(49.0)  # the root of which is 7, with a gradient of 0 below
        return _saturated(acc * 2.0**plan.gain / limited.sqrt(), low, high)

    expected, found = gradients(reference), gradients(lambda x: LayerNormCodes.apply(x.float(), plan, low, high))
    assert 0.005 < (expected[0].abs() >= 63).double().mean() < 0.5
    assert (expected[0] - found[0]).abs().max() <= 1
    # The whole root and the reciprocal of few bits are off by up to 1 %; where a code of one is at the end, the other's may not be.
    same = (expected[0] == found[0]).all(-1)
    assert same.double().mean() > 0.2 and same[0, 0] and same[0, 1]
    a, b = expected[1][same], found[1][same]
    assert (a - b).norm() < 0.01 * a.norm()
    assert torch.allclose(found[1][0, 1], expected[1][0, 1], rtol=1e-5)  # the limit holds the root: exact


def test_a_layer_norm_passes_no_gradient_along_its_input_and_along_a_constant():
    """Moving or scaling all features of a token changes nothing, so the gradient is orthogonal to both directions."""
    plan = LayerNormPlan(3, 5, 1 << 13, 14)
    x = torch.randint(-60, 60, (50, 1, 16), generator=torch.Generator().manual_seed(3)).float().requires_grad_()
    LayerNormCodes.apply(x, plan, -128, 127).backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(4)))
    assert x.grad.sum(-1).abs().max() < 1e-4
    along = (x.grad * (x - x.mean(-1, keepdim=True))).sum(-1).abs()
    assert (along < 0.02 * (x.grad.norm(dim=-1) * x.norm(dim=-1))).all()  # the whole root is up to 1 / 100 too small


def test_the_scale_of_a_layer_norm_is_the_power_of_two_of_the_least_error():
    real = encoder(SHAPES["layer-norm"]).trace(windows(SHAPES["layer-norm"], 32))["0.attention"]
    model = quantised(SHAPES["layer-norm"], WIDTHS["8-bit"])

    def error(gain):
        return (((real * 2**gain + 0.5).floor().clamp(-128, 127) / 2**gain - real) ** 2).mean()

    best = model.plan()["0.attention"].gain
    assert all(error(best) <= error(other) for other in range(7))
    assert model.scales()["0.attention"] == 2.0**-best


def test_gain_and_bias_of_a_layer_norm_are_folded_into_its_readers():
    model = encoder(SHAPES["two-layers-layer-norm"])
    folded, layer = {part.y: part for part in fold(model)}, model.layers[1]
    z, context = torch.randn(2, 5, 10), torch.randn(2, 5, 10)  # z: the stream without gain and bias
    y = model.layers[0].norm2.weight * z + model.layers[0].norm2.bias
    q, total = folded["1.q"], folded["1.attention_sum"]
    assert torch.allclose(z @ q.weight.T + q.bias, layer.q(y), atol=1e-5)
    assert torch.allclose(context @ total.weight.T + total.bias + z * total.gain, layer.o(context) + y, atol=1e-5)


def test_the_gradient_of_a_scale_is_that_of_lsq():
    value = torch.tensor([[0.3, 2.6, 40.0, -40.0]])
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (QuantiseInput.apply(value, scale, -8, 7) * scale).sum().backward()
    expected = (0 - 0.3) + (3 - 2.6) + 7 - 8  # code - value/scale inside, the end outside (LSQ, eq. 3)
    assert scale.grad.item() == pytest.approx(expected, abs=1e-6)


def test_training_moves_the_scales_and_leaves_the_running_statistics():
    real = encoder(SHAPES["one-layer"])
    before = {name: value.clone() for name, value in real.state_dict().items()}
    model = QuantisedEncoder(real, WIDTHS["4-bit"], windows(real.config, 32)).train()
    started = [p.clone() for p in model.parameters()]
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    (model(windows(model.config)) - 1).square().mean().backward()
    optimiser.step()
    assert all(torch.equal(before[name], value) for name, value in real.state_dict().items())
    assert all((a != b).any() for a, b in zip(started, model.parameters()))
    assert (model.log_scale != started[[n for n, _ in model.named_parameters()].index("log_scale")]).all()


@pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)
def test_a_training_step_computes_what_evaluation_computes_but_for_ties(quant):
    config = SHAPES["two-layers-three-outputs"]
    model, x = quantised(config, quant), windows(config, 256)
    trained, exact = model.train()(x).detach(), model.eval()(x)
    assert ((trained - exact).abs() > 1e-3 * exact.std()).float().mean() < 0.05
    assert (trained - exact).abs().max() < 0.2 * exact.std()


def test_widths_of_single_tensors_and_weights_reach_the_program():
    config = SHAPES["two-layers-three-outputs"]
    quant = QuantConfig(bits=4, overrides=(("1.hidden", 6), ("0.k", 7), ("0.k.weight", 3), ("forecast.weight", 5)))
    model, x = quantised(config, quant), windows(config)
    program = lower(model)
    assert {name: program.tensors[name].bits for name in ("1.hidden", "0.k", "0.hidden")} == {
        "1.hidden": 6,
        "0.k": 7,
        "0.hidden": 4,
    }
    assert [op.weight_bits for op in program.operations if op.y in ("0.k", "0.v", "forecast")] == [3, 4, 5]
    assert (integer.run(program, program.input.codes(x.numpy())) == model.trace(x)["forecast"].numpy()).all()
    assert torch.isfinite(model.train()(x)).all()


def test_an_override_of_a_tensor_that_does_not_exist_names_those_that_do():
    with pytest.raises(
        ValueError, match=r"overrides name '1.hidden'; this model has input, embed, 0.q, .*forecast.weight"
    ):
        quantised(SHAPES["one-layer"], QuantConfig(overrides=(("1.hidden", 4),)))


def test_min_max_scales_are_those_of_the_largest_values_and_follow_them():
    model, x = quantised(SHAPES["one-layer"], QuantConfig(bits=4, scheme="minmax")), windows(SHAPES["one-layer"])
    plan = model.plan()["0.q"]
    assert plan.weight.abs().max() == 7 and len(plan.mult.unique()) == 1  # one scale for the layer
    before = model.scales()
    for _ in range(200):
        model.train()(2 * x)
    assert model.scales()["input"] == pytest.approx(2 * x.abs().max().item() / 127, rel=0.1) != before["input"]
    program = lower(model)
    assert (integer.run(program, program.input.codes(x.numpy())) == model.trace(x)["forecast"].numpy()).all()


def test_the_largest_value_just_fits_the_min_max_scale():
    assert largest_scale(torch.tensor([-3.0, 2.0]), 3) == 1.0
    assert largest_scale(torch.tensor([0.0, 14.0]), 3, signed=False) == 2.0


def test_calibration_beats_the_largest_value_as_scale_on_heavy_tails():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5000, generator=generator) ** 3
    found = calibrate(values, 4)

    def error(scale):
        return (((values / scale + 0.5).floor().clamp(-8, 7) * scale - values) ** 2).mean()

    assert error(found) < 0.7 * error(values.abs().max() / 7)


def test_calibration_of_a_tensor_of_zeros_gives_a_usable_scale():
    assert calibrate(torch.zeros(10), 8) > 0
    assert (calibrate_channels(torch.zeros(2, 3), 8) > 0).all()


def test_unsigned_calibration_uses_the_codes_of_both_signs():
    values = torch.linspace(0, 15, 1000)
    assert calibrate(values, 4, signed=False) == pytest.approx(1.0, rel=0.1)


def test_the_context_is_stored_finer_than_v_when_a_mean_is_smaller_than_its_terms():
    generator = torch.Generator().manual_seed(0)
    assert calibrate_gain(torch.randn(1000, generator=generator), 1 / 40, 8) == 0
    assert calibrate_gain(torch.randn(1000, generator=generator) / 8, 1 / 40, 8) == 3


def test_the_limit_of_a_multiplier_is_the_narrow_port_of_the_multiplier_block():
    assert (MULT_BITS, MULT_TOP) == (18, 2**17 - 1)


def test_a_model_that_the_accumulator_cannot_hold_is_refused_with_the_width_it_needs():
    config = ModelConfig(window=2, d_model=4, ffn=4096)
    model = encoder(config)
    with torch.no_grad():
        model.layers[0].ffn2.weight.fill_(0.5)
    with pytest.raises(
        OverflowError, match=r"program: 0.output: sums span \[-\d+, \d+\], which needs 2\d bits; the acc"
    ):
        lower(QuantisedEncoder(model, QuantConfig(bits=8), windows(config)))

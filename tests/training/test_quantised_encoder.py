"""The quantised model computes what its program computes, before, while and after it is trained."""

import math

import numpy as np
import pytest
import torch

from qtlib.config import ModelConfig, QuantConfig
from qtlib.program import reference
from qtlib.program.codes import code_range
from qtlib.training.integer_plan import MULT_TOP
from qtlib.training.lowering import lower
from qtlib.training.quantised_encoder import QuantisedEncoder
from qtlib.training.random_models import MIXED, SHAPES, WIDTHS, encoder, quantised, windows


@pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_every_tensor_of_the_quantised_forward_equals_the_integer_reference(config, quant):
    model, x = quantised(config, quant), windows(config)
    program = lower(model)
    computed, found = reference.trace(program, program.input.codes(x.numpy())), model.trace(x)
    assert set(found) == set(computed)
    for name, expected in computed.items():
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
    assert sum(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)) == len(before)
    program = lower(model)
    results = reference.run(program, program.input.codes(x.numpy()))
    assert (model.trace(x)["forecast"].numpy() == results).all()
    assert (reference.predict(program, x.numpy()).astype(np.float32) == model.eval()(x).detach().numpy()).all()


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
    assert (narrow.trace(x)["forecast"].numpy() == reference.run(program, program.input.codes(x.numpy()))).all()


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


def with_ratio(ratio, bits=8):
    """The plan of a layer one step of whose accumulator is `ratio` codes of its result."""
    model = quantised(SHAPES["one-layer"], QuantConfig(bits=bits))
    with torch.no_grad():
        place = next(w.channels for w in model.wires if w.y == "0.hidden")
        scales = model.scales()
        model.weight_log_scale[place] = math.log(ratio * scales["0.hidden"] / scales["0.attention"])
    return model.plan().linear["0.hidden"]


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


def test_no_multiplier_of_a_dead_channel_is_rounded_to_zero():
    model = encoder(SHAPES["one-layer"])
    with torch.no_grad():
        model.layers[0].ffn1.weight[3] *= 1e-9
    quantised_model = QuantisedEncoder(model, QuantConfig(bits=8), windows(model.config))
    mult = quantised_model.plan().linear["0.hidden"].mult
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
    plan, x = model.plan().linear["0.output"], torch.randint(-8, 8, (5, 32)).double()
    bare = plan.offset - 8 * plan.weight.double().sum(1) * plan.mult  # of codes that count from 0
    assert torch.equal(
        (x @ plan.weight.double().T) * plan.mult + plan.offset, ((x + 8) @ plan.weight.double().T) * plan.mult + bare
    )
    real = (bare / 2.0**plan.shift - 0.5) * model.scales()["0.output"]  # the bias, rounded to a fraction of a code
    place = {w.y: w.channels for w in model.wires}["0.output"]
    assert (real - model.bias[place]).abs().max() <= 0.5 * 2.0**-plan.shift * model.scales()["0.output"] + 1e-6


def test_the_scale_of_a_layer_norm_is_the_power_of_two_of_the_least_error():
    real = encoder(SHAPES["layer-norm"]).trace(windows(SHAPES["layer-norm"], 32))["0.attention"]
    model = quantised(SHAPES["layer-norm"], WIDTHS["8-bit"])

    def error(gain):
        return (((real * 2**gain + 0.5).floor().clamp(-128, 127) / 2**gain - real) ** 2).mean()

    best = model.plan().norms["0.attention"].gain
    assert all(error(best) <= error(other) for other in range(7))
    assert model.scales()["0.attention"] == 2.0**-best


def test_training_moves_the_scales_and_leaves_the_running_statistics():
    real = encoder(SHAPES["one-layer"])
    before = {name: value.clone() for name, value in real.state_dict().items()}
    model = QuantisedEncoder(real, WIDTHS["4-bit"], windows(real.config, 32)).train()
    started = [p.clone() for p in model.parameters()]
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    (model(windows(model.config)) - 1).square().mean().backward()
    optimiser.step()
    assert all(torch.equal(before[name], value) for name, value in real.state_dict().items())
    assert all((a != b).any() for a, b in zip(started, model.parameters(), strict=True))
    assert (model.log_scale != started[[n for n, _ in model.named_parameters()].index("log_scale")]).all()


@pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)
def test_a_training_step_computes_what_evaluation_computes_but_for_ties(quant):
    config = SHAPES["two-layers-three-outputs"]
    model, x = quantised(config, quant), windows(config, 256)
    trained, exact = model.train()(x).detach(), model.eval()(x)
    assert ((trained - exact).abs() > 1e-3 * exact.std()).float().mean() < 0.05
    assert (trained - exact).abs().max() < 0.2 * exact.std()


def test_min_max_scales_are_those_of_the_largest_values_and_follow_them():
    model, x = quantised(SHAPES["one-layer"], QuantConfig(bits=4, scheme="minmax")), windows(SHAPES["one-layer"])
    plan = model.plan().linear["0.q"]
    assert plan.weight.abs().max() == 7 and len(plan.mult.unique()) == 1  # one scale for the layer
    before = model.scales()
    for _ in range(200):
        model.train()(2 * x)
    assert model.scales()["input"] == pytest.approx(2 * x.abs().max().item() / 127, rel=0.1) != before["input"]
    program = lower(model)
    assert (reference.run(program, program.input.codes(x.numpy())) == model.trace(x)["forecast"].numpy()).all()


def test_a_model_that_the_accumulator_cannot_hold_is_refused_with_the_width_it_needs():
    config = ModelConfig(window=2, d_model=4, ffn=4096)
    model = encoder(config)
    with torch.no_grad():
        model.layers[0].ffn2.weight.fill_(0.5)
    with pytest.raises(
        OverflowError, match=r"program: 0.output: sums span \[-\d+, \d+\], which needs 2\d bits; the acc"
    ):
        lower(QuantisedEncoder(model, QuantConfig(bits=8), windows(config)))

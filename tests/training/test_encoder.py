import math

import pytest
import torch

from qtlib.config import ModelConfig
from qtlib.training.encoder import Encoder, parameter_count, sinusoidal_position
from qtlib.training.random_models import SHAPES, encoder, windows


@pytest.mark.parametrize("m", [1, 7])
@pytest.mark.parametrize("d", [8, 16, 64])
def test_the_published_shape_has_the_published_number_of_parameters(d, m):
    assert parameter_count(Encoder(ModelConfig(d_model=d, features=m))) == 12 * d * d + (15 + m) * d + 1


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_config_counts_the_parameters_of_every_shape(config):
    assert parameter_count(Encoder(config)) == config.parameters


@pytest.mark.parametrize("d", [1, 5, 6])
def test_positions_are_sines_and_cosines_of_the_published_frequencies(d):
    table = sinusoidal_position(9, d)
    assert table.shape == (9, d)
    for t in range(9):
        for i in range(d):
            angle = t / 10_000 ** ((i - i % 2) / d)
            assert table[t, i].item() == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=1e-6)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_encoder_equals_pytorchs_own_attention_and_norms(config):
    model, x = encoder(config), windows(config)

    def normed(norm, x):
        return norm(x) if config.norm == "layer" else norm(x.transpose(1, 2)).transpose(1, 2)

    stream = model.embed(x) + model.position
    for layer in model.layers:
        attention = torch.nn.MultiheadAttention(config.d_model, config.heads, batch_first=True)
        attention.in_proj_weight.data = torch.cat([layer.q.weight, layer.k.weight, layer.v.weight])
        attention.in_proj_bias.data = torch.cat([layer.q.bias, layer.k.bias, layer.v.bias])
        attention.out_proj.weight.data, attention.out_proj.bias.data = layer.o.weight, layer.o.bias
        stream = normed(layer.norm1, stream + attention(stream, stream, stream)[0])
        block = layer.ffn2(torch.relu(layer.ffn1(stream)))
        stream = normed(layer.norm2, stream + block)
    expected = model.head(stream.sum(1) / config.window)
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_pooling_divides_by_the_tokens_and_not_by_the_features():
    model = encoder(ModelConfig(window=5, d_model=8))
    kept = model.trace(windows(model.config))
    assert torch.allclose(kept["pooled"], kept["0.output"].sum(1) / 5)


def test_batch_norm_learns_statistics_over_batch_and_tokens_for_each_feature():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # an unlucky start has features so small that the norm's epsilon shows
        model = Encoder(ModelConfig(window=6, d_model=8)).train()
    x, kept = windows(model.config), {}
    model(x, kept)
    assert torch.allclose(kept["0.attention"].mean((0, 1)), torch.zeros(8), atol=1e-5)
    assert torch.allclose(kept["0.attention"].var((0, 1)), torch.ones(8), atol=1e-2)


def test_behind_a_layer_norm_the_named_tensor_is_the_one_without_gain_and_bias():
    config = SHAPES["two-layers-layer-norm"]
    model = encoder(config)
    kept = model.trace(windows(config))
    for name in ("0.attention", "0.output", "1.attention", "1.output"):
        assert torch.allclose(kept[name].mean(-1), torch.zeros(()), atol=1e-5)
        assert torch.allclose(kept[name].var(-1, unbiased=False), torch.ones(()), atol=1e-2)
    norm = model.layers[1].norm2
    assert torch.allclose(norm(kept["1.output_sum"]), kept["1.output"] * norm.weight + norm.bias, atol=1e-5)
    assert torch.allclose(kept["forecast"], model.head(kept["pooled"] * norm.weight + norm.bias), atol=1e-5)


def test_both_norms_have_the_same_number_of_parameters():
    counts = {parameter_count(Encoder(ModelConfig(d_model=16, norm=norm))) for norm in ("batch", "layer")}
    assert len(counts) == 1


def test_positions_make_the_order_of_tokens_matter():
    model, x = encoder(SHAPES["one-layer"]), windows(SHAPES["one-layer"])
    assert not torch.allclose(model(x), model(x.flip(1)), atol=1e-4)


def test_an_input_of_another_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"encoder: the input has shape \(2, 6, 3\), expected \[batch, 6, 1\]"):
        encoder(SHAPES["one-layer"])(torch.zeros(2, 6, 3))

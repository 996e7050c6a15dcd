"""Norms disappear in the layers beside them and nothing is lost."""

import torch

from qtlib.training.norm_folding import fold
from qtlib.training.random_models import SHAPES, encoder


def test_a_norm_is_folded_into_the_layer_in_front_of_it_and_a_negative_gain_keeps_its_sign():
    model = encoder(SHAPES["one-layer"])
    layer = model.layers[0]
    folded = {part.y: part for part in fold(model)}["0.attention"]
    context, stream = torch.randn(2, 6, 8), torch.randn(2, 6, 8)
    expected = layer.norm1((stream + layer.o(context)).flatten(0, 1)).view_as(stream)
    found = context @ folded.weight.T + folded.bias + stream * folded.gain
    assert torch.allclose(found, expected, atol=1e-5)
    assert ((folded.gain < 0) == (layer.norm1.weight < 0)).all() and (folded.gain < 0).any()


def test_gain_and_bias_of_a_layer_norm_are_folded_into_its_readers():
    model = encoder(SHAPES["two-layers-layer-norm"])
    folded, layer = {part.y: part for part in fold(model)}, model.layers[1]
    z, context = torch.randn(2, 5, 10), torch.randn(2, 5, 10)  # z: the stream without gain and bias
    y = model.layers[0].norm2.weight * z + model.layers[0].norm2.bias
    q, total = folded["1.q"], folded["1.attention_sum"]
    assert torch.allclose(z @ q.weight.T + q.bias, layer.q(y), atol=1e-5)
    assert torch.allclose(context @ total.weight.T + total.bias + z * total.gain, layer.o(context) + y, atol=1e-5)

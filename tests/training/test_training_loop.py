"""One training keeps its best epoch, and a number that is not finite is named."""

import pytest
import torch
from waves import FLOAT, SHORT

from qtlib.training import training_loop
from qtlib.training.encoder import Encoder


def test_weights_that_overflow_are_named(windows):
    model = Encoder(FLOAT.model)
    with torch.no_grad():
        model.layers[0].ffn1.weight.fill_(3e38)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.from_numpy(windows.train.x[:8]), torch.from_numpy(windows.train.y[:8])
    with pytest.raises(FloatingPointError, match=r"^train: the loss is nan at epoch 2, step 5; not finite: 0\.hidden$"):
        training_loop.step(model, optimiser, x, y, "epoch 2, step 5")


def test_a_gradient_that_is_not_finite_is_named(windows):
    model = Encoder(FLOAT.model)
    model.head.bias.register_hook(lambda gradient: gradient * float("inf"))
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.from_numpy(windows.train.x[:8]), torch.from_numpy(windows.train.y[:8])
    with pytest.raises(FloatingPointError, match=r"^train: the gradient norm is inf at here; not finite: head\.bias$"):
        training_loop.step(model, optimiser, x, y, "here")


def test_the_weights_of_the_best_epoch_are_left_in_the_model_even_if_later_ones_are_worse(windows):
    model = Encoder(FLOAT.model)
    found, seen = iter([3.0, 1.0, 2.0, 2.5]), []

    def validate():
        seen.append(model.head.weight.detach().clone())
        return next(found)

    training_loop.fit(model, windows.train, SHORT, 3, 1e-2, validate, lambda *epoch: None)
    assert torch.equal(model.head.weight, seen[1]) and not torch.equal(seen[1], seen[3])

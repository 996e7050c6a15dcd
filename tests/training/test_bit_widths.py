"""Widths of single tensors and weights."""

import pytest
import torch

from qtlib.config import QuantConfig
from qtlib.program import reference
from qtlib.training.lowering import lower
from qtlib.training.random_models import SHAPES, quantised, windows


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
    assert (reference.run(program, program.input.codes(x.numpy())) == model.trace(x)["forecast"].numpy()).all()
    assert torch.isfinite(model.train()(x)).all()


def test_an_override_of_a_tensor_that_does_not_exist_names_those_that_do():
    with pytest.raises(
        ValueError, match=r"overrides name '1.hidden'; this model has input, embed, 0.q, .*forecast.weight"
    ):
        quantised(SHAPES["one-layer"], QuantConfig(overrides=(("1.hidden", 4),)))

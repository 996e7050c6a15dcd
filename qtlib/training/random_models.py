"""Models and programs with seeded random weights, whose norms are far from identity: what is counted and checked without training."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from qtlib.config import ModelConfig, QuantConfig
from qtlib.program.program import Program
from qtlib.training.encoder import Encoder
from qtlib.training.lowering import lower
from qtlib.training.quantised_encoder import QuantisedEncoder

SHAPES = {
    "one-layer": ModelConfig(window=6, d_model=8),
    "two-heads": ModelConfig(window=5, features=3, d_model=8, heads=2),
    "two-layers-three-outputs": ModelConfig(window=7, features=2, outputs=3, d_model=6, heads=3, layers=2, ffn=10),
    "layer-norm": ModelConfig(window=6, features=2, d_model=7, norm="layer"),
    "two-layers-layer-norm": ModelConfig(window=5, outputs=2, d_model=10, heads=2, layers=2, ffn=9, norm="layer"),
}
MIXED = QuantConfig(bits=5, weight_bits=4, input_bits=7, residual_bits=8, softmax_bits=6, head_bits=3, norm_bits=7)
WIDTHS = {"8-bit": QuantConfig(bits=8), "4-bit": QuantConfig(bits=4), "2-bit": QuantConfig(bits=2), "mixed": MIXED}


def windows(config: ModelConfig, count: int = 64, seed: int = 0) -> torch.Tensor:
    """[count, n, m] values that reach beyond the calibrated range."""
    return 1.5 * torch.randn(count, config.window, config.features, generator=torch.Generator().manual_seed(seed))


def encoder(config: ModelConfig, seed: int = 0) -> Encoder:
    """An encoder whose norms are far from identity and include negative gains."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Encoder(config)
        for layer in model.blocks():
            for norm in (layer.norm1, layer.norm2):
                torch.nn.init.normal_(norm.weight)
                torch.nn.init.normal_(norm.bias, std=0.3)
                if isinstance(norm, torch.nn.BatchNorm1d):
                    statistics = dict(norm.named_buffers())
                    statistics["running_mean"].normal_(std=0.3)
                    statistics["running_var"].uniform_(0.3, 2.0)
    return model.eval()


def quantised(config: ModelConfig, quant: QuantConfig, seed: int = 0) -> QuantisedEncoder:
    """A calibrated model in evaluation mode; scales are off their optimum so that tensors saturate now and then."""
    model = QuantisedEncoder(encoder(config, seed), quant, windows(config, 32)).eval()
    with torch.no_grad():
        model.log_scale.sub_(0.2)
    return model


@lru_cache(maxsize=256)
def program(config: ModelConfig = SHAPES["one-layer"], quant: QuantConfig = WIDTHS["8-bit"]) -> Program:
    """A lowered program; made once, because nothing can change it."""
    return lower(quantised(config, quant), {"run_id": "0123456789"})


def codes(prog: Program, count: int = 8, seed: int = 0) -> np.ndarray:
    """Input codes over the whole range, both ends included."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(prog.input.range.low, prog.input.range.high + 1, (count, *prog.input.shape))
    drawn.flat[:2] = prog.input.range
    return drawn

"""Where quantisation-aware training starts: scales with the least squared error on real tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qtlib.program.codes import code_range
from qtlib.training.straight_through import rounded

CLIPPING = torch.logspace(-1.5, 0, 40, dtype=torch.float64)  # fractions of the largest value tried


def calibrate(values: Tensor, bits: int, *, signed: bool = True) -> float:
    """Scale with the least mean squared error of rounding and saturation.

    Args:
        values: real values of a tensor over calibration windows.
        bits: width of its codes.
        signed: whether codes are symmetric about 0; else all of them stand for values from 0 up.
    """
    low, high = code_range(bits, signed)
    flat = values.detach().double().flatten()
    flat = flat[:: max(1, len(flat) // 20_000)]
    largest = flat.abs().max().item() or 1.0
    scales = largest * CLIPPING / high
    errors = [((rounded(flat / s).clamp(low, high) * s - flat) ** 2).mean().item() for s in scales]
    return scales[errors.index(min(errors))].item()


def scale_cost(values: Tensor, scale: float, bits: int) -> dict[str, float]:
    """What a scale costs a tensor: the share of its values that saturate, and the rms error of rounding and saturation together."""
    low, high = code_range(bits)
    codes = rounded(values / scale)
    error = codes.clamp(low, high) * scale - values
    saturated = ((codes < low) | (codes > high)).double().mean()
    return {"scale": scale, "saturated": saturated.item(), "rms error": math.sqrt(error.square().mean().item())}


def calibrate_channels(weight: Tensor, bits: int) -> Tensor:
    """Scale of each output channel with the least squared error, [out] float64; weight: [out, in] real."""
    top = code_range(bits).high
    w = weight.detach().double()
    largest = w.abs().amax(1, keepdim=True).clamp_min(1e-8)
    scales = largest * CLIPPING / top  # [out, candidates]
    codes = rounded(w[:, :, None] / scales[:, None]).clamp(-top, top)
    errors = ((codes * scales[:, None] - w[:, :, None]) ** 2).sum(1)
    return scales.gather(1, errors.argmin(1, keepdim=True))[:, 0]


def calibrate_gain(context: Tensor, scale: float, bits: int, gains: range = range(7)) -> int:
    """Power of two by which context codes should be finer than codes of v: a mean is smaller than its terms.

    Args:
        context: real values of the context over calibration windows.
        scale: that of v.
        bits: width of the context's codes.
        gains: candidates.
    """
    low, high = code_range(bits)
    flat = context.detach().double().flatten()

    def error(gain: int) -> float:
        step = scale * 2.0**-gain
        return ((rounded(flat / step).clamp(low, high) * step - flat) ** 2).mean().item()

    return min(gains, key=error)


def largest_scale(values: Tensor, bits: int, *, signed: bool = True) -> float:
    """Scale at which the largest value just fits: plain min-max, the published baseline (arXiv 2407.11041)."""
    return (values.detach().abs().max().item() or 1.0) / code_range(bits, signed).high

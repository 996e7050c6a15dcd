"""The differentiable steps of quantised training: forward on codes, backward straight through the rounding.

A step rounds in float32, three times as fast as float64: a code within about 1e-5 of a tie may fall to its other side. Gradients
stop where a code saturates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qtlib.program.rounding import RECIPROCAL_BITS
from qtlib.training.encoder import merge_heads, split_heads
from qtlib.training.integer_plan import AttentionPlan, LayerNormPlan


def rounded(x: Tensor) -> Tensor:
    """Nearest integer, half up: the one rounding of the project."""
    return torch.floor(x + 0.5)


def inside(gradient: Tensor, unclamped: Tensor, low: int, high: int) -> Tensor:
    """Gradient where an integer lies in [low, high], 0 where it saturates; several times faster than a Boolean mask."""
    found: Tensor = torch.ops.aten.hardtanh_backward(gradient, unclamped, low - 0.5, high + 0.5)
    return found


class Exactly(torch.autograd.Function):
    """The second argument, with the gradient of the first: a number that stands for its rounded self."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, exact: Tensor) -> Tensor:
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, None


class QuantiseInput(torch.autograd.Function):
    """Codes of real values, as the host makes them; straight-through gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        scaled = x.double() / scale
        codes = rounded(scaled)
        ctx.save_for_backward(scaled, scale, codes)
        ctx.range = low, high
        return codes.clamp(low, high).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled, scale, codes = ctx.saved_tensors
        inner = inside(gradient.double(), codes, *ctx.range) / scale
        return inner.float(), -(inner * scaled).sum(), None, None


class ScaledWeight(torch.autograd.Function):
    """Weight codes times the ratio of their channel; straight-through gradients, those of the scale by LSQ, eq. 3."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, ratio: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
        scaled = weight / scale.float()[:, None]
        codes = torch.minimum(torch.maximum(rounded(scaled), -top), top)  # top: [rows, 1]
        single = ratio.float()[:, None]
        ctx.save_for_backward(scaled, codes, scale, single)
        ctx.mark_non_differentiable(codes)
        return codes * single, codes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled, codes, scale, single = ctx.saved_tensors
        off = codes - scaled  # within half a code, unless the weight saturates
        d_ratio = (gradient * codes).sum(1).double()
        inner = inside(gradient, off, 0, 0) * (single / scale.float()[:, None])
        return inner, -(inner * scaled).sum(1).double(), d_ratio, None


class LinearCodes(torch.autograd.Function):
    """Linear layer on codes whose multipliers are in its weights, rounded and saturated; for training."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        gain: Tensor | None,
        low: int,
        high: int,
    ) -> tuple[Tensor, Tensor]:
        unclamped = torch.addmm(bias, x.flatten(0, 1), weight.T).view(*x.shape[:2], -1)  # [B, n, out]
        if residual is not None and gain is not None:
            unclamped.addcmul_(residual, gain)
        unclamped.add_(0.5).floor_()
        ctx.save_for_backward(x, weight, residual, gain, unclamped)
        ctx.range = low, high
        ctx.mark_non_differentiable(unclamped)
        ctx.set_materialize_grads(False)  # no zeros for what has no gradient
        return unclamped.clamp(low, high), unclamped

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, residual, gain, unclamped = ctx.saved_tensors
        gradient = inside(gradient, unclamped, *ctx.range)
        flat = gradient.flatten(0, 1)  # [B n, out]
        d_x = (flat @ weight).view_as(x) if ctx.needs_input_grad[0] else None
        d_residual = d_gain = None
        if residual is not None:
            d_gain = (gradient * residual).sum((0, 1))
            if ctx.needs_input_grad[3]:
                d_residual = gradient * gain
        return d_x, flat.T @ x.flatten(0, 1), flat.sum(0), d_residual, d_gain, None, None


class AttentionCodes(torch.autograd.Function):
    """Scores, softmax and context on codes, for training; backward that of real attention."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, ratio: Tensor, score_scale: Tensor, plan: AttentionPlan,
        heads: int, score_range: tuple[int, int], context_range: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        q, k, v = split_heads(q, heads), split_heads(k, heads), split_heads(v, heads)  # [B, H, n, d/H]
        scores = (q @ k.transpose(-1, -2)).mul_(plan.mult * 2.0**-plan.shift).add_(0.5).floor_()  # [B, H, n, n]
        clamped = scores.clamp(*score_range)
        difference = (clamped.amax(-1, keepdim=True) - clamped).int()
        exponentials = plan.table.to(scores).index_select(0, difference.flatten()).view_as(scores)
        sums = exponentials.sum(-1, keepdim=True)
        reciprocal = torch.floor((1 << (plan.softmax_bits + RECIPROCAL_BITS)) / sums)  # small sums make ties common
        codes = (exponentials @ v).mul_(reciprocal * 2.0**-plan.context_shift).add_(0.5).floor_()
        p, gain = exponentials / sums, float(1 << plan.context_gain)
        ctx.save_for_backward(q, k, v, ratio, score_scale, scores, clamped, p, codes)
        ctx.gain, ctx.heads, ctx.ranges = gain, heads, (score_range, context_range)
        ctx.mark_non_differentiable(scores)
        ctx.set_materialize_grads(False)  # no zeros for what has no gradient
        return merge_heads(codes.clamp(*context_range)), scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, ratio, score_scale, scores, clamped, p, codes = ctx.saved_tensors
        score_range, context_range = ctx.ranges
        gradient = inside(split_heads(gradient, ctx.heads), codes, *context_range) * ctx.gain
        d_v = p.transpose(-1, -2) @ gradient
        d_p = gradient @ v.transpose(-1, -2)
        d_logit = torch.ops.aten._softmax_backward_data(d_p, p, -1, p.dtype)  # logit = score_scale * score
        d_scale = (d_logit * clamped).sum().double()
        d_acc = inside(d_logit, scores, *score_range) * (score_scale * ratio).float()
        d_q, d_k = d_acc @ k, d_acc.transpose(-1, -2) @ q
        d_ratio = (d_q * q).sum().double() / ratio
        return merge_heads(d_q), merge_heads(d_k), merge_heads(d_v), d_ratio, d_scale, None, None, None, None


def normalise(x: Tensor, plan: LayerNormPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Codes before saturation, d times the centred input, and the root: exact in float64, which they are returned in."""
    x = x.double()
    total = x.sum(-1, keepdim=True)
    variance = (x * x).sum(-1, keepdim=True) * x.shape[-1] - total * total  # d**2 times it
    root = variance.sqrt().floor_()
    limited = root.clamp_min((1 << plan.reciprocal_bits) - 1)
    row = torch.floor((1 << (plan.reciprocal_bits + RECIPROCAL_BITS)) / limited)
    acc, unit = x * x.shape[-1] - total, 2.0**-plan.shift
    return (acc * (row * unit)).add_(plan.offset * unit).floor_(), acc, root


class LayerNormCodes(torch.autograd.Function):
    """LayerNorm on codes, without gain and bias; backward that of acc / root."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: LayerNormPlan, low: int, high: int) -> Tensor:
        exact, acc, root = normalise(x, plan)
        smallest = (1 << plan.reciprocal_bits) - 1
        limited, unclamped = root.clamp_min(smallest), exact.float()
        ctx.save_for_backward((acc / limited).float(), limited.float(), root >= smallest, unclamped)
        ctx.gain, ctx.range = 2.0**plan.gain, (low, high)
        return unclamped.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normalised, limited, moves, unclamped = ctx.saved_tensors
        gradient = inside(gradient, unclamped, *ctx.range) * ctx.gain
        centred = gradient * gradient.shape[-1] - gradient.sum(-1, keepdim=True)
        # The root follows its input, d root / d x = acc / root, unless its lower limit holds it.
        along = (gradient * normalised).sum(-1, keepdim=True) * moves
        return (centred - normalised * along) / limited, None, None, None

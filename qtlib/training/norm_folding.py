"""Norms folded into the linear layers beside them: BatchNorm into the layer in front, LayerNorm's gain and bias into its readers.

BatchNorm is folded once, before quantised training: y = g (x + W c + b) + h becomes a weight ``g W``, a bias ``g b + h`` and a
gain of the residual ``g``, all trained from there. LayerNorm y = g z + h does not fold into the layer in front of it: the program
normalises without g and h, and every layer that reads y holds them, W (g z + h) = (W diag(g)) z + W h. So the codes are those of z,
whose scale is a power of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qtlib.training.encoder import Encoder


class Folded(NamedTuple):
    """A linear layer with the norms beside it folded in; ``y`` and ``x`` are tensor names."""

    y: str
    x: str
    weight: Tensor  # [out, in]
    bias: Tensor  # [out]
    residual: str | None = None
    gain: Tensor | None = None  # [out], of the residual


def fold(encoder: Encoder) -> Iterator[Folded]:
    """Linear layers in the order of execution, with the norms folded in: BatchNorm in front, LayerNorm behind."""
    after: nn.LayerNorm | None = None  # the norm of the stream, not applied yet

    def plain(y: str, x: str, linear: nn.Linear, before: nn.LayerNorm | None = None) -> Folded:
        weight, bias = linear.weight.detach(), linear.bias.detach()
        if before is not None:
            weight, bias = weight * before.weight.detach(), bias + weight @ before.bias.detach()
        return Folded(y, x, weight, bias)

    def normed(y: str, x: str, linear: nn.Linear, residual: str, norm: nn.BatchNorm1d | nn.LayerNorm) -> Folded:
        layer = plain(y, x, linear)
        if isinstance(norm, nn.LayerNorm):  # y is the sum; the norm follows
            gain, shift = (1.0, 0.0) if after is None else (after.weight.detach(), after.bias.detach())
            gain = gain * torch.ones_like(layer.bias)
            return layer._replace(y=f"{y}_sum", bias=layer.bias + shift, residual=residual, gain=gain)
        statistics = dict(norm.named_buffers())
        gain = (norm.weight * (statistics["running_var"] + norm.eps).rsqrt()).detach()
        bias = (gain * (layer.bias - statistics["running_mean"]) + norm.bias).detach()
        return layer._replace(weight=gain[:, None] * layer.weight, bias=bias, residual=residual, gain=gain)

    embed = plain("embed", "input", encoder.embed)
    yield embed._replace(residual="position", gain=torch.ones_like(embed.bias))
    stream = "embed"
    for i, layer in enumerate(encoder.blocks()):
        for name in ("q", "k", "v"):
            yield plain(f"{i}.{name}", stream, getattr(layer, name), after)
        yield normed(f"{i}.attention", f"{i}.context", layer.o, stream, layer.norm1)
        after = layer.norm1 if isinstance(layer.norm1, nn.LayerNorm) else None
        yield plain(f"{i}.hidden", f"{i}.attention", layer.ffn1, after)
        stream = f"{i}.output"
        yield normed(stream, f"{i}.hidden", layer.ffn2, f"{i}.attention", layer.norm2)
        after = layer.norm2 if isinstance(layer.norm2, nn.LayerNorm) else None
    yield plain("forecast", stream, encoder.head, after)

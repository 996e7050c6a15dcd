"""The operations of a `Program`, for tokens t, features f and per-output-channel integers:

    linear   y[t,o] = saturate((acc * mult[o] + (r[t,o] * residual_mult[o] << residual_shift) + offset[o]) >> shift)
             acc = sum_i w[o,i] x[t,i];  r is the residual tensor, if any: the position table, or the stream of the block
    scores   y[h,t,j] = saturate((acc * mult + offset) >> shift),  acc = sum_f q[t,f] k[j,f] over the features of head h
    softmax  e[h,t,j] = table[max_j x[h,t,j] - x[h,t,j]], unsigned; not yet divided by its sum
    context  y[t,f] = saturate((acc * reciprocal + offset) >> shift),  acc = sum_j e[h,t,j] v[j,f],
             reciprocal = floor(2**(e_bits + 16) / sum_j e[h,t,j])
    norm     y[t,f] = saturate((acc * reciprocal + offset) >> shift),  acc = d x[t,f] - sum_i x[t,i],
             reciprocal = floor(2**(e + 16) / max(root, 2**e - 1)),  root = floor(sqrt(d sum_i x[t,i]**2 - (sum_i x[t,i])**2))
    pool     y[f] = sum_t x[t,f]
    head     y[o] = sum_f w[o,f] x[f] + offset[o], a wide result

``offset`` holds the rounding half, the bias, the folded zero point of the input and the zero point of the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qtlib.program.codes import Codes


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Base of the operations; ``x`` and ``y`` are tensor names."""

    kind: ClassVar[str]
    x: str
    y: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Operation):
    """Affine layer with an optional residual: embedding, projections, feed-forward, and add & norm in one rounding."""

    kind: ClassVar[str] = "linear"
    weight: Codes  # [out, in]
    weight_bits: int
    mult: Codes  # [out]
    offset: Codes  # [out]
    shift: int
    residual: str | None = None
    residual_mult: Codes | None = None  # [out]
    residual_shift: int = 0

    @property
    def residual_factor(self) -> Codes:
        """Multiplier of the residual, [out]; zeros without one."""
        if self.residual is None or self.residual_mult is None:
            return np.zeros_like(self.mult)
        return self.residual_mult


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores(Operation):
    """Attention scores Q K^T; ``mult`` holds 1/sqrt(d_head)."""

    kind: ClassVar[str] = "scores"
    other: str  # k
    heads: int
    mult: int
    offset: int
    shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Operation):
    """Exponentials relative to the row maximum; ``table[i]`` belongs to the difference i."""

    kind: ClassVar[str] = "softmax"
    table: Codes  # [2**bits of x]


@dataclass(frozen=True, kw_only=True, eq=False)
class Context(Operation):
    """Attention context P V; the row sum is divided out by its reciprocal in the requantisation."""

    kind: ClassVar[str] = "context"
    other: str  # v
    heads: int
    offset: int
    shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNorm(Operation):
    """LayerNorm without gain and bias, which are folded into every operation that reads ``y``.

    With ``acc = d x - sum(x)`` the deviation from the mean is acc / d and the standard deviation root / d, in codes of x:
    their ratio, the normalised value, is acc / root. The lower limit 2**e - 1 of the root is the epsilon of LayerNorm: a token
    whose standard deviation is below (2**e - 1) / d codes of x is not amplified to 1.
    """

    kind: ClassVar[str] = "layer_norm"
    reciprocal_bits: int  # e
    offset: int
    shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Operation):
    """Sum over tokens; the 1/n is in the scale of the result."""

    kind: ClassVar[str] = "pool"


@dataclass(frozen=True, kw_only=True, eq=False)
class Head(Operation):
    """Linear layer whose result stays a wide accumulator."""

    kind: ClassVar[str] = "head"
    weight: Codes  # [out, in]
    weight_bits: int
    offset: Codes  # [out]


KINDS = {cls.kind: cls for cls in (Linear, Scores, Softmax, Context, LayerNorm, Pool, Head)}

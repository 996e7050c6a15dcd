"""How far softmax and LayerNorm on integers are from exact arithmetic on the same codes, at any width of what they look up.

Results are in codes of the result and not yet rounded to them, so that an error here stands beside the half code that rounding
costs anyway. At the widths of a program, rounded, they are the codes of `qtlib.program.reference`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtlib.program import reference
from qtlib.program.codes import Codes, code_range
from qtlib.program.operations import Context, Softmax
from qtlib.program.program import Program
from qtlib.program.rounding import RECIPROCAL_BITS, norm_reciprocal_bits, requantise
from qtlib.training.softmax_table import exponential_table

Reals = NDArray[np.float64]


class Error(NamedTuple):
    """Absolute errors over many codes, in codes."""

    largest: float
    mean: float


def error(found: Reals, exact: Reals, bits: int) -> Error:
    """Compare results; both saturate to ``bits`` bits first, because a code holds no more."""
    off = np.abs(np.clip(found, *code_range(bits)) - np.clip(exact, *code_range(bits)))
    return Error(float(off.max()), float(off.mean()))


def context(
    scores: Codes, v: Codes, *, scale: float, bits: int, factor: float = 1.0, precision: int = RECIPROCAL_BITS
) -> Reals:
    """Weighted mean of v with tabled exponentials and the reciprocal of their sum, before rounding.

    Args:
        scores: [B, H, n, n] codes.
        v: [B, n, d] codes.
        scale: of the scores.
        bits: width of the exponentials.
        factor: codes of the result in one code of v, a power of two.
        precision: bits of the reciprocal less one.

    Returns:
        [B, n, d] in codes of the result.

    Source: eqs. 6 and 7 of notebook 03; `qtlib.program.reference.softmax`, `qtlib.program.reference.context`.
    """
    difference = scores.max(-1, keepdims=True) - scores
    e = exponential_table(scale, bits, int(difference.max()) + 1).numpy()[difference]
    reciprocal = (1 << (bits + precision)) // e.sum(-1, keepdims=True).astype(np.int64)
    return _merged(e @ _heads(v, scores.shape[1]) * reciprocal) * (factor * 2.0 ** -(bits + precision))


def exact_context(scores: Codes | Reals, v: Codes | Reals, *, scale: float, factor: float = 1.0) -> Reals:
    """What `context` stands for: softmax in real numbers of the same codes."""
    e = np.exp(scale * (scores - scores.max(-1, keepdims=True)))
    return _merged(e @ _heads(v, scores.shape[1]) / e.sum(-1, keepdims=True)) * factor


def predict_with_exact_softmax(program: Program, values: np.ndarray) -> Reals:
    """Forecasts of a program whose contexts are rounded once, from the real softmax of its own scores; all else is as it is.

    Args:
        values: [N, n, m] scaled inputs.

    Returns:
        [N, outputs] scaled.
    """
    tensors = program.tensors
    held = {
        name: codes.astype(np.float64) for name, codes in reference.trace(program, program.input.codes(values)).items()
    }
    scores = {op.y: op.x for op in program.operations if isinstance(op, Softmax)}
    for op in program.operations:
        held[op.y] = reference.apply(op, program, held)
        if isinstance(op, Context):
            x, v, y = scores[op.x], op.other, tensors[op.y]
            factor = tensors[v].scale[0] / y.scale[0]
            exact = exact_context(held[x], held[v], scale=tensors[x].scale[0], factor=factor)
            held[op.y] = requantise(exact + 0.5, y)
    return program.output.values(held[program.output.name])


def _heads(v: Codes | Reals, heads: int) -> Reals:
    batch, tokens, features = v.shape
    return v.reshape(batch, tokens, heads, features // heads).swapaxes(1, 2).astype(np.float64)


def _merged(y: Reals) -> Reals:
    batch, heads, tokens, width = y.shape
    return y.swapaxes(1, 2).reshape(batch, tokens, heads * width)


def norm(x: Codes, *, factor: float, reciprocal_bits: int, precision: int = RECIPROCAL_BITS) -> Reals:
    """Tokens divided by their standard deviation with an integer root and its reciprocal, before rounding.

    Args:
        x: [..., d] codes.
        factor: codes of the result in one standard deviation, a power of two.
        reciprocal_bits: e, which limits the root to 2**e - 1 from below; the program takes `norm_reciprocal_bits`.
        precision: bits of the reciprocal less one.

    Source: `qtlib.program.reference.layer_norm`.
    """
    total = x.sum(-1, keepdims=True)
    root = np.floor(np.sqrt(x.shape[-1] * (x * x).sum(-1, keepdims=True) - total * total)).astype(np.int64)
    reciprocal = (1 << (reciprocal_bits + precision)) // np.maximum(root, (1 << reciprocal_bits) - 1)
    real: Reals = (x.shape[-1] * x - total) * reciprocal * (factor * 2.0 ** -(reciprocal_bits + precision))
    return real


def exact_norm(x: Codes | Reals, *, factor: float) -> Reals:
    """What `norm` stands for, without the lower limit of the root; equal features give 0."""
    centred: Reals = x - x.mean(-1, keepdims=True)
    deviation: Reals = x.std(-1, keepdims=True)
    return factor * np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)


def context_bound(tokens: int, bits: int, precision: int = RECIPROCAL_BITS) -> float:
    """Codes of the context that rounding the reciprocal down can cost at most.

    A reciprocal is above 2**precision / tokens, and less than 1 is cut off: that part of a code of up to 2**(bits - 1).
    """
    return tokens * 2.0 ** (bits - 1 - precision)


def norm_bound(features: int, bits: int, factor: float, reciprocal_bits: int | None = None) -> float:
    """Codes of the normalised token that rounding the reciprocal down can cost at most.

    Less than 1 is cut off, times ``d x - sum(x)``, which is at most d - 1 times the span of the codes.
    """
    e = norm_reciprocal_bits(features, bits) if reciprocal_bits is None else reciprocal_bits
    return (features - 1) * ((1 << bits) - 1) * factor * 2.0 ** -(e + RECIPROCAL_BITS)

"""Exact integer inference in NumPy: the definition that hdl/ matches bit for bit.

Codes are int64. A matrix product may run through float BLAS, but only where the proven bound of its partial sums is
below 2**24 (float32) or 2**53 (float64), so every intermediate is an exactly represented integer.
"""

from __future__ import annotations

import numpy as np

from qtlib.program import (
    Codes,
    Context,
    Head,
    LayerNorm,
    Linear,
    Operation,
    Pool,
    Program,
    Range,
    Scores,
    Softmax,
    Tensor,
    reciprocal,
)


def exact_matmul(a: Codes, b: Codes, bound: Range) -> Codes:
    """Integer matrix product ``a @ b`` through BLAS where the bound of all partial sums proves it exact."""
    largest = max(bound.high, -bound.low)
    if largest < 1 << 24:
        return (a.astype(np.float32) @ b.astype(np.float32)).astype(np.int64)
    if largest < 1 << 53:
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    return a @ b


def requantise(total: Codes, shift: int, y: Tensor) -> Codes:
    """The one rounding and the one overflow rule: ``saturate(total >> shift)``; the half is in the offset.

    Twin: hdl/rtl/requantise.vhd.
    """
    return np.clip(total >> shift, *y.range)


def linear(op: Linear, program: Program, x: Codes, residual: Codes | None) -> Codes:
    """Affine layer on codes with an optional residual. x: [B, n, in], residual: [B, n, out] -> [B, n, out]."""
    total = exact_matmul(x, op.weight.T, program.accumulator(op)) * op.mult + op.offset
    if residual is not None:
        total += (residual * op.residual_mult) << op.residual_shift
    return requantise(total, op.shift, program.tensors[op.y])


def _split_heads(x: Codes, heads: int) -> Codes:
    batch, tokens, features = x.shape
    return x.reshape(batch, tokens, heads, features // heads).transpose(0, 2, 1, 3)  # [B, H, n, d/H]


def scores(op: Scores, program: Program, q: Codes, k: Codes) -> Codes:
    """Scores of every head. q, k: [B, n, d] -> [B, H, n, n]."""
    q, k = _split_heads(q, op.heads), _split_heads(k, op.heads)
    acc = exact_matmul(q, k.swapaxes(-1, -2), program.accumulator(op))
    return requantise(acc * op.mult + op.offset, op.shift, program.tensors[op.y])


def softmax(op: Softmax, x: Codes) -> Codes:
    """Exponentials relative to the row maximum. x: [B, H, n, n] -> the same shape, unsigned. Twin: hdl/rtl/softmax.vhd."""
    return op.table[x.max(-1, keepdims=True) - x]


def context(op: Context, program: Program, e: Codes, v: Codes) -> Codes:
    """Weighted mean of v. e: [B, H, n, n], v: [B, n, d] -> [B, n, d]."""
    acc = exact_matmul(e, _split_heads(v, op.heads), program.accumulator(op))  # [B, H, n, d/H]
    row = reciprocal(e.sum(-1, keepdims=True), program.tensors[op.x].bits)
    y = requantise(acc * row + op.offset, op.shift, program.tensors[op.y])
    return y.transpose(0, 2, 1, 3).reshape(v.shape)


def layer_norm(op: LayerNorm, program: Program, x: Codes) -> Codes:
    """Normalised tokens, without gain and bias. x: [B, n, d] -> [B, n, d]. Twin: hdl/rtl/layer_norm.vhd.

    The square root of float64 is correctly rounded, so its floor is exact below 2**52; an accumulator of 25 bits keeps the radicand
    below 2**50.
    """
    features, e = x.shape[-1], op.reciprocal_bits
    total = x.sum(-1, keepdims=True)
    variance = features * (x * x).sum(-1, keepdims=True) - total * total  # d**2 times it
    root = np.floor(np.sqrt(variance.astype(np.float64))).astype(np.int64)
    row = reciprocal(np.maximum(root, (1 << e) - 1), e)
    return requantise((features * x - total) * row + op.offset, op.shift, program.tensors[op.y])


def apply(op: Operation, program: Program, tensors: dict[str, Codes]) -> Codes:
    """Result of one operation from the tensors before it, each with a leading batch axis."""
    x = tensors[op.x]
    if isinstance(op, Linear):
        return linear(op, program, x, None if op.residual is None else tensors[op.residual])
    if isinstance(op, Scores):
        return scores(op, program, x, tensors[op.other])
    if isinstance(op, Softmax):
        return softmax(op, x)
    if isinstance(op, Context):
        return context(op, program, x, tensors[op.other])
    if isinstance(op, LayerNorm):
        return layer_norm(op, program, x)
    if isinstance(op, Pool):
        return x.sum(1)
    if isinstance(op, Head):
        return exact_matmul(x, op.weight.T, Range(-(1 << 52), 1 << 52)) + op.offset
    raise TypeError(f"integer: no arithmetic for {type(op).__name__}")


def trace(program: Program, codes: Codes) -> dict[str, Codes]:
    """Every tensor of a run, by name.

    Args:
        program: what to run.
        codes: [B, n, m] input codes.

    Raises:
        TypeError: the codes are not integers.
        ValueError: their shape is not the program's.
        OverflowError: a code does not fit the input width.
    """
    codes = np.asarray(codes)
    expected = program.input
    if codes.dtype.kind not in "iu":
        raise TypeError(f"integer: the input is {codes.dtype}, expected integer codes")
    if codes.shape[1:] != expected.shape:
        raise ValueError(
            f"integer: the input has shape {codes.shape}, expected [batch, {', '.join(map(str, expected.shape))}]"
        )
    if codes.size and (codes.min() < expected.range.low or codes.max() > expected.range.high):
        raise OverflowError(
            f"integer: input codes span [{codes.min()}, {codes.max()}], outside the "
            f"[{expected.range.low}, {expected.range.high}] of {expected.bits} bits"
        )
    tensors = {name: value[None] for name, value in program.constants.items()} | {expected.name: codes.astype(np.int64)}
    for op in program.operations:
        tensors[op.y] = apply(op, program, tensors)
    return tensors


def run(program: Program, codes: Codes) -> Codes:
    """Results of the head, [B, outputs] wide integers; multiply by ``program.output.scale`` for values."""
    return trace(program, codes)[program.output.name]


def predict(program: Program, values: np.ndarray, batch: int = 512) -> np.ndarray:
    """Values from values: [N, n, m] scaled inputs -> [N, outputs], quantised, run and scaled as a host does it."""
    pieces = [
        program.output.values(run(program, program.input.codes(values[start : start + batch])))
        for start in range(0, len(values), batch)
    ]
    return np.concatenate(pieces) if pieces else np.empty((0, *program.output.shape))

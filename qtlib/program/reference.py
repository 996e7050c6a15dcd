"""Exact integer inference in NumPy: the interpreter of a `Program`, which hdl/ matches bit for bit.

Codes are integers held in float64, so that matrix products go through BLAS. That is exact: multiplier, residual and offset of
a requantisation are folded into one product, whose every partial sum is an integer times ``2**-shift``, and a `Program`
proves that these integers stay below 2**53. Nothing but the requantisation rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from qtlib.program.codes import Codes, Tensor
from qtlib.program.operations import Context, Head, LayerNorm, Linear, Operation, Pool, Scores, Softmax
from qtlib.program.program import Program
from qtlib.program.rounding import Held, reciprocal, requantise


class Tensors(Protocol):
    """What an operation has to know of its program: the tensors by name."""

    @property
    def tensors(self) -> Mapping[str, Tensor]: ...


TILE = 64  # windows computed together: many enough for the cost of a call, few enough for the second-level cache


def linear(op: Linear, program: Tensors, x: Held, residual: Held | None) -> Held:
    """Affine layer on codes with an optional residual. x: [B, n, in], residual: [B, n, out] -> [B, n, out]."""
    unit = 2.0**-op.shift
    # One product for each window is too small for BLAS to start threads, which cost more than they win.
    total = x @ np.multiply(op.weight.T, op.mult * unit, order="C")
    total += op.offset * unit
    if residual is not None:
        total += residual * ((op.residual_factor << op.residual_shift) * unit)
    return requantise(total, program.tensors[op.y])


def _split_heads(x: Held, heads: int) -> Held:
    batch, tokens, features = x.shape
    return x.reshape(batch, tokens, heads, features // heads).transpose(0, 2, 1, 3)  # [B, H, n, d/H]


def _sum(x: Held) -> Held:
    """Sums over the last axis, [..., n] -> [..., 1]; over short rows BLAS is several times as fast as ``ndarray.sum``."""
    return x @ np.ones((x.shape[-1], 1))


def scores(op: Scores, program: Tensors, q: Held, k: Held) -> Held:
    """Scores of every head. q, k: [B, n, d] -> [B, H, n, n], rows innermost in memory: the softmax reduces over columns."""
    unit = 2.0**-op.shift
    total = _split_heads(k, op.heads) @ _split_heads(q * (op.mult * unit), op.heads).swapaxes(-1, -2)
    total += op.offset * unit
    return requantise(total, program.tensors[op.y]).swapaxes(-1, -2)


def softmax(op: Softmax, x: Held) -> Held:
    """Exponentials relative to the row maximum. x: [B, H, n, n] -> the same shape, unsigned. Twin: hdl/rtl/softmax.vhd."""
    columns = x.swapaxes(-1, -2)  # in the order of the memory
    behind: Held = columns.max(-2, keepdims=True) - columns
    return op.table.astype(np.float64)[behind.astype(np.intp)].swapaxes(-1, -2)


def context(op: Context, program: Tensors, e: Held, v: Held) -> Held:
    """Weighted mean of v. e: [B, H, n, n], v: [B, n, d] -> [B, n, d]."""
    unit = 2.0**-op.shift
    row = reciprocal(_sum(e).astype(np.int64), program.tensors[op.x].bits)
    total = (e @ _split_heads(v, op.heads)) * (row * unit)  # [B, H, n, d/H]
    total += op.offset * unit
    return requantise(total, program.tensors[op.y]).transpose(0, 2, 1, 3).reshape(v.shape)


def layer_norm(op: LayerNorm, program: Tensors, x: Held) -> Held:
    """Normalised tokens, without gain and bias. x: [B, n, d] -> [B, n, d]. Twin: hdl/rtl/layer_norm.vhd.

    The square root of float64 is correctly rounded, so its floor is exact below 2**52; an accumulator of 25 bits keeps the
    radicand below 2**50.
    """
    features, e, unit = x.shape[-1], op.reciprocal_bits, 2.0**-op.shift
    total = _sum(x)
    variance = features * _sum(x * x) - total * total  # d**2 times it
    root = np.floor(np.sqrt(variance)).astype(np.int64)
    row = reciprocal(np.maximum(root, (1 << e) - 1), e)
    return requantise((features * x - total) * (row * unit) + op.offset * unit, program.tensors[op.y])


def apply(op: Operation, program: Tensors, tensors: Mapping[str, Held]) -> Held:
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
        return np.ones(x.shape[1]) @ x
    if isinstance(op, Head):
        return x @ op.weight.T.astype(np.float64) + op.offset
    raise TypeError(f"reference: no arithmetic for {type(op).__name__}")


def _checked(program: Program, codes: Codes) -> Codes:
    codes = np.asarray(codes)
    expected = program.input
    if codes.dtype.kind not in "iu":
        raise TypeError(f"reference: the input is {codes.dtype}, expected integer codes")
    if codes.shape[1:] != expected.shape:
        raise ValueError(
            f"reference: the input has shape {codes.shape}, expected [batch, {', '.join(map(str, expected.shape))}]"
        )
    if codes.size and (codes.min() < expected.range.low or codes.max() > expected.range.high):
        raise OverflowError(
            f"reference: input codes span [{codes.min()}, {codes.max()}], outside the "
            f"[{expected.range.low}, {expected.range.high}] of {expected.bits} bits"
        )
    return codes


def _reads(op: Operation) -> set[str]:
    named = (op.x, getattr(op, "other", None), getattr(op, "residual", None))
    return {name for name in named if name is not None}


def _trace(program: Program, codes: Held, *, keep: bool = True) -> dict[str, Held]:
    """Tensors by name; without ``keep`` each only until its last use, because memory used again costs no page fault."""
    tensors = {name: value[None].astype(np.float64) for name, value in program.constants.items()}
    tensors[program.input.name] = codes
    last = {name: op for op in program.operations for name in _reads(op)}
    for op in program.operations:
        tensors[op.y] = apply(op, program, tensors)
        for name in () if keep else _reads(op):
            if last[name] is op:
                del tensors[name]
    return tensors


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
    tensors = _trace(program, _checked(program, codes).astype(np.float64))
    return {name: value.astype(np.int64) for name, value in tensors.items()}


def run(program: Program, codes: Codes) -> Codes:
    """Results of the head, [B, outputs] wide integers; multiply by ``program.output.scale`` for values.

    Raises:
        as `trace`.
    """
    held, name = _checked(program, codes).astype(np.float64), program.output.name
    results = np.empty((len(held), *program.output.shape), np.int64)
    for start in range(0, len(held), TILE):
        results[start : start + TILE] = _trace(program, held[start : start + TILE], keep=False)[name]
    return results


def predict(program: Program, values: np.ndarray) -> np.ndarray:
    """Values from values: [N, n, m] scaled inputs -> [N, outputs], quantised, run and scaled as a host does it."""
    return program.output.values(run(program, program.input.codes(values)))

"""The integer program: the one thing that training produces and that everything downstream obeys.

A `Program` is an immutable list of operations on integer codes, whose widths are proven when it is made. No torch, no float
weights: floats appear only as the scales by which a host reads codes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from qtlib.program.codes import Codes, Range, Tensor, code_range
from qtlib.program.operations import Context, Head, LayerNorm, Linear, Operation, Pool, Scores, Softmax
from qtlib.program.rounding import MULT_BITS, RECIPROCAL_BITS, SHIFT_MAX, reciprocal

ACC_BITS = 25  # signed; its wide port
RESULT_BITS = 32  # signed; what the host receives
EXACT_BITS = 53  # integers that a float64 holds exactly: the reference computes in it
NORM_FEATURES = 128  # of a LayerNorm at most: d - 1 is an operand of the lanes, of 8 bits

VERSION = 1


def _integers(values: Any) -> Codes:
    array = np.array(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"program: an operation holds {array.dtype} values, expected integers")
    array = array.astype(np.int64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Operations in the order of execution, their tensors, and the constant tensors they read."""

    tensors: dict[str, Tensor]
    operations: tuple[Operation, ...]
    constants: dict[str, Codes] = field(default_factory=dict)  # tensor name -> codes, e.g. the position table
    metadata: dict[str, Any] = field(default_factory=dict)  # run_id, data set, scalers; never read by the arithmetic

    def __post_init__(self) -> None:
        for owner in (*self.operations,):
            for item in fields(owner):
                value = getattr(owner, item.name)
                if isinstance(value, (np.ndarray, list)):
                    object.__setattr__(owner, item.name, _integers(value))
        object.__setattr__(self, "constants", {name: _integers(value) for name, value in self.constants.items()})
        for name, codes in self.constants.items():
            tensor = self._tensor(name, "constant")
            _expect_shape(f"constant {name}", codes, tensor.shape)
            _expect_range(f"constant {name}", codes, tensor.range)
        known = {self.input.name, *self.constants}
        for operation in self.operations:
            for read in (operation.x, getattr(operation, "other", None), getattr(operation, "residual", None)):
                if read is not None and read not in known:
                    raise ValueError(
                        f"program: {operation.y} reads {read!r}, which no earlier operation writes; "
                        f"known: {', '.join(sorted(known))}"
                    )
            self._tensor(operation.y, operation.kind)
            self._check(operation)
            known.add(operation.y)

    def _tensor(self, name: str, place: str) -> Tensor:
        if name not in self.tensors:
            raise ValueError(f"program: {place} names the tensor {name!r}; known: {', '.join(self.tensors)}")
        return self.tensors[name]

    def _check(self, op: Operation) -> None:
        x, y = self.tensors[op.x], self.tensors[op.y]
        if isinstance(op, (Linear, Head)):
            _expect_shape(f"{op.y} weight", op.weight, (y.shape[-1], x.shape[-1]))
            top = (1 << (op.weight_bits - 1)) - 1
            _expect_range(f"{op.y} weight", op.weight, Range(-top, top))
            _expect_shape(f"{op.y} offset", op.offset, (y.shape[-1],))
        if isinstance(op, Linear):
            _expect_shape(f"{op.y} mult", op.mult, (y.shape[-1],))
            if op.residual is not None:
                _expect_shape(f"{op.y} residual_mult", op.residual_mult, (y.shape[-1],))
                _expect_range(f"{op.y} residual_mult", op.residual_factor, code_range(MULT_BITS))
        if isinstance(op, (Linear, Scores)):
            _expect_range(f"{op.y} mult", np.asarray(op.mult), code_range(MULT_BITS))
        if isinstance(op, (Scores, Context)) and x.shape[-1 if op.kind == "scores" else 0] % op.heads:
            raise ValueError(f"program: {op.y}: heads={op.heads} does not divide {x.shape}")
        if isinstance(op, Softmax):
            _expect_shape(f"{op.y} table", op.table, (1 << x.bits,))
            _expect_range(f"{op.y} table", op.table, y.range)
            if op.table[0] != y.range.high or y.signed:
                raise ValueError(
                    f"program: {op.y}: table[0]={op.table[0]} must be the largest unsigned code, {y.range.high}"
                )
        if isinstance(op, LayerNorm):
            if x.shape != y.shape or not x.signed:
                raise ValueError(
                    f"program: {op.y}: {op.x} has shape {x.shape} and signed={x.signed}, expected signed codes of shape {y.shape}"
                )
            if x.shape[-1] > NORM_FEATURES:
                raise ValueError(
                    f"program: {op.y}: LayerNorm of {x.shape[-1]} features needs the operand {x.shape[-1] - 1}; "
                    f"8 bits hold those of at most {NORM_FEATURES}"
                )
            if not 2 <= op.reciprocal_bits <= RECIPROCAL_BITS:
                raise ValueError(
                    f"program: {op.y}: reciprocal_bits={op.reciprocal_bits} is outside 2..{RECIPROCAL_BITS}"
                )
        if isinstance(op, (Linear, Scores, Context, LayerNorm)) and not 1 <= op.shift <= SHIFT_MAX:
            raise ValueError(f"program: {op.y}: shift={op.shift} is outside 1..{SHIFT_MAX}")
        if isinstance(op, (Linear, Scores, Context)) and self._largest_sum(op) >= 1 << EXACT_BITS:
            raise OverflowError(
                f"program: {op.y}: scaled sums reach {self._largest_sum(op)}, which needs more than the {EXACT_BITS} bits "
                "that a float64 holds exactly"
            )
        acc, limit = self.accumulator(op), RESULT_BITS if isinstance(op, (Pool, Head)) else ACC_BITS
        if acc.bits > limit:
            raise OverflowError(
                f"program: {op.y}: sums span [{acc.low}, {acc.high}], which needs {acc.bits} bits; the accumulator has {limit}"
            )

    @property
    def input(self) -> Tensor:
        """What the host sends, [n, m] codes."""
        return self.tensors[self.operations[0].x]

    @property
    def mean_weight_bits(self) -> float:
        """Bits of a weight on average, those of the head included."""
        layers = [(op.weight.size, op.weight_bits) for op in self.operations if isinstance(op, (Linear, Head))]
        return sum(size * bits for size, bits in layers) / sum(size for size, _ in layers)

    @property
    def output(self) -> Tensor:
        """What the host receives, [outputs] wide results."""
        return self.tensors[self.operations[-1].y]

    def accumulator(self, op: Operation) -> Range:
        """Proven range of every partial sum of an operation, in any order of its terms.

        Each term's range is widened to hold 0, so the bound of a sum is also the bound of each of its partial sums. The
        weights are the actual ones, channel by channel; for activations the whole range of their codes counts.
        """
        x = self.tensors[op.x].range
        if isinstance(op, (Linear, Head)):
            positive, negative = np.maximum(op.weight, 0).sum(1), np.minimum(op.weight, 0).sum(1)
            low, high = min(x.low, 0), max(x.high, 0)
            highs, lows = positive * high + negative * low, positive * low + negative * high
            return Range(int(min(lows.min(), 0)), int(max(highs.max(), 0)))
        if isinstance(op, (Scores, Context)):
            other = self.tensors[op.other]
            terms = self.tensors[op.x].shape[-1] // (op.heads if op.kind == "scores" else 1)
            corners = [a * b for a in (*x, 0) for b in (*other.range, 0)]
            return Range(terms * min(corners), terms * max(corners))
        if isinstance(op, LayerNorm):  # d - 1 times the code itself, -1 times each of the others
            span = (self.tensors[op.x].shape[-1] - 1) * (x.high - x.low)
            return Range(-span, span)
        if isinstance(op, Pool):
            tokens = self.tensors[op.x].shape[0]
            return Range(tokens * x.low, tokens * x.high)
        return x

    def scaled(self, op: Linear | Scores | Context | LayerNorm) -> Range:
        """Proven range of the sum that is shifted down: accumulator times multiplier, residual and offset."""
        acc = self.accumulator(op)
        mult, offset = np.asarray(getattr(op, "mult", 0)), np.asarray(op.offset)
        if isinstance(op, Context):
            e = self.tensors[op.x]
            mult = np.asarray(reciprocal(np.array(e.range.high), e.bits))
        if isinstance(op, LayerNorm):
            mult = np.asarray(reciprocal(np.array((1 << op.reciprocal_bits) - 1), op.reciprocal_bits))
        products = np.stack([acc.low * mult, acc.high * mult])
        if isinstance(op, Linear) and op.residual is not None:
            r = self.tensors[op.residual].range
            extra = np.stack([r.low * op.residual_factor, r.high * op.residual_factor]) << op.residual_shift
            return Range(
                int((products.min(0) + extra.min(0) + offset).min()),
                int((products.max(0) + extra.max(0) + offset).max()),
            )
        return Range(int((products.min(0) + offset).min()), int((products.max(0) + offset).max()))

    def _largest_sum(self, op: Linear | Scores | Context) -> int:
        """Bound of every partial sum of accumulator times multiplier, residual and offset, in any order."""
        acc, offset = self.accumulator(op), int(np.abs(op.offset).max())
        mult = (
            int(reciprocal(np.array(self.tensors[op.x].range.high), self.tensors[op.x].bits))
            if isinstance(op, Context)
            else int(np.abs(op.mult).max())
        )
        extra = 0
        if isinstance(op, Linear) and op.residual is not None:
            r = self.tensors[op.residual].range
            extra = max(r.high, -r.low) * int(np.abs(op.residual_factor).max()) << op.residual_shift
        return max(acc.high, -acc.low) * mult + extra + offset

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, of the layers and of the attention products."""
        return sum(self.operation_macs(op) for op in self.operations)

    def operation_macs(self, op: Operation) -> int:
        """Multiply-accumulates of one operation."""
        x, y = self.tensors[op.x], self.tensors[op.y]
        if isinstance(op, Linear):
            return x.shape[0] * op.weight.size
        if isinstance(op, Scores):
            return x.shape[0] * x.shape[0] * x.shape[1]
        if isinstance(op, Context):
            return x.shape[1] * x.shape[1] * y.shape[1]
        return op.weight.size if isinstance(op, Head) else 0

    @property
    def digest(self) -> str:
        """First twelve hex digits of the SHA-256 of everything that the arithmetic reads."""
        header, arrays = plain_form(self)
        header.pop("metadata")
        text = json.dumps(header, sort_keys=True).encode() + b"".join(arrays[name].tobytes() for name in sorted(arrays))
        return hashlib.sha256(text).hexdigest()[:12]


def _expect_shape(place: str, array: Codes | None, shape: tuple[int, ...]) -> None:
    found = None if array is None else array.shape
    if found != tuple(shape):
        raise ValueError(f"program: {place} has shape {found}, expected {tuple(shape)}")


def _expect_range(place: str, array: Codes, legal: Range) -> None:
    if array.size and (array.min() < legal.low or array.max() > legal.high):
        raise OverflowError(
            f"program: {place} spans [{array.min()}, {array.max()}], outside [{legal.low}, {legal.high}]"
        )


def plain_form(program: Program) -> tuple[dict[str, Any], dict[str, Codes]]:
    """A program as it stands in a file: plain values for a header, and the arrays by name."""
    arrays = {f"constants/{name}": codes for name, codes in program.constants.items()}
    operations = []
    for index, op in enumerate(program.operations):
        plain = {"kind": op.kind}
        for item in fields(op):
            value = getattr(op, item.name)
            if isinstance(value, np.ndarray):
                arrays[f"{index:03d}/{item.name}"] = value
            else:
                plain[item.name] = value
        operations.append(plain)
    tensors = [{item.name: getattr(t, item.name) for item in fields(t)} for t in program.tensors.values()]
    header = {
        "version": VERSION,
        "tensors": tensors,
        "operations": operations,
        "metadata": program.metadata,
    }
    return header, arrays

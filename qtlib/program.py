"""The integer program: the one thing that training produces and that everything downstream obeys.

A `Program` is an immutable list of operations on integer codes. A *code* is an integer of ``bits`` bits and stands for
the value ``scale * (code - zero_point)``. There is one rounding, half up, and one overflow rule, saturation; both are in
`Requant`. No torch, no float weights: floats appear only as the scales by which a host reads codes.

The operations, for tokens t, features f and per-output-channel integers:

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

import hashlib
import io
import json
import math
import zipfile
import zlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtlib.paths import write_atomic

Codes = NDArray[np.int64]

VERSION = 1
# What a damaged archive raises: also a flag that says encrypted, or a compression that does not exist.
DAMAGE = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, OSError, RuntimeError, NotImplementedError)
MULT_BITS = 18  # signed; the narrow port of a DSP48E1 (Xilinx UG479, table 1-1)
ACC_BITS = 25  # signed; its wide port
RESULT_BITS = 32  # signed; what the host receives
EXACT_BITS = 53  # integers that a float64 holds exactly: the reference computes in it
SHIFT_STEP = 4  # shifts are multiples of this, so that few distinct ones occur and the shifter is small
SHIFT_MAX = 24
RECIPROCAL_BITS = 16  # the reciprocal of a row sum is floor(2**(e_bits + RECIPROCAL_BITS) / sum)
NORM_FEATURES = 128  # of a LayerNorm at most: d - 1 is an operand of the lanes, of 8 bits


class Range(NamedTuple):
    """Smallest and largest integer of a quantity."""

    low: int
    high: int

    @property
    def bits(self) -> int:
        """Fewest bits of a signed number that holds both ends."""
        return max(self.high.bit_length(), (-self.low - 1).bit_length() if self.low < 0 else 0) + 1


def code_range(bits: int, signed: bool = True) -> Range:
    """Smallest and largest code of ``bits`` bits."""
    return Range(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else Range(0, (1 << bits) - 1)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of codes between two operations."""

    name: str
    shape: tuple[int, ...]  # without the batch
    bits: int
    scale: tuple[float, ...] = (1.0,)  # one, or one for each feature of the last axis
    zero_point: int = 0
    signed: bool = True

    @property
    def range(self) -> Range:
        """Legal codes."""
        return code_range(self.bits, self.signed)

    def values(self, codes: Codes) -> NDArray[np.float64]:
        """Real values of codes, ``scale * (code - zero_point)``."""
        return (codes - self.zero_point) * np.asarray(self.scale)

    def codes(self, values: NDArray[np.floating]) -> Codes:
        """Codes nearest to real values, half up, saturated; what the host does to its input."""
        scaled = np.floor(np.asarray(values, np.float64) / np.asarray(self.scale) + 0.5) + self.zero_point
        return np.clip(scaled, *self.range).astype(np.int64)


def _ints(values: Any) -> Codes:
    array = np.array(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"program: an operation holds {array.dtype} values, expected integers")
    array = array.astype(np.int64)
    array.setflags(write=False)
    return array


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
                    object.__setattr__(owner, item.name, _ints(value))
        object.__setattr__(self, "constants", {name: _ints(value) for name, value in self.constants.items()})
        for name, codes in self.constants.items():
            tensor = self._tensor(name, "constant")
            _expect_shape(f"constant {name}", codes, tensor.shape)
            _expect_range(f"constant {name}", codes, tensor.range)
        known = {self.input.name, *self.constants}
        for operation in self.operations:
            for name in (operation.x, getattr(operation, "other", None), getattr(operation, "residual", None)):
                if name is not None and name not in known:
                    raise ValueError(
                        f"program: {operation.y} reads {name!r}, which no earlier operation writes; "
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
                _expect_range(f"{op.y} residual_mult", op.residual_mult, code_range(MULT_BITS))
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
            extra = np.stack([r.low * op.residual_mult, r.high * op.residual_mult]) << op.residual_shift
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
            extra = max(r.high, -r.low) * int(np.abs(op.residual_mult).max()) << op.residual_shift
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
        header, arrays = _split(self)
        header.pop("metadata")
        text = json.dumps(header, sort_keys=True).encode() + b"".join(arrays[name].tobytes() for name in sorted(arrays))
        return hashlib.sha256(text).hexdigest()[:12]


def reciprocal(total: Codes, bits: int) -> Codes:
    """Reciprocal of row sums of exponentials, or of the roots of a LayerNorm, ``floor(2**(bits + 16) / total)``.

    The largest exponential of a row is 2**bits - 1, and no root counts as less, so the result needs 17 bits at most, for bits >= 2.
    Hardware: hdl/rtl/divider.vhd.
    """
    return (np.int64(1) << (bits + RECIPROCAL_BITS)) // total


def norm_reciprocal_bits(features: int, bits: int) -> int:
    """e of a LayerNorm, with which the smallest reciprocal, that of the largest root, still has about 8 bits.

    The limit 2**e - 1 of the root is then a standard deviation of at most half a code at 8 bits, or of 3 / d codes for small d.
    """
    return max(2, (features << (bits - 1)).bit_length() - 9)


def choose_shift(largest: float) -> int:
    """Largest shift, a multiple of 4 up to 24, with which a ratio of this size still fits a multiplier.

    Raises:
        OverflowError: the ratio does not fit with the smallest shift either.
    """
    top = code_range(MULT_BITS).high
    if not (math.isfinite(largest) and largest * (1 << SHIFT_STEP) <= top):
        raise OverflowError(
            f"requantise: the ratio {largest:g} is above the limit {top / (1 << SHIFT_STEP):g} of {MULT_BITS} bits"
        )
    shift = SHIFT_MAX
    while largest * (1 << shift) > top:
        shift -= SHIFT_STEP
    return shift


def _expect_shape(place: str, array: Codes | None, shape: tuple[int, ...]) -> None:
    found = None if array is None else array.shape
    if found != tuple(shape):
        raise ValueError(f"program: {place} has shape {found}, expected {tuple(shape)}")


def _expect_range(place: str, array: Codes, legal: Range) -> None:
    if array.size and (array.min() < legal.low or array.max() > legal.high):
        raise OverflowError(
            f"program: {place} spans [{array.min()}, {array.max()}], outside [{legal.low}, {legal.high}]"
        )


def _split(program: Program) -> tuple[dict[str, Any], dict[str, Codes]]:
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


def save(program: Program, path: Path) -> Path:
    """Write a program as one ZIP file of ``program.json`` and NPY arrays; equal programs give equal bytes."""
    header, arrays = _split(program)
    header["arrays"] = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry("program.json"), json.dumps(header, indent=1, sort_keys=True))
        for name in sorted(arrays):
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(_entry(f"{name}.npy"), stream.getvalue())
    return write_atomic(Path(path), buffer.getvalue())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # no dates: equal programs give equal bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def load(path: Path) -> Program:
    """Read a program.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: it is not a program, is of another version, or an array is damaged or missing.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"program: {path} is a folder; name one program file, such as those in it: {_programs_in(path)}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"program: {path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("program.json"))
            version, names = header.get("version"), header["arrays"]
    except DAMAGE as error:
        raise ValueError(f"program: {path} is not a program file: {error}") from error
    if version != VERSION:
        raise ValueError(
            f"program: {path} has version {version}, this qtlib reads version {VERSION}; lower the model again"
        )
    with zipfile.ZipFile(path) as archive:
        arrays = {name: _load_array(archive, name, digest, path) for name, digest in names.items()}
    tensors = {}
    for plain in header["tensors"]:
        tensor = Tensor(**{**plain, "shape": tuple(plain["shape"]), "scale": tuple(plain["scale"])})
        tensors[tensor.name] = tensor
    operations, constants = [], {}
    for index, plain in enumerate(header["operations"]):
        prefix = f"{index:03d}/"
        held = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        operations.append(KINDS[plain.pop("kind")](**plain, **held))
    for name, array in arrays.items():
        if name.startswith("constants/"):
            constants[name.removeprefix("constants/")] = array
    return Program(tensors=tensors, operations=tuple(operations), constants=constants, metadata=header["metadata"])


def _programs_in(folder: Path) -> str:
    names = sorted(file.name for file in folder.glob("*.qtp"))
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "it has no .qtp file"


def _load_array(archive: zipfile.ZipFile, name: str, digest: str, path: Path) -> Codes:
    try:
        array = np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(f"program: array {name} of {path} is damaged or missing: {error}") from error
    found = hashlib.sha256(array.tobytes()).hexdigest()
    if found != digest:
        raise ValueError(f"program: array {name} of {path} is damaged: SHA-256 {found[:12]}, expected {digest[:12]}")
    return array

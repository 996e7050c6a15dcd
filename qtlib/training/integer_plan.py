"""Every integer that a quantised model stands for: what is lowered to a `Program`, and what a training step multiplies and adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from qtlib.program.codes import code_range
from qtlib.program.rounding import MULT_BITS, SHIFT_STEP

MULT_TOP = code_range(MULT_BITS).high


class LinearPlan(NamedTuple):
    """Integers of a linear layer, held in float64 and float32; detached."""

    weight: Tensor  # [out, in] codes
    mult: Tensor  # [out]
    offset: Tensor  # [out]
    shift: int
    residual_mult: Tensor | None = None  # [out]
    residual_shift: int = 0


class AttentionPlan(NamedTuple):
    """Integers of scores, softmax and context of one layer."""

    ratio: Tensor  # [] real; one accumulator step of the scores in their codes
    score_scale: Tensor  # [] real
    mult: int
    offset: int
    shift: int
    table: Tensor  # [2**bits of the scores] exponentials
    softmax_bits: int
    context_gain: int  # k: context codes are 2**k finer than those of v
    context_offset: int
    context_shift: int


class LayerNormPlan(NamedTuple):
    """Integers of one LayerNorm, without gain and bias."""

    reciprocal_bits: int  # e
    gain: int  # k: the scale of its codes is 2**-k
    offset: int
    shift: int


class HeadPlan(NamedTuple):
    """Integers of the head and the scale of its results; detached."""

    weight: Tensor  # [out, in] codes
    scale: Tensor  # [out] real
    offset: Tensor  # [out]


class IntegerPlan(NamedTuple):
    """All integers of a quantised model, by the tensor that they produce."""

    linear: dict[str, LinearPlan]
    attention: dict[str, AttentionPlan]  # under the name of the context
    norms: dict[str, LayerNormPlan]
    head: HeadPlan


class Channels(NamedTuple):
    """What every output channel of every layer multiplies and adds, in codes of its result.

    C channels, R of them with a residual. The numbers are the integers of the program divided by powers of two, with the
    gradients of the real numbers that they round.
    """

    weight: list[Tensor]  # of each block, [rows, in] float32, weight codes times ratio
    codes: list[Tensor]  # of each block, [rows, in] float32, weight codes; detached
    ratio: Tensor  # [C] one step of the accumulator
    bias: Tensor  # [C]; of the head in values
    residual_ratio: Tensor  # [R] one code of the residual
    shift: dict[str, int]  # of each layer but the head
    residual_shift: dict[str, int]


def choose_residual_shift(largest: float, shift: int) -> int:
    """Smallest multiple of 4 by which a residual's multiplier must stay behind ``shift`` to fit.

    Raises:
        OverflowError: it does not fit even as an integer.
    """
    for behind in range(0, shift + 1, SHIFT_STEP):
        if largest * (1 << (shift - behind)) <= MULT_TOP:
            return behind
    raise OverflowError(f"requantise: the residual ratio {largest:g} is above the limit {MULT_TOP} of {MULT_BITS} bits")


def named(name: str, choose: Callable[..., int], *sizes: Any) -> int:
    """Choose a shift; an error names the tensor."""
    try:
        return choose(*sizes)
    except OverflowError as error:
        raise OverflowError(f"{name}: {error}") from error

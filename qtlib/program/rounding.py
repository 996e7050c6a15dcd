"""The one rounding, half up, and the one overflow rule, saturation; and the integers that stand for real ratios.

Twin: hdl/rtl/requantise.vhd. Training rounds the same sums in torch (`qtlib.training.straight_through`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtlib.program.codes import Codes, Tensor, code_range

MULT_BITS = 18  # signed; the narrow port of a DSP48E1 (Xilinx UG479, table 1-1)
SHIFT_STEP = 4  # shifts are multiples of this, so that few distinct ones occur and the shifter is small
SHIFT_MAX = 24
RECIPROCAL_BITS = 16  # the reciprocal of a row sum is floor(2**(e_bits + RECIPROCAL_BITS) / sum)

Held = NDArray[np.float64]  # integers


def requantise(total: Held, y: Tensor) -> Held:
    """The one rounding and the one overflow rule, in place: ``saturate(floor(total))``; the half is in the offset.

    Args:
        total: sums divided by ``2**shift``.

    Twin: hdl/rtl/requantise.vhd.
    """
    np.floor(total, out=total)
    return np.clip(total, *y.range, out=total)


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

"""Clocks of the pipeline, and the widths of its LayerNorm that decide some of them."""

from __future__ import annotations

from typing import NamedTuple

from qtlib.program.codes import Range, Tensor

# Clocks of the pipeline; the numbers are registers in hdl/rtl, counted along the path.
START = 2  # issue.vhd: fetch and setup before the first term of an operation
CAPTURE = 6  # from the address of the last term to the slot of its sum: memory, select, operand, product, sum, capture
CODE = 6  # from a slot to its code: memory, operand, product, addend, sum, code
READABLE = 8  # from a slot to the clock in which an address reads the word: code, word, write
RESULT = 5  # retire.vhd: from a slot to the result of a head: memory, operand, partial sum, sum over tokens, offset
# softmax.vhd: from the address of a score to the clock in which an address reads the exponential, less one.
EXPONENTIAL = 5
DIVIDE = 18  # divider.vhd
# layer_norm.vhd: from the last code of the sums to the clock in which an address reads the reciprocal of their first slice, without
# the clocks of the variance and of the root: square, sum, load | variance, one step more than bits | root | divider, written.
ROOT_READABLE = 24
RECIPROCAL_READABLE = 24  # from the address of a row's last score to the clock in which an address reads the reciprocal
UNLOAD = 2  # unload.vhd: from a written result to out_valid; also the clocks of each further result


class NormWidths(NamedTuple):
    """Bits of what layer_norm.vhd keeps of a token."""

    square: int  # odd part of d, times the square of a code
    sum: int  # signed
    squares: int
    root: int


def norm_widths(x: Tensor) -> NormWidths:
    """Widths of the LayerNorm of x. Twin: the constants of hdl/rtl/layer_norm.vhd."""
    d, code = x.shape[-1], 1 << (x.bits - 1)
    odd = d // (d & -d)
    root = max(2, (d * (2 * code - 1) // 2).bit_length())
    return NormWidths((odd * code**2).bit_length(), Range(-d * code, 0).bits, (d * odd * code**2).bit_length(), root)


def root_clocks(x: Tensor) -> int:
    """Clocks from the last code of the sums x to their first reciprocals: the variance and the root take one for each bit."""
    widths = norm_widths(x)
    return ROOT_READABLE + widths.sum + widths.root

"""Codes: what an integer stands for, and the tensors of them between two operations.

A *code* is an integer of ``bits`` bits and stands for the value ``scale * (code - zero_point)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]


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

    def values(self, codes: Codes | NDArray[np.float64]) -> NDArray[np.float64]:
        """Real values of codes, ``scale * (code - zero_point)``; the codes may be held in float64."""
        return np.asarray(self.scale, np.float64) * (codes - self.zero_point)

    def codes(self, values: NDArray[np.floating]) -> Codes:
        """Codes nearest to real values, half up, saturated; what the host does to its input."""
        scaled = np.asarray(values, np.float64) / np.asarray(self.scale, np.float64)
        nearest: NDArray[np.float64] = np.clip(np.floor(scaled + 0.5) + self.zero_point, *self.range)
        return nearest.astype(np.int64)

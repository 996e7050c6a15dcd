"""How tokens and output features are laid out on the engine: lanes, unroll, requantisers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How the work is laid out on the engine."""

    window: int
    lanes: int
    unroll: int
    requantisers: int

    @property
    def groups(self) -> int:
        """Groups of `lanes` tokens."""
        return -(-self.window // self.lanes)

    @property
    def slices(self) -> int:
        """Groups of `requantisers` lanes."""
        return self.lanes // self.requantisers

    @property
    def slots(self) -> int:
        """Clocks that a captured sum occupies the requantisers."""
        return self.unroll * self.slices


def legal_lanes(window: int) -> list[int]:
    """Lane counts that fold a window without leaving a lane idle that fewer lanes would not need."""
    return sorted({-(-window // groups) for groups in range(1, window + 1)})


def legal_unrolls(lanes: int) -> list[int]:
    """Numbers of outputs computed at once, and of requantisers: what divides the lanes."""
    return [n for n in range(1, lanes + 1) if lanes % n == 0]


def listed(values: list[int]) -> str:
    """Numbers for the text of an error."""
    return ", ".join(map(str, values))

"""The table of exponentials that the softmax looks up."""

from __future__ import annotations

import torch
from torch import Tensor

from qtlib.training.straight_through import rounded


def exponential_table(scale: float, bits: int, entries: int) -> Tensor:
    """Exponentials as unsigned codes, ``table[i] = round((2**bits - 1) exp(-i scale))``, half up; [entries]."""
    steps = torch.arange(entries, dtype=torch.float64)
    return rounded(((1 << bits) - 1) * torch.exp(-scale * steps))

"""Input codes that drive a design to its limits, and how often it then saturates."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from qtlib.program import reference
from qtlib.program.codes import Codes, Tensor
from qtlib.program.program import Program


def stimuli(program: Program, windows: int, seed: int = 0) -> Codes:
    """Input codes that drive a design to its limits: of every four windows one is drawn from the whole range, one from its two
    ends, one is a random walk, one is constant at an end. [windows, n, m], reproducible from the seed.

    Raises:
        ValueError: fewer windows than one.
    """
    if windows < 1:
        raise ValueError(f"simulate: windows={windows} must be at least 1")
    rng = np.random.default_rng(seed)
    low, high = program.input.range
    shape = program.input.shape
    kinds = (
        lambda: rng.integers(low, high + 1, shape),
        lambda: rng.choice([low, high], shape),
        lambda: np.clip(np.cumsum(rng.integers(low // 4, high // 4 + 2, shape), 0), low, high),
        lambda: np.full(shape, rng.choice([low, high])),
    )
    return np.stack([kinds[index % 4]() for index in range(windows)]).astype(np.int64)


class _Unlimited(NamedTuple):
    """The tensors of a program, one of them so wide that nothing saturates."""

    tensors: dict[str, Tensor]


def saturated(program: Program, codes: Codes) -> dict[str, tuple[int, int]]:
    """How many codes of each requantised tensor were cut at the lower and at the upper end of their range."""
    tensors = reference.trace(program, codes)
    held = {name: found.astype(np.float64) for name, found in tensors.items()}
    counts = {}
    for op in program.operations:
        if hasattr(op, "shift"):
            wide = replace(program.tensors[op.y], bits=62, signed=True)
            raw = reference.apply(op, _Unlimited({**program.tensors, op.y: wide}), held)
            counts[op.y] = (int((raw < tensors[op.y]).sum()), int((raw > tensors[op.y]).sum()))
    return counts

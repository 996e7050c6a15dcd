"""What decides the bits of a training besides its configuration: the order in which sums are added."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from qtlib import processor


def kernels() -> str:
    """What adds up the sums of a training here: ``avx2`` on every machine that computes the committed numbers bit for bit.

    PyTorch reads its setting when its first kernel runs, so one that ran before qtlib was imported may have chosen otherwise.
    """
    if torch.cuda.is_available():
        return "cuda"
    found, chosen = processor.kernels(), torch.backends.cpu.get_cpu_capability().lower()
    return f"torch {chosen}" if found == "avx2" != chosen else found


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order on any number of cores; the models are too small for more threads to pay."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The same bits on every x86-64 machine with AVX2: which kernels the numerical libraries choose is fixed before they load.

PyTorch, MKL, OpenBLAS and NumPy choose their kernels by the processor, and kernels add in different orders: the same training ends
in other weights. The settings below hold them to the kernels of AVX2, and MKL to the one branch that does not look at the
processor. Sums of a matrix product also depend on the number of threads; the products here are too small for threads to win.

Importing `qtlib` sets them, in this process and those that it starts, unless they are set already; so `qtlib` is imported before
NumPy and PyTorch. The promise holds for the versions of constraints.txt. On other processors everything runs, and `note` says so.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

SETTINGS = {
    "ATEN_CPU_CAPABILITY": "avx2",  # of PyTorch
    "MKL_CBWR": "COMPATIBLE",  # conditional numerical reproducibility of MKL, in which PyTorch computes matrix products
    "OPENBLAS_CORETYPE": "Haswell",  # of NumPy's matrix products: the first processor with AVX2
    "OPENBLAS_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # all that NumPy 2.4 has beyond AVX2: exp, log and pow differ
}
NOTE = "not on the kernels of AVX2: digits may differ"


def is_x86() -> bool:
    """Whether the settings mean anything here."""
    return platform.machine().lower() in ("x86_64", "amd64")


def fix_kernels() -> None:
    """Put the settings into the environment; what is set already is left.

    PyTorch obeys without a look at the processor, so where there is no AVX2 it would be killed by an illegal instruction.
    """
    if is_x86() and has_avx2():
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)


def has_avx2() -> bool:
    """Whether Linux lists AVX2, and FMA with it, among what the processor can do; elsewhere nothing was tried, so False."""
    file = Path("/proc/cpuinfo")
    words = file.read_text(encoding="utf-8", errors="replace").split() if file.is_file() else []
    return {"avx2", "fma"} <= set(words)


def kernels() -> str:
    """What decides the order of sums: ``avx2`` where the settings hold, else what stands in their place."""
    if not (is_x86() and has_avx2()):
        return platform.machine()
    other = [f"{name}={os.environ.get(name)}" for name, value in SETTINGS.items() if os.environ.get(name) != value]
    return ", ".join(other) or "avx2"


def note() -> str:
    """What a label says where numbers may differ from the committed ones; empty where they are the same bits."""
    return "" if kernels() == "avx2" else NOTE

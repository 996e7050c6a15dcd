"""The integer program: what training produces and everything downstream obeys; no torch, no hardware.

`Program` is the list of operations, `requantise` the one rounding, `run` the NumPy reference, `save` and `load` the file.
"""

from qtlib.program.codes import Codes, Range, Tensor, code_range
from qtlib.program.file import load, save
from qtlib.program.operations import Context, Head, LayerNorm, Linear, Operation, Pool, Scores, Softmax
from qtlib.program.program import Program
from qtlib.program.reference import predict, run, trace
from qtlib.program.rounding import (
    MULT_BITS,
    RECIPROCAL_BITS,
    choose_shift,
    norm_reciprocal_bits,
    reciprocal,
    requantise,
)

__all__ = [
    "MULT_BITS",
    "RECIPROCAL_BITS",
    "Codes",
    "Context",
    "Head",
    "LayerNorm",
    "Linear",
    "Operation",
    "Pool",
    "Program",
    "Range",
    "Scores",
    "Softmax",
    "Tensor",
    "choose_shift",
    "code_range",
    "load",
    "norm_reciprocal_bits",
    "predict",
    "reciprocal",
    "requantise",
    "run",
    "save",
    "trace",
]

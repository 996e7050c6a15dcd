"""Where the error of an integer program arises: how far every one of its tensors is from that of the float model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from qtlib.program import reference
from qtlib.program.program import Program


def rounding_errors(program: Program, real: Mapping[str, np.ndarray], x: np.ndarray) -> pd.DataFrame:
    """Rms difference of every tensor, over the spread of its real values.

    Args:
        program: what was rounded.
        real: every tensor of the float model on the same windows, by the name that it has in the program.
        x: [N, n, m] scaled windows.

    Returns:
        a row for each tensor in the order of execution: tensor, width, error.
    """
    rows = []
    for name, codes in reference.trace(program, program.input.codes(x)).items():
        tensor = program.tensors[name]
        away = tensor.values(codes) - real[name]
        rms = float(np.sqrt(np.mean(away**2)) / real[name].std())
        rows.append({"tensor": name, "width": tensor.bits, "error": rms})
    return pd.DataFrame(rows)

"""One width for the whole body: the error of every size and width beside the clocks and cells that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from qtlib.config import Experiment, HardwareConfig
from qtlib.estimate.resources import estimate
from qtlib.program.operations import Head, Linear
from qtlib.program.program import Program
from qtlib.training.determinism import one_thread
from qtlib.training.lowering import example

CELLS = ("lut", "ff", "dsp", "ramb18")


def costs(program: Program, hardware: HardwareConfig) -> dict[str, Any]:
    """Clocks (exact), thousands of bits of weights, and `CELLS` (formula) of a program."""
    found = estimate(program, hardware)
    bits = sum(op.weight.size * op.weight_bits for op in program.operations if isinstance(op, (Linear, Head)))
    cells = {name: round(getattr(found.total, name)) for name in CELLS}
    return {"clocks": found.clocks, "weight_kbit": bits / 1000, **cells}


def table(metrics: Mapping[Experiment, Mapping[str, float]], hardware: HardwareConfig) -> pd.DataFrame:
    """Errors of quantised experiments beside what they cost, a row each; float ones are left out.

    Weights are random but seeded, so that nothing has to be trained to be counted: clocks and memories depend on the shape and the widths
    alone, and LUTs that hold constants depend little on their values.

    Args:
        metrics: ``validation_rmse`` and ``test_rmse`` by experiment.
        hardware: the engine.

    Returns:
        d_model, bits, validation_rmse, test_rmse and `costs`.
    """
    rows = []
    for experiment, found in metrics.items():
        if experiment.quant:
            with one_thread():
                program = example(experiment.model, experiment.quant)
            row: dict[str, Any] = {"d_model": experiment.model.d_model, "bits": experiment.quant.bits}
            row |= {name: found[name] for name in ("validation_rmse", "test_rmse")}
            rows.append(row | costs(program, hardware))
    return pd.DataFrame(rows)

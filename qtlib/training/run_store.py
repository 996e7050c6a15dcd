"""Finished runs on disk, each kept once under its ``run_id`` and read back only as what was asked for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from qtlib.config import Experiment
from qtlib.data.windows import Prepared
from qtlib.paths import prepared as prepared_folder
from qtlib.paths import write_atomic
from qtlib.program import file
from qtlib.program.program import Program
from qtlib.training.determinism import kernels
from qtlib.training.encoder import Encoder
from qtlib.training.quantised_encoder import QuantisedEncoder

# Raise it when the same configuration would train to other weights. 3 was the same training as 4, on the kernels that the processor
# of its day preferred.
PROCEDURE = 4


class Run(NamedTuple):
    """A finished run; errors are in the data's unit."""

    experiment: Experiment
    history: pd.DataFrame  # epoch, train_loss (scaled), validation_rmse; epoch 0 is before training
    model: Encoder | QuantisedEncoder
    program: Program | None  # of a quantised run
    # {validation,test}_{rmse,mae}, best_epoch; of a program also the codes of the test split that were compared with the
    # trained model, `codes`, how many of them differ, `codes_differ`, and `dead_channels`, whose weights are all 0
    metrics: dict[str, float]

    @property
    def lowered(self) -> Program:
        """The program of a quantised run.

        Raises:
            ValueError: the run is of the float model.
        """
        if self.program is None:
            raise ValueError(f"train: run {self.experiment.run_id} is of the float model, which has no program")
        return self.program


def run_folder(experiment: Experiment, prepared: Prepared) -> Path:
    """Where a run is kept: the same experiment on other data, measured or synthetic, is another run."""
    return prepared_folder() / "runs" / f"{experiment.run_id}-{prepared.series.sha256[:8]}"


def _identity(experiment: Experiment, prepared: Prepared) -> dict[str, Any]:
    """What a kept run must agree on."""
    plain = json.loads(json.dumps(experiment.choices))  # tuples become lists, as in the file
    data = {"sha256": prepared.series.sha256, "origin": "synthetic" if prepared.origin == "synthetic" else "measured"}
    return {"experiment": plain, "series": data, "procedure": PROCEDURE, "kernels": kernels()}


def keep(run: Run, prepared: Prepared, folder: Path) -> None:
    """Write a run under another name and rename the folder when all of it is there."""
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        scratch.mkdir(parents=True)
        torch.save(run.model.state_dict(), scratch / "model.pt")
        if run.program:
            file.save(run.program, scratch / "program.qtp")
        history = run.history.astype(object).where(run.history.notna(), None).to_dict("list")
        record = _identity(run.experiment, prepared)
        record |= {"metrics": run.metrics, "history": history, "torch": torch.__version__}
        write_atomic(scratch / "run.json", json.dumps(record, indent=1, sort_keys=True))
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.exists():  # else another process has finished the same run; its result is the same
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read(experiment: Experiment, prepared: Prepared, folder: Path) -> Run:
    """Read a kept run.

    Raises:
        ValueError: it is damaged, or of another configuration, data or procedure.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        found = {key: record[key] for key in _identity(experiment, prepared)}
        metrics, history = record["metrics"], pd.DataFrame(record["history"])
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"train: {folder} is not a finished run ({type(error).__name__}: {error}); delete it"
        ) from error
    for name, kept, expected in _differences("", found, _identity(experiment, prepared)):
        raise ValueError(
            f"train: {folder} holds a run with {name}={kept!r}, expected {expected!r}; delete it to train again"
        )
    with torch.random.fork_rng(devices=[]):
        model: Encoder | QuantisedEncoder = Encoder(experiment.model).eval()
    kept_program = None
    if experiment.quant:
        # Weights and scales are read; of the windows only the shape matters.
        model = QuantisedEncoder(model, experiment.quant, torch.from_numpy(prepared.train.x[:1]))
        kept_program = file.load(folder / "program.qtp")
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    return Run(experiment, history, model.eval(), kept_program, metrics)


def _differences(place: str, found: Any, expected: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}):
            yield from _differences(f"{place}.{key}".lstrip("."), found.get(key), expected.get(key))
    elif found != expected:
        yield place, found, expected

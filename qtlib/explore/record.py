"""The record of a study as tables, and one trial of it as a design."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

from qtlib import __version__, paths
from qtlib.estimate.resources import Estimate, estimate
from qtlib.explore.space import design
from qtlib.explore.storage import compare, default_storage, load, outcome
from qtlib.explore.trial import read_job, read_point
from qtlib.paths import write_atomic
from qtlib.studies.precision_studies import windows
from qtlib.toolchain.design_directory import emit
from qtlib.toolchain.input_stimuli import stimuli
from qtlib.toolchain.simulation import simulate
from qtlib.toolchain.synthesis import synthesise as map_design
from qtlib.training.run_store import PROCEDURE
from qtlib.training.runs import train
from qtlib.training.training_loop import Progress

MEASURED = {  # columns of a table: whole number, real number or text
    "mean_weight_bits": float, "validation_rmse": float, "clocks": int, "interval": int, "energy_low_uj": float,
    "energy_high_uj": float, "lut": int, "lut_memory": int, "ff": int, "dsp": int, "ramb18": int, "run_id": str,
}  # fmt: skip
PRINTED = (
    "number", "window", "d_model", "mean_weight_bits", "validation_rmse", "clocks", "energy_low_uj", "energy_high_uj", "lut", "ff", "dsp", "ramb18",
)  # fmt: skip


def trials(study: optuna.Study) -> pd.DataFrame:
    """Every trial as a row.

    Returns:
        number, outcome (complete, infeasible, pruned, failed, running or waiting), why, a column per dimension of the space, by
        the names of `Space.choices`, lanes, and `MEASURED`: the average width of the weights in bits, validation error in the data's unit,
        latency and interval in clocks, energy in uJ, resources by formula, and the run. What was not reached is missing.
    """
    job, rows = read_job(study), []
    for trial in study.get_trials(deepcopy=False):
        what, why = outcome(trial)
        params = read_point(trial, job)
        lanes = -(-params["window"] // params["groups"]) if params["window"] and params["groups"] else None
        found = trial.user_attrs.get("ended", {}).get("measured", {})
        measured = {name: found.get(name) for name in MEASURED}
        rows.append({"number": trial.number, "outcome": what, "why": why, **params, "lanes": lanes, **measured})
    options = job.space.choices(job.base)
    table = pd.DataFrame(rows, columns=["number", "outcome", "why", *options, "lanes", *MEASURED])
    whole = ["number", "lanes", *(name for name, found in options.items() if not isinstance(found[0], str))]
    whole += [name for name, kind in MEASURED.items() if kind is int]
    real = [name for name, kind in MEASURED.items() if kind is float]
    return table.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(real, "float64"))


def objectives(study: optuna.Study) -> tuple[str, ...]:
    """Columns that a study minimises."""
    return read_job(study).objectives


def front(table: pd.DataFrame, by: Sequence[str] = ("validation_rmse", "clocks")) -> pd.DataFrame:
    """Complete trials that no other one beats in one objective and equals in the rest, the fastest first.

    Of designs with equal objectives the one with the fewest LUTs is taken, then the earliest.
    """
    order = list(dict.fromkeys([*by[1:], by[0], "lut", "number"]))
    rows = table[table.outcome == "complete"].sort_values(order).drop_duplicates(list(by))
    return rows[~dominated(rows[list(by)])].reset_index(drop=True)


def dominated(costs: pd.DataFrame) -> np.ndarray:
    """Which rows another one beats in one column and equals or beats in the rest, as a mask."""
    values = costs.to_numpy(float)
    beaten = [((values <= own).all(axis=1) & (values < own).any(axis=1)).any() for own in values]
    return np.array(beaten, dtype=bool)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table that are worth a line in print, with four digits of every real number."""
    return table[list(PRINTED)].map(lambda cell: f"{cell:.4g}" if isinstance(cell, float) else cell)


def save(study: optuna.Study, folder: Path | None = None) -> list[Path]:
    """Write all trials and the front as CSV, the front as a LaTeX table (booktabs), and what the study was made with as JSON; returns the files.

    CSV of the trials and JSON are enough to export a trial elsewhere.

    Args:
        folder: None: beside the default storage.
    """
    folder = Path(folder) if folder else paths.prepared() / "explore"
    table, name = trials(study), study.study_name
    best = front(table, objectives(study))
    head = f"% {name}: written by qtlib {__version__}; do not edit. Error: validation; clocks, cells: formula; energy: published power.\n"
    contents = {
        f"{name}_trials.csv": table.to_csv(index=False, lineterminator="\n"),
        f"{name}_front.csv": best.to_csv(index=False, lineterminator="\n"),
        f"{name}_front.tex": head + shown(best).to_latex(index=False, escape=True),
        f"{name}_study.json": json.dumps(study.user_attrs["qtlib"], indent=1, sort_keys=True) + "\n",
    }
    return [write_atomic(folder / file, text) for file, text in contents.items()]


def read_trials(name: str, folder: Path = paths.DATA) -> pd.DataFrame:
    """The trials of a study as `save` wrote them, by default of a committed one.

    Raises:
        FileNotFoundError: there is no such table.
    """
    return pd.read_csv(paths.table(folder / f"{name}_trials.csv"), dtype={"why": object}).fillna({"why": ""})


def export(
    name: str,
    number: int,
    directory: Path | None = None,
    *,
    storage: str | None = None,
    tables: Path | None = None,
    count: int = 8,
    verify: bool = False,
    synthesise: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write one complete trial as a design: program, VHDL with testbench and vectors, choices and estimate as JSON.

    A run that is not kept here is trained again. The test error, which no search has read, stands in ``choices.json``.

    Args:
        number: of the trial.
        storage: where the study is; None: the default one.
        tables: folder of the tables that `save` wrote, which are read instead of a storage.
        directory: None: a folder in `qtlib.paths.generated`.
        count: windows of test vectors.
        verify: simulate the design, too, and compare every result.
        synthesise: map it with Yosys, too.

    Raises:
        ValueError: there is no such complete trial, the data or the result are no longer those of the study, or as `emit`.
        as `load`, `simulate` and `synthesise`.
    """
    if tables:
        study, table = _from_tables(name, Path(tables))
    else:
        study = load(name, storage)
        table = trials(study)
    row = next((row for _, row in table.iterrows() if row.number == number), None)
    job = read_job(study)
    if row is None or row.outcome != "complete":
        what = "does not exist" if row is None else f"is {': '.join(filter(None, (row.outcome, row.why)))}"
        legal = front(table, job.objectives).number.tolist()
        raise ValueError(
            f"explore: trial {number} of {name!r} {what}; on the front are {', '.join(map(str, legal)) or 'none'}"
        )
    recorded = {key: kind(row[key]) for key, kind in MEASURED.items()}
    point = {str(key): value for key, value in row.items()}
    experiment, hardware = design(point, job.base, job.space)
    prepared = windows(experiment.data)
    place = str(tables) if tables else storage or default_storage(name)
    compare(study, place, {"data": prepared.series.sha256})
    finished = train(experiment, prepared, progress=progress)
    if not np.isclose(finished.metrics["validation_rmse"], recorded["validation_rmse"], rtol=1e-6, atol=0):
        raise ValueError(
            f"explore: trial {number} was recorded with validation rmse {recorded['validation_rmse']:.6g}, run {experiment.run_id} "
            f"has {finished.metrics['validation_rmse']:.6g} here; another version of torch has trained it"
        )
    directory = Path(directory) if directory else paths.generated() / f"{name}_{number}"
    program = finished.lowered
    emit(program, hardware, directory, stimuli(program, count), must_fit=True)
    _write(directory / "estimate.json", _plain(estimate(program, hardware)))
    chosen = {
        "study": name,
        "trial": number,
        "qtlib": __version__,
        "experiment": experiment.choices,
        "hardware": asdict(hardware),
    }
    measured = {key: finished.metrics[key] for key in ("validation_rmse", "test_rmse")}
    data = {
        "run_id": experiment.run_id,
        "unit": prepared.unit,
        "origin": prepared.origin,
        "sha256": prepared.series.sha256,
    }
    _write(directory / "choices.json", chosen | data | {"evaluated": measured, "recorded": recorded})
    if verify:
        simulate(directory)
    if synthesise:
        map_design(directory)
    return directory


def _from_tables(name: str, folder: Path) -> tuple[optuna.Study, pd.DataFrame]:
    """A study without its trials, and the trials as a table, as `save` wrote both."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        kept = json.loads(paths.table(folder / f"{name}_study.json").read_text(encoding="utf-8"))
        table = read_trials(name, folder)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"explore: {folder} has no tables of a study {name!r} ({error}); python -m qtlib explore --study {name} --tables {folder} writes them"
        ) from error
    study = optuna.create_study(study_name=name, directions=["minimize"] * len(kept["objectives"]))
    study.set_user_attr("qtlib", kept)
    compare(study, str(folder), {"version": __version__, "procedure": PROCEDURE})
    return study, table


def _plain(found: Estimate) -> dict[str, Any]:
    return found._asdict() | {
        "total": found.total._asdict(),
        "components": {name: part._asdict() for name, part in found.components.items()},
    }


def _write(file: Path, payload: Mapping[str, Any]) -> None:
    write_atomic(file, json.dumps(payload, indent=1, sort_keys=True) + "\n")

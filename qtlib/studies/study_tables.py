"""The tables of the studies: many trained models, each point computed once.

They are committed (`data/study_<name>.csv`); ``python -m qtlib study <name>`` adds the points that are missing. A point
is known by its run: the hash of its whole configuration, and the hash of the data. A table with a point of another configuration
is refused, and one of other data is not gone on with. Rows stand in the order of the study, whichever was finished first.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from qtlib import paths, processor
from qtlib.config import Experiment, check_choice
from qtlib.data.baseline_forecasts import baselines
from qtlib.data.windows import Prepared
from qtlib.paths import write_atomic
from qtlib.studies.precision_studies import BASELINES, DEPLOYED_VARIANTS, STUDIES, VARIANTS, Chain, windows
from qtlib.training.run_store import PROCEDURE
from qtlib.training.runs import train

# The same training on the kernels that the processor of its day preferred: as good as today's, but not the same bits elsewhere.
EARLIER = 3
COLUMNS = (
    "task", "variant", "window", "d_model", "seed", "validation_rmse", "validation_mae", "test_rmse", "test_mae", "best_epoch",
    "codes", "codes_differ", "unit", "origin", "run", "procedure", "torch",
)  # fmt: skip
METRICS = COLUMNS[5:12]
OTHER_KERNELS = 0.03  # of an error: by about so much runs differ that differ in nothing but the order of their sums, or in their seed
WHOLE = ("window", "d_model", "seed", "best_epoch", "codes", "codes_differ", "procedure")  # numbers; none in a baseline


def path(name: str) -> Path:
    """File of a study's table."""
    check_choice("study", "name", name, STUDIES)
    return paths.DATA / f"study_{name}.csv"


def _points(chains: Iterable[Chain]) -> dict[tuple[Any, ...], str]:
    """Run of every point of a study, by task, variant, window, d_model and seed, in the order of the study."""
    found: dict[tuple[Any, ...], str] = {}
    for chain in chains:
        shape = (chain.experiment.data.window, chain.experiment.model.d_model, chain.experiment.train.seed)
        found |= {(chain.task, variant, *shape): e.run_id for variant, e in chain.experiments()}
    return found


def _read(file: Path) -> pd.DataFrame:
    """A study's file with the right columns; its points are not checked.

    Numbers survive unchanged, so that a table that grows keeps the lines it has.
    """
    try:
        text = file.read_text(encoding="utf-8")
        table = pd.read_csv(io.StringIO(text), dtype={"run": str})
        if tuple(table.columns) == COLUMNS:
            return table.astype(dict.fromkeys(WHOLE, "Int64"))
    except (ValueError, TypeError) as error:  # no text, no table or no number
        raise ValueError(f"study: {file} is not a table ({error}); delete it or restore it") from error
    raise ValueError(f"study: {file} has the columns {', '.join(table.columns)}, expected {', '.join(COLUMNS)}")


def load(name: str, file: Path | None = None) -> pd.DataFrame:
    """Finished points of a study, a row each, baselines among them.

    A point can be checked on the data that it was computed on; where there is other data here, such as the synthetic one, it is
    returned as it stands, and `run` would refuse to go on with it.

    Raises:
        FileNotFoundError: the study has no table yet.
        ValueError: the table is damaged, or holds a point that this version of the study does not have.
    """
    file = paths.table(file or path(name))
    check_choice("study", "name", name, STUDIES)
    if not file.exists():
        raise FileNotFoundError(f"study: {file} does not exist; python -m qtlib study {name} writes it")
    chains = STUDIES[name]()
    table, known = _read(file), _points(chains)
    here: dict[tuple[Any, ...], str] = {
        (chain.task, chain.experiment.data.window): windows(chain.experiment.data).series.sha256[:8] for chain in chains
    }
    for row in table[~table.variant.isin(BASELINES)].itertuples():
        expected = known.get((row.task, row.variant, row.window, row.d_model, row.seed))
        found, _, series = str(row.run).partition("-")
        other_data = expected and series != here[row.task, row.window]
        if row.procedure not in (EARLIER, PROCEDURE) or (found != expected and not other_data):
            raise ValueError(
                f"study: {file} holds {row.task}, {row.variant}, seed {row.seed} of run {row.run}, procedure {row.procedure}; "
                f"this version computes {expected}, procedure {PROCEDURE}; move the file away to compute it again"
            )
    return table


def held(experiments: Iterable[Experiment], prepared: Prepared) -> dict[Experiment, dict[str, float]]:
    """What the committed tables hold of some experiments: configuration, data and training the same, errors to 7 digits.

    Args:
        experiments: what may have been run.
        prepared: their windows.

    Returns:
        ``{validation,test}_{rmse,mae}``, best_epoch, procedure, and of a program codes and codes_differ, by experiment; those that no
        table holds are left out.
    """
    digest = prepared.series.sha256[:8]
    asked = {f"{experiment.run_id}-{digest}": experiment for experiment in experiments}
    found = {}
    for name in STUDIES:
        file = paths.table(path(name))
        table = _read(file) if file.exists() else pd.DataFrame(columns=COLUMNS)
        for row in table[table.run.isin(asked) & table.procedure.isin((EARLIER, PROCEDURE))].to_dict("records"):
            found[asked[row["run"]]] = {key: row[key] for key in (*METRICS, "procedure") if pd.notna(row[key])}
    return found


def agrees(metrics: Mapping[str, float], row: Mapping[str, float]) -> bool:
    """Whether a run made here has the errors that a table holds of it: the same digits, or, where other kernels made one of the two,
    within the spread of such runs.

    Args:
        metrics: of the run.
        row: from `held`.
    """
    same = row["procedure"] == PROCEDURE and not processor.note()
    limit = 0 if same else OTHER_KERNELS
    return all(abs(float(f"{metrics[key]:.7g}") / row[key] - 1) <= limit for key in METRICS[:4])


def _check_data(rows: Iterable[dict[str, Any]], chains: Iterable[Chain], file: Path) -> None:
    configs = {(chain.task, chain.experiment.data.window): chain.experiment.data for chain in chains}
    for row in rows:
        config = configs.get((row["task"], row["window"]))
        found = row["run"].rpartition("-")[2]
        if config and found != windows(config).series.sha256[:8]:
            raise ValueError(
                f"study: {file} holds {row['task']} on the data {found}, the series here is "
                f"{windows(config).series.sha256[:8]}; move the file away to compute it on this one"
            )


def run(
    name: str, *, workers: int | None = None, progress: Callable[[str], None] = print, file: Path | None = None
) -> pd.DataFrame:
    """Compute the points of a study that its table lacks; the table is written whole after every chain of runs.

    Args:
        name: `precision` or `grid`.
        workers: processes; None: one per core; 1: this one.
        progress: receives a line per chain.
        file: the table; None: the committed one.

    Raises:
        ValueError: the table holds points of other data than the series here.
        as `load` and `qtlib.training.train`; chains that were finished before are kept.
    """
    file = file or path(name)
    check_choice("study", "name", name, STUDIES)
    chains = STUDIES[name]()
    points = _points(chains)
    rows: list[dict[str, Any]] = []
    if file.exists():
        rows = [{str(key): cell for key, cell in row.items()} for row in load(name, file).to_dict("records")]
    _check_data(rows, chains, file)
    done = {(row["task"], row["variant"], row["window"], row["d_model"], row["seed"]) for row in rows}
    waiting = []
    for chain in chains:
        e = chain.experiment
        shape = (e.data.window, e.model.d_model, e.train.seed)
        missing = tuple(v for v in chain.variants if (chain.task, v, *shape) not in done)
        if missing:
            waiting.append(chain._replace(variants=missing))
    started = time.monotonic()
    with contextlib.closing(_computed(waiting, workers or os.cpu_count() or 1)) as computed:
        for count, found in enumerate(computed, 1):
            rows += found
            measured = {(row["task"], row["window"]) for row in rows if row["variant"] in BASELINES}
            if (found[0]["task"], found[0]["window"]) not in measured:
                rows += _baselines(found[0], waiting)
            write_atomic(file, _text(rows, points))
            spent = time.monotonic() - started
            finished = sum(row["variant"] not in BASELINES for row in rows)
            progress(
                f"study {name}: {found[0]['task']}, seed {found[0]['seed']}: {count}/{len(waiting)} chains, "
                f"{finished}/{len(points)} points, {spent / 60:.1f} min, "
                f"about {spent / count * (len(waiting) - count) / 60:.0f} min left"
            )
    return load(name, file)


def _computed(chains: list[Chain], workers: int) -> Generator[list[dict[str, Any]], None, None]:
    """Rows of every chain, in the order in which they are finished."""
    workers = min(workers, len(chains))
    if workers <= 1:
        yield from map(_measure, chains)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_measure, chains)


def _text(rows: list[dict[str, Any]], points: dict[tuple[Any, ...], str]) -> str:
    """The table as a file: a task's baselines, then its runs, in the order of the study."""
    tasks = list(dict.fromkeys(task for task, *_ in points))
    names = [*BASELINES, *VARIANTS, *DEPLOYED_VARIANTS]

    def place(row: dict[str, Any]) -> tuple[int, ...]:
        size, seed = (-1, -1) if row["variant"] in BASELINES else (row["d_model"], row["seed"])
        return tasks.index(row["task"]), row["window"], size, names.index(row["variant"]), seed

    ordered = sorted(rows, key=place)
    table = pd.DataFrame(ordered, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def _measure(chain: Chain) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    prepared, rows = windows(chain.experiment.data), []
    for name, experiment in chain.experiments():
        found = train(experiment, prepared)
        rows.append(
            {
                "task": chain.task,
                "variant": name,
                "window": experiment.data.window,
                "d_model": experiment.model.d_model,
                "seed": experiment.train.seed,
                **{key: float(f"{found.metrics[key]:.7g}") for key in COLUMNS[5:9]},
                **{key: found.metrics.get(key) for key in ("best_epoch", "codes", "codes_differ")},
                "unit": prepared.unit,
                "origin": prepared.origin,
                "run": f"{experiment.run_id}-{prepared.series.sha256[:8]}",
                "procedure": PROCEDURE,
                "torch": torch.__version__,
            }
        )
    return rows


def _baselines(row: dict[str, Any], chains: list[Chain]) -> list[dict[str, Any]]:
    """What a model has to beat, as rows beside it."""
    chain = next(c for c in chains if c.task == row["task"] and c.experiment.data.window == row["window"])
    prepared = windows(chain.experiment.data)
    table = baselines(prepared)
    common = {key: row[key] for key in ("task", "window", "unit", "origin", "procedure")}
    return [
        {**common, "variant": name, "run": f"-{prepared.series.sha256[:8]}",
         "test_rmse": float(f"{table.rmse[name]:.7g}"), "test_mae": float(f"{table.mae[name]:.7g}")}
        for name in BASELINES if name in table.index
    ]  # fmt: skip

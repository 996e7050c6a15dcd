"""Studies: many trained models as one table, each point computed once.

    precision   what integers cost: series x schemes x widths x seeds, at the published shape (window 24, d_model 16)
    grid        the published grid: window x d_model x width x seeds, on the PeMS station

The tables are committed (`data/study_<name>.csv`); ``python -m qtlib study <name>`` adds the points that are missing. A point
is known by its run: the hash of its whole configuration, and the hash of the data. A table with another point is refused.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from qtlib.config import DataConfig, Experiment, QuantConfig, check_choice
from qtlib.data import Prepared, baselines, default_config, prepare
from qtlib.paths import ROOT, write_atomic
from qtlib.train import PROCEDURE, make_experiment, train

SEEDS = 5
FEW_SEEDS = 3  # of the further tasks
LONG = 10_000  # training windows
TASKS = {
    "PeMS station": default_config("pems"),
    "ETTh1": default_config("etth1", anchored=True),
    "Air Quality": default_config("airquality", anchored=True),
    "Beijing O3": default_config("beijing"),
}
OTHER_SENSORS = ("PT08.S1(CO)", "PT08.S2(NMHC)", "PT08.S3(NOx)", "PT08.S4(NO2)", "T", "RH", "AH")  # all but the target
# What else the papers ask of a model: the other form of two series, and 24 steps ahead from one feature (arXiv 2408.16495).
MORE_TASKS = {
    "Air Quality, soft sensor": default_config("airquality", horizon=0, features=OTHER_SENSORS),
    "Beijing O3, forecast": default_config("beijing", horizon=1, anchored=True),
    "ETTh1, 24 steps of OT": default_config("etth1", features=("OT",), outputs=24, anchored=True),
}
LEARNED = {f"{bits} bit": QuantConfig(bits=bits) for bits in (8, 6, 4, 3, 2)}
VARIANTS: dict[str, QuantConfig | None] = {
    "float": None,
    **LEARNED,
    "4 bit, residual 8": QuantConfig(bits=4, residual_bits=8),
    "4 bit everywhere": QuantConfig(bits=4, input_bits=4, head_bits=4),
    **{f"min-max {b} bit": QuantConfig(bits=b, input_bits=b, head_bits=b, scheme="minmax") for b in (8, 6, 4)},
}
GRID_WINDOWS, GRID_WIDTHS, GRID_VARIANTS = (6, 12, 24), (8, 16, 32, 64), ("float", "8 bit", "6 bit", "4 bit")
BASELINES = ("naive", "seasonal-naive", "ridge")
COLUMNS = (
    "task", "variant", "window", "d_model", "seed", "validation_rmse", "validation_mae", "test_rmse", "test_mae", "best_epoch",
    "codes", "codes_differ", "unit", "origin", "run", "procedure", "torch",
)  # fmt: skip

WHOLE = ("window", "d_model", "seed", "best_epoch", "codes", "codes_differ", "procedure")  # numbers; none in a baseline


class Chain(NamedTuple):
    """Runs that start from one float model, and so belong to one process."""

    task: str
    variants: tuple[str, ...]
    experiment: Experiment  # the float one

    def experiments(self) -> Iterable[tuple[str, Experiment]]:
        """Every variant with its experiment."""
        return [(name, replace(self.experiment, quant=VARIANTS[name])) for name in self.variants]


@lru_cache
def windows(config: DataConfig) -> Prepared:
    """`prepare`, once in each process."""
    return prepare(config)


def _chain(task: str, config: DataConfig, variants: Iterable[str], seed: int, d_model: int = 16) -> Chain:
    return Chain(task, tuple(variants), make_experiment(windows(config), bits=None, d_model=d_model, seed=seed))


def precision() -> list[Chain]:
    """Every scheme and width on the four series; float, 8 and 4 bits on the other tasks."""
    few = ("float", "8 bit", "4 bit")
    chains = [
        _chain(task, config, variants, seed)
        for tasks, variants, seeds in ((TASKS, VARIANTS, SEEDS), (MORE_TASKS, few, FEW_SEEDS))
        for seed in range(seeds)
        for task, config in tasks.items()
    ]
    return sorted(
        chains, key=lambda chain: len(windows(chain.experiment.data).train.x) > LONG
    )  # stable; the long ones last


def grid() -> list[Chain]:
    """The published grid on the PeMS station."""
    task, config = "PeMS station", TASKS["PeMS station"]
    return [
        _chain(task, replace(config, window=n), GRID_VARIANTS, seed, d)
        for seed, n, d in itertools.product(range(SEEDS), GRID_WINDOWS, GRID_WIDTHS)
    ]


STUDIES: dict[str, Callable[[], list[Chain]]] = {"precision": precision, "grid": grid}


def path(name: str) -> Path:
    """File of a study's table."""
    check_choice("study", "name", name, STUDIES)
    return ROOT / "data" / f"study_{name}.csv"


def load(name: str, file: Path | None = None) -> pd.DataFrame:
    """Finished points of a study, a row each.

    Raises:
        FileNotFoundError: the study has no table yet.
        ValueError: the table is damaged, or holds a point that this version of the study does not have.
    """
    file = file or path(name)
    if not file.exists():
        raise FileNotFoundError(f"study: {file} does not exist; python -m qtlib study {name} writes it")
    try:
        table = pd.read_csv(io.StringIO(file.read_text(encoding="utf-8")), dtype={"run": str})
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"study: {file} is not a table ({error}); delete it or restore it") from error
    if tuple(table.columns) != COLUMNS:
        raise ValueError(f"study: {file} has the columns {', '.join(table.columns)}, expected {', '.join(COLUMNS)}")
    known = {
        (
            chain.task,
            name,
            chain.experiment.data.window,
            chain.experiment.model.d_model,
            chain.experiment.train.seed,
        ): e.run_id
        for chain in STUDIES[name]()
        for name, e in chain.experiments()
    }
    for row in table[~table.variant.isin(BASELINES)].itertuples():
        expected = known.get((row.task, row.variant, row.window, row.d_model, int(row.seed)))
        if row.run.partition("-")[0] != expected or row.procedure != PROCEDURE:
            raise ValueError(
                f"study: {file} holds {row.task}, {row.variant}, seed {row.seed} of run {row.run}, procedure {row.procedure}; "
                f"this version computes {expected}, procedure {PROCEDURE}; move the file away to compute it again"
            )
    return table


def run(
    name: str, *, workers: int | None = None, progress: Callable[[str], None] = print, file: Path | None = None
) -> pd.DataFrame:
    """Compute the points of a study that its table lacks; the table is written whole after every chain of runs.

    Args:
        name: `precision` or `grid`.
        workers: processes; None: one per core.
        progress: receives a line per chain.
        file: the table; None: the committed one.

    Raises:
        as `load` and `qtlib.train.train`.
    """
    file = file or path(name)
    chains = STUDIES[name]()
    rows = load(name, file).to_dict("records") if file.exists() else []
    done = {(row["task"], row["variant"], row["window"], row["d_model"], row["seed"]) for row in rows}
    waiting = []
    for chain in chains:
        e = chain.experiment
        missing = tuple(
            v for v in chain.variants if (chain.task, v, e.data.window, e.model.d_model, e.train.seed) not in done
        )
        if missing:
            waiting.append(chain._replace(variants=missing))
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(workers or os.cpu_count() or 1) as pool:
        for count, found in enumerate(pool.imap_unordered(_measure, waiting), 1):
            rows += found
            rows += [row for row in _baselines(found[0], waiting) if (row["task"], row["variant"], row["window"]) not in
                     {(r["task"], r["variant"], r["window"]) for r in rows}]  # fmt: skip
            whole = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))
            write_atomic(file, whole.to_csv(index=False, lineterminator="\n"))
            spent = time.monotonic() - started
            progress(
                f"study {name}: {count}/{len(waiting)} chains, {spent / 60:.1f} min, "
                f"about {spent / count * (len(waiting) - count) / 60:.0f} min left"
            )
    return load(name, file)


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


def against_float(table: pd.DataFrame, measure: str = "test_rmse") -> pd.DataFrame:
    """Relative difference of every quantised run to the float run of its seed, in percent, one row each."""
    runs = table[~table.variant.isin(BASELINES)]
    keys = ["task", "window", "d_model", "seed"]
    own = runs[runs.variant == "float"].set_index(keys)[measure].rename("float")
    joined = runs[runs.variant != "float"].join(own, on=keys)
    return joined[[*keys, "variant"]].assign(difference=100 * (joined[measure] / joined["float"] - 1))

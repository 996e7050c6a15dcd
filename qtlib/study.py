"""Studies: many trained models as one table, each point computed once.

    precision   what integers cost: series x schemes x widths x seeds, at the published shape (window 24, d_model 16)
    grid        the published grid: window x d_model x width x seeds, on the PeMS station
    deployed    shapes of the grid that an XC7S6 holds with mixed widths only, beside one width for all, on the PeMS station

The tables are committed (`data/study_<name>.csv`); ``python -m qtlib study <name>`` adds the points that are missing. A point
is known by its run: the hash of its whole configuration, and the hash of the data. A table with a point of another configuration
is refused, and one of other data is not gone on with. Rows stand in the order of the study, whichever was finished first.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from qtlib.config import DataConfig, Experiment, QuantConfig, check_choice
from qtlib.data import Prepared, baselines, default_config, prepare
from qtlib.paths import ROOT, write_atomic
from qtlib.quantise import narrow_weights
from qtlib.train import PROCEDURE, make_experiment, train

SEEDS = 5
SEEDS_OF = {"Beijing O3": 10}  # with five the mean of its test errors is uncertain by more than the losses that are looked for
FEW_SEEDS = 3  # of the further tasks
# Relative where the float model is better so on validation, mean over the seeds; see `OTHER_FORMS`.
TASKS = {
    "PeMS station": default_config("pems"),
    "ETTh1": default_config("etth1", anchored=True, relative=True),
    "Air Quality": default_config("airquality", anchored=True),
    "Beijing O3": default_config("beijing"),
}
OTHER_SENSORS = ("PT08.S1(CO)", "PT08.S2(NMHC)", "PT08.S3(NOx)", "PT08.S4(NO2)", "T", "RH", "AH")  # all but the target
# What else the papers ask of a model: the other form of two series, and 24 steps ahead from one feature (arXiv 2408.16495).
MORE_TASKS = {
    "Air Quality, soft sensor": default_config("airquality", horizon=0, features=OTHER_SENSORS),
    "Beijing O3, forecast": default_config("beijing", horizon=1, anchored=True),
    "ETTh1, 24 steps of OT": default_config("etth1", features=("OT",), outputs=24, anchored=True),
    "ETTh1, 24 steps of OT, relative": default_config("etth1", features=("OT",), outputs=24, anchored=True, relative=True),
}
# Two of the four series in the form that was not chosen.
OTHER_FORMS = {
    "ETTh1, not relative": default_config("etth1", anchored=True),
    "Air Quality, relative": default_config("airquality", anchored=True, relative=True),
}
LEARNED = {f"{bits} bit": QuantConfig(bits=bits) for bits in (8, 6, 4, 3, 2)}
MIXED = "4 bit, q and k 3"  # weights of 3.86 bits on average at d_model 16
VARIANTS: dict[str, QuantConfig | None] = {
    "float": None,
    **LEARNED,
    "4 bit, from 8": QuantConfig(bits=4, narrowing=(8,)),
    "4 bit, from 8 and 6": QuantConfig(bits=4, narrowing=(8, 6)),
    "4 bit, residual 8": QuantConfig(bits=4, residual_bits=8),
    "4 bit everywhere": QuantConfig(bits=4, input_bits=4, head_bits=4),
    "4 bit weights": QuantConfig(bits=8, weight_bits=4, head_bits=4),
    MIXED: QuantConfig(bits=4, overrides=(("0.q.weight", 3), ("0.k.weight", 3))),
    **{f"min-max {b} bit": QuantConfig(bits=b, input_bits=b, head_bits=b, scheme="minmax") for b in (8, 6, 4)},
}
# Shapes of `data/deployability.csv` that fit the XC7S6 only with mixed widths: window, d_model, and bits of activations, of weights, and of
# those of the feed-forward block.
DEPLOYED = ((6, 64, 8, 5, 4), (6, 64, 6, 5, 4), (12, 64, 8, 4, 3), (12, 64, 6, 4, 4), (24, 32, 8, 5, 5))
DEPLOYED_NAME = "{} bit, weights {}, feed-forward {}"
DEPLOYED_VARIANTS = {DEPLOYED_NAME.format(*bits): narrow_weights(*bits) for _, _, *bits in DEPLOYED}
GRID_WINDOWS, GRID_WIDTHS, GRID_VARIANTS = (6, 12, 24), (8, 16, 32, 64), ("float", "8 bit", "6 bit", "4 bit")
BASELINES = ("naive", "seasonal-naive", "ridge")
COLUMNS = (
    "task", "variant", "window", "d_model", "seed", "validation_rmse", "validation_mae", "test_rmse", "test_mae", "best_epoch",
    "codes", "codes_differ", "unit", "origin", "run", "procedure", "torch",
)  # fmt: skip

WHOLE = ("window", "d_model", "seed", "best_epoch", "codes", "codes_differ", "procedure")  # numbers; none in a baseline

# Aims of the project, in percent of the own float model's test RMSE: the mean over the series, and the worst series.
AIMS: dict[str, tuple[float, float | None]] = {
    "8 bit": (0.2, None),
    **dict.fromkeys(("4 bit", "4 bit, from 8", "4 bit, from 8 and 6"), (1.0, 2.5)),
    "4 bit, residual 8": (0.5, None),
    "4 bit everywhere": (3.0, None),
    "3 bit": (3.0, None),
}


class Chain(NamedTuple):
    """Runs that start from one float model, and so belong to one process."""

    task: str
    variants: tuple[str, ...]
    experiment: Experiment  # the float one

    def experiments(self) -> Iterable[tuple[str, Experiment]]:
        """Every variant with its experiment."""
        return [(name, replace(self.experiment, quant=(VARIANTS | DEPLOYED_VARIANTS)[name])) for name in self.variants]


@lru_cache
def windows(config: DataConfig) -> Prepared:
    """`prepare`, once in each process."""
    return prepare(config)


def _chain(task: str, config: DataConfig, variants: Iterable[str], seed: int, d_model: int = 16) -> Chain:
    return Chain(task, tuple(variants), make_experiment(windows(config), bits=None, d_model=d_model, seed=seed))


def precision() -> list[Chain]:
    """Every scheme and width on the four series; float, 8 and 4 bits on the other tasks."""
    few = ("float", "8 bit", "4 bit")
    return [
        _chain(task, config, variants, seed)
        for tasks, variants, seeds in ((TASKS, VARIANTS, SEEDS), (OTHER_FORMS, few, SEEDS), (MORE_TASKS, few, FEW_SEEDS))
        for task, config in tasks.items()
        for seed in range(SEEDS_OF.get(task, seeds))
    ]


def grid() -> list[Chain]:
    """The published grid on the PeMS station."""
    task, config = "PeMS station", TASKS["PeMS station"]
    return [
        _chain(task, replace(config, window=n), GRID_VARIANTS, seed, d)
        for seed, n, d in itertools.product(range(SEEDS), GRID_WINDOWS, GRID_WIDTHS)
    ]


def deployed() -> list[Chain]:
    """The shapes of `DEPLOYED` with one width and with mixed widths."""
    task, config = "PeMS station", TASKS["PeMS station"]
    return [
        _chain(task, replace(config, window=n), (f"{bits[0]} bit", DEPLOYED_NAME.format(*bits)), seed, d)
        for seed, (n, d, *bits) in itertools.product(range(FEW_SEEDS), DEPLOYED)
    ]


STUDIES: dict[str, Callable[[], list[Chain]]] = {"precision": precision, "grid": grid, "deployed": deployed}


def path(name: str) -> Path:
    """File of a study's table."""
    check_choice("study", "name", name, STUDIES)
    return ROOT / "data" / f"study_{name}.csv"


def _points(chains: Iterable[Chain]) -> dict[tuple[Any, ...], str]:
    """Run of every point of a study, by task, variant, window, d_model and seed, in the order of the study."""
    found = {}
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
    file = file or path(name)
    check_choice("study", "name", name, STUDIES)
    if not file.exists():
        raise FileNotFoundError(f"study: {file} does not exist; python -m qtlib study {name} writes it")
    chains = STUDIES[name]()
    table, known = _read(file), _points(chains)
    here = {(chain.task, chain.experiment.data.window): windows(chain.experiment.data).series.sha256[:8] for chain in chains}
    for row in table[~table.variant.isin(BASELINES)].itertuples():
        expected = known.get((row.task, row.variant, row.window, row.d_model, row.seed))
        found, _, series = str(row.run).partition("-")
        other_data = expected and series != here[row.task, row.window]
        if row.procedure != PROCEDURE or (found != expected and not other_data):
            raise ValueError(
                f"study: {file} holds {row.task}, {row.variant}, seed {row.seed} of run {row.run}, procedure {row.procedure}; "
                f"this version computes {expected}, procedure {PROCEDURE}; move the file away to compute it again"
            )
    return table


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
        as `load` and `qtlib.train.train`; chains that were finished before are kept.
    """
    file = file or path(name)
    check_choice("study", "name", name, STUDIES)
    chains = STUDIES[name]()
    points = _points(chains)
    rows = load(name, file).to_dict("records") if file.exists() else []
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


def _computed(chains: list[Chain], workers: int) -> Iterator[list[dict[str, Any]]]:
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

    table = pd.DataFrame(sorted(rows, key=place), columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))
    return table.to_csv(index=False, lineterminator="\n")


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


def against(table: pd.DataFrame, reference: str = "float", measure: str = "test_rmse") -> pd.DataFrame:
    """Relative difference of every other run to the run of a variant with the same seed, in percent, one row each.

    A run whose reference is not in the table is left out.
    """
    runs = table[~table.variant.isin(BASELINES)]
    keys = ["task", "window", "d_model", "seed"]
    own = runs[runs.variant == reference].set_index(keys)[measure].rename("reference")
    joined = runs[runs.variant != reference].join(own, on=keys, how="inner")
    return joined[[*keys, "variant"]].assign(difference=100 * (joined[measure] / joined["reference"] - 1))


def losses(difference: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and worst over the seeds, their number, and Student's t, by variant and task; from `against`.

    t is the mean over its standard error, paired by seed: with five seeds a mean differs from 0 at the level of 5 % where t is beyond 2.78, with ten beyond 2.26.
    """
    found = difference.groupby(["variant", "task"], sort=False)["difference"]
    table = found.agg(mean="mean", std="std", worst="max", seeds="count")
    table["t"] = table["mean"] / (table["std"] / table["seeds"] ** 0.5)
    places = {name: place for place, name in enumerate([*VARIANTS, *TASKS, *OTHER_FORMS, *MORE_TASKS])}
    return table.sort_index(key=lambda level: level.map(places))


def over_series(found: pd.DataFrame) -> pd.DataFrame:
    """What a variant loses over the series: the mean, the worst series and the worst run; in percent, from `losses`.

    Beside it stand the `AIMS` and by how much each is missed (0: met); a variant without an aim has NaN.
    """
    grouped = found.groupby(level="variant", sort=False)
    table = pd.DataFrame(
        {
            "mean": grouped["mean"].mean(),
            "worst_series": grouped["mean"].max(),
            "worst_run": grouped["worst"].max(),
            "series": grouped.size(),
            "runs": grouped["seeds"].sum(),
        }
    )
    for place, measure in enumerate(("mean", "worst_series")):
        aims = {name: aim[place] for name, aim in AIMS.items()}
        table[f"aim_{measure}"] = pd.to_numeric(table.index.map(aims).to_series(index=table.index))
        table[f"missed_{measure}"] = (table[measure] - table[f"aim_{measure}"]).clip(lower=0)
    return table


def verdicts(table: pd.DataFrame) -> list[str]:
    """A sentence for each aim, met or missed and by how much; from `over_series`."""
    found = []
    for name, row in table.iterrows():
        for measure, words in (("mean", "mean over {} series"), ("worst_series", "worst of {} series")):
            aim, value, missed = row[f"aim_{measure}"], row[measure], row[f"missed_{measure}"]
            if pd.notna(aim):
                end = f"missed by {missed:.2f} points" if missed > 0 else "met"
                found.append(f"{name}, {words.format(int(row.series))}: {value:+.2f} %, aim {aim:+.1f} %: {end}")
    return found


def overview(table: pd.DataFrame, tasks: Iterable[str], measure: str = "test_rmse") -> pd.DataFrame:
    """Mean and standard deviation over the seeds as text: variants below the baselines, a column for each task and its unit."""
    columns = {}
    for task in tasks:
        rows = table[(table.task == task) & table[measure].notna()]
        found = rows.groupby("variant")[measure].agg(["mean", "std"])
        texts = {
            name: f"{row['mean']:.4g}" + (f" ± {row['std']:.2g}" if pd.notna(row["std"]) else "")
            for name, row in found.iterrows()
        }
        if len(rows):
            columns[f"{task}, {rows.unit.iloc[0]}"] = texts
    order = [name for name in (*BASELINES, *VARIANTS) if any(name in texts for texts in columns.values())]
    return pd.DataFrame(columns).reindex(order).fillna("-")


def float_against_baselines(table: pd.DataFrame) -> pd.DataFrame:
    """How much the mean float model is better than naive and ridge, in percent of their error; negative: worse."""
    means = table.groupby(["task", "variant"], sort=False)["test_rmse"].mean().unstack()
    rivals = ["naive", "ridge"]
    gains = {f"better than {name}, %": 100 * (1 - means["float"] / means[name]) for name in rivals}
    return pd.DataFrame(gains).assign(beats_both=means["float"] < means[rivals].min(axis=1))


def variant_bits() -> pd.DataFrame:
    """Which widths every variant has, how its scales are found, and what it is trained from; the host's forecast is a wide sum in all of them."""
    names = {"weights": "weights", "bits": "activations", "residual": "residual", "softmax": "softmax"}
    names |= {"input_bits": "input", "head_bits": "head weights", "scheme": "scales"}
    rows = {v: {shown: getattr(q, key) for key, shown in names.items()} for v, q in VARIANTS.items() if q}
    start = {v: f"{q.narrowing[-1]} bit" if q.narrowing else "float" for v, q in VARIANTS.items() if q}
    return pd.DataFrame.from_dict(rows, orient="index").assign(start=pd.Series(start))

"""What a study says: losses against the float model, paired by seed, and whether the aims are met."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from qtlib.studies.precision_studies import BASELINES, DEPLOYED_NAME, MORE_TASKS, OTHER_FORMS, TASKS, VARIANTS

# Aims of the project, in percent of the own float model's test RMSE: the mean over the series, and the worst series.
AIMS: dict[str, tuple[float, float | None]] = {
    "8 bit": (0.2, None),
    **dict.fromkeys(("4 bit", "4 bit, from 8", "4 bit, from 8 and 6"), (1.0, 2.5)),
    "4 bit, residual 8": (0.5, None),
    "4 bit everywhere": (3.0, None),
    "3 bit": (3.0, None),
}


def against(table: pd.DataFrame, reference: str = "float", measure: str = "test_rmse") -> pd.DataFrame:
    """Relative difference of every other run to the run of a variant with the same seed, in percent, one row each.

    A run whose reference is not in the table is left out.
    """
    runs = table[~table.variant.isin(BASELINES)]
    keys = ["task", "window", "d_model", "seed"]
    own = runs[runs.variant == reference].set_index(keys)[measure].rename("reference")
    joined: pd.DataFrame = runs[runs.variant != reference].join(own, on=keys, how="inner")
    return joined[[*keys, "variant"]].assign(difference=100 * (joined[measure] / joined["reference"] - 1))


def losses(difference: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and worst over the seeds, their number, and Student's t, by variant and task; from `against`.

    t is the mean over its standard error, paired by seed: with five seeds a mean differs from 0 at the level of 5 % where t is beyond 2.78, with ten beyond 2.26.
    """
    found = difference.groupby(["variant", "task"], sort=False)["difference"]
    columns = {"mean": found.mean(), "std": found.std(), "worst": found.max(), "seeds": found.count()}
    table = pd.DataFrame(columns)
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


def mixed_errors(table: pd.DataFrame, designs: pd.DataFrame) -> pd.DataFrame:
    """Mean test RMSE of designs with mixed widths, ``mixed``, and of the same shapes with one width, ``one_width``; NaN: not trained.

    Args:
        table: a row for each run, as in data/study_deployed.csv.
        designs: window, d_model, bits, weight_bits and feed_forward_bits, a row each.
    """
    runs = table[~table.variant.isin(BASELINES)]
    rmse = runs.groupby(["window", "d_model", "variant"])["test_rmse"].mean()
    found = []
    for row in designs.itertuples():
        names = DEPLOYED_NAME.format(row.bits, row.weight_bits, row.feed_forward_bits), f"{row.bits} bit"
        found.append([rmse.get((row.window, row.d_model, name), float("nan")) for name in names])
    return pd.DataFrame(found, columns=["mixed", "one_width"], index=designs.index)


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

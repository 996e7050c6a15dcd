"""The headline: errors over the seeds of notebook 02, hardware of one program, and their table in the README, where no number is typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

HEADLINE = ("<!-- headline: written by notebook 00 -->", "<!-- headline: end -->")
CELLS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "ramb18": "RAMB18"}


def over_seeds(runs: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Mean and standard deviation of the test RMSE of every model, programs and float alike.

    Args:
        runs: ``model``, ``seed`` and ``test_rmse`` of every run (data/results/02_training.json).

    Returns:
        ``mean``, ``std`` (of a sample; missing for one seed) and ``seeds`` by model.

    Raises:
        ValueError: the models were not trained with the same seeds, so their means cannot be compared.
    """
    models = pd.DataFrame([dict(run) for run in runs]).groupby("model", sort=False)
    seeds = {str(model): tuple(sorted(own)) for model, own in models["seed"]}
    if len(set(seeds.values())) != 1:
        texts = "; ".join(f"{model} has {', '.join(map(str, own))}" for model, own in seeds.items())
        raise ValueError(f"headline: means over different seeds cannot be compared: {texts}")
    return models["test_rmse"].agg(["mean", "std"]).assign(seeds=pd.Series(seeds))


def spelled(errors: pd.DataFrame, model: str) -> str:
    """The error of a model as text, with its standard deviation where there is one: ``9.53 ± 0.07``.

    Args:
        errors: from `over_seeds`.
        model: one of its rows.
    """
    mean, std = errors["mean"][model], errors["std"][model]
    return f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f} ± {std:.2f}"


def table(accelerators: pd.DataFrame, errors: pd.DataFrame, unit: str) -> pd.DataFrame:
    """The table of the headline: a row for each width, its errors over all seeds beside the hardware of one program.

    Args:
        accelerators: from notebook 08.
        errors: from `over_seeds`.
        unit: of the errors.

    Returns:
        Texts and integers; None where a tool was missing.
    """
    models = [f"{bits} bit" for bits in accelerators["bits"]]
    found = {"bits": accelerators["bits"], f"test RMSE, {unit}": [spelled(errors, name) for name in models]}
    for name in ("clocks", "windows simulated", *CELLS):
        found[CELLS.get(name, name)] = accelerators[name].astype("Int64")
    ends = zip(accelerators["energy_low_uj"], accelerators["energy_high_uj"], strict=True)
    whole = pd.DataFrame(found | {"energy, µJ": [f"{low:.2f} to {high:.2f}" for low, high in ends]}).astype(object)
    return whole.where(whole.notna(), None)


def with_headline(readme: str, headline: Mapping[str, Any]) -> str:
    """README text whose part between the two headline marks is written anew from a result, so that no number is typed.

    Args:
        readme: the old text, with both marks.
        headline: ``answer``, a sentence, a table of ``columns`` and ``rows``, and its ``caption``.
    """
    before, rest = readme.split(HEADLINE[0])
    _, after = rest.split(HEADLINE[1])
    rows = [["" if cell is None else str(cell) for cell in row] for row in headline["rows"]]
    printed = [headline["columns"], ["---"] * len(headline["columns"]), *rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in printed)
    return f"{before}{HEADLINE[0]}\n{headline['answer']}\n\n{lines}\n\n{headline['caption']}\n{HEADLINE[1]}{after}"

"""Which models the studies train: their series, variants, shapes and seeds.

precision   what integers cost: series x schemes x widths x seeds, at the published shape (window 24, d_model 16)
grid        the published grid: window x d_model x width x seeds, on the PeMS station
deployed    shapes of the grid that an XC7S6 holds with mixed widths only, beside one width for all, on the PeMS station
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import pandas as pd

from qtlib.config import DataConfig, Experiment, QuantConfig
from qtlib.data.datasets import default_config
from qtlib.data.windows import Prepared, prepare
from qtlib.training.bit_widths import narrow_weights
from qtlib.training.experiments import make_experiment

SEEDS = 5
SEEDS_OF = {
    "Beijing O3": 10
}  # with five the mean of its test errors is uncertain by more than the losses that are looked for
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
    "ETTh1, 24 steps of OT, relative": default_config(
        "etth1", features=("OT",), outputs=24, anchored=True, relative=True
    ),
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
        for tasks, variants, seeds in (
            (TASKS, VARIANTS, SEEDS),
            (OTHER_FORMS, few, SEEDS),
            (MORE_TASKS, few, FEW_SEEDS),
        )
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


def variant_bits() -> pd.DataFrame:
    """Which widths every variant has, how its scales are found, and what it is trained from; the host's forecast is a wide sum in all of them."""
    names = {"weights": "weights", "bits": "activations", "residual": "residual", "softmax": "softmax"}
    names |= {"input_bits": "input", "head_bits": "head weights", "scheme": "scales"}
    rows = {v: {shown: getattr(q, key) for key, shown in names.items()} for v, q in VARIANTS.items() if q}
    start = {v: f"{q.narrowing[-1]} bit" if q.narrowing else "float" for v, q in VARIANTS.items() if q}
    return pd.DataFrame.from_dict(rows, orient="index").assign(start=pd.Series(start))

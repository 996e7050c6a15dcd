"""Real sensor series, cut into windows that cross neither a gap nor a split.

`load` finds the rows (data/raw, then QTLIB_DATA, then a checked download, then a seeded generator), `prepare` scales and
cuts them, `baselines` says what a model has to beat. ``origin`` tells whether the rows are measured; a generated series
carries "(synthetic)" in its label wherever it shows.
"""

from qtlib.data.baseline_forecasts import Errors, baselines, errors, seasonal
from qtlib.data.datasets import DATASETS, NAMES, Fetched, default_config, fetch, load
from qtlib.data.series import Series, load_csv
from qtlib.data.windows import Prepared, Windows, count_windows, prepare

__all__ = [
    "DATASETS",
    "NAMES",
    "Errors",
    "Fetched",
    "Prepared",
    "Series",
    "Windows",
    "baselines",
    "count_windows",
    "default_config",
    "errors",
    "fetch",
    "load",
    "load_csv",
    "prepare",
    "seasonal",
]

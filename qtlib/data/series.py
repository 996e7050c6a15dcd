"""A series: the rows of one data set as numbers, with the split and where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from qtlib.data.csv_file import numbers, read_cells, timestamps

SPLITS = ("train", "validation", "test")
TIME_NAMES = ("time", "date", "datetime", "timestamp")


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Rows in the data's own unit; NaN is a missing value."""

    name: str
    label: str  # for titles and tables
    frame: pd.DataFrame  # [rows, columns] float64, by time or by row number
    features: tuple[str, ...]
    targets: tuple[str, ...]
    split: np.ndarray  # [rows] "train", "validation", "test" or "unused", chronological
    period: pd.Timedelta | None  # None: the rows have no clock
    unit: str  # of the targets
    origin: str  # "file", "download" or "synthetic"
    sha256: str  # of the bytes of the files in their order, or of the generated numbers
    scaling: str = "zscore"  # or "minmax"
    source: str = ""
    licence: str = ""

    @property
    def gaps(self) -> np.ndarray:
        """[rows] True where time jumps between the row before and this one."""
        jumps = np.zeros(len(self.frame), dtype=bool)
        if self.period is not None and isinstance(self.frame.index, pd.DatetimeIndex):
            step = np.diff(self.frame.index.to_numpy())
            period = self.period.to_timedelta64()
            jumps[1:] = np.abs(step - period) > period / 2  # "about 1 s" is regular
        return jumps


def unique(*groups: Sequence[str]) -> list[str]:
    """Names in order, each once."""
    return list(dict.fromkeys(name for group in groups for name in group))


def by_share(rows: int, train: float = 0.7, validation: float = 0.15) -> np.ndarray:
    """Label rows in order of time: first the train share, then validation, the rest is test."""
    if not (0 < train < 1 and 0 < validation < 1 and train + validation < 1):
        raise ValueError(
            f"data: shares train={train}, validation={validation} must be above 0 and leave some for test (sum below 1)"
        )
    return by_count(round(rows * train), round(rows * (train + validation)) - round(rows * train), rows)


def by_count(train: int, validation: int, rows: int) -> np.ndarray:
    """Label ``train`` rows, then ``validation`` rows; what remains of ``rows`` is test."""
    return np.repeat(SPLITS, [train, validation, rows - train - validation])


def digest_files(paths: Sequence[Path]) -> str:
    """SHA-256 of the bytes of the files one after another (``cat a b | sha256sum``)."""
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def usual_step(index: pd.DatetimeIndex) -> pd.Timedelta:
    """The median step of a time index."""
    return pd.Timedelta(np.median(np.diff(index.to_numpy()).astype("timedelta64[ns]").astype(np.int64)), unit="ns")


def load_csv(
    path: str | Path,
    *,
    features: Sequence[str],
    targets: Sequence[str],
    time: str | None = "auto",
    time_format: str | None = None,
    separator: str | None = None,
    decimal: str = ".",
    missing_code: float | None = None,
    unit: str = "",
    scaling: str = "zscore",
    shares: tuple[float, float] = (0.7, 0.15),
    label: str | None = None,
) -> Series:
    """Load any CSV file with a header: columns by name, with or without a time column.

    Args:
        path: UTF-8 text; never written to.
        features, targets: column names, blanks around them ignored.
        time: the time column; "auto" takes a column called time, date, datetime or timestamp if there is one; None: the
            rows follow each other without gap.
        time_format: as of strptime; None is ISO 8601. A day-first date is never guessed.
        separator: None takes the most frequent of comma, semicolon and tab in the header.
        missing_code: a number that stands for a missing value, such as -200.
        shares: of rows for train and validation, in order of time; the rest is test.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the content is not what the arguments say; the text names file, line, column and value.
    """
    path = Path(path)
    for name, columns in (("features", features), ("targets", targets)):
        if isinstance(columns, str) or not columns:
            raise ValueError(f"{path.name}: {name}={columns!r} must name at least one column, as a tuple of names")
    table = read_cells(path, separator=separator)
    if time == "auto":
        time = next((name for name in table.header if name.lower() in TIME_NAMES), None)
    values = {n: numbers(table, n, decimal=decimal, missing_code=missing_code) for n in unique(features, targets)}
    index = None if time is None else timestamps(table, (time,), time_format=time_format)
    frame = pd.DataFrame(values, index=index)
    return Series(
        name=path.stem,
        label=label or f"{path.stem}, {', '.join(targets)}",
        frame=frame,
        features=tuple(features),
        targets=tuple(targets),
        split=by_share(len(frame), *shares),
        period=None if index is None or len(index) < 2 else usual_step(index),
        unit=unit,
        origin="file",
        sha256=digest_files([path]),
        scaling=scaling,
        source=path.name,
        licence="the user's own",
    )

"""Series and files that the tests of the data make for themselves."""

from pathlib import Path

import numpy as np
import pandas as pd

from qtlib.data.series import Series, by_count, load_csv


def series(values, *, index=None, split=None, features=("a",), targets=("a",), **changes) -> Series:
    """A series of one column `a` (or a frame), half train, then a quarter each."""
    frame = values if isinstance(values, pd.DataFrame) else pd.DataFrame({"a": np.asarray(values, float)})
    if index is not None:
        frame.index = index
    rows = len(frame)
    fields = {
        "name": "made",
        "label": "made",
        "frame": frame,
        "features": features,
        "targets": targets,
        "split": by_count(rows // 2, rows // 4, rows) if split is None else np.array(split),
        "period": pd.Timedelta("1h") if index is not None else None,
        "unit": "unit",
        "origin": "file",
        "sha256": "",
    }
    return Series(**(fields | changes))


def hours(*parts: range) -> pd.DatetimeIndex:
    """A clock of these hours."""
    return pd.DatetimeIndex(pd.Timestamp("2024-01-01") + pd.to_timedelta([h for part in parts for h in part], unit="h"))


def write(folder: Path, text: str | bytes, name: str = "own.csv") -> Path:
    """A file of this text."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(path: Path, **arguments) -> Series:
    """A file of the columns `a`, the feature, and `b`, the target."""
    return load_csv(path, **({"features": ("a",), "targets": ("b",)} | arguments))

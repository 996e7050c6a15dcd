"""From rows to windows: scaling fitted on train rows, and cutting.

Shapes: N windows of n steps and m features; O = steps ahead x target columns, step-major (all targets of the first step
come first).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from qtlib.config import DataConfig
from qtlib.data.datasets import load
from qtlib.data.series import SPLITS, Series


class Windows(NamedTuple):
    """Windows of one split."""

    x: np.ndarray  # [N, n, m] float32, scaled
    y: np.ndarray  # [N, O] float32, scaled; the scaled change if anchored
    anchor: np.ndarray  # [N, O] float64 in units: the target at the last input step; 0 at horizon 0
    time: np.ndarray  # [N] of the last input step


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A series cut and scaled: ``scaled = (unit - offset) / scale``; of relative windows ``(unit - last step) / scale``."""

    config: DataConfig
    series: Series
    train: Windows
    validation: Windows
    test: Windows
    x_offset: np.ndarray  # [m], 0 if relative
    x_scale: np.ndarray  # [m]
    y_offset: np.ndarray  # [O], 0 if anchored
    y_scale: np.ndarray  # [O]

    @property
    def m(self) -> int:
        """Features per step."""
        return len(self.x_scale)

    @property
    def O(self) -> int:  # noqa: E743 - the letter of the shapes
        """Outputs per window."""
        return len(self.y_scale)

    @property
    def unit(self) -> str:
        """Unit of the targets."""
        return self.series.unit

    @property
    def origin(self) -> str:
        """ "file", "download" or "synthetic"."""
        return self.series.origin

    @property
    def label(self) -> str:
        """Name for titles; says so when the series is synthetic."""
        return self.series.label

    def to_units(self, y: np.ndarray, windows: Windows) -> np.ndarray:
        """Bring scaled results [N, O] of ``windows`` into the data's unit, float64; adds the anchor if anchored.

        Raises:
            ValueError: ``y`` is not [N, O].
        """
        y = np.asarray(y, dtype=np.float64)
        if y.shape != windows.y.shape:
            raise ValueError(f"data: y has shape {list(y.shape)}, the windows ask for {list(windows.y.shape)} ([N, O])")
        units: np.ndarray = y * self.y_scale + self.y_offset + (windows.anchor if self.config.anchored else 0.0)
        return units

    def truth(self, windows: Windows) -> np.ndarray:
        """Targets [N, O] of ``windows`` in the data's unit."""
        return self.to_units(windows.y, windows)


def last_steps(series: Series, config: DataConfig, split: str) -> np.ndarray:
    """Row numbers [N] of the last input step of every legal window of a split.

    From the first input to the last target there is no jump in time and no change of split; every feature of the
    window, every target and, for a forecast, the target at the last input step are present.
    """
    n, ahead = config.window, config.horizon + config.outputs - 1
    last: np.ndarray = np.arange(n - 1, len(series.frame) - ahead)
    if not len(last):
        return last
    changes = series.gaps.copy()
    changes[1:] |= series.split[1:] != series.split[:-1]
    run = np.cumsum(changes)
    legal = (run[last - n + 1] == run[last + ahead]) & (series.split[last] == split)

    def whole(columns: tuple[str, ...], first: np.ndarray, count: int) -> np.ndarray:
        absent = series.frame[list(columns)].isna().any(axis=1).to_numpy()
        before = np.concatenate([[0], np.cumsum(absent)])
        present: np.ndarray = before[first + count] == before[first]
        return present

    legal &= whole(series.features, last - n + 1, n)
    legal &= whole(series.targets, last + config.horizon, config.outputs)
    if config.horizon:
        legal &= whole(series.targets, last, 1)
    found: np.ndarray = last[legal]
    return found


def _scaler(series: Series, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Offset and scale per column from the train rows alone."""
    rows = series.frame.loc[series.split == "train", list(columns)].to_numpy()
    for column, values in zip(columns, rows.T, strict=True):
        present = values[~np.isnan(values)]
        if not len(present):
            raise ValueError(
                f"data: column {column!r} of {series.name} has no value in the {len(values)} train rows; "
                "leave it out of features and targets"
            )
        if np.ptp(present) == 0:
            raise ValueError(
                f"data: column {column!r} of {series.name} is constant ({present[0]:g}) over the {len(present)} train "
                "rows, so it has no scale; leave it out of features and targets"
            )
    if series.scaling == "minmax":
        low = np.nanmin(rows, axis=0)
        return low, np.nanmax(rows, axis=0) - low
    return np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)


def _check(series: Series, config: DataConfig) -> None:
    if config.anchored and config.horizon == 0:
        raise ValueError(
            "data: anchored=True needs horizon >= 1, it is 0: at horizon 0 the last observed target is the answer"
        )
    shown = [name for name in series.targets if name in series.features]
    if config.horizon == 0 and shown:
        raise ValueError(
            f"data: horizon=0 with target {shown[0]!r} among the features puts the answer into the input; "
            "take horizon >= 1 or leave it out of features"
        )
    if series.scaling not in ("zscore", "minmax"):
        raise ValueError(f"data: scaling={series.scaling!r} is not one of zscore, minmax")


def prepare(config: DataConfig, *, series: Series | None = None) -> Prepared:
    """Load a series (or take ``series``), scale it on its train rows and cut it into windows.

    Raises:
        ValueError: a split has no window, a column is constant or empty, or the task would show the answer;
            and whatever `load` raises.
    """
    series = load(config) if series is None else series
    _check(series, config)
    x_offset, x_scale = _scaler(series, series.features)
    y_offset, y_scale = (np.tile(v, config.outputs) for v in _scaler(series, series.targets))
    inputs = ((series.frame[list(series.features)].to_numpy() - x_offset) / x_scale).astype(np.float32)
    values = series.frame[list(series.targets)].to_numpy()

    cut = {}
    for split in SPLITS:
        last = last_steps(series, config, split)
        if not len(last):
            raise ValueError(
                f"data: {series.name}: the {int((series.split == split).sum())} {split} rows hold no gap-free run of "
                f"window={config.window}, horizon={config.horizon}, outputs={config.outputs}; take a shorter window or "
                "a longer series"
            )
        x = inputs[last[:, None] + np.arange(1 - config.window, 1)]  # [N, n, m]
        steps = last[:, None] + config.horizon + np.arange(config.outputs)
        y = values[steps].reshape(len(last), -1)  # [N, outputs, targets] -> [N, O]
        anchor = np.tile(values[last], config.outputs) if config.horizon else np.zeros(y.shape)
        cut[split] = Windows(x, y, anchor, series.frame.index.to_numpy()[last])

    if config.relative:
        x_offset, x_scale = np.zeros_like(x_scale), x_scale * _make_relative(cut, series.features)
    if config.anchored:
        y_offset, y_scale = np.zeros_like(y_scale), (cut["train"].y - cut["train"].anchor).std(axis=0)
        if not y_scale.all():
            raise ValueError(f"data: the targets of {series.name} never change over the horizon; take anchored=False")
    for split, windows in cut.items():
        change = windows.y - windows.anchor if config.anchored else windows.y
        cut[split] = windows._replace(y=((change - y_offset) / y_scale).astype(np.float32))
    return Prepared(
        config=config, series=series, x_offset=x_offset, x_scale=x_scale, y_offset=y_offset, y_scale=y_scale, **cut
    )


def _make_relative(cut: dict[str, Windows], features: tuple[str, ...]) -> np.ndarray:
    """Subtract the last step of every window, and bring the features to unit spread on train again; [m], what they are divided by.

    The level of a series moves between its splits; its changes do less (last-value normalisation of NLinear, arXiv 2205.13504,
    section 3). The host subtracts, as it adds the anchor.
    """
    changes = {split: windows.x - windows.x[:, -1:] for split, windows in cut.items()}
    spread: np.ndarray = changes["train"].std(axis=(0, 1), dtype=np.float64)
    for feature, value in zip(features, spread, strict=True):
        if value == 0:
            raise ValueError(
                f"data: feature {feature!r} never changes within a train window; leave it out, or take relative=False"
            )
    for split, windows in cut.items():
        cut[split] = windows._replace(x=(changes[split] / spread).astype(np.float32))
    return spread


def count_windows(prepared: Prepared) -> pd.DataFrame:
    """Rows and windows of every split, and what makes the difference: missing values, jumps in time, and the ends of the split."""
    series, config, rows = prepared.series, prepared.config, {}
    for split in SPLITS:
        own = series.split == split
        count, windows = int(own.sum()), len(getattr(prepared, split).x)
        rows[split] = {
            "rows": count,
            "rows with a missing value": int(series.frame[own].isna().any(axis=1).sum()),
            "jumps in time": int(series.gaps[own].sum()),
            "windows": windows,
            "windows lost": count - config.window - config.horizon - config.outputs + 2 - windows,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("split")

"""Seeded stand-ins for the data sets: same columns, period, number of rows and split, and physically plausible.

Every column is a sum of shared causes (traffic with two rush hours, sun, season, weather, slow drift) with its own
sensor noise and resolution; some blocks of rows are missing. They keep code and notebooks running without the files; no
figure from them says anything about the real series.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

SEED = 0


class Column(NamedTuple):
    """``base + sum(weight * cause) + noise``, clipped below at ``low`` and rounded to ``decimals``."""

    base: float
    causes: dict[str, float]
    noise: float  # standard deviation; "counts" add Poisson noise in its place
    low: float = -np.inf
    decimals: int = 3
    counts: bool = False


def _flow(peak: float) -> Column:
    return Column(8, {"traffic": peak, "mixing": 4}, 0, low=0, decimals=0, counts=True)


COLUMNS: dict[str, dict[str, Column]] = {
    "pems": {"flow": _flow(95)},
    "pems4w": {},  # any sensor: the flow of a road
    "etth1": {
        "HUFL": Column(2, {"traffic": 9, "weather": 3}, 1.2),
        "HULL": Column(0.5, {"traffic": 3, "weather": 0.6}, 0.5),
        "MUFL": Column(0, {"traffic": 8, "weather": 3}, 1.2),
        "MULL": Column(0.2, {"traffic": 1.2, "mixing": 0.6}, 0.4),
        "LUFL": Column(2, {"traffic": 2, "season": -0.5}, 0.3),
        "LULL": Column(0.5, {"traffic": 0.6, "season": -0.3}, 0.15),
        "OT": Column(13, {"season": 7, "sun": 2.5, "weather": 3, "drift": -3}, 0.3),
    },
    "airquality": {
        "PT08.S1(CO)": Column(850, {"traffic": 420, "mixing": 130, "drift": 60}, 25, 600, 0),
        "PT08.S2(NMHC)": Column(620, {"traffic": 520, "mixing": 150}, 30, 380, 0),
        "PT08.S3(NOx)": Column(1100, {"traffic": -430, "mixing": -120, "drift": -80}, 35, 320, 0),
        "PT08.S4(NO2)": Column(1250, {"traffic": 280, "season": 200, "mixing": 90}, 35, 550, 0),
        "PT08.S5(O3)": Column(620, {"traffic": 640, "mixing": 210, "weather": 60, "drift": 100}, 60, 220, 0),
        "T": Column(15, {"season": 9, "sun": 7, "weather": 2.5}, 0.4, decimals=1),
        "RH": Column(58, {"sun": -22, "weather": -8, "season": -5}, 2, 5, 1),
        "AH": Column(1.0, {"season": 0.35, "weather": 0.12}, 0.03, 0.15, 4),
    },
    "beijing": {
        "PM2.5": Column(75, {"traffic": 25, "weather": 45, "mixing": 20, "season": -15}, 8, 2, 0),
        "PM10": Column(100, {"traffic": 30, "weather": 50, "mixing": 25}, 10, 2, 0),
        "SO2": Column(18, {"traffic": 6, "weather": 8, "season": -10}, 2, 1, 0),
        "NO2": Column(45, {"traffic": 30, "weather": 12, "sun": -15}, 4, 2, 0),
        "CO": Column(1100, {"traffic": 400, "weather": 600, "season": -300}, 90, 100, 0),
        "O3": Column(35, {"sun": 70, "season": 25, "traffic": -20, "mixing": -6}, 6, 1, 0),
        "TEMP": Column(11, {"season": 14, "sun": 7, "weather": 2}, 0.3, decimals=1),
        "PRES": Column(1013, {"season": -9, "weather": -4}, 0.3, decimals=1),
    },
    "airu": {
        "PM1": Column(5, {"traffic": 2, "weather": 3, "mixing": 1.5}, 0.5, 0, 2),
        "PM2_5": Column(7, {"traffic": 3, "weather": 4, "mixing": 2}, 0.6, 0, 2),
        "PM10": Column(9, {"traffic": 4, "weather": 4.5, "mixing": 2.5}, 0.8, 0, 2),
        "Temperature": Column(13, {"season": 11, "sun": 9, "weather": 2}, 0.4, decimals=2),
        "Humidity": Column(50, {"season": -12, "sun": -18, "weather": -6}, 2, 3, 2),
        "RED": Column(420, {"traffic": 60, "season": -40, "drift": 60, "mixing": 15}, 8, 0, 1),
        "NOX": Column(300, {"traffic": 70, "sun": -30, "drift": -40, "mixing": 20}, 8, 0, 1),
        "OZONE": Column(25, {"sun": 26, "season": 12, "traffic": -12, "weather": 3}, 2, 0, 2),
    },
    "flow": {
        "Level Sensor-1": Column(45, {"demand": 45}, 1.5, 0, 6),
        "Level Sensor-2": Column(46, {"demand": 44}, 1.5, 0, 6),
        "Level Sensor-3": Column(32, {"demand": 28}, 1.2, 0, 6),
        "Fluid Flow": Column(250, {"demand": 250}, 0.5, 0, 6),
    },
}


def _index(name: str) -> tuple[pd.Index, list[int]]:
    """Times of the rows, and how many of them each file has."""
    if name == "pems":  # weekdays only, as in the files
        days = [*pd.bdate_range("2016-01-04", periods=27), *pd.bdate_range("2016-03-04", periods=15)]
        steps = pd.timedelta_range(0, periods=288, freq="5min")
        return pd.DatetimeIndex(np.concatenate([day + steps for day in days]), name="time"), [27 * 288, 15 * 288]
    if name == "pems4w":
        return pd.RangeIndex(8064), [8064]
    if name == "flow":
        return pd.RangeIndex(1807), [1807]
    start, rows = {
        "etth1": ("2016-07-01", 17_420),
        "airquality": ("2004-03-10 18:00", 9_357),
        "beijing": ("2013-03-01", 35_064),
        "airu": ("2020-04-01", 16_248),
    }[name]
    return pd.date_range(start, periods=rows, freq="h", name="time"), [rows]


def _wander(rng: np.random.Generator, rows: int, memory: float) -> np.ndarray:
    """[rows] Ornstein-Uhlenbeck noise of unit variance that forgets over ``memory`` rows."""
    keep = np.exp(-1 / memory)
    kicks = rng.standard_normal(rows)
    kicks[1:] *= np.sqrt(1 - keep**2) / (1 - keep)  # an exponential mean weighs each by 1 - keep, the first by 1
    noise: np.ndarray = pd.Series(kicks).ewm(alpha=1 - keep, adjust=False).mean().to_numpy()
    return noise


def causes(index: pd.Index, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What drives the columns, each [rows] and of the order of 1."""
    rows = len(index)
    clock = index if isinstance(index, pd.DatetimeIndex) else pd.date_range("2018-01-01", periods=rows, freq="5min")
    hour = np.asarray(clock.hour + clock.minute / 60)
    per_hour = pd.Timedelta("1h") / (clock[1] - clock[0])
    weekend = np.where(np.asarray(clock.day_of_week) >= 5, 0.7, 1.0)
    peaks = sum(
        np.exp(-0.5 * ((hour - centre) / width) ** 2) * h for centre, width, h in ((8, 1.6, 0.8), (17, 2.2, 0.9))
    )
    day = 1 / (1 + np.exp(-(hour - 6.2) * 1.8)) / (1 + np.exp((hour - 21) * 0.9))
    return {
        "traffic": weekend * (0.55 * day + 0.55 * peaks),
        "sun": np.clip(np.sin(np.pi * (hour - 6) / 12), 0, None),
        "season": np.cos(2 * np.pi * (np.asarray(clock.day_of_year) - 200) / 365.25),
        "weather": _wander(rng, rows, 60 * per_hour),
        "mixing": _wander(rng, rows, 6 * per_hour),
        "drift": np.cumsum(rng.standard_normal(rows)) / np.sqrt(rows),
        "demand": np.repeat(rng.uniform(0, 1, rows // 20 + 1), 20)[:rows],
    }


def generate(name: str, columns: Sequence[str], *, seed: int = SEED) -> tuple[pd.DataFrame, list[int]]:
    """Make a series of the shape of data set ``name``; equal seeds give equal numbers.

    Returns:
        Frame of ``columns`` [rows, columns] float64 in the data's unit with NaN gaps, and the rows of each file.

    Raises:
        ValueError: the generator has no such column.
    """
    index, rows = _index(name)
    frame = pd.DataFrame(index=index)
    drivers = causes(index, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    for column in columns:
        recipe = _flow(90) if name == "pems4w" and column.startswith("sensor_") else COLUMNS[name].get(column)
        if recipe is None:
            legal = ", ".join(COLUMNS[name]) or "sensor_<line from 0>"
            raise ValueError(f"data: the synthetic {name} has no column {column!r}, only {legal}; place the real file")
        own = np.random.default_rng([seed, zlib.crc32(f"{name}/{column}".encode())])  # whatever else is asked for
        clean = recipe.base + sum(weight * drivers[cause] for cause, weight in recipe.causes.items())
        if recipe.counts:
            values = own.poisson(np.clip(clean, 1, None)).astype(np.float64)
        else:
            values = clean + recipe.noise * own.standard_normal(len(index))
        frame[column] = np.round(np.clip(values, recipe.low, None), recipe.decimals)
    gaps = np.random.default_rng([seed, len(index)])
    for start in gaps.integers(0, len(index), len(index) // 800):
        frame.iloc[start : start + gaps.integers(1, 13)] = np.nan
    return frame, rows

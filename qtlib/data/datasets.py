"""The data sets by name: what their files look like, where they are looked for, and how they are split.

Order of search for a file: data/raw, the folder in QTLIB_DATA, a download whose SHA-256 is known, and at last the seeded
generator of `qtlib.data.synthetic`, which is announced and labelled.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qtlib import paths, processor
from qtlib.config import DataConfig
from qtlib.data import synthetic
from qtlib.data.csv_file import numbers, read_cells, sensor_line, timestamps
from qtlib.data.series import Series, by_count, by_share, digest_files, load_csv, unique

log = logging.getLogger("qtlib")
TIMEOUT = 5  # seconds to connect, and between two bytes of a download
_unreachable: set[str] = set()  # asked once per process


class File(NamedTuple):
    """One raw file; with ``sha256`` it is checked, with ``url`` too it can be fetched."""

    name: str
    sha256: str | None = None
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set: files, columns and the split that is usual for it."""

    files: tuple[File, ...]
    label: str
    features: tuple[str, ...]
    targets: tuple[str, ...]
    unit: str
    period: str | None
    split: Callable[[pd.DataFrame, Sequence[int]], np.ndarray]  # frame, rows per file -> [rows]
    time: tuple[str, ...] = ()
    time_format: str | None = None
    separator: str = ","
    decimal: str = "."
    missing_code: float | None = None
    rename: tuple[tuple[str, str], ...] = ()  # (name in the file, name here)
    scaling: str = "zscore"
    horizon: int = 1  # usual: 0 where the series is a soft sensor
    source: str = ""
    licence: str = ""


class Fetched(NamedTuple):
    """Where a data set was found; no paths when only the generator is left."""

    paths: tuple[Path, ...]
    origin: str  # "file", "download" or "synthetic"
    sha256: tuple[str, ...]  # of each file

    def __str__(self) -> str:
        if not self.paths:
            return "no file found and none could be downloaded; a synthetic series stands in (see data/README.md)"
        return ", ".join(
            f"{path} ({self.origin}, SHA-256 {s})" for path, s in zip(self.paths, self.sha256, strict=True)
        )


def _pems(frame: pd.DataFrame, rows: Sequence[int]) -> np.ndarray:
    fit = round(0.8 * rows[0] / 288) * 288  # whole days of 288 steps
    return by_count(fit, rows[0] - fit, len(frame))


def _etth1(frame: pd.DataFrame, rows: Sequence[int]) -> np.ndarray:
    month = 30 * 24
    split = by_count(12 * month, 4 * month, len(frame)).astype("<U10")
    split[20 * month :] = "unused"  # the usual split ends after 20 months
    return split


def _airu(frame: pd.DataFrame, rows: Sequence[int]) -> np.ndarray:
    before = int((frame.index < pd.Timestamp("2022-01-01")).sum())
    fit = round(0.9 * before)
    return by_count(fit, before - fit, len(frame))


def _pems4w(frame: pd.DataFrame, rows: Sequence[int]) -> np.ndarray:
    return by_count(14 * 288, 7 * 288, len(frame))


def _shares(frame: pd.DataFrame, rows: Sequence[int]) -> np.ndarray:
    return by_share(len(frame))


_TRAFFIC = "https://raw.githubusercontent.com/xiaochus/TrafficFlowPrediction/master/data/"
_ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/"

DATASETS: dict[str, Source] = {
    "pems": Source(
        files=(
            File(
                "pems_station_train.csv",
                "cf46f219b4595fa214d99d42a85ccd5e7137499efaa54e4705eaf25653b09f14",
                _TRAFFIC + "train.csv",
            ),
            File(
                "pems_station_test.csv",
                "c3abee88094bb733e04c74812ae6b749ac5f21f6ccedf53120b5e3d8df2fc7ba",
                _TRAFFIC + "test.csv",
            ),
        ),
        label="PeMS station, flow",
        features=("flow",),
        targets=("flow",),
        unit="vehicles / 5 min",
        period="5min",
        split=_pems,
        time=("5 Minutes",),
        time_format="%d/%m/%Y %H:%M",
        rename=(("Lane 1 Flow (Veh/5 Minutes)", "flow"),),
        source="Caltrans PeMS, one station, weekdays of January to March 2016; data/train.csv and data/test.csv of "
        "github.com/xiaochus/TrafficFlowPrediction",
        licence="MIT",
    ),
    "etth1": Source(
        files=(
            File(
                "ETTh1.csv",
                "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                _ETT + "ETTh1.csv",
            ),
        ),
        label="ETTh1, oil temperature",
        features=("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"),
        targets=("OT",),
        unit="°C",
        period="1h",
        split=_etth1,
        time=("date",),
        source="ETT-small/ETTh1.csv of github.com/zhouhaoyi/ETDataset",
        licence="CC BY-ND 4.0",
    ),
    "airquality": Source(
        files=(File("AirQualityUCI.csv"),),
        label="UCI Air Quality, PT08.S5(O3)",
        features=("PT08.S1(CO)", "PT08.S2(NMHC)", "PT08.S3(NOx)", "PT08.S4(NO2)", "PT08.S5(O3)", "T", "RH", "AH"),
        targets=("PT08.S5(O3)",),
        unit="sensor counts",
        period="1h",
        split=_shares,
        time=("Date", "Time"),
        time_format="%d/%m/%Y %H.%M.%S",
        separator=";",
        decimal=",",
        missing_code=-200.0,
        source="UCI data set 360, doi.org/10.24432/C59K5F",
        licence="CC BY 4.0",
    ),
    "beijing": Source(
        files=(File("PRSA_Data_Nongzhanguan_20130301-20170228.csv"),),
        label="Beijing Nongzhanguan, O3",
        features=("PM2.5", "PM10", "SO2", "NO2", "CO", "TEMP", "PRES"),
        targets=("O3",),
        unit="µg/m³",
        period="1h",
        split=_shares,
        time=("year", "month", "day", "hour"),
        time_format="%Y %m %d %H",
        horizon=0,
        source="UCI data set 501, doi.org/10.24432/C5RK5G",
        licence="CC BY 4.0",
    ),
    "airu": Source(
        files=(File("airU.csv"),),
        label="AirU, ozone",
        features=("PM1", "PM2_5", "PM10", "Temperature", "Humidity", "RED", "NOX"),
        targets=("OZONE",),
        unit="unit of OZONE",
        period="1h",
        split=_airu,
        time=("Timestamp",),
        scaling="minmax",
        horizon=0,
        source="AirU network, file of the user",
        licence="that of the user's copy",
    ),
    "pems4w": Source(
        files=(File("pems-4w.csv"),),
        label="PeMS-4W, sensor_4192",
        features=("sensor_4192",),
        targets=("sensor_4192",),
        unit="unit of pems-4w.csv",
        period="5min",
        split=_pems4w,
        source="Zenodo record 3939793, file of the user",
        licence="that of the record",
    ),
    "flow": Source(
        files=(File("flow_softsensor_DS1.csv"),),
        label="Flow soft sensor, fluid flow",
        features=("Level Sensor-1", "Level Sensor-2", "Level Sensor-3"),
        targets=("Fluid Flow",),
        unit="unit of Fluid Flow",
        period=None,
        split=_shares,
        horizon=0,
        source="flow soft-sensor, DS1",
        licence="MIT",
    ),
}

NAMES = tuple(DATASETS)


def _source(name: str) -> Source:
    if name not in DATASETS:
        close = difflib.get_close_matches(name, DATASETS, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"data: dataset={name!r} is not one of {', '.join(DATASETS)}; or give a path that ends in .csv{guess}"
        )
    return DATASETS[name]


def default_config(dataset: str, **changes: Any) -> DataConfig:
    """The usual task on a data set: its soft sensors have horizon 0, all others forecast one step.

    Raises:
        ValueError: the name is unknown.
    """
    changes.setdefault("horizon", _source(dataset).horizon)
    return DataConfig(dataset=dataset, **changes)


def _checked(path: Path, file: File) -> str:
    found = digest_files([path])
    if file.sha256 and found != file.sha256:
        raise ValueError(
            f"{path}: SHA-256 is {found}, expected {file.sha256}: this is not the file the results rest on; "
            "remove it (it is then found elsewhere or downloaded), or load it as your own with load_csv"
        )
    return found


def _download(file: File, url: str, folder: Path) -> Path | None:
    """Fetch one file into ``folder``; None when the host cannot be reached.

    Raises:
        ValueError: what arrived has another SHA-256.
    """
    host = url.split("/")[2]
    if host in _unreachable or os.environ.get("QTLIB_OFFLINE"):
        return None
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = pooch.retrieve(
            url,
            known_hash=f"sha256:{file.sha256}",
            fname=file.name,
            path=folder,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT, progressbar=False),
        )
    except OSError as error:  # every error of requests is one
        _unreachable.add(host)
        log.warning("data: %s could not be downloaded (%s)", file.name, type(error).__name__)
        return None
    except ValueError as error:
        raise ValueError(
            f"{file.name}: the download from {url} does not have SHA-256 {file.sha256} ({error}); nothing was kept; "
            f"put the right file into data/raw"
        ) from error
    return Path(path)


def _folders() -> list[Path]:
    own = os.environ.get("QTLIB_DATA")
    if own and not Path(own).is_dir():
        raise NotADirectoryError(f"data: QTLIB_DATA={own} is not a folder; correct it or unset it")
    return [paths.RAW, Path(own)] if own else [paths.RAW]


def fetch(name: str, *, search: Sequence[str | Path] | None = None) -> Fetched:
    """Find the raw files of a data set, or download them into data/raw.

    Args:
        name: one of `DATASETS`.
        search: folders to look in, in place of data/raw, QTLIB_DATA and the download.

    Raises:
        ValueError: unknown name, or a file whose SHA-256 is not the known one.
        FileNotFoundError: only some of the files are there.
        NotADirectoryError: QTLIB_DATA is not a folder.
    """
    source = _source(name)
    folders = _folders() if search is None else search
    origin = "file"
    found: list[Path | None] = []
    for file in source.files:
        path = next((Path(f) / file.name for f in folders if (Path(f) / file.name).is_file()), None)
        if path is None and search is None and file.url:
            path = _download(file, file.url, paths.RAW)
            origin = "download" if path else origin
        found.append(path)
    if not any(found):
        return Fetched((), "synthetic", ())
    for file, path in zip(source.files, found, strict=True):
        if path is None:
            raise FileNotFoundError(
                f"{name}: {file.name} is missing beside {', '.join(p.name for p in found if p)}; put both into data/raw, or neither"
            )
    there = tuple(path for path in found if path)
    return Fetched(there, origin, tuple(map(_checked, there, source.files)))


def _sensor(name: str) -> int:
    match = re.fullmatch(r"sensor_(\d+)", name)
    if not match:
        raise ValueError(
            f"data: column {name!r} of pems4w is not of the form sensor_<line from 0>, such as sensor_4192"
        )
    return int(match[1])


def _read(name: str, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    source = DATASETS[name]
    if name == "pems4w":
        return pd.DataFrame({c: sensor_line(path, _sensor(c), points=8064) for c in columns})
    table = read_cells(path, separator=source.separator)
    renamed = dict(source.rename)
    table = table._replace(header=[renamed.get(column, column) for column in table.header])
    values = {c: numbers(table, c, decimal=source.decimal, missing_code=source.missing_code) for c in columns}
    index = timestamps(table, source.time, time_format=source.time_format) if source.time else None
    frame = pd.DataFrame(values, index=index)
    if name == "pems":
        frame.loc[numbers(table, "% Observed") == 0] = np.nan  # imputed by PeMS, not measured
    return frame


def load(config: DataConfig, *, search: Sequence[str | Path] | None = None) -> Series:
    """Load the rows of ``config.dataset``, a name of `DATASETS` or the path of a CSV file (see `load_csv`).

    Args:
        config: ``features`` and ``targets`` choose columns; None is the data set's own choice.
        search: as of `fetch`; an empty list gives the generator.

    Raises:
        ValueError, FileNotFoundError: as `fetch` and `load_csv`; the text names file, line, column and value.
    """
    if config.dataset.lower().endswith(".csv"):
        return load_csv(config.dataset, features=config.features or (), targets=config.targets or ())
    source = _source(config.dataset)
    features, targets = config.features or source.features, config.targets or source.targets
    columns = unique(features, targets)
    label, unit = source.label, source.unit
    if targets != source.targets:
        label, unit = f"{label.split(',')[0]}, {', '.join(targets)}", f"unit of {', '.join(targets)}"
    found = fetch(config.dataset, search=search)
    if found.paths:
        parts = [_read(config.dataset, path, columns) for path in found.paths]
        frame, rows = pd.concat(parts), [len(part) for part in parts]
        if isinstance(frame.index, pd.DatetimeIndex) and not frame.index.is_monotonic_increasing:
            raise ValueError(f"{found.paths[1].name}: starts before {found.paths[0].name} ends; exchange the two files")
        sha256 = digest_files(found.paths)
    else:
        log.warning(
            "data: no file of %r was found; the series is synthetic, a generator of the same shape", config.dataset
        )
        frame, rows = synthetic.generate(config.dataset, columns)
        label = f"{label} (synthetic)"
        sha256 = hashlib.sha256(np.ascontiguousarray(frame.to_numpy()).tobytes()).hexdigest()
    label += f" ({note})" if (note := processor.note()) else ""
    return Series(
        name=config.dataset,
        label=label,
        frame=frame,
        features=tuple(features),
        targets=tuple(targets),
        split=source.split(frame, rows),
        period=pd.Timedelta(source.period) if source.period else None,
        unit=unit,
        origin=found.origin,
        sha256=sha256,
        scaling=source.scaling,
        source=source.source,
        licence=source.licence,
    )

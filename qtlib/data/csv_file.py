"""Strict reading of delimited text: every cell is a number, a missing code or an error that names its line.

Rules of this module
  * A file is only ever read.
  * What cannot be understood is an error with file, line, column and value; nothing is guessed or dropped, except
    lines and trailing columns that are wholly empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


class Table(NamedTuple):
    """Cells of a file as text, with the line each row came from."""

    path: Path
    header: list[str]
    cells: list[list[str]]  # [rows][columns]
    lines: np.ndarray  # [rows] line numbers, the header is 1


def read_text(path: Path) -> str:
    """Decode a text file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, or not UTF-8 text.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}: no such file at {path}; check the path or put the file there")
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path.name}: the file is empty ({len(content)} bytes); fetch it again")
    position = content.find(b"\0")
    if position < 0:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            position = error.start
    raise ValueError(
        f"{path.name}: byte {content[position]:#04x} at offset {position} is not UTF-8 text; "
        "this is not a CSV file (or save it again as UTF-8, unpacked)"
    )


def read_cells(path: Path, *, separator: str | None = ",") -> Table:
    """Split a file into cells; ``separator=None`` takes the most frequent one of the header.

    Raises:
        FileNotFoundError, ValueError: as `read_text`; or a line has another number of fields than the header.
    """
    path = Path(path)
    text = read_text(path)
    first = text.lstrip("\r\n").split("\n", 1)[0]
    if separator is None:
        separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows, lines = [], []
    for row in reader:
        if any(cell.strip() for cell in row):
            rows.append(row)
            lines.append(reader.line_num)
    header = [cell.strip() for cell in rows[0]]
    other = max(SEPARATORS, key=lambda s: first.count(s) if s != separator else 0)
    if len(header) == 1 and first.count(other):
        raise ValueError(
            f"{path.name}: the header has no {SEPARATORS.get(separator, separator)} but {first.count(other)} "
            f"{SEPARATORS[other]} character(s); pass separator={other!r}"
        )
    while header and not header[-1]:
        header.pop()
    if len(rows) == 1:
        raise ValueError(f"{path.name}: has a header but no rows; fetch it again")
    width = len(header)
    for row, line in zip(rows[1:], lines[1:], strict=True):
        while len(row) > width and not row[-1].strip():
            row.pop()
        if len(row) != width:
            cut = len(row) < width and line == lines[-1]
            advice = "the file looks truncated, fetch it again" if cut else "check the separator and that line"
            raise ValueError(f"{path.name}: line {line} has {len(row)} field(s), the header has {width}; {advice}")
    return Table(path, header, rows[1:], np.array(lines[1:]))


def _column(table: Table, name: str) -> list[str]:
    count = table.header.count(name)
    if count == 0:
        raise ValueError(
            f"{table.path.name}: column {name!r} is missing; the file has {', '.join(table.header)}; "
            "name existing columns in features and targets"
        )
    if count > 1:
        raise ValueError(f"{table.path.name}: column {name!r} occurs {count} times; rename all but one")
    position = table.header.index(name)
    return [row[position].strip() for row in table.cells]


def numbers(table: Table, name: str, *, decimal: str = ".", missing_code: float | None = None) -> np.ndarray:
    """Read one column as [rows] float64, NaN where missing.

    Raises:
        ValueError: the column is missing or wholly empty, or a cell is neither a finite number nor a missing code.
    """
    texts = np.array(_column(table, name), dtype=object)
    absent = np.isin(texts.astype(str), MISSING)
    plain = texts if decimal == "." else [t.replace(".", "?").replace(decimal, ".") for t in texts]
    cells = pd.Series(plain, dtype=object)
    values: np.ndarray = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, copy=True)
    bad = ~np.isfinite(values) & ~absent
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{table.path.name}: line {table.lines[row]}, column {name!r}: {texts[row]!r} is not a finite number "
            f"(decimal sign {decimal!r}); correct it, or leave the cell empty if the value is missing"
        )
    values[absent] = np.nan
    if missing_code is not None:
        values[values == missing_code] = np.nan
    if np.isnan(values).all():
        raise ValueError(
            f"{table.path.name}: column {name!r} has no value in {len(values)} rows; leave it out of features and targets"
        )
    return values


def timestamps(table: Table, names: Sequence[str], *, time_format: str | None = None) -> pd.DatetimeIndex:
    """Join the columns ``names`` to one strictly increasing time, without zone (UTC where the file states one).

    Raises:
        ValueError: a time cannot be read, repeats or goes backwards.
    """
    texts = pd.Series(
        [" ".join(parts) for parts in zip(*(_column(table, n) for n in names), strict=True)], dtype=object
    )
    parsed = pd.to_datetime(texts, format=time_format or "ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    if parsed.isna().any():
        row = int(np.argmax(parsed.isna()))
        raise ValueError(
            f"{table.path.name}: line {table.lines[row]}: {texts[row]!r} is not a time of the form "
            f"{time_format or 'YYYY-MM-DD HH:MM:SS'}; correct it or pass time_format"
        )
    step = np.diff(parsed.to_numpy().astype("datetime64[ns]").astype(np.int64))
    if (step <= 0).any():
        row = int(np.argmax(step <= 0)) + 1
        if step[row - 1] == 0:
            what, advice = f"time {parsed[row]} repeats line {table.lines[row - 1]}", "keep one of the two"
        else:
            what = f"time {parsed[row]} comes after {parsed[row - 1]} of line {table.lines[row - 1]}"
            advice = "sort the rows by time"
        raise ValueError(f"{table.path.name}: line {table.lines[row]}: {what}; {advice}")
    return pd.DatetimeIndex(parsed.to_numpy().astype("datetime64[ns]"), name="time")


def sensor_line(path: Path, sensor: int, *, points: int) -> np.ndarray:
    """Read line ``sensor`` (from 0) of a headerless file with one sensor a line, as [points] float64.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the line does not exist, has another length, or holds something else than numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}: no such file at {path}; check the path or put the file there")
    with open(path, "rb") as stream:  # the file has 90 million values: only one line is parsed
        line, count = None, 0
        for count, content in enumerate(stream, start=1):
            if count == sensor + 1:
                line = content
                break
    if line is None:
        raise ValueError(f"{path.name}: sensor {sensor} is outside 0..{count - 1}: the file has {count} line(s)")
    try:
        values = np.array([float(cell) if cell.strip() else np.nan for cell in line.decode().split(",")])
    except ValueError as error:  # UnicodeDecodeError is one
        raise ValueError(f"{path.name}: line {sensor + 1} is not a row of numbers ({error}); fetch it again") from None
    if len(values) != points:
        raise ValueError(
            f"{path.name}: line {sensor + 1} has {len(values)} values, expected {points:,} (one sensor a line, comma "
            "separated); transpose the file or fetch it again"
        )
    return values

"""The small files that notebooks hand to each other: written whole, read back exactly, refused when they do not fit.

Rules of this module
  * A name is ``NN_words``: the number of the stage that writes it, then what it holds.
  * JSON floats survive unchanged (17 digits); NaN and infinity are errors: a failed measurement is not a number.
  * Every figure of hardware says what it is (`KINDS`), and by which tool and version.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import qtlib
from qtlib.config import check_choice
from qtlib.paths import ROOT, results, write_atomic

KINDS = ("formula", "evaluated", "simulated", "synthesised", "placed", "vendor report", "published")
BY_A_TOOL = ("simulated", "synthesised", "placed", "vendor report")


def figure(
    value: float,
    kind: str,
    *,
    unit: str | None = None,
    tool: str | None = None,
    version: str | None = None,
    origin: str | None = None,
) -> dict[str, Any]:
    """A number with what it is, ready for `save_json`.

    Args:
        value: the number, in ``unit``.
        kind: one of `KINDS`; ``evaluated`` is computed by running the model on data.
        tool, version: required when a tool made it.
        origin: required when it is published: the paper and where it says so.

    Raises:
        ValueError: an unknown kind, or its source is not named.
    """
    check_choice("results", "kind", kind, KINDS)
    if kind in BY_A_TOOL and not (tool and version):
        raise ValueError(f"results: a {kind} figure needs tool and version, got tool={tool!r}, version={version!r}")
    if kind == "published" and not origin:
        raise ValueError("results: a published figure needs its origin")
    fields = {"value": value, "kind": kind, "unit": unit, "tool": tool, "version": version, "origin": origin}
    return {key: field for key, field in fields.items() if field is not None}


def path(name: str, suffix: str) -> Path:
    """File of one result.

    Raises:
        ValueError: the name is not of the form ``NN_words``.
    """
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", name):
        raise ValueError(f"results: name={name!r} must be two digits of the stage and a word, like '02_training'")
    return results() / f"{name}.{suffix}"


def save_json(name: str, payload: Mapping[str, Any], **provenance: Any) -> None:
    """Write ``payload`` as ``data/results/<name>.json`` with sorted keys and a provenance block.

    Args:
        name: ``NN_words``.
        payload: JSON values, NumPy scalars and arrays; a top-level ``run_id`` ties it to one experiment.
        provenance: what else made it, for example ``dataset="pems"``, ``synthetic=False``, ``seed=0``.

    Raises:
        ValueError: NaN, infinity or the reserved key ``provenance``, with the key path.
        TypeError: a value that JSON does not know, with the key path.
    """
    if "provenance" in payload:
        raise ValueError(f"results: {name}: the key 'provenance' is reserved")
    whole = {**payload, "provenance": {"qtlib": qtlib.__version__, "stage": name[:2], **provenance}}
    text = json.dumps(_plain(whole, name), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomic(path(name, "json"), text + "\n")


def load_json(name: str, *, run_id: str | None = None) -> dict[str, Any]:
    """Read a result; its provenance is under ``provenance``.

    Args:
        name: ``NN_words``.
        run_id: experiment that the result must belong to; None accepts any.

    Raises:
        FileNotFoundError: no such result; the text says which stage writes it.
        ValueError: it belongs to another experiment.
    """
    file = _existing(name, "json")
    payload: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if run_id is not None and payload.get("run_id") != run_id:
        raise ValueError(
            f"results: {_short(file)} belongs to run_id={payload.get('run_id')!r}, expected {run_id!r}; "
            f'run "{_command(name)}"'
        )
    return payload


def save_csv(name: str, frame: pd.DataFrame, *, allow_missing: bool = False) -> None:
    """Write a table without its index; floats survive unchanged.

    Raises:
        ValueError: a missing or infinite cell (``allow_missing`` permits empty ones).
    """
    for column in frame.columns:
        for row, value in enumerate(frame[column]):
            missing = pd.isna(value)
            if (missing and not allow_missing) or (isinstance(value, float) and math.isinf(value)):
                raise ValueError(f"results: {name}: row {row} of column {column!r} is {value}")
    stream = io.StringIO()
    frame.to_csv(stream, index=False, lineterminator="\n")
    write_atomic(path(name, "csv"), stream.getvalue())


def load_csv(name: str) -> pd.DataFrame:
    """Read a table written by `save_csv`.

    Raises:
        FileNotFoundError: no such table; the text says which stage writes it.
    """
    return pd.read_csv(_existing(name, "csv"))


def save_latex(name: str, frame: pd.DataFrame, *, digits: int = 3) -> None:
    """Write a table for the paper as ``data/results/<name>.tex`` (booktabs, special characters escaped).

    Args:
        digits: significant digits of every float.

    Raises:
        ValueError: as `path`.
    """
    shown = frame.map(lambda cell: f"{cell:#.{digits}g}".rstrip(".") if isinstance(cell, float) else cell)
    head = f"% {name}: written by qtlib {qtlib.__version__}; do not edit.\n"
    write_atomic(path(name, "tex"), head + shown.to_latex(index=False, escape=True))


def _plain(value: Any, where: str) -> Any:
    """JSON form of ``value``, or an error that names the key path ``where``."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"results: {where}: key {key!r} is {type(key).__name__}, expected str")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"results: {where} is {value}; a missing figure is left out, not written")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"results: {where} is {type(value).__name__}, which JSON does not know")


def _existing(name: str, suffix: str) -> Path:
    file = path(name, suffix)
    if not file.exists():
        raise FileNotFoundError(f'results: {_short(file)} does not exist; run "{_command(name)}"')
    return file


def _command(name: str) -> str:
    return f"python -m qtlib run {int(name[:2])}"


def _short(file: Path) -> Path:
    return file.relative_to(ROOT) if file.is_relative_to(ROOT) else file

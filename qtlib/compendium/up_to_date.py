"""Whether a notebook's outputs are those of today's code, parameters, data and earlier results."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qtlib import paths
from qtlib.compendium import notebook_execution
from qtlib.compendium.stages import Stage
from qtlib.toolchain import external_tools


class Place(NamedTuple):
    """Where one run keeps what it makes."""

    variant: str | None  # None: the committed notebooks
    notebooks: Path
    results: Path
    figures: Path
    stamps: Path
    base: Path | None  # results that a run with changed parameters starts from


def fingerprint(stage: Stage, profile: str, changed: Mapping[str, Any], place: Place) -> str:
    """Digest of everything that decides the outputs of a stage."""
    sources = [*(paths.ROOT / "qtlib").rglob("*.py")]
    sources += [file for folder in ("rtl", "tb", "templates") for file in (paths.HDL / folder).rglob("*.*")]
    earlier = [
        file
        for file in place.results.glob("[0-9][0-9]_*")
        if int(file.name[:2]) != stage.number and (stage.number == 0 or int(file.name[:2]) < stage.number)
    ]
    own = os.environ.get("QTLIB_DATA")
    folders = [paths.RAW, Path(own)] if own else [paths.RAW]
    raw = [(file.name, file.stat().st_size) for folder in folders for file in folder.glob("*.*") if file.is_file()]
    found = {}
    for name in external_tools.TOOLS:
        with contextlib.suppress(external_tools.MissingTool):
            found[name] = external_tools.locate(name)
    parts = [
        notebook_execution.code(stage.path),
        profile,
        changed,
        _digests(sources),
        _digests(earlier),
        sorted(raw),
        found,
    ]
    return text_digest(json.dumps(parts, sort_keys=True))


def up_to_date(stage: Stage, key: str, place: Place) -> bool:
    try:
        record = json.loads(stamp(stage, place).read_text(encoding="utf-8"))
        executed = notebook_execution.is_executed(place.notebooks / stage.path.name)
    except (OSError, ValueError):
        return False
    return executed and record == {"fingerprint": key, "outputs": outputs(stage, place)}


def stamp(stage: Stage, place: Place) -> Path:
    return place.stamps / f"{stage.number:02}.json"


def outputs(stage: Stage, place: Place) -> dict[str, str]:
    folders = (place.results, place.figures)
    return _digests([file for folder in folders for file in folder.glob(f"{stage.number:02}_*")])


def _digests(files: Sequence[Path]) -> dict[str, str]:
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

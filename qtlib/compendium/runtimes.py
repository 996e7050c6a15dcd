"""How long the notebooks take, as the first cell of each states it: the last full run, with nothing kept, on two idle cores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat

HEADER = "| reads | writes | runtime |"
STATED = re.compile(r"(\d+) (s|min)\b")


def runtime(notebook: Path) -> int:
    """Seconds that a notebook says it takes; 0 where it says nothing."""
    cells = nbformat.read(notebook, as_version=4).cells
    _, _, table = (cells[0].source if cells else "").partition(HEADER)
    rows = table.strip().splitlines()
    found = STATED.match(rows[-1].strip("| ").rpartition("|")[2].strip()) if rows else None
    return int(found[1]) * (60 if found[2] == "min" else 1) if found else 0


def announcement(notebooks: Iterable[Path]) -> str:
    """What a run of some notebooks says before it starts; empty where none of them says how long it takes."""
    seconds = [runtime(notebook) for notebook in notebooks]
    if not any(seconds):
        return ""
    count = f"{len(seconds)} notebook{'s'[: len(seconds) > 1]}"
    return f"{count}, about {spelled(sum(seconds))} on 2 cores; less where something is kept or up to date"


def spelled(seconds: int) -> str:
    """A time as a reader takes it in: seconds below two minutes, else whole minutes."""
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"

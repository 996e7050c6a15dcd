"""Where files live, and how they are written: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
HDL = ROOT / "hdl"
RAW = ROOT / "data" / "raw"


def prepared() -> Path:
    """Folder of what can be computed again: checkpoints, programs, netlists (ignored by git)."""
    return Path(os.environ.get("QTLIB_PREPARED", ROOT / "data" / "prepared"))


def results() -> Path:
    """Folder of the small JSON and CSV files that notebooks hand to each other."""
    return Path(os.environ.get("QTLIB_RESULTS", ROOT / "data" / "results"))


def figures() -> Path:
    """Folder of the figures, written by notebooks only."""
    return Path(os.environ.get("QTLIB_FIGURES", ROOT / "figures"))


def generated() -> Path:
    """Folder of emitted design directories (ignored by git)."""
    return Path(os.environ.get("QTLIB_GENERATED", HDL / "generated"))


def write_atomic(path: Path, content: bytes | str) -> Path:
    """Write a file so that a reader, a full disk or a kill sees the old content or the new, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; the previous file is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path

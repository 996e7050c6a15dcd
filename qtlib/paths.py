"""Where files live, and how they are written: whole or not at all.

In a checkout everything lies where the repository has it. Installed without one, the VHDL and the committed tables come with the
package, and all that is written goes to the folder in which Python was started, never into the environment.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file() and (PACKAGE.parent / "notebooks").is_dir()
ROOT = PACKAGE.parent if CHECKOUT else Path.cwd()
NOTEBOOKS = ROOT / "notebooks"
HDL = (ROOT if CHECKOUT else PACKAGE) / "hdl"
DATA = ROOT / "data"
RAW = DATA / "raw"


def table(file: Path) -> Path:
    """Where to read a committed table of `DATA`: ``file`` itself, or where there is none the one that came with the package.

    Only for reading: a command that adds to a table goes on with the one of the working folder.
    """
    shipped = PACKAGE / "tables" / file.name
    absent = file.resolve().parent == DATA and not file.exists()
    return shipped if absent and shipped.exists() else file


def prepared() -> Path:
    """Folder of what can be computed again: checkpoints, programs, netlists (ignored by git)."""
    return Path(os.environ.get("QTLIB_PREPARED", DATA / "prepared"))


def results() -> Path:
    """Folder of the small JSON and CSV files that notebooks hand to each other."""
    return Path(os.environ.get("QTLIB_RESULTS", DATA / "results"))


def figures() -> Path:
    """Folder of the figures, written by notebooks only."""
    return Path(os.environ.get("QTLIB_FIGURES", ROOT / "figures"))


def generated() -> Path:
    """Folder of emitted design directories (ignored by git)."""
    return Path(os.environ.get("QTLIB_GENERATED", ROOT / "hdl" / "generated"))


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

"""Pages of the package: one for each folder of qtlib, in the order of the flow, and one of all commands."""

from __future__ import annotations

import ast
import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from qtlib.__main__ import COMMANDS, main
from qtlib.paths import ROOT

PACKAGE = ROOT / "qtlib"
# In the order of the flow; the modules beside the folders have a page of their own.
FOLDERS = ("program", "data", "training", "hardware", "estimate", "toolchain", "studies", "compendium", "explore")
WIDTH = 88  # columns of a command's help


def summary(file: Path) -> str:
    """First paragraph of a module's docstring, without its full stop."""
    first = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(first.split()).removesuffix(".")


def check_folders(found: set[str]) -> None:
    """Refuse to leave a folder of the package out.

    Raises:
        ValueError: a folder of qtlib that has no place in `FOLDERS`, or a place of none.
    """
    if found != set(FOLDERS):
        raise ValueError(
            f"package_pages: FOLDERS lacks {', '.join(sorted(found - set(FOLDERS))) or 'nothing'} of qtlib, "
            f"and qtlib lacks {', '.join(sorted(set(FOLDERS) - found)) or 'nothing'} of FOLDERS"
        )


def beside() -> list[str]:
    """Modules beside the folders that others import."""
    return sorted(file.stem for file in PACKAGE.glob("*.py") if not file.stem.startswith("_"))


def folder_page(folder: str) -> str:
    """Every module of one folder, in the order of its file names."""
    names = sorted(file.stem for file in (PACKAGE / folder).glob("*.py") if file.stem != "__init__")
    modules = [f"qtlib.{folder}", *(f"qtlib.{folder}.{name}" for name in names)]
    return _page(folder, modules)


def beside_page() -> str:
    """The modules beside the folders."""
    return _page(", ".join(beside()).replace("_", " "), [f"qtlib.{name}" for name in beside()])


def _page(title: str, modules: list[str]) -> str:
    lines = [title, "=" * len(title), ""]
    for name in modules:
        # A folder's own docstring opens its page; what its __init__ offers is documented where it is defined.
        if name.count(".") == 1 and (PACKAGE / name.split(".")[1]).is_dir():
            lines += [f".. automodule:: {name}", "   :no-members:", ""]
            continue
        heading = f"{name.split('.')[-1]}"
        lines += [heading, "-" * len(heading), "", f".. automodule:: {name}", ""]
    return "\n".join(lines)


def index_page() -> str:
    """The list of the folders, with what each is."""
    lines = [
        "# Python package",
        "",
        "In the order of the flow; a folder imports only from those before it. Names are documented in the module that",
    ]
    lines += ["defines them, whatever else offers them.", "", "| folder | what it is |", "| --- | --- |"]
    lines += [f"| [`qtlib.{name}`]({name}.rst) | {summary(PACKAGE / name / '__init__.py')} |" for name in FOLDERS]
    for name in beside():
        lines += [f"| [`qtlib.{name}`](beside.rst) | {summary(PACKAGE / f'{name}.py')} |"]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *FOLDERS, "beside", "```", ""])


@contextlib.contextmanager
def _columns() -> Iterator[None]:
    """Help as wide as a page and without colours, whatever the terminal."""
    fixed = {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    before = {name: os.environ.get(name) for name in fixed}
    os.environ.update(fixed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def help_of(*words: str) -> str:
    """What ``python -m qtlib WORDS --help`` prints."""
    printed = io.StringIO()
    with _columns(), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return printed.getvalue().rstrip()


def commands_page() -> str:
    """Every command with what its parser says."""
    lines = [
        "# Commands",
        "",
        "What `python -m qtlib COMMAND --help` prints; after installation `qtlib COMMAND` is the same.",
        "",
    ]
    for name, (folder, text) in COMMANDS.items():
        lines += [f"## {name}", "", f"{text[0].upper()}{text[1:]}. Module: `qtlib/{folder}/commands.py`.", ""]
        lines += ["```text", help_of(name), "```", ""]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """Every page by its file name.

    Raises:
        ValueError: as `check_folders`.
    """
    check_folders({file.parent.name for file in PACKAGE.glob("*/__init__.py")})
    found = {f"{folder}.rst": folder_page(folder) for folder in FOLDERS}
    return found | {"beside.rst": beside_page(), "index.md": index_page(), "commands.md": commands_page()}

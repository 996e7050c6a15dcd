"""Execute one notebook: all of it or not at all, and without a trace of the machine that ran it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from qtlib import paths

VOLATILE = ("papermill", "execution", "ExecuteTime")  # cell metadata that changes with every run
WIDGET = "application/vnd.jupyter.widget-view+json"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailed(RuntimeError):
    """A notebook raised; the text holds its traceback and names the half-executed copy."""


def defaults(notebook: Path) -> dict[str, Any]:
    """Names and values of the cell tagged ``parameters``; empty when there is none.

    Raises:
        ValueError: a value is not a literal.
    """
    for cell in nbformat.read(notebook, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            return _literals(cell.source, notebook.name)
    return {}


def _literals(source: str, place: str) -> dict[str, Any]:
    values = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name):
                try:
                    values[target.id] = ast.literal_eval(value)
                except ValueError as error:
                    raise ValueError(f"run: {place}: parameter {target.id} is not a literal") from error
    return values


def code(notebook: Path) -> list[str]:
    """Sources of the code cells: what decides the outputs."""
    return [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


def is_executed(notebook: Path) -> bool:
    """Whether every code cell has run."""
    cells = nbformat.read(notebook, as_version=4).cells
    return all(cell.execution_count for cell in cells if cell.cell_type == "code" and cell.source.strip())


def execute(source: Path, target: Path, *, parameters: Mapping[str, Any] | None = None, label: str = "") -> None:
    """Execute ``source`` in its own folder with this interpreter and replace ``target`` when all of it ran.

    Args:
        source: notebook to execute.
        target: where the cleaned, executed notebook goes; may be ``source``.
        parameters: values that differ from the notebook's own; without any, no cell is injected.
        label: start of every progress line.

    Raises:
        NotebookFailed: a cell raised or the kernel died; ``target`` is untouched, and the half-executed copy lies
            beside ``source`` as ``NN_words.failed.ipynb``.
    """
    # papermill takes a second to import; `--help` and error messages do without it.
    import papermill
    from nbclient.exceptions import DeadKernelError

    _register_engine()
    failed = source.with_name(f"{source.stem}.failed.ipynb")
    scratch = paths.prepared().resolve() / "run"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{source.stem}.", dir=scratch) as folder:
        copy = Path(folder) / source.name
        try:
            papermill.execute_notebook(
                source.resolve(),
                copy,
                parameters=dict(parameters or {}) or None,
                engine_name="qtlib",
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=source.resolve().parent,
                label=label,
            )
        except (papermill.PapermillExecutionError, DeadKernelError) as error:
            say(f"{label}: failed", final=True)
            if copy.exists():
                shutil.copyfile(copy, failed)
            raise NotebookFailed(_report(source, error, failed)) from None
        notebook = nbformat.read(copy, as_version=4)
    clean(notebook)
    paths.write_atomic(target, nbformat.writes(notebook))
    failed.unlink(missing_ok=True)


def _report(source: Path, error: Exception, failed: Path) -> str:
    lines = getattr(error, "traceback", None) or [f"{type(error).__name__}: {error}"]
    text = "\n".join(lines)
    if not sys.stderr.isatty():
        text = ANSI.sub("", text)
    count = getattr(error, "exec_count", None)
    where = f" in cell {count}" if count else ""
    return f"run: {source.name} failed{where}; the half-executed copy is {failed.name}\n{text}"


def _register_engine() -> None:
    """Teach papermill to print one line per cell."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, label: str, **options: Any) -> Any:
            code = [index for index, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]
            start = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
                if cell_index in code:
                    heading = _heading(nb_man.nb.cells[:cell_index])
                    say(f"{label}: cell {code.index(cell_index) + 1}/{len(code)} {heading}".rstrip())
                return start(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            # Without it every kernel warns that it talks over an unencrypted local port.
            quiet = ["--log-level=ERROR"]
            return super().execute_managed_notebook(nb_man, kernel_name, extra_arguments=quiet, **options)

    papermill_engines.register("qtlib", Engine)


def _heading(cells: Sequence[Any]) -> str:
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return next((line.lstrip("# ") for line in reversed(lines) if line.startswith("#")), "")


def say(line: str, *, final: bool = False) -> None:
    """A progress line: overwritten on a terminal, one after the other in a file."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{line[:width]}", end="\n" if final else "", flush=True)
    else:
        print(line, flush=True)


def clean(notebook: Any) -> None:
    """Remove, in place, everything from an executed notebook that changes with the machine or the hour."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        for name in VOLATILE:
            cell.metadata.pop(name, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            # A widget without its kernel is nothing, and its id is another one in every run.
            lasting = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
            cell.outputs = _merge_streams(lasting)
            for output in cell.outputs:
                _scrub(output)


def _merge_streams(outputs: Sequence[Any]) -> list[Any]:
    """Join neighbouring pieces of one stream: where the kernel cuts them is chance."""
    merged: list[Any] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def _scrub(value: Any) -> Any:
    """Replace machine paths and addresses in every text of an output, in place where it is a container."""
    if isinstance(value, str):
        for folder, short in _machine_paths():
            value = value.replace(folder + "/", short)
        value = re.sub(r"/\S*/ipykernel_\d+/\d+\.py", "<cell>", value)
        return re.sub(r"(<[\w.]+(?: object)?) at 0x[0-9a-f]+>", r"\1>", value)  # where an object lies in memory
    if isinstance(value, dict):
        for key in value:
            if not key.startswith("image/"):
                value[key] = _scrub(value[key])
    elif isinstance(value, list):
        value[:] = [_scrub(item) for item in value]
    return value


def _machine_paths() -> list[tuple[str, str]]:
    own = {str(paths.ROOT): "", sys.prefix: "<python>/", sys.base_prefix: "<python>/", str(Path.home()): "~/"}
    for name in ("QTLIB_DATA", "QTLIB_PREPARED", "QTLIB_RESULTS", "QTLIB_FIGURES", "QTLIB_GENERATED"):
        if folder := os.environ.get(name):
            own.setdefault(folder.rstrip("/"), f"${name}/")
    # The longest first, so that a folder inside another one keeps its own name.
    return sorted(((k, v) for k, v in own.items() if len(k) > 1), key=lambda pair: -len(pair[0]))

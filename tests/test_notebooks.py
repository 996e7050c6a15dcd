"""The notebooks are the paper: they run from nothing, in order, and what is committed is clean and executed."""

import os
import re
import subprocess
import sys
import time

import nbformat
import pytest

from qtlib import notebook
from qtlib.paths import NOTEBOOKS, ROOT
from qtlib.run import stages

NAMES = [
    "01_data",
    "02_training",
    "03_integer_inference",
    "04_hardware",
    "05_resources",
    "06_mixed_precision",
    "07_energy",
    "08_paper",
    "00_overview",  # reads the results of all others
]
LIMIT = 1200  # seconds for all notebooks together

present = [stage.path for stage in stages()]
each = pytest.mark.parametrize("file", present, ids=lambda file: file.stem)


@pytest.fixture(scope="module")
def afresh(tmp_path_factory):
    """Environment of a machine where nothing has been computed yet, the time it started, and what failed in it."""
    folder = tmp_path_factory.mktemp("afresh")
    names = ("PREPARED", "RESULTS", "FIGURES", "GENERATED")
    own = {f"QTLIB_{name}": str(folder / name.lower()) for name in names}
    return {**os.environ, **own, "JUPYTER_PREFER_ENV_PATH": "1"}, time.monotonic(), []


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_what_the_earlier_ones_wrote(name, afresh):
    environment, started, failed = afresh
    assert not failed, f"not run, because {failed[0]} failed"
    failed.append(name)
    file = NOTEBOOKS / f"{name}.ipynb"
    assert file.exists(), f"notebooks/{name}.ipynb does not exist"
    left = LIMIT - (time.monotonic() - started)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--nbval-cell-timeout={max(left, 1):.0f}", file],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=max(left, 1),
    )
    assert done.returncode == 0, done.stdout[-6000:]
    failed.remove(name)


def test_no_notebook_is_left_out():
    assert sorted(file.stem for file in present) == sorted(NAMES)


@each
def test_the_committed_notebook_is_executed_without_an_error(file):
    assert notebook.is_executed(file), f'run "python -m qtlib run {int(file.name[:2])}"'
    for cell in nbformat.read(file, as_version=4).cells:
        assert not any(output.output_type == "error" for output in cell.get("outputs", []))


@each
def test_the_committed_notebook_is_clean(file):
    before = nbformat.read(file, as_version=4)
    after = nbformat.read(file, as_version=4)
    notebook.clean(after)
    assert before == after
    text = file.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert not re.search(r"/(home|root|Users|tmp)/", text)
    assert "injected-parameters" not in text


@each
def test_a_notebook_asks_one_question_and_answers_it_first(file):
    first = nbformat.read(file, as_version=4).cells[0].source
    assert first.startswith(f"# {file.name[:2]} ")
    for words in ("**Question.**", "**Answer.**", "| reads | writes | runtime |"):
        assert words in first


@each
def test_parameters_are_literals_in_the_first_code_cell(file):
    cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged in ([], cells[:1])
    assert notebook.defaults(file).get("profile", "quick") == "quick"


@each
def test_cells_are_short(file):
    for source in notebook.code(file):
        assert len(source.splitlines()) <= 20, source

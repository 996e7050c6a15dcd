"""The notebooks are the paper: they run from nothing, in order, and what is committed is clean and executed."""

import ast
import os
import re
import signal
import statistics
import subprocess
import sys

import nbformat
import pytest

from qtlib.compendium import notebook_execution
from qtlib.compendium.stages import stages
from qtlib.paths import NOTEBOOKS, ROOT

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
# Minutes for each notebook. None takes a tenth of it on two idle cores, so a machine that is only busy stays far below.
LIMIT = 30

present = [stage.path for stage in stages()]
each = pytest.mark.parametrize("file", present, ids=lambda file: file.stem)


def run(name, command, environment, minutes):
    """Exit status and output of a process; one that does not end fails the test, with a text that says so."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that it can be ended with all that it has started
    ) as process:
        try:
            output, _ = process.communicate(timeout=60 * minutes)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"{name} did not end within {minutes:g} min; is something hanging?\n{output[-6000:]}")
    return process.returncode, output


@pytest.fixture(scope="module")
def afresh(tmp_path_factory):
    """Environment of a machine where nothing has been computed yet, and what failed in it."""
    folder = tmp_path_factory.mktemp("afresh")
    names = ("PREPARED", "RESULTS", "FIGURES", "GENERATED")
    own = {f"QTLIB_{name}": str(folder / name.lower()) for name in names}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**inherited, **own, "JUPYTER_PREFER_ENV_PATH": "1"}, []


# One after the other in one process, because each reads what the earlier ones wrote. They use every core; beside them the other
# workers take what is left, and with loadgroup the largest group begins first.
@pytest.mark.xdist_group("notebooks")
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_what_the_earlier_ones_wrote(name, afresh):
    environment, failed = afresh
    assert not failed, f"not run, because {failed[0]} failed"
    failed.append(name)
    file = NOTEBOOKS / f"{name}.ipynb"
    assert file.exists(), f"notebooks/{name}.ipynb does not exist"
    # Options of this run, such as its workers, are not those of the notebook's.
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-q"]
    command += ["--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={60 * LIMIT}", str(file)]
    status, output = run(name, command, environment, LIMIT)
    assert status == 0, output[:6000]  # the first failure; those behind it follow from it
    failed.remove(name)


def test_a_notebook_that_hangs_is_ended_and_named():
    command = [sys.executable, "-c", "import time; print('began', flush=True); time.sleep(3600)"]
    with pytest.raises(pytest.fail.Exception, match=r"^00_x did not end within 0\.1 min; is something hanging\?\n"):
        run("00_x", command, os.environ, 0.1)


def test_no_notebook_is_left_out():
    assert sorted(file.stem for file in present) == sorted(NAMES)


@each
def test_the_committed_notebook_is_executed_without_an_error(file):
    assert notebook_execution.is_executed(file), f'run "python -m qtlib run {int(file.name[:2])}"'
    for cell in nbformat.read(file, as_version=4).cells:
        assert not any(output.output_type == "error" for output in cell.get("outputs", []))


@each
def test_the_committed_notebook_is_clean(file):
    before = nbformat.read(file, as_version=4)
    after = nbformat.read(file, as_version=4)
    notebook_execution.clean(after)
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
    assert notebook_execution.defaults(file).get("profile", "quick") == "quick"


@each
def test_cells_are_short(file):
    lines = [len(source.splitlines()) for source in notebook_execution.code(file)]
    assert statistics.median(lines) <= 8
    assert max(lines) <= 20


@each
def test_qtlib_is_imported_first(file):
    trees = [ast.parse(source) for source in notebook_execution.code(file)]
    imports = [node for tree in trees for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    first = imports[0]
    assert (first.module if isinstance(first, ast.ImportFrom) else first.names[0].name).split(".")[0] == "qtlib"


# A number of its own: not a part of a name such as XC7S15 or Spartan-7, nor of a unit.
NUMBER = re.compile(r"(?<![\w.-])\d[\d,_]*(?:\.\d+)?(?![\d_])")
UNIT = "vehicles / 5 min"
CHECKS = ("assert ", "check_stated(")


def numbers(text):
    return {float(found.strip(",").replace(",", "").replace("_", "")) for found in NUMBER.findall(text)}


@each
def test_a_number_in_the_answer_is_checked_by_a_cell(file):
    cells = nbformat.read(file, as_version=4).cells
    answer = cells[0].source.partition("**Answer.**")[2].partition("\n\n")[0].replace(UNIT, "")
    checked = set()
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code":
            continue
        if "nbval-check-output" in tags or "parameters" in tags or any(word in cell.source for word in CHECKS):
            checked |= numbers(cell.source.replace(",", " "))
    assert not numbers(answer) - checked, (
        f"{file.name} states {sorted(numbers(answer) - checked)}, which no cell checks"
    )


def test_numbers_are_found_in_words_and_in_code():
    assert numbers("A Spartan-7 XC7S15 at 8, 6 and 4 bits: 4,066 clocks, 40.7 µs, 96 %, 0.07 to 1.4, n=24.") == {
        8, 6, 4, 4066, 40.7, 96, 0.07, 1.4, 24,
    }  # fmt: skip
    assert numbers("92_560 == x and '8 bit' in y") == {92560, 8}

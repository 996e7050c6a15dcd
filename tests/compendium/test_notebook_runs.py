import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from qtlib import paths
from qtlib.command_line import UsageError
from qtlib.compendium import notebook_execution, notebook_runs, stages, up_to_date
from qtlib.compendium.notebook_execution import NotebookFailed
from qtlib.toolchain import external_tools


def write(folder, name, *sources, parameters=None):
    cells = [new_markdown_cell(f"# {name}")]
    if parameters is not None:
        cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(source) for source in sources]
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": {"name": "elsewhere", "display_name": "x"}}), file)
    return file


def printed(file):
    cells = nbformat.read(file, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def keep_apart(place, patch):
    """Keep notebooks and everything they write away from the project; returns the folder of the notebooks."""
    for name in ("QTLIB_RESULTS", "QTLIB_FIGURES"):
        patch.delenv(name, raising=False)
    patch.setenv("QTLIB_PREPARED", str(place / "prepared"))
    patch.setattr(paths, "results", lambda: place / "results")
    patch.setattr(paths, "figures", lambda: place / "figures")
    for name in ("ROOT", "HDL", "RAW"):
        patch.setattr(paths, name, place / "project")
    return place / "notebooks"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return keep_apart(tmp_path, monkeypatch)


three = pytest.mark.xdist_group("three-stages")  # in one process of the suite, so that they run once


@pytest.fixture(scope="module")
def three_stages(tmp_path_factory):
    """Three stages that have run, with all they wrote; a kernel takes a second to start."""
    place = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        notebooks = keep_apart(place, patch)
        write(notebooks, "01_a", COUNT, parameters="n = 1")
        write(notebooks, "02_b", "print('b')")
        write(notebooks, "00_overview", "print('c')")
        assert notebook_runs.run(notebooks=notebooks) == ["01_a", "02_b", "00_overview"]
    return place


@pytest.fixture
def executed(three_stages, folder):
    """A copy of the three stages, for this test to change."""
    shutil.copytree(three_stages, folder.parent, dirs_exist_ok=True)
    assert notebook_runs.run(notebooks=folder) == []
    return folder


COUNT = "from qtlib.compendium import results\nresults.save_json('01_x', {'n': n})\nprint('n is', n)"


def test_stages_run_in_the_order_of_their_numbers_and_the_overview_last(folder):
    for name in ("02_b", "00_overview", "01_a", "01_a.failed"):
        write(folder, name)
    assert [stage.name for stage in stages.stages(folder)] == ["01_a", "02_b", "00_overview"]


@pytest.mark.parametrize(
    ("numbers", "first", "last", "chosen"),
    [
        ((), None, None, [1, 2, 3, 0]),
        ((3, 1), None, None, [1, 3]),
        ((0,), None, None, [0]),
        ((), 2, None, [2, 3, 0]),
        ((), None, 2, [1, 2]),
        ((), 2, 2, [2]),
        ((), 0, 1, [1, 0]),
    ],
)
def test_stages_are_chosen_by_number_or_range(folder, numbers, first, last, chosen):
    for number in range(4):
        write(folder, f"{number:02}_x")
    assert [s.number for s in stages.select(stages.stages(folder), numbers, first=first, last=last)] == chosen


def test_a_stage_that_does_not_exist_is_refused_with_the_legal_ones(folder):
    write(folder, "01_a")
    write(folder, "02_b")
    with pytest.raises(UsageError, match="^run: stage 3 does not exist; legal: 1, 2$"):
        notebook_runs.run([3], notebooks=folder)
    with pytest.raises(UsageError, match="^run: stage 7 does not exist; legal: 1, 2$"):
        notebook_runs.run(last=7, notebooks=folder)
    with pytest.raises(UsageError, match="^run: --from 2 is after --to 1$"):
        notebook_runs.run(first=2, last=1, notebooks=folder)
    with pytest.raises(UsageError, match="^run: give stage numbers or --from/--to, not both$"):
        notebook_runs.run([1], last=2, notebooks=folder)


def test_a_profile_that_does_not_exist_is_refused_with_the_legal_ones(folder):
    write(folder, "01_a")
    with pytest.raises(
        UsageError, match=r"^run: profile 'papper' does not exist; did you mean 'paper'\? legal: paper, quick$"
    ):
        notebook_runs.run(profile="papper", notebooks=folder)


def test_a_misspelt_parameter_is_refused_with_the_legal_ones_before_anything_runs(folder):
    file = write(folder, "01_a", "print(seed)", parameters="seed = 0\nwindow: int = 24  # steps\nprofile = 'quick'")
    before = file.read_bytes()
    with pytest.raises(
        UsageError, match=r"^run: parameter 'sed' does not exist; did you mean 'seed'\? legal: seed, window$"
    ):
        notebook_runs.run(parameters={"sed": "1"}, notebooks=folder)
    with pytest.raises(UsageError, match="^run: parameter 'profile' is set by --profile$"):
        notebook_runs.run(parameters={"profile": "paper"}, notebooks=folder)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [("24", "12", 12), ("0.5", "1", 1.0), ("'a'", "8", "8"), ("True", "False", False), ("None", "3", 3), ("None", "x", "x"),
     ("(8, 6)", "(4,)", (4,)), ("-1", "-2", -2)],
)  # fmt: skip
def test_a_parameter_takes_the_type_of_its_default(folder, default, text, value):
    write(folder, "01_a", parameters=f"x = {default}")
    found = stages.overrides(stages.stages(folder)[0], "quick", {"x": text})["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("default", "text"), [("24", "2.5"), ("24", "many"), ("24", "True"), ("True", "1"), ("0.5", "x")]
)
def test_a_parameter_of_another_type_is_refused(folder, default, text):
    write(folder, "01_a", parameters=f"x = {default}")
    kind = type(eval(default)).__name__
    with pytest.raises(UsageError, match=f"^run: parameter x={text} must be {kind}, like its default {default}$"):
        notebook_runs.run(parameters={"x": text}, notebooks=folder)


def test_a_parameter_that_is_computed_is_refused(folder):
    write(folder, "01_a", parameters="x = 1 + len('a')")
    with pytest.raises(ValueError, match=r"^run: 01_a\.ipynb: parameter x is not a literal$"):
        notebook_runs.run(notebooks=folder)


def test_the_executed_notebook_is_clean_and_its_outputs_hold_no_machine_path(folder):
    words = [paths.ROOT / "data", f"{sys.prefix}/lib", Path.home() / "x", "/usr/share/x"]
    show = "\n".join(f"print({str(word)!r})" for word in words)
    file = write(folder, "01_a", show, "import warnings\nwarnings.warn('careful')", parameters="profile = 'quick'")
    notebook_runs.run(notebooks=folder)
    made = nbformat.read(file, as_version=4)
    assert [cell.execution_count for cell in made.cells if cell.cell_type == "code"] == [1, 2, 3]
    assert [dict(cell.metadata) for cell in made.cells] == [{}, {"tags": ["parameters"]}, {}, {}]
    assert made.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    shown, warned = printed(file).split("<cell>")
    assert shown == "data\n<python>/lib\n~/x\n/usr/share/x\n"
    assert warned == ":2: UserWarning: careful\n  warnings.warn('careful')\n"


def test_the_kernel_is_the_interpreter_of_the_runner_and_starts_in_the_folder_of_the_notebook(folder):
    asked = f"import os, sys\nassert (sys.executable, os.getcwd()) == {(sys.executable, str(folder.resolve()))!r}"
    write(folder, "01_a", asked)
    assert notebook_runs.run(notebooks=folder) == ["01_a"]


def test_two_executions_give_the_same_bytes(folder):
    file = write(
        folder, "01_a", "import sys\nprint('a', flush=True)\nprint('b', flush=True)", COUNT, parameters="n = 1"
    )
    notebook_runs.run(notebooks=folder)
    first = file.read_bytes()
    notebook_runs.run(notebooks=folder, force=True)
    assert file.read_bytes() == first


def test_progress_is_one_line_per_cell_and_per_stage(folder, capfd):
    write(folder, "01_a", "1", "2")
    write(folder, "02_b", "3")
    notebook_runs.run(notebooks=folder)
    lines = capfd.readouterr().out.splitlines()
    assert [re.sub(r"\d+ s$", "N s", line) for line in lines] == [
        "[1/2] 01_a: cell 1/2 01_a",
        "[1/2] 01_a: cell 2/2 01_a",
        "[1/2] 01_a: done in N s",
        "[2/2] 02_b: cell 1/1 02_b",
        "[2/2] 02_b: done in N s",
    ]


def test_a_failing_notebook_stops_the_run_keeps_its_copy_and_stays_whole(folder, capfd):
    file = write(folder, "01_a", "print('before')", "rate = 1\nrate / 0", "print('after')")
    later = write(folder, "02_b", "print('never')")
    before, untouched = file.read_bytes(), later.read_bytes()
    head = r"^run: 01_a\.ipynb failed in cell 2; the half-executed copy is 01_a\.failed\.ipynb\n"
    with pytest.raises(NotebookFailed, match=head + r"[^\0]*----> 2 rate / 0[^\0]*ZeroDivisionError: division by zero"):
        notebook_runs.run(notebooks=folder)
    assert (file.read_bytes(), later.read_bytes()) == (before, untouched)
    assert "before\n" in printed(folder / "01_a.failed.ipynb")
    assert "01_a: failed" in capfd.readouterr().out
    assert not list((folder.parent / "prepared" / "run").iterdir())


def test_a_repaired_notebook_removes_the_failed_copy(folder):
    write(folder, "01_a", "1 / 0")
    with pytest.raises(NotebookFailed):
        notebook_runs.run(notebooks=folder)
    write(folder, "01_a", "1 / 1")
    assert notebook_runs.run(notebooks=folder) == ["01_a"]
    assert not (folder / "01_a.failed.ipynb").exists()


def test_a_kernel_that_dies_is_a_failure(folder):
    write(folder, "01_a", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(NotebookFailed, match=r"^run: 01_a\.ipynb failed; .*\nDeadKernelError: Kernel died"):
        notebook_runs.run(notebooks=folder)


def test_what_is_up_to_date_is_skipped(folder, capfd):
    write(folder, "01_a", COUNT, parameters="n = 1")
    write(folder, "02_b", "print('b')")
    assert notebook_runs.run(notebooks=folder) == ["01_a", "02_b"]
    assert notebook_runs.run(notebooks=folder) == []
    assert "[1/2] 01_a: up to date\n[2/2] 02_b: up to date\n" in capfd.readouterr().out
    assert notebook_runs.run([2], notebooks=folder, force=True) == ["02_b"]


def change_code(folder):
    write(folder, "01_a", COUNT, parameters="n = 2")


def delete_a_result(folder):
    (folder.parent / "results" / "01_x.json").unlink()


def clear_the_outputs(folder):
    made = nbformat.read(folder / "01_a.ipynb", as_version=4)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    nbformat.write(made, folder / "01_a.ipynb")


def damage_the_stamp(folder):
    (folder.parent / "prepared" / "run" / "01.json").write_text("{")


@three
@pytest.mark.parametrize(
    ("change", "again"),
    [
        (change_code, ["01_a", "02_b", "00_overview"]),
        (delete_a_result, ["01_a"]),
        (clear_the_outputs, ["01_a"]),
        (damage_the_stamp, ["01_a"]),
    ],
)
def test_a_change_runs_its_stage_again_and_later_ones_only_if_their_inputs_changed(executed, change, again):
    change(executed)
    assert notebook_runs.run(notebooks=executed) == again


@three
def test_an_edited_text_cell_runs_nothing_again(executed):
    file = executed / "01_a.ipynb"
    made = nbformat.read(file, as_version=4)
    made.cells[0].source = "# Another title"
    nbformat.write(made, file)
    assert notebook_runs.run(notebooks=executed) == []


def test_the_sources_the_data_and_the_tools_are_part_of_the_fingerprint(folder, tmp_path, monkeypatch):
    write(folder, "01_a", "1")
    stage = stages.stages(folder)[0]
    root = tmp_path / "project"
    for name in ("qtlib/x.py", "hdl/rtl/x.vhd", "hdl/templates/x.j2", "raw/x.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1")
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setattr(paths, "HDL", root / "hdl")
    monkeypatch.setattr(paths, "RAW", root / "raw")
    place = up_to_date.Place(
        None, folder, tmp_path / "results", tmp_path / "figures", tmp_path / "prepared" / "run", None
    )

    seen = [up_to_date.fingerprint(stage, "quick", {}, place)]
    assert up_to_date.fingerprint(stage, "quick", {}, place) == seen[0]
    for name in ("qtlib/x.py", "hdl/rtl/x.vhd", "hdl/templates/x.j2", "raw/x.csv"):
        (root / name).write_text("22")
        seen.append(up_to_date.fingerprint(stage, "quick", {}, place))
    seen.append(up_to_date.fingerprint(stage, "paper", {}, place))
    seen.append(up_to_date.fingerprint(stage, "quick", {"n": 1}, place))
    monkeypatch.setattr(external_tools, "TOOLS", {})
    seen.append(up_to_date.fingerprint(stage, "quick", {}, place))
    assert all(a != b for a, b in itertools.combinations(seen, 2))


def test_another_parameter_leaves_the_committed_notebook_and_its_results_alone(folder):
    file = write(folder, "01_a", COUNT, parameters="n = 1")
    read = "from qtlib.compendium import results\nprint('read', results.load_json('01_x')['n'])"
    other = write(folder, "02_b", read, parameters="m = 1")
    notebook_runs.run(notebooks=folder)
    before = file.read_bytes(), other.read_bytes()

    notebook_runs.run([1], parameters={"n": "7"}, notebooks=folder)
    (variant,) = (folder.parent / "prepared" / "run").glob("quick-*")
    assert printed(variant / "01_a.ipynb") == "n is 7\n"
    assert json.loads((variant / "results" / "01_x.json").read_text())["n"] == 7
    assert json.loads((folder.parent / "results" / "01_x.json").read_text())["n"] == 1

    notebook_runs.run([2], parameters={"m": "7"}, notebooks=folder)
    (copy,) = (folder.parent / "prepared" / "run").glob("quick-*/02_b.ipynb")
    assert printed(copy) == "read 1\n"
    assert (file.read_bytes(), other.read_bytes()) == before


def test_a_parameter_equal_to_its_default_is_the_committed_run(folder):
    file = write(folder, "01_a", COUNT, parameters="n = 1")
    notebook_runs.run(parameters={"n": "1"}, notebooks=folder)
    assert printed(file) == "n is 1\n"
    assert "injected" not in file.read_text()


def test_the_paper_profile_keeps_its_results_to_itself(folder):
    file = write(folder, "01_a", COUNT + "\nprint(profile)", parameters="n = 1\nprofile = 'quick'")
    before = file.read_bytes()
    notebook_runs.run(profile="paper", notebooks=folder)
    home = folder.parent / "prepared" / "run" / "paper"
    assert printed(home / "01_a.ipynb") == "n is 1\npaper\n"
    assert (home / "results" / "01_x.json").exists()
    assert not (folder.parent / "results").exists()
    assert file.read_bytes() == before


def test_an_explicit_folder_for_results_is_obeyed_by_every_profile(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("QTLIB_RESULTS", str(tmp_path / "mine"))
    monkeypatch.setattr(paths, "results", lambda: tmp_path / "mine")
    write(folder, "01_a", COUNT, parameters="n = 1")
    notebook_runs.run(profile="paper", notebooks=folder)
    assert (tmp_path / "mine" / "01_x.json").exists()


def test_a_notebook_without_parameters_has_none(folder):
    assert notebook_execution.defaults(write(folder, "01_a", "n = 1")) == {}

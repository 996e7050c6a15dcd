"""How long a run will take is said before it starts, from what the notebooks themselves state."""

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from qtlib.compendium import notebook_runs, runtimes
from qtlib.compendium.stages import stages


def notebook(folder, name, stated):
    head = f"# {name}\n\n| reads | writes | runtime |\n| --- | --- | --- |\n| a 3 s file | `b`, 4 min old | {stated} |"
    file = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell(head)]), file)
    return file


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("10 s, CPU", 10),
        ("3 min, 2 cores; seconds when the runs are kept", 180),
        ("3 s, CPU; runs last", 3),
        ("soon", 0),
    ],
)
def test_the_time_is_the_first_one_of_the_runtime_cell(tmp_path, stated, seconds):
    assert runtimes.runtime(notebook(tmp_path, "01_a", stated)) == seconds


def test_a_notebook_without_the_table_states_no_time(tmp_path):
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 01 A\n\n| 3 s |")]), tmp_path / "01_a.ipynb")
    nbformat.write(new_notebook(cells=[]), tmp_path / "02_b.ipynb")
    assert [runtimes.runtime(tmp_path / f"{name}.ipynb") for name in ("01_a", "02_b")] == [0, 0]
    assert runtimes.announcement(tmp_path.glob("*.ipynb")) == ""


def test_a_run_says_how_long_it_will_take_in_all_and_at_each_notebook(tmp_path, capsys, monkeypatch):
    notebook(tmp_path, "01_a", "20 s, CPU")
    notebook(tmp_path, "02_b", "4 min, 2 cores")
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setattr(notebook_runs.notebook_execution, "execute", lambda *_, **__: None)
    notebook_runs.run(notebooks=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 notebooks, about 4 min on 2 cores; less where something is kept or up to date"
    assert lines[1] == "[1/2] 01_a: about 20 s" and "[2/2] 02_b: about 4 min" in lines


def test_every_notebook_states_its_time():
    assert [stage.name for stage in stages() if not runtimes.runtime(stage.path)] == []

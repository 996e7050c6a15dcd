"""The record of a search: outcomes, the front, its tables, and one trial exported as a design."""

import json

import pandas as pd
import pytest
from explore.small_search import SMALL, other_data, searched

from qtlib import explore
from qtlib.explore.trial import Infeasible, Pruned
from qtlib.program.file import load as load_program


def test_the_record_tells_the_outcomes_apart(base, measured):
    measured.how |= {0: Infeasible("too big", 2.0), 1: Pruned("too bad"), 2: RuntimeError("boom")}
    table = explore.trials(searched(base, 5))
    assert list(table.outcome) == ["infeasible", "pruned", "failed", "complete", "complete"]
    assert list(table.why) == ["too big", "too bad", "RuntimeError: boom", "", ""]
    assert table.validation_rmse.notna().tolist() == [False, False, False, True, True]


def test_running_and_waiting_trials_are_in_the_record(base, measured):
    found = searched(base, 1)
    found.ask()
    assert list(explore.trials(found).outcome[:3]) == ["complete", "running", "waiting"]


def test_the_table_has_a_column_for_every_dimension_also_for_a_fixed_one(base, measured):
    table = explore.trials(searched(base, 2))
    assert set(SMALL.choices(base)) < set(table.columns)
    assert (table.window[0], table["0.q"].dtype, table.multiplier[0]) == (6, "Int64", "auto")


def table_of(*rows):
    columns = ["number", "outcome", "validation_rmse", "clocks", "lut"]
    return pd.DataFrame(rows, columns=columns)


def test_the_front_holds_what_nothing_complete_beats():
    found = explore.front(
        table_of(
            (0, "complete", 9.0, 100, 5), (1, "complete", 8.0, 200, 5), (2, "complete", 9.0, 150, 1), (3, "complete", 9.5, 100, 5),
            (4, "infeasible", 1.0, 10, 1), (5, "complete", 8.0, 200, 4),
        )
    )  # fmt: skip
    assert found.number.tolist() == [0, 5]


def test_a_row_is_dominated_only_by_another_that_is_nowhere_worse():
    costs = pd.DataFrame([(1, 5, 3), (1, 5, 3), (1, 6, 3), (0, 9, 9), (2, 2, 4)])
    assert explore.dominated(costs).tolist() == [False, False, True, False, False]


def test_the_trials_are_read_back_as_they_were_written(base, measured):
    found = searched(base, 3)
    folder = explore.save(found)[0].parent
    table = explore.trials(found)
    read = explore.read_trials("s", folder)
    assert list(read.columns) == list(table.columns) and read.why.tolist() == table.why.tolist()
    assert explore.front(read).number.tolist() == explore.front(table).number.tolist()


def test_a_third_objective_widens_the_front():
    rows = table_of((0, "complete", 9.0, 100, 5), (1, "complete", 9.0, 150, 1), (2, "complete", 9.0, 150, 2))
    assert explore.front(rows, ("validation_rmse", "clocks", "lut")).number.tolist() == [0, 1]


def test_the_front_is_written_as_csv_and_latex(base, measured):
    found = searched(base, 6)
    files = {file.name: file for file in explore.save(found)}
    assert sorted(files) == ["s_front.csv", "s_front.tex", "s_study.json", "s_trials.csv"]
    best = explore.front(explore.trials(found))
    assert pd.read_csv(files["s_front.csv"]).number.tolist() == best.number.tolist()
    text = files["s_front.tex"].read_text()
    assert text.startswith("% s: written by qtlib") and r"\toprule" in text and r"validation\_rmse" in text


def test_a_trial_is_exported_as_a_design_with_its_program_and_its_choices(real, tmp_path):
    row = explore.front(real.table).iloc[0]
    folder = explore.export("real", int(row.number), tmp_path / "design", count=2)
    program = load_program(folder / "program.qtp")
    names = {path.name for path in folder.iterdir()}
    assert {
        "accelerator.vhd",
        "tb_accelerator.vhd",
        "design_pkg.vhd",
        "stimuli.txt",
        "expected.txt",
        "estimate.json",
    } < names
    chosen = json.loads((folder / "choices.json").read_text())
    assert chosen["run_id"] == row.run_id == program.metadata["run_id"]
    assert chosen["evaluated"]["validation_rmse"] == row.validation_rmse and chosen["evaluated"]["test_rmse"] > 0
    found = json.loads((folder / "estimate.json").read_text())
    assert (found["kind"], found["clocks"], round(found["total"]["lut"])) == ("formula", row.clocks, row.lut)


def test_a_trial_is_exported_from_tables_where_the_search_did_not_run(real, tmp_path):
    explore.save(explore.load("real"), tmp_path)
    number = int(explore.front(real.table).number[0])
    folders = [
        explore.export("real", number, tmp_path / "design", count=1),
        explore.export("real", number, tmp_path / "copy", storage="journal:///nowhere", tables=tmp_path, count=1),
    ]
    texts = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders]
    assert texts[0] == texts[1]


def test_tables_that_are_not_there_or_of_another_version_export_nothing(base, measured, tmp_path):
    with pytest.raises(
        ValueError,
        match=f"^explore: {tmp_path} has no tables of a study 's' .* --study s --tables {tmp_path} writes them$",
    ):
        explore.export("s", 0, tmp_path / "design", tables=tmp_path)
    explore.save(searched(base, 2), tmp_path)
    with pytest.raises(ValueError, match="^explore: trial 77 of 's' does not exist; on the front are "):
        explore.export("s", 77, tmp_path / "design", tables=tmp_path)
    file = tmp_path / "s_study.json"
    file.write_text(file.read_text().replace('"version": "', '"version": "9.'))
    with pytest.raises(ValueError, match="was made with version='9"):
        explore.export("s", 0, tmp_path / "design", tables=tmp_path)
    assert not (tmp_path / "design").exists()


@pytest.mark.needs_ghdl
def test_an_exported_design_is_simulated_on_demand(real, tmp_path):
    number = int(explore.front(real.table).number[0])
    folder = explore.export("real", number, tmp_path / "design", count=1, verify=True)
    assert json.loads((folder / "simulation_ghdl.json").read_text())["mismatches"] == 0


def test_only_a_complete_trial_is_exported(base, measured, tmp_path):
    measured.how |= {0: Infeasible("too big", 2.0)}
    searched(base, 2)
    with pytest.raises(ValueError, match="^explore: trial 0 of 's' is infeasible: too big; on the front are 1$"):
        explore.export("s", 0, tmp_path / "design")
    with pytest.raises(ValueError, match="^explore: trial 77 of 's' does not exist; on the front are 1$"):
        explore.export("s", 77, tmp_path / "design")
    assert not (tmp_path / "design").exists()


def test_a_run_that_is_not_the_recorded_one_is_not_exported(base, measured, tmp_path):
    searched(base, 1)
    text = r"^explore: trial 0 was recorded with validation rmse [\d.]+, run \w{10} has [\d.]+ here; another version of torch has trained it$"
    with pytest.raises(ValueError, match=text):
        explore.export("s", 0, tmp_path / "design")
    assert not (tmp_path / "design").exists()


def test_a_design_is_not_exported_on_other_data(base, measured, tmp_path):
    searched(base, 1)
    other_data(base)
    with pytest.raises(ValueError, match="was made with data='"):
        explore.export("s", 0, tmp_path / "design")

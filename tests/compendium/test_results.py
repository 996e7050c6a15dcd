import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import qtlib
from qtlib.compendium import results


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_RESULTS", str(tmp_path))
    return tmp_path


def test_a_result_is_read_back_exactly_with_where_it_came_from():
    payload = {"run_id": "abc", "rmse": 0.1 + 0.2, "tiny": 5e-324, "grid": [1, 2.5, None, True, "µ"]}
    results.save_json("02_training", payload, dataset="pems", synthetic=False)
    provenance = {"qtlib": qtlib.__version__, "stage": "02", "dataset": "pems", "synthetic": False}
    assert results.load_json("02_training", run_id="abc") == {**payload, "provenance": provenance}


def test_numpy_scalars_and_arrays_become_plain_numbers():
    results.save_json("02_x", {"a": np.int64(3), "b": np.float32(0.5), "c": np.arange(3), "d": np.bool_(True)})
    loaded = results.load_json("02_x")
    assert [loaded[key] for key in "abcd"] == [3, 0.5, [0, 1, 2], True]


def test_equal_results_are_equal_bytes_whatever_the_order_of_the_keys(folder):
    results.save_json("02_x", {"a": 1, "b": 2})
    first = (folder / "02_x.json").read_bytes()
    results.save_json("02_x", {"b": 2, "a": 1})
    assert (folder / "02_x.json").read_bytes() == first


@pytest.mark.parametrize("bad", [float("nan"), np.float32("inf"), np.array([1.0, np.nan])], ids=["nan", "inf", "array"])
def test_a_failed_measurement_is_refused_by_its_key_path_and_nothing_is_written(folder, bad):
    with pytest.raises(
        ValueError, match=r"^results: 02_x\.runs\[1\]\.rmse(\[1\])? is (nan|inf); a missing figure is left out"
    ):
        results.save_json("02_x", {"runs": [{"rmse": 1.0}, {"rmse": bad}]})
    assert list(folder.iterdir()) == []


def test_values_and_keys_that_json_does_not_know_are_refused_by_their_key_path():
    with pytest.raises(TypeError, match=r"^results: 02_x\.a\.b is set, which JSON does not know$"):
        results.save_json("02_x", {"a": {"b": {1}}})
    with pytest.raises(TypeError, match=r"^results: 02_x\.a: key 1 is int, expected str$"):
        results.save_json("02_x", {"a": {1: 2}})


def test_provenance_is_not_overwritten_by_a_payload():
    with pytest.raises(ValueError, match="^results: 02_x: the key 'provenance' is reserved$"):
        results.save_json("02_x", {"provenance": {}})


@pytest.mark.parametrize("load", [results.load_json, results.load_csv])
def test_a_missing_result_says_which_stage_writes_it(folder, load):
    with pytest.raises(FileNotFoundError, match=r'02_x\.(json|csv) does not exist; run "python -m qtlib run 2"$'):
        load("02_x")


def test_the_default_folder_is_named_from_the_root_of_the_project(monkeypatch):
    monkeypatch.delenv("QTLIB_RESULTS")
    text = r'^results: data/results/99_x\.json does not exist; run "python -m qtlib run 99"$'
    with pytest.raises(FileNotFoundError, match=text):
        results.load_json("99_x")


def test_results_of_another_experiment_are_refused():
    results.save_json("02_x", {"run_id": "abc"})
    text = r"""02_x\.json belongs to run_id='abc', expected 'def'; run "python -m qtlib run 2"$"""
    with pytest.raises(ValueError, match=text):
        results.load_json("02_x", run_id="def")


@pytest.mark.parametrize("name", ["training", "2_x", "02_X", "02_x.json", "../02_x"])
def test_a_result_is_named_by_its_stage(name):
    with pytest.raises(ValueError, match="must be two digits of the stage and a word, like '02_training'$"):
        results.save_json(name, {})


def test_a_figure_says_what_it_is():
    made = results.figure(812, "synthesised", unit="LUT", tool="yosys", version="0.70")
    assert made == {"value": 812, "kind": "synthesised", "unit": "LUT", "tool": "yosys", "version": "0.70"}


def test_a_figure_without_its_source_is_refused():
    with pytest.raises(ValueError, match=r"^results: kind='guess' is not one of formula, evaluated, simulated, "):
        results.figure(1, "guess")
    with pytest.raises(
        ValueError, match=r"^results: a placed figure needs tool and version, got tool='x', version=None$"
    ):
        results.figure(1, "placed", tool="x")
    with pytest.raises(ValueError, match="^results: a published figure needs its origin$"):
        results.figure(1, "published")


def test_a_table_is_read_back_exactly():
    frame = pd.DataFrame({"name": ["a", "b"], "rmse": [0.1 + 0.2, 1 / 3], "n": [1, 2]})
    results.save_csv("05_x", frame)
    pd.testing.assert_frame_equal(results.load_csv("05_x"), frame, check_exact=True)


def test_a_missing_cell_is_refused_by_row_and_column_unless_allowed():
    frame = pd.DataFrame({"rmse": [1.0, np.nan]})
    with pytest.raises(ValueError, match="^results: 05_x: row 1 of column 'rmse' is nan$"):
        results.save_csv("05_x", frame)
    results.save_csv("05_x", frame, allow_missing=True)
    assert results.load_csv("05_x")["rmse"].isna().tolist() == [False, True]


def test_an_infinite_cell_is_never_written():
    with pytest.raises(ValueError, match="^results: 05_x: row 0 of column 'rmse' is inf$"):
        results.save_csv("05_x", pd.DataFrame({"rmse": [np.inf]}), allow_missing=True)


def test_a_latex_table_escapes_and_rounds(folder):
    results.save_latex("08_x", pd.DataFrame({"part_name": ["50 %"], "mJ": [0.021234], "clocks": [122495]}))
    text = (folder / "08_x.tex").read_text()
    assert r"part\_name & mJ & clocks \\" in text
    assert r"50 \% & 0.0212 & 122495 \\" in text
    assert "toprule" in text


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_result_whole(folder, monkeypatch, step):
    results.save_json("02_x", {"rmse": 1.0})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left on device"):
        results.save_json("02_x", {"rmse": 2.0})
    monkeypatch.undo()
    assert json.loads((folder / "02_x.json").read_text())["rmse"] == 1.0
    assert [file.name for file in folder.iterdir()] == ["02_x.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_kill_in_mid_write_leaves_the_previous_result_whole(folder, step):
    results.save_json("02_x", {"rmse": 1.0})
    dies = (
        "import os, signal; from qtlib.compendium import results;"
        f"os.{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "results.save_json('02_x', {'rmse': 2.0})"
    )
    status = subprocess.run([sys.executable, "-c", dies], env={**os.environ, "QTLIB_RESULTS": str(folder)}).returncode
    assert status == -signal.SIGKILL
    assert results.load_json("02_x")["rmse"] == 1.0

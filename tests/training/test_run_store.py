"""A run is kept once, whole, and read back only as what was asked for."""

import json
import re
from dataclasses import replace

import pytest
import torch
from waves import DATA, EIGHT, FLOAT, series

from qtlib import paths
from qtlib.data.windows import prepare
from qtlib.training import run_store, runs
from qtlib.training.run_store import run_folder
from qtlib.training.runs import train


def test_a_finished_run_is_read_and_not_trained_again(kept, windows, monkeypatch):
    first = train(EIGHT, windows)
    monkeypatch.setattr(runs, "fit", None)
    again = train(EIGHT, windows)
    assert again.metrics == first.metrics and again.program.digest == first.program.digest
    assert again.history.equals(first.history)
    assert torch.equal(again.model(torch.from_numpy(windows.test.x)), first.model(torch.from_numpy(windows.test.x)))


def test_an_interrupted_run_leaves_nothing_and_the_next_one_finishes_it(empty, windows, monkeypatch):
    with monkeypatch.context() as patch:

        def full(path, content):
            raise OSError(28, "No space left on device")

        patch.setattr(run_store, "write_atomic", full)
        with pytest.raises(OSError, match="No space left on device"):
            train(FLOAT, windows)
    assert list((empty / "runs").iterdir()) == []
    train(FLOAT, windows)
    assert [folder.name for folder in (empty / "runs").iterdir()] == [run_folder(FLOAT, windows).name]


def test_a_run_that_another_process_finished_meanwhile_is_kept(empty, windows):
    run = train(FLOAT, windows)
    folder = run_folder(FLOAT, windows)
    before = (folder / "model.pt").stat().st_mtime_ns
    run_store.keep(run, windows, folder)
    assert (folder / "model.pt").stat().st_mtime_ns == before
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def changed_record(folder, change):
    record = json.loads((folder / "run.json").read_text())
    change(record)
    (folder / "run.json").write_text(json.dumps(record))


def test_a_kept_run_of_another_configuration_is_refused(empty, windows):
    train(FLOAT, windows)
    folder = run_folder(FLOAT, windows)
    changed_record(folder, lambda record: record["experiment"]["train"].update(seed=7))
    text = f"train: {folder} holds a run with experiment.train.seed=7, expected 0; delete it to train again"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        train(FLOAT, windows)


def test_a_kept_run_on_other_data_is_refused(empty, windows):
    train(FLOAT, windows)
    with pytest.raises(
        ValueError, match=r"holds a run with series.sha256='0{64}', expected '0{63}1'; delete it to train again"
    ):
        train(FLOAT, prepare(DATA, series=series(seed=1)))


def test_a_kept_run_of_another_procedure_is_refused(empty, windows, monkeypatch):
    train(FLOAT, windows)
    monkeypatch.setattr(run_store, "PROCEDURE", 99)
    with pytest.raises(ValueError, match=r"holds a run with procedure=\d, expected 99; delete it to train again"):
        train(FLOAT, windows)


def test_a_folder_that_is_no_finished_run_is_refused(empty, windows):
    folder = run_folder(FLOAT, windows)
    folder.mkdir(parents=True)
    with pytest.raises(
        ValueError, match=f"^train: {re.escape(str(folder))} is not a finished run \\(FileNotFoundError: .*; delete it$"
    ):
        train(FLOAT, windows)


def test_runs_live_in_the_prepared_folder(kept, windows):
    train(FLOAT, windows)
    assert run_folder(FLOAT, windows).parent == paths.prepared() / "runs"
    assert (run_folder(FLOAT, windows) / "run.json").is_file()


def test_the_same_experiment_on_other_data_is_another_run(empty, windows):
    others = prepare(DATA, series=replace(series(seed=1), sha256="f" * 64))
    first, second = train(FLOAT, windows), train(FLOAT, others)
    assert first.metrics != second.metrics
    assert len(list((empty / "runs").iterdir())) == 2


def test_a_run_of_the_float_model_has_no_program(kept, windows):
    text = f"train: run {FLOAT.run_id} is of the float model, which has no program"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        _ = train(FLOAT, windows).lowered

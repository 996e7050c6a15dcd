import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from qtlib import integer, paths
from qtlib import train as training
from qtlib.config import DataConfig, Experiment, ModelConfig, QuantConfig, TrainConfig
from qtlib.data import Windows, prepare
from qtlib.data.series import Series, by_share
from qtlib.lower import lower
from qtlib.train import forecast, make_experiment, metadata, predict, run_folder, train, train_all

DATA = DataConfig(dataset="waves", window=6)
SHORT = TrainConfig(epochs=3, qat_epochs=2, batch=32)


def series(rows=700, seed=0, features=("flow",)):
    """Two sines and noise: enough that training visibly helps."""
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    columns = {
        name: 50 + 20 * np.sin(t / (5 + i)) + 5 * np.sin(t / 2) + rng.normal(size=rows)
        for i, name in enumerate(features)
    }
    return Series(
        name="waves",
        label="waves",
        frame=pd.DataFrame(columns),
        features=features,
        targets=features[:1],
        split=by_share(rows),
        period=None,
        unit="m",
        origin="synthetic",
        sha256=f"{seed:064d}",
    )


@pytest.fixture(scope="module")
def windows():
    return prepare(DATA, series=series())


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def kept(shared_folder, monkeypatch):
    """Runs of this module are shared between its tests."""
    monkeypatch.setenv("QTLIB_PREPARED", str(shared_folder))
    return shared_folder


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path))
    return tmp_path


def experiment(**changes):
    given = {"data": DATA, "model": ModelConfig(window=6, d_model=8), "quant": None, "train": SHORT}
    return Experiment(**(given | changes))


FLOAT, EIGHT, FOUR = experiment(), experiment(quant=QuantConfig(bits=8)), experiment(quant=QuantConfig(bits=4))


def test_training_beats_the_untrained_model(kept, windows):
    history = train(FLOAT, windows).history
    assert history.validation_rmse.min() < 0.6 * history.validation_rmse[0]


def test_quantised_training_beats_calibration_alone_at_four_bits(kept, windows):
    history = train(FOUR, windows).history
    assert history.validation_rmse.min() < history.validation_rmse[0]


def test_narrowing_trains_and_keeps_every_step(empty, windows):
    narrow = replace(FOUR, quant=QuantConfig(bits=4, narrowing=(8, 6)))
    run = train(narrow, windows)
    assert sorted(folder.name for folder in (empty / "runs").iterdir()) == sorted(
        run_folder(e, windows).name for e in (narrow, narrow.start, EIGHT, FLOAT)
    )
    first = training.calibrated(narrow, train(narrow.start, windows).model, windows)
    assert run.history.validation_rmse[0] == training._errors(
        windows, windows.validation, integer.predict(lower(first), windows.validation.x)
    )["rmse"]
    assert lower(train(narrow, windows).model).digest == run.program.digest != train(FOUR, windows).program.digest


def test_the_kept_program_is_the_lowered_kept_model(kept, windows):
    run = train(EIGHT, windows)
    assert lower(run.model).digest == run.program.digest


def test_the_reported_error_is_that_of_the_integer_program(kept, windows):
    run = train(FOUR, windows)
    values = windows.to_units(integer.predict(run.program, windows.test.x), windows.test)
    assert run.metrics["test_rmse"] == np.sqrt(np.mean((values - windows.truth(windows.test)) ** 2))


def test_the_model_kept_is_that_of_the_best_validation_error(kept, windows):
    run = train(FOUR, windows)
    assert run.metrics["validation_rmse"] == run.history.validation_rmse.min()
    assert run.metrics["best_epoch"] == run.history.validation_rmse.idxmin()


def test_the_quantised_model_and_its_program_agree_on_all_test_windows(kept, windows):
    run = train(EIGHT, windows)
    codes = integer.run(run.program, run.program.input.codes(windows.test.x))
    assert (run.model.trace(torch.from_numpy(windows.test.x))["forecast"].numpy() == codes).all()


def test_predict_takes_the_program_if_there_is_one(kept, windows):
    real, quantised = train(FLOAT, windows), train(FOUR, windows)
    assert (predict(real, windows.test) == forecast(real.model, windows.test.x)).all()
    assert (predict(quantised, windows.test) == integer.predict(quantised.program, windows.test.x)).all()


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(kept, windows, tmp_path, monkeypatch):
    first = train(EIGHT, windows)
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path))
    torch.manual_seed(99)  # the caller's own random state does not matter
    second = train(EIGHT, windows)
    other = train(replace(EIGHT, train=replace(SHORT, seed=1)), windows)
    assert first.program.digest == second.program.digest != other.program.digest
    assert first.history.equals(second.history)


def test_training_leaves_the_callers_random_state_and_threads(empty, windows):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train(FLOAT, windows)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_finished_run_is_read_and_not_trained_again(kept, windows, monkeypatch):
    first = train(EIGHT, windows)
    monkeypatch.setattr(training, "_fit", None)
    again = train(EIGHT, windows)
    assert again.metrics == first.metrics and again.program.digest == first.program.digest
    assert again.history.equals(first.history)
    assert torch.equal(again.model(torch.from_numpy(windows.test.x)), first.model(torch.from_numpy(windows.test.x)))


def test_the_test_split_does_not_influence_training(empty, windows):
    first = train(EIGHT, windows)
    ruined = replace(windows, test=windows.test._replace(x=windows.test.x * 0, y=windows.test.y * 0))
    with_prefix = empty / "other"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QTLIB_PREPARED", str(with_prefix))
        second = train(EIGHT, ruined)
    assert first.program.digest == second.program.digest
    assert first.metrics["test_rmse"] != second.metrics["test_rmse"]


def test_an_interrupted_run_leaves_nothing_and_the_next_one_finishes_it(empty, windows, monkeypatch):
    with monkeypatch.context() as patch:

        def full(path, content):
            raise OSError(28, "No space left on device")

        patch.setattr(training, "write_atomic", full)
        with pytest.raises(OSError, match="No space left on device"):
            train(FLOAT, windows)
    assert list((empty / "runs").iterdir()) == []
    train(FLOAT, windows)
    assert [folder.name for folder in (empty / "runs").iterdir()] == [run_folder(FLOAT, windows).name]


def test_a_run_that_another_process_finished_meanwhile_is_kept(empty, windows):
    run = train(FLOAT, windows)
    folder = run_folder(FLOAT, windows)
    before = (folder / "model.pt").stat().st_mtime_ns
    training._keep(run, windows, folder)
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
    monkeypatch.setattr(training, "PROCEDURE", 99)
    with pytest.raises(ValueError, match=r"holds a run with procedure=\d, expected 99; delete it to train again"):
        train(FLOAT, windows)


def test_a_folder_that_is_no_finished_run_is_refused(empty, windows):
    folder = run_folder(FLOAT, windows)
    folder.mkdir(parents=True)
    with pytest.raises(
        ValueError, match=f"^train: {re.escape(str(folder))} is not a finished run \\(FileNotFoundError: .*; delete it$"
    ):
        train(FLOAT, windows)


def test_a_loss_that_is_not_finite_names_epoch_step_and_tensor(empty, windows):
    x = windows.train.x.copy()
    x[:] = np.nan
    broken = replace(windows, train=windows.train._replace(x=x))
    text = "train: the loss is nan at epoch 1, step 0; not finite: the inputs"
    with pytest.raises(FloatingPointError, match=f"^{text}$"):
        train(FLOAT, broken)
    assert list((empty / "runs").iterdir()) == [] if (empty / "runs").exists() else True


def test_targets_that_are_not_finite_are_named(empty, windows):
    y = np.full_like(windows.train.y, np.inf)
    with pytest.raises(
        FloatingPointError, match="^train: the loss is inf at epoch 1, step 0; not finite: the targets$"
    ):
        train(FLOAT, replace(windows, train=windows.train._replace(y=y)))


def test_weights_that_overflow_are_named(windows):
    model = training.Encoder(FLOAT.model)
    with torch.no_grad():
        model.layers[0].ffn1.weight.fill_(3e38)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.from_numpy(windows.train.x[:8]), torch.from_numpy(windows.train.y[:8])
    with pytest.raises(FloatingPointError, match=r"^train: the loss is nan at epoch 2, step 5; not finite: 0\.hidden$"):
        training._step(model, optimiser, x, y, "epoch 2, step 5")


def test_a_gradient_that_is_not_finite_is_named(windows):
    model = training.Encoder(FLOAT.model)
    model.head.bias.register_hook(lambda gradient: gradient * float("inf"))
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.from_numpy(windows.train.x[:8]), torch.from_numpy(windows.train.y[:8])
    with pytest.raises(FloatingPointError, match=r"^train: the gradient norm is inf at here; not finite: head\.bias$"):
        training._step(model, optimiser, x, y, "here")


def test_windows_of_another_data_config_are_refused(windows):
    asked = replace(DATA, horizon=2)
    text = re.escape(f"train: the windows are of {DATA}, the experiment asks for {asked}")
    with pytest.raises(ValueError, match=f"^{text}$"):
        train(experiment(data=asked), windows)


@pytest.mark.parametrize(("name", "value", "expected"), [("window", 5, 6), ("features", 2, 1), ("outputs", 3, 1)])
def test_a_model_that_does_not_fit_the_windows_is_refused(windows, name, value, expected):
    model = ModelConfig(**({"window": 6, "d_model": 8} | {name: value}))
    with pytest.raises(ValueError, match=f"^train: model {name}={value}, the windows have {expected}$"):
        train(experiment(model=model), windows)


def test_a_long_series_gets_fewer_epochs_and_a_short_one_all(windows):
    assert make_experiment(windows, bits=8).train.epochs == 30
    many = replace(windows, train=windows.train._replace(x=np.empty((64 * 400, 6, 1), np.float32)))
    found = make_experiment(many, bits=8).train
    assert (found.epochs, found.qat_epochs) == (10, 10)


def test_several_features_layers_heads_and_outputs_train(empty):
    data = DataConfig(dataset="waves", window=5, outputs=2, anchored=True)
    windows = prepare(data, series=series(300, features=("flow", "speed", "third")))
    shape = ModelConfig(window=5, features=3, outputs=2, d_model=8, heads=2, layers=2)
    run = train(
        experiment(data=data, model=shape, quant=QuantConfig(bits=6), train=replace(SHORT, epochs=1, qat_epochs=1)),
        windows,
    )
    assert run.program.output.shape == (2,)
    assert np.isfinite(list(run.metrics.values())).all()


def test_metadata_lets_a_host_deploy_the_program(kept, windows):
    run = train(EIGHT, windows)
    held = run.program.metadata
    assert held == metadata(EIGHT, windows) and held["run_id"] == EIGHT.run_id and held["origin"] == "synthetic"
    raw = windows.series.frame["flow"].to_numpy()
    row = int(windows.test.time[3])  # rows without a clock are numbered
    window = raw[row - 5 : row + 1, None]
    scaled = (window - held["input_offset"]) / held["input_scale"]
    value = integer.predict(run.program, scaled[None].astype(np.float32)) * held["target_scale"] + held["target_offset"]
    expected = windows.to_units(predict(run, windows.test), windows.test)[3]
    assert value[0] == pytest.approx(expected, abs=1e-9)


def test_progress_reports_every_epoch(empty, windows):
    seen = []
    run = train(EIGHT, windows, progress=lambda *epoch: seen.append(epoch))
    assert [epoch[:2] for epoch in seen] == [(1, 3), (2, 3), (3, 3), (1, 2), (2, 2)]
    assert [rmse for *_, rmse in seen[3:]] == run.history.validation_rmse[1:].tolist()


def test_runs_live_in_the_prepared_folder(kept, windows):
    train(FLOAT, windows)
    assert run_folder(FLOAT, windows).parent == paths.prepared() / "runs"
    assert (run_folder(FLOAT, windows) / "run.json").is_file()


def test_the_same_experiment_on_other_data_is_another_run(empty, windows):
    others = prepare(DATA, series=replace(series(seed=1), sha256="f" * 64))
    first, second = train(FLOAT, windows), train(FLOAT, others)
    assert first.metrics != second.metrics
    assert len(list((empty / "runs").iterdir())) == 2


def test_windows_are_the_only_thing_that_predict_needs(kept, windows):
    one = Windows(*(part[:1] for part in windows.test))
    assert predict(train(FOUR, windows), one).shape == (1, 1)


def test_the_weights_of_the_best_epoch_are_left_in_the_model_even_if_later_ones_are_worse(windows):
    model = training.Encoder(FLOAT.model)
    found, seen = iter([3.0, 1.0, 2.0, 2.5]), []

    def validate():
        seen.append(model.head.weight.detach().clone())
        return next(found)

    training._fit(model, windows.train, SHORT, 3, 1e-2, validate, lambda *epoch: None)
    assert torch.equal(model.head.weight, seen[1]) and not torch.equal(seen[1], seen[3])


@pytest.mark.parametrize("profile", training.PROFILES)
def test_the_experiment_of_a_profile_fits_its_windows(windows, profile):
    made = training.make_experiment(windows, bits=6, d_model=8, profile=profile, seed=3)
    assert (made.data, made.quant.bits, made.train.seed, made.model.d_model) == (DATA, 6, 3, 8)
    training._check(made, windows)
    assert training.make_experiment(windows, bits=None).quant is None


def test_an_unknown_profile_is_refused(windows):
    with pytest.raises(ValueError, match="^train: profile='fast' is not one of quick, paper$"):
        training.make_experiment(windows, bits=8, profile="fast")


def test_runs_of_several_processes_are_those_of_one(empty, monkeypatch, windows):
    experiments = [experiment(quant=quant) for quant in (None, QuantConfig(bits=8), QuantConfig(bits=4))]
    monkeypatch.setenv("QTLIB_PREPARED", str(empty / "many"))
    many = train_all(experiments, windows, workers=2)
    monkeypatch.setenv("QTLIB_PREPARED", str(empty / "one"))
    for run, alone in zip(many, [train(e, windows) for e in experiments], strict=True):
        assert run.metrics == alone.metrics
        assert run.program is None or run.program.digest == alone.program.digest

"""Training, float and quantised: what it reaches, what decides it, what it refuses."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from waves import DATA, EIGHT, FLOAT, FOUR, SHORT, experiment, series

from qtlib.config import DataConfig, ModelConfig, QuantConfig
from qtlib.data.windows import Windows, prepare
from qtlib.program import reference
from qtlib.training import quantised_encoder, runs
from qtlib.training.lowering import lower
from qtlib.training.run_store import run_folder
from qtlib.training.runs import metadata, predict, train, train_all
from qtlib.training.training_loop import forecast


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
    first = quantised_encoder.calibrated(narrow, train(narrow.start, windows).model, windows)
    begun = runs._errors(windows, windows.validation, reference.predict(lower(first), windows.validation.x))
    assert run.history.validation_rmse[0] == begun["rmse"]
    assert lower(train(narrow, windows).model).digest == run.program.digest != train(FOUR, windows).program.digest


def test_the_kept_program_is_the_lowered_kept_model(kept, windows):
    run = train(EIGHT, windows)
    assert lower(run.model).digest == run.program.digest


def test_the_reported_error_is_that_of_the_integer_program(kept, windows):
    run = train(FOUR, windows)
    values = windows.to_units(reference.predict(run.program, windows.test.x), windows.test)
    assert run.metrics["test_rmse"] == np.sqrt(np.mean((values - windows.truth(windows.test)) ** 2))


def test_the_model_kept_is_that_of_the_best_validation_error(kept, windows):
    run = train(FOUR, windows)
    assert run.metrics["validation_rmse"] == run.history.validation_rmse.min()
    assert run.metrics["best_epoch"] == run.history.validation_rmse.idxmin()


def test_the_quantised_model_and_its_program_agree_on_all_test_windows(kept, windows):
    run = train(EIGHT, windows)
    codes = reference.run(run.program, run.program.input.codes(windows.test.x))
    assert (run.model.trace(torch.from_numpy(windows.test.x))["forecast"].numpy() == codes).all()


def test_predict_takes_the_program_if_there_is_one(kept, windows):
    real, quantised = train(FLOAT, windows), train(FOUR, windows)
    assert (predict(real, windows.test) == forecast(real.model, windows.test.x)).all()
    assert (predict(quantised, windows.test) == reference.predict(quantised.program, windows.test.x)).all()


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
    torch.set_num_threads(threads + 1)
    try:
        train(FLOAT, windows)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_the_test_split_does_not_influence_training(empty, windows):
    first = train(EIGHT, windows)
    ruined = replace(windows, test=windows.test._replace(x=windows.test.x * 0, y=windows.test.y * 0))
    with_prefix = empty / "other"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QTLIB_PREPARED", str(with_prefix))
        second = train(EIGHT, ruined)
    assert first.program.digest == second.program.digest
    assert first.metrics["test_rmse"] != second.metrics["test_rmse"]


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
    value = (
        reference.predict(run.program, scaled[None].astype(np.float32)) * held["target_scale"] + held["target_offset"]
    )
    expected = windows.to_units(predict(run, windows.test), windows.test)[3]
    assert value[0] == pytest.approx(expected, abs=1e-9)


def test_progress_reports_every_epoch(empty, windows):
    seen = []
    run = train(EIGHT, windows, progress=lambda *epoch: seen.append(epoch))
    assert [epoch[:2] for epoch in seen] == [(1, 3), (2, 3), (3, 3), (1, 2), (2, 2)]
    assert [rmse for *_, rmse in seen[3:]] == run.history.validation_rmse[1:].tolist()


def test_windows_are_the_only_thing_that_predict_needs(kept, windows):
    one = Windows(*(part[:1] for part in windows.test))
    assert predict(train(FOUR, windows), one).shape == (1, 1)


def test_runs_of_several_processes_are_those_of_one(empty, monkeypatch, windows):
    asked = [experiment(quant=quant) for quant in (None, QuantConfig(bits=8), QuantConfig(bits=4))]
    monkeypatch.setenv("QTLIB_PREPARED", str(empty / "many"))
    many = train_all(asked, windows, workers=2)
    monkeypatch.setenv("QTLIB_PREPARED", str(empty / "one"))
    for run, alone in zip(many, [train(e, windows) for e in asked], strict=True):
        assert run.metrics == alone.metrics
        assert run.program is None or run.program.digest == alone.program.digest


def test_runs_on_several_windows_are_trained_side_by_side(empty, windows):
    shorter = replace(DATA, window=4)
    both = {DATA: windows, shorter: prepare(shorter, series=windows.series)}
    asked = [experiment(), experiment(data=shorter, model=ModelConfig(window=4, d_model=8))]
    found = train_all(asked, both, workers=2)
    assert [run.experiment for run in found] == asked
    assert [run.metrics for run in found] == [train(e, both[e.data]).metrics for e in asked]
    assert all(run_folder(e, both[e.data]).exists() for e in asked)


def test_the_largest_models_are_trained_first_and_none_before_its_start(windows, monkeypatch):
    begun = []
    monkeypatch.setattr(runs, "_train_quietly", lambda e, _: begun.append((e.model.d_model, e.quant is not None)))
    small, large = (experiment(model=ModelConfig(window=6, d_model=d)) for d in (4, 8))
    asked = [small, large, *(replace(e, quant=QuantConfig(bits=8)) for e in (small, large))]
    with ThreadPoolExecutor(1) as pool:
        runs._train_in_order(pool, 1, asked, dict.fromkeys(asked, windows))
    assert begun == [(8, False), (8, True), (4, False), (4, True)]


def test_the_float_model_has_no_scales_to_calibrate(kept, windows):
    text = "^train: the experiment is of the float model, which has no scales to calibrate$"
    with pytest.raises(ValueError, match=text):
        quantised_encoder.calibrated(FLOAT, train(FLOAT, windows).model, windows)

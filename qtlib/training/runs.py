"""Training: float first, then quantisation-aware from the float weights, each run kept once under its ``run_id``.

Every random choice comes from ``TrainConfig.seed`` and the arithmetic is single-threaded, so a run does not depend on the
number of cores. A GPU is used where there is one; its sums have another order, and a run is the same within rounding only.
Validation chooses the epoch; in quantisation-aware training the validated thing is the lowered integer program, so the
chosen weights are those of the program that runs on the device. The test split is read once, after that.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from qtlib.config import DataConfig, Experiment
from qtlib.data.baseline_forecasts import errors
from qtlib.data.windows import Prepared, Windows
from qtlib.program import reference
from qtlib.training.determinism import one_thread
from qtlib.training.encoder import Encoder
from qtlib.training.lowering import lower
from qtlib.training.quantised_encoder import QuantisedEncoder, calibrated
from qtlib.training.run_store import Run, keep, read, run_folder
from qtlib.training.training_loop import WARM_UP, Progress, fit, forecast


def train(experiment: Experiment, prepared: Prepared, *, progress: Progress | None = None) -> Run:
    """Train a model, or read it back when this experiment has been run.

    A quantised experiment starts from the float run of the same data, shape and training, or from the next wider step of its
    narrowing, which is made or read first.

    Args:
        experiment: what to run.
        prepared: its windows, ``qtlib.data.prepare(experiment.data)``.
        progress: receives every epoch, of how many, and its validation error.

    Raises:
        ValueError: the windows are not those of the experiment, or the kept run is of another configuration or data.
        FloatingPointError: a loss or a gradient is not finite.
        OverflowError: the quantised model does not fit the engine's widths.
    """
    _check(experiment, prepared)
    folder = run_folder(experiment, prepared)
    if not folder.exists():
        start, say = experiment.start, progress or (lambda epoch, epochs, rmse: None)
        with one_thread():
            run = (
                _train_quantised(experiment, start, prepared, say) if start else _train_float(experiment, prepared, say)
            )
            keep(run, prepared, folder)
    return read(experiment, prepared, folder)


def train_all(
    experiments: Iterable[Experiment],
    prepared: Prepared | Mapping[DataConfig, Prepared],
    *,
    workers: int | None = None,
) -> list[Run]:
    """Train many models side by side, one process each, and return their runs in the order given.

    A run begins when the one that it starts from is finished, the largest models first, so that none is left alone at the end. Every
    finished run is kept at once, so an interrupted call resumes where it stopped. Processes do not change a result.

    Args:
        experiments: what to run; the runs that they start from are trained, too, once each.
        prepared: their windows, or those of every data configuration that they have.
        workers: processes; None: one per core.

    Raises:
        as `train`, with the worker's traceback; runs that were finished before are kept.
    """
    asked = [(e, prepared[e.data] if isinstance(prepared, Mapping) else prepared) for e in experiments]
    windows = {e: own for experiment, own in asked for e in _with_starts([experiment])}
    waiting = [e for e, own in windows.items() if not run_folder(e, own).exists()]
    if waiting:
        workers = min(len(waiting), workers or os.cpu_count() or 1)
        context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of torch's threads
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            try:
                _train_in_order(pool, workers, waiting, windows)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [train(experiment, own) for experiment, own in asked]


def _with_starts(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Experiments, each once and behind those that it starts from."""
    found: dict[Experiment, None] = {}
    for experiment in experiments:
        chain = [experiment]
        while start := chain[-1].start:
            chain.append(start)
        found |= dict.fromkeys(reversed(chain))
    return list(found)


def _train_in_order(
    pool: concurrent.futures.Executor, workers: int, waiting: list[Experiment], windows: Mapping[Experiment, Prepared]
) -> None:
    """Train each when a worker is free and what it starts from is finished, the largest models first."""
    waiting = sorted(waiting, key=lambda e: -e.model.window * e.model.parameters)
    running: dict[concurrent.futures.Future[None], Experiment] = {}
    while waiting or running:
        unfinished = {*waiting, *running.values()}
        begun = [e for e in waiting if e.start not in unfinished][: workers - len(running)]
        waiting = [e for e in waiting if e not in begun]
        running |= {pool.submit(_train_quietly, e, windows[e]): e for e in begun}
        for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
            del running[future]
            future.result()


def _train_quietly(experiment: Experiment, prepared: Prepared) -> None:
    train(experiment, prepared)


def predict(run: Run, windows: Windows) -> np.ndarray:
    """Scaled forecasts [N, outputs] of a run: of the integer program if there is one, else of the float model."""
    return reference.predict(run.program, windows.x) if run.program else forecast(run.model, windows.x)


def metadata(experiment: Experiment, prepared: Prepared) -> dict[str, Any]:
    """What a host needs to feed a program and to read its forecasts: ``scaled = (unit - offset) / scale``.

    Of relative windows a host subtracts the last step first.
    """
    series, data = prepared.series, experiment.data
    return {
        "run_id": experiment.run_id,
        "seed": experiment.train.seed,
        "dataset": data.dataset,
        "label": prepared.label,
        "origin": prepared.origin,
        "sha256": series.sha256,
        "unit": prepared.unit,
        "features": list(series.features),
        "targets": list(series.targets),
        "horizon": data.horizon,
        "steps": data.outputs,
        "anchored": data.anchored,
        "relative": data.relative,
        "input_offset": prepared.x_offset.tolist(),
        "input_scale": prepared.x_scale.tolist(),
        "target_offset": prepared.y_offset.tolist(),
        "target_scale": prepared.y_scale.tolist(),
    }


def _train_float(experiment: Experiment, prepared: Prepared, say: Progress) -> Run:
    config = experiment.train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Encoder(experiment.model)

    def validate() -> float:
        return _errors(prepared, prepared.validation, forecast(model, prepared.validation.x))["rmse"]

    history = fit(model, prepared.train, config, config.epochs, config.learning_rate, validate, say, warm_up=WARM_UP)
    return _finish(Run(experiment, history, model, None, {}), prepared)


def _train_quantised(experiment: Experiment, start: Experiment, prepared: Prepared, say: Progress) -> Run:
    config = experiment.train
    model = calibrated(experiment, train(start, prepared, progress=say).model, prepared)

    def validate() -> float:
        return _errors(prepared, prepared.validation, reference.predict(lower(model), prepared.validation.x))["rmse"]

    history = fit(model, prepared.train, config, config.qat_epochs, config.qat_learning_rate, validate, say)
    return _finish(Run(experiment, history, model, lower(model, metadata(experiment, prepared)), {}), prepared)


def _errors(prepared: Prepared, windows: Windows, scaled: np.ndarray) -> dict[str, float]:
    return errors(prepared.to_units(scaled, windows), prepared.truth(windows))._asdict()


def _finish(run: Run, prepared: Prepared) -> Run:
    """Measure validation and, for the first and only time, test."""
    metrics: dict[str, float] = {"best_epoch": int(run.history.validation_rmse.argmin())}
    for name in ("validation", "test"):
        windows = getattr(prepared, name)
        metrics |= {f"{name}_{key}": value for key, value in _errors(prepared, windows, predict(run, windows)).items()}
    if isinstance(run.model, QuantisedEncoder):
        metrics["codes"], metrics["codes_differ"] = mismatch(run, prepared.test.x)
        metrics["dead_channels"] = run.model.dead_channels()
    return run._replace(metrics=metrics)


def mismatch(run: Run, x: np.ndarray, batch: int = 512) -> tuple[int, int]:
    """How many codes of all tensors the trained model and its program compute, and how many of them differ."""
    codes = differ = 0
    for start in range(0, len(x), batch):
        piece = x[start : start + batch]
        expected = reference.trace(run.lowered, run.lowered.input.codes(piece))
        found = run.model.trace(torch.from_numpy(piece))
        codes += sum(value.size for value in expected.values())
        differ += sum(int((found[name].numpy() != value).sum()) for name, value in expected.items())
    return codes, differ


def _check(experiment: Experiment, prepared: Prepared) -> None:
    if prepared.config != experiment.data:
        raise ValueError(f"train: the windows are of {prepared.config}, the experiment asks for {experiment.data}")
    shape = {"window": prepared.config.window, "features": prepared.m, "outputs": prepared.O}
    for name, expected in shape.items():
        if getattr(experiment.model, name) != expected:
            raise ValueError(f"train: model {name}={getattr(experiment.model, name)}, the windows have {expected}")

"""Training: float first, then quantisation-aware from the float weights, each run kept once under its ``run_id``.

Every random choice comes from ``TrainConfig.seed`` and the arithmetic is single-threaded, so a run does not depend on the
number of cores. A GPU is used where there is one; its sums have another order, and a run is the same within rounding only.
Validation chooses the epoch; in quantisation-aware training the validated thing is the lowered integer program, so the
chosen weights are those of the program that runs on the device. The test split is read once, after that.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import itertools
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from qtlib import integer
from qtlib import program as programs
from qtlib.config import Experiment, ModelConfig, QuantConfig, TrainConfig, check_choice
from qtlib.data import Prepared, Windows, errors
from qtlib.lower import lower
from qtlib.model import Encoder
from qtlib.paths import prepared as prepared_folder
from qtlib.paths import write_atomic
from qtlib.program import Program
from qtlib.quantise import QuantisedEncoder

PROCEDURE = 3  # raise it when the same configuration would train to other weights
CALIBRATION = 256  # train windows, evenly spaced, that the scales are calibrated on
CLIP_NORM = 1.0
WARM_UP = 0.2  # part of the steps with a rising learning rate, float training only

# Weight decay: that of 1e-4, 0.1 and 0.5 with the least validation error of the float model, seed 0.
WEIGHT_DECAY = 0.1
WEIGHT_DECAY_OF = {"etth1": 0.5}

# No run stops early: with a falling learning rate the last epochs are the best ones.
PROFILES = {"quick": {"epochs": 30, "qat_epochs": 30}, "paper": {"epochs": 80, "qat_epochs": 80}}
STEPS = {"quick": 4_000, "paper": 12_000}  # at most, float and quantised each: fewer epochs of a long series


Progress = Callable[[int, int, float], None]  # epoch, of how many, validation error


class Run(NamedTuple):
    """A finished run; errors are in the data's unit."""

    experiment: Experiment
    history: pd.DataFrame  # epoch, train_loss (scaled), validation_rmse; epoch 0 is before training
    model: Encoder | QuantisedEncoder
    program: Program | None  # of a quantised run
    # {validation,test}_{rmse,mae}, best_epoch; of a program also the codes of the test split that were compared with the
    # trained model, `codes`, how many of them differ, `codes_differ`, and `dead_channels`, whose weights are all 0
    metrics: dict[str, float]


def make_experiment(
    prepared: Prepared, *, bits: int | None, d_model: int = 16, profile: str = "quick", seed: int = 0
) -> Experiment:
    """The experiment of the notebooks: the published shape on these windows, trained as the profile says.

    Args:
        bits: width of the body; None is the float model.
    """
    check_choice("train", "profile", profile, PROFILES)
    data = prepared.config
    most = STEPS[profile] // math.ceil(len(prepared.train.x) / TrainConfig.batch)
    epochs = {name: max(1, min(value, most)) for name, value in PROFILES[profile].items()}
    return Experiment(
        data=data,
        model=ModelConfig(window=data.window, features=prepared.m, outputs=prepared.O, d_model=d_model),
        quant=None if bits is None else QuantConfig(bits=bits),
        train=TrainConfig(seed=seed, weight_decay=WEIGHT_DECAY_OF.get(data.dataset, WEIGHT_DECAY), **epochs),
    )


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
        with one_thread():
            run = _train_quantised if experiment.quant else _train_float
            _keep(run(experiment, prepared, progress or (lambda epoch, epochs, rmse: None)), prepared, folder)
    return _read(experiment, prepared, folder)


def run_folder(experiment: Experiment, prepared: Prepared) -> Path:
    """Where a run is kept: the same experiment on other data, measured or synthetic, is another run."""
    return prepared_folder() / "runs" / f"{experiment.run_id}-{prepared.series.sha256[:8]}"


def train_all(experiments: Iterable[Experiment], prepared: Prepared, *, workers: int | None = None) -> list[Run]:
    """Train many models on the same windows, one process each, and return their runs in the order given.

    Every finished run is kept at once, so an interrupted call resumes where it stopped. Processes do not change a result.

    Args:
        experiments: what to run; the float runs that they start from are trained first, once each.
        prepared: their windows.
        workers: processes; None: one per core.

    Raises:
        as `train`, with the worker's traceback; runs that were finished before are kept.
    """
    experiments = list(experiments)
    starts = dict.fromkeys(replace(experiment, quant=None) for experiment in experiments)
    for stage in (starts, dict.fromkeys(experiments)):
        waiting = [e for e in stage if not run_folder(e, prepared).exists()]
        if waiting:
            context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of torch's threads
            with concurrent.futures.ProcessPoolExecutor(
                min(len(waiting), workers or os.cpu_count() or 1), mp_context=context
            ) as pool:
                list(pool.map(_train_quietly, waiting, itertools.repeat(prepared)))
    return [train(experiment, prepared) for experiment in experiments]


def _train_quietly(experiment: Experiment, prepared: Prepared) -> None:
    train(experiment, prepared)


def predict(run: Run, windows: Windows) -> np.ndarray:
    """Scaled forecasts [N, outputs] of a run: of the integer program if there is one, else of the float model."""
    return integer.predict(run.program, windows.x) if run.program else forecast(run.model, windows.x)


@torch.no_grad()
def forecast(model: nn.Module, x: np.ndarray, batch: int = 512) -> np.ndarray:
    """Scaled forecasts of a torch model in evaluation mode, [N, n, m] -> [N, outputs]."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([model(piece.to(device)).cpu() for piece in torch.from_numpy(x).split(batch)]).numpy()


def calibrated(experiment: Experiment, start: Encoder | QuantisedEncoder, prepared: Prepared) -> QuantisedEncoder:
    """Where quantised training starts: the weights of its start, rounded, with scales calibrated on train windows."""
    windows = prepared.train.x[:: max(1, len(prepared.train.x) // CALIBRATION)]
    return QuantisedEncoder(start, experiment.quant, torch.from_numpy(windows))


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

    history = _fit(model, prepared.train, config, config.epochs, config.learning_rate, validate, say, warm_up=WARM_UP)
    return _finish(Run(experiment, history, model, None, {}), prepared)


def _train_quantised(experiment: Experiment, prepared: Prepared, say: Progress) -> Run:
    config = experiment.train
    model = calibrated(experiment, train(experiment.start, prepared, progress=say).model, prepared)

    def validate() -> float:
        return _errors(prepared, prepared.validation, integer.predict(lower(model), prepared.validation.x))["rmse"]

    history = _fit(model, prepared.train, config, config.qat_epochs, config.qat_learning_rate, validate, say)
    return _finish(Run(experiment, history, model, lower(model, metadata(experiment, prepared)), {}), prepared)


def _fit(
    model: nn.Module,
    windows: Windows,
    config: TrainConfig,
    epochs: int,
    learning_rate: float,
    validate: Callable[[], float],
    say: Progress,
    *,
    warm_up: float = 0.0,
) -> pd.DataFrame:
    """Train in place, leave the weights of the best validation error in the model, and return the history."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    x, y = torch.from_numpy(windows.x).to(device), torch.from_numpy(windows.y).to(device)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]  # biases, norms and scales do not decay
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, learning_rate, fused=True)
    total = epochs * math.ceil(len(x) / config.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / total, warm_up))
    shuffle = torch.Generator().manual_seed(config.seed)

    best, best_state = validate(), copy.deepcopy(model.state_dict())
    history = [(0, math.nan, best)]
    for epoch in range(1, epochs + 1):
        model.train()
        losses = []
        for step, index in enumerate(torch.randperm(len(x), generator=shuffle).split(config.batch)):
            losses.append(_step(model, optimiser, x[index], y[index], f"epoch {epoch}, step {step}"))
            schedule.step()
        found = validate()
        history.append((epoch, float(np.mean(losses)), found))
        say(epoch, epochs, found)
        if found < best:
            best, best_state = found, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    model.cpu().eval()
    return pd.DataFrame(history, columns=["epoch", "train_loss", "validation_rmse"])


def _rate(part: float, warm_up: float) -> float:
    """Learning rate relative to its peak: a linear rise, then a half cosine to zero."""
    if part < warm_up:
        return 0.05 + 0.95 * part / warm_up
    return 0.5 * (1 + math.cos(math.pi * (part - warm_up) / (1 - warm_up)))


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, place: str) -> float:
    try:
        loss = nn.functional.mse_loss(model(x), y)
    except OverflowError as error:  # a scale has collapsed or exploded
        raise OverflowError(f"train: {error}, at {place}") from error
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"train: the loss is {value} at {place}; not finite: {_not_finite(model, x, y)}")
    optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM).item()
    if not math.isfinite(norm):
        bad = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        raise FloatingPointError(
            f"train: the gradient norm is {norm} at {place}; not finite: {', '.join(bad) or 'the sum'}"
        )
    optimiser.step()
    return value


def _not_finite(model: nn.Module, x: Tensor, y: Tensor) -> str:
    """Name of the first tensor of a step that is not finite."""
    tensors = {"the inputs": x, "the targets": y} | dict(model.named_parameters())
    if isinstance(model, Encoder):
        tensors |= model.trace(x)
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), "only the loss")


def _errors(prepared: Prepared, windows: Windows, scaled: np.ndarray) -> dict[str, float]:
    return errors(prepared.to_units(scaled, windows), prepared.truth(windows))._asdict()


def _finish(run: Run, prepared: Prepared) -> Run:
    """Measure validation and, for the first and only time, test."""
    metrics: dict[str, float] = {"best_epoch": int(run.history.validation_rmse.idxmin())}
    for name in ("validation", "test"):
        windows = getattr(prepared, name)
        metrics |= {f"{name}_{key}": value for key, value in _errors(prepared, windows, predict(run, windows)).items()}
    if run.program:
        metrics["codes"], metrics["codes_differ"] = mismatch(run, prepared.test.x)
        metrics["dead_channels"] = run.model.dead_channels()
    return run._replace(metrics=metrics)


def mismatch(run: Run, x: np.ndarray, batch: int = 512) -> tuple[int, int]:
    """How many codes of all tensors the trained model and its program compute, and how many of them differ."""
    codes = differ = 0
    for start in range(0, len(x), batch):
        piece = x[start : start + batch]
        expected = integer.trace(run.program, run.program.input.codes(piece))
        found = run.model.trace(torch.from_numpy(piece))
        codes += sum(value.size for value in expected.values())
        differ += sum(int((found[name].numpy() != value).sum()) for name, value in expected.items())
    return codes, differ


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order on any number of cores; the models are too small for more threads to pay."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(experiment: Experiment, prepared: Prepared) -> None:
    if prepared.config != experiment.data:
        raise ValueError(f"train: the windows are of {prepared.config}, the experiment asks for {experiment.data}")
    shape = {"window": prepared.config.window, "features": prepared.m, "outputs": prepared.O}
    for name, expected in shape.items():
        if getattr(experiment.model, name) != expected:
            raise ValueError(f"train: model {name}={getattr(experiment.model, name)}, the windows have {expected}")


def _identity(experiment: Experiment, prepared: Prepared) -> dict[str, Any]:
    """What a kept run must agree on."""
    plain = json.loads(json.dumps(experiment.choices))  # tuples become lists, as in the file
    data = {"sha256": prepared.series.sha256, "origin": "synthetic" if prepared.origin == "synthetic" else "measured"}
    return {"experiment": plain, "series": data, "procedure": PROCEDURE}


def _keep(run: Run, prepared: Prepared, folder: Path) -> None:
    """Write a run under another name and rename the folder when all of it is there."""
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        scratch.mkdir(parents=True)
        torch.save(run.model.state_dict(), scratch / "model.pt")
        if run.program:
            programs.save(run.program, scratch / "program.qtp")
        history = run.history.astype(object).where(run.history.notna(), None).to_dict("list")
        record = _identity(run.experiment, prepared)
        record |= {"metrics": run.metrics, "history": history, "torch": torch.__version__}
        write_atomic(scratch / "run.json", json.dumps(record, indent=1, sort_keys=True))
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.exists():  # else another process has finished the same run; its result is the same
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _read(experiment: Experiment, prepared: Prepared, folder: Path) -> Run:
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        found = {key: record[key] for key in _identity(experiment, prepared)}
        metrics, history = record["metrics"], pd.DataFrame(record["history"])
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"train: {folder} is not a finished run ({type(error).__name__}: {error}); delete it"
        ) from error
    for name, kept, expected in _differences("", found, _identity(experiment, prepared)):
        raise ValueError(
            f"train: {folder} holds a run with {name}={kept!r}, expected {expected!r}; delete it to train again"
        )
    with torch.random.fork_rng(devices=[]):
        model: Encoder | QuantisedEncoder = Encoder(experiment.model).eval()
    kept_program = None
    if experiment.quant:
        model = calibrated(experiment, model, prepared)
        kept_program = programs.load(folder / "program.qtp")
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    return Run(experiment, history, model.eval(), kept_program, metrics)


def _differences(place: str, found: Any, expected: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}):
            yield from _differences(f"{place}.{key}".lstrip("."), found.get(key), expected.get(key))
    elif found != expected:
        yield place, found, expected

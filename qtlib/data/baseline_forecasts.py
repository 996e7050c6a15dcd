"""What a model has to beat: naive, seasonal-naive and ridge, and the errors that all are judged by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qtlib.data.windows import Prepared, Windows

LOOK_BACK = 28  # days that the seasonal baseline goes back to find the same time of day
ALPHAS = np.logspace(-3, 4, 15)

Predictions = dict[str, np.ndarray]  # prefix of the columns -> [N, O] in units


class Errors(NamedTuple):
    """In the data's unit."""

    rmse: float
    mae: float


def errors(prediction: np.ndarray, truth: np.ndarray) -> Errors:
    """Root mean square and mean absolute error over all entries, in the unit of the arguments.

    Raises:
        ValueError: the shapes differ, or a value is not finite.
    """
    prediction, truth = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    if prediction.shape != truth.shape:
        raise ValueError(f"errors: prediction has shape {list(prediction.shape)}, truth {list(truth.shape)}")
    difference = prediction - truth
    if not difference.size or not np.isfinite(difference).all():
        raise ValueError(f"errors: {int((~np.isfinite(difference)).sum())} of {difference.size} errors are not finite")
    return Errors(float(np.sqrt(np.mean(difference**2))), float(np.mean(np.abs(difference))))


def seasonal(prepared: Prepared, windows: Windows) -> tuple[np.ndarray, float] | None:
    """Predict the target of the same time of day, one day earlier, in units.

    Where that row is missing or not yet known, the next earlier day that has it is taken, up to `LOOK_BACK` days: on
    a series of weekdays a Monday looks at Friday. What is not found even so falls back to the train mean.

    Returns:
        [N, O] and the share of values from exactly one day earlier; None if the rows have no clock or steps of a day.
    """
    series, config = prepared.series, prepared.config
    if series.period is None or series.period >= pd.Timedelta("1D"):
        return None
    day: Any = pd.Timedelta("1D")  # in the unit of the index: time, or rows
    step: Any = series.period
    if not isinstance(series.frame.index, pd.DatetimeIndex):
        day, step = round(day / step), 1
    targets = series.frame[list(series.targets)].to_numpy()
    mean = np.nanmean(targets[series.split == "train"], axis=0)
    columns, exact = [], []
    for ahead in range(config.horizon, config.horizon + config.outputs):
        found = np.full((len(windows.time), targets.shape[1]), np.nan)
        for back in range(1, LOOK_BACK + 1):
            if ahead * step <= back * day:  # else it lies after the last input
                rows = series.frame.index.get_indexer(pd.Index(windows.time) + (ahead * step - back * day))
                earlier = np.where((rows >= 0)[:, None], targets[rows], np.nan)
                found = np.where(np.isnan(found), earlier, found)
            if back == 1:
                exact.append(~np.isnan(found))
        columns.append(np.where(np.isnan(found), mean, found))
    return np.concatenate(columns, axis=1), float(np.mean(exact))


def ridge(prepared: Prepared) -> tuple[np.ndarray, np.ndarray, float]:
    """Linear regression on the flattened window with an L2 penalty chosen on validation, in closed form.

    Returns:
        Predictions [N, O] in units for validation and test, and the penalty.
    """
    train, held = prepared.train, (prepared.validation, prepared.test)
    x = train.x.reshape(len(train.x), -1).astype(np.float64)  # [N, n*m]
    y = train.y.astype(np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    power, basis = np.linalg.eigh((x - x_mean).T @ (x - x_mean))
    moment = basis.T @ ((x - x_mean).T @ (y - y_mean))  # [n*m, O]
    candidates = []
    for alpha in ALPHAS:
        weights = basis @ (moment / (np.clip(power, 0, None) + alpha)[:, None])
        predicted = [prepared.to_units((w.x.reshape(len(w.x), -1) - x_mean) @ weights + y_mean, w) for w in held]
        score = errors(predicted[0], prepared.truth(prepared.validation)).rmse
        candidates.append((score, alpha, predicted))
    _, alpha, (validation, test) = min(candidates, key=lambda c: c[:2])
    return validation, test, float(alpha)


def baselines(prepared: Prepared) -> pd.DataFrame:
    """Errors in units of naive, seasonal-naive and ridge: rows by model, on test and on validation.

    ``rule`` says what each does here. A baseline that the series does not allow has NaN, never a stand-in.
    """
    held = {"": prepared.test, "validation_": prepared.validation}
    if prepared.config.horizon:
        naive: Predictions = {name: w.anchor for name, w in held.items()}
        rule = "the last observed value"
    else:
        mean = prepared.series.frame.loc[prepared.series.split == "train", list(prepared.series.targets)].mean()
        naive = {name: np.tile(mean, (len(w.y), prepared.config.outputs)) for name, w in held.items()}
        rule = "the train mean (a soft sensor has no last value)"
    predicted: list[tuple[str, Predictions | None, str]] = [("naive", naive, rule)]
    days = {name: seasonal(prepared, w) for name, w in held.items()}
    earlier = {name: found for name, found in days.items() if found is not None}
    if not earlier:
        predicted.append(("seasonal-naive", None, "no time of day in this series"))
    else:
        rule = f"the same time one day earlier ({earlier[''][1]:.0%} of test), else the last day that has it"
        predicted.append(("seasonal-naive", {name: e[0] for name, e in earlier.items()}, rule))
    validation, test, alpha = ridge(prepared)
    predicted.append(("ridge", {"": test, "validation_": validation}, f"linear in the window, penalty {alpha:.3g}"))

    table = []
    for model, results, rule in predicted:
        row: dict[str, Any] = {"model": model}
        for name, w in held.items():
            found = Errors(np.nan, np.nan) if results is None else errors(results[name], prepared.truth(w))
            row |= {f"{name}rmse": found.rmse, f"{name}mae": found.mae}
        table.append(row | {"rule": rule})
    return pd.DataFrame(table).set_index("model")

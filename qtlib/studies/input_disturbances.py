"""What a deployed model meets that its data did not have: noise, drift and missing samples on the input windows.

Only what the model sees changes. The truth stays, and so does the anchor of an anchored forecast, which the host adds itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from qtlib.data.windows import Prepared

NOISE, DRIFT, MISSING = (0, 0.05, 0.1, 0.2, 0.4), (-1, -0.5, 0, 0.5, 1), (0, 0.1, 0.2, 0.4, 0.6)  # levels of `spoiled`


def spread(prepared: Prepared) -> np.ndarray:
    """Standard deviation of every feature over the train windows, [m], scaled: the unit of `noise` and `drift`.

    Raises:
        ValueError: the windows are relative; there a drift of the sensor cancels, and noise of the last step reaches all of them.
    """
    if prepared.config.relative:
        raise ValueError("robust: relative=True; noise and drift are those of absolute windows, take relative=False")
    found: np.ndarray = prepared.train.x.std(axis=(0, 1), dtype=np.float64)
    return found


def noise(x: np.ndarray, level: float, *, spread: np.ndarray, seed: int) -> np.ndarray:
    """Add Gaussian noise, independent at every step and feature.

    Args:
        x: [N, n, m] scaled windows.
        level: its standard deviation, in spreads.
        spread: [m] of every feature, scaled.
        seed: of the noise; the same seed gives the same noise times the level.

    Raises:
        ValueError: the level is negative.
    """
    if not level >= 0:
        raise ValueError(f"robust: level={level} must not be below 0")
    return (x + level * spread * np.random.default_rng(seed).standard_normal(x.shape)).astype(x.dtype)


def drift(x: np.ndarray, level: float, *, spread: np.ndarray, ramp: bool = False) -> np.ndarray:
    """Shift every feature: all steps by ``level``, or along a ramp from 0 at the first step to ``level`` at the last.

    Args:
        x: [N, n, m] scaled windows.
        level: in spreads; may be negative.
        spread: [m] of every feature, scaled.
        ramp: whether the window itself drifts; else it lies wholly after the drift.
    """
    steps = np.linspace(0, 1, x.shape[1]) if ramp else np.ones(x.shape[1])
    shifted: np.ndarray = x + level * steps[:, None] * spread
    return shifted.astype(x.dtype)


def missing(x: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Lose samples and hold the last value that came, as a simple host does; the first step of a window is never lost.

    Args:
        x: [N, n, m] scaled windows.
        share: of the later steps that are lost, each with all its features.
        seed: of the choice; a larger share loses the same steps and more.

    Raises:
        ValueError: the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"robust: share={share} is outside 0..1")
    lost = np.random.default_rng(seed).random(x.shape[:2]) < share  # [N, n]
    lost[:, 0] = False
    last = np.maximum.accumulate(np.where(lost, 0, np.arange(x.shape[1])), axis=1)
    return np.take_along_axis(x, last[:, :, None], axis=1)


def spoiled(x: np.ndarray, *, spread: np.ndarray, seed: int) -> dict[tuple[str, float], np.ndarray]:
    """Windows under every disturbance at some levels, by its kind and level.

    Args:
        x: [N, n, m] scaled windows.
        spread: [m] of every feature, scaled.
        seed: of the noise and of the steps that are lost.
    """
    found = {("noise", level): noise(x, level, spread=spread, seed=seed) for level in NOISE}
    found |= {("offset", level): drift(x, level, spread=spread) for level in DRIFT}
    found |= {("ramp", level): drift(x, level, spread=spread, ramp=True) for level in DRIFT}
    return found | {("missing", share): missing(x, share, seed=seed) for share in MISSING}


def errors_of(
    models: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    inputs: Mapping[tuple[str, float], np.ndarray],
    measure: Callable[[np.ndarray], float],
) -> pd.DataFrame:
    """Error of every model on every input; several are computed at a time, which changes no bit.

    Args:
        models: scaled windows -> scaled forecasts, by name.
        inputs: from `spoiled`.
        measure: scaled forecasts -> error.

    Returns:
        a row for each: kind, level, model, rmse.
    """
    cases = [(*key, name, x) for key, x in inputs.items() for name in models]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda case: measure(models[case[2]](case[3])), cases))
    table = pd.DataFrame([case[:3] for case in cases], columns=["kind", "level", "model"])
    return table.assign(rmse=found)

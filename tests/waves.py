"""A series of waves that the tests of training and of the studies share: two sines and noise, enough that training visibly helps."""

import numpy as np
import pandas as pd

from qtlib.config import DataConfig, Experiment, ModelConfig, QuantConfig, TrainConfig
from qtlib.data.series import Series, by_share

DATA = DataConfig(dataset="waves", window=6)
SHORT = TrainConfig(epochs=3, qat_epochs=2, batch=32)


def series(rows=700, seed=0, features=("flow",)):
    """A series of its own for every seed."""
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


def experiment(**changes):
    """A small model, trained for a few epochs."""
    given = {"data": DATA, "model": ModelConfig(window=6, d_model=8), "quant": None, "train": SHORT}
    return Experiment(**(given | changes))


FLOAT, EIGHT, FOUR = experiment(), experiment(quant=QuantConfig(bits=8)), experiment(quant=QuantConfig(bits=4))

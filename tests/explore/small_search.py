"""A search that is small enough for tests: its series, its space, and how it is called."""

import numpy as np
import pandas as pd

from qtlib import explore
from qtlib.config import DataConfig, Experiment, ModelConfig, TrainConfig
from qtlib.studies import precision_studies

FIXED = {name: ["auto"] for name in ("multiplier", "activations", "weights", "parameters", "tables")}
SMALL = explore.Space(
    window=[6], d_model=[8], activation_bits=[4, 8], weight_bits=[4, 8], softmax_bits=[8], input_bits=[8], head_bits=[8],
    groups=[1, 2], unroll=[1], **FIXED,
)  # fmt: skip
SHORT = TrainConfig(epochs=1, qat_epochs=1, batch=64)
STORAGES = {"journal": "journal://{}/s.log", "sqlite": "sqlite:///{}/s.db"}


def make(folder):
    """An experiment on a small file of its own, which worker processes can read, too."""
    t = np.arange(400)
    values = 50 + 20 * np.sin(t / 5) + np.random.default_rng(0).normal(size=400)
    pd.DataFrame({"flow": values}).to_csv(folder / "waves.csv", index=False)
    data = DataConfig(dataset=str(folder / "waves.csv"), window=6, features=("flow",), targets=("flow",))
    precision_studies.windows.cache_clear()
    return Experiment(data=data, model=ModelConfig(window=6, d_model=8), train=SHORT)


def other_data(base):
    """Change the file under an experiment; the search on it would be this one."""
    frame = pd.read_csv(base.data.dataset)
    frame.flow += 1
    frame.to_csv(base.data.dataset, index=False)
    precision_studies.windows.cache_clear()
    return base, SMALL, {}


def quiet(line):
    """No progress."""


def searched(base, trials, space=SMALL, **options):
    """Search until so many trials have ended."""
    return explore.run(base, space, trials=trials, **{"name": "s", "progress": quiet, **options})


def outcomes(found):
    """How often each outcome is in a study."""
    return explore.trials(found).outcome.value_counts().to_dict()

"""The experiments of the notebooks: which shape is trained on a series, for how long and with what decay."""

from __future__ import annotations

import math

from qtlib.config import Experiment, ModelConfig, QuantConfig, TrainConfig, check_choice
from qtlib.data.windows import Prepared

# Weight decay: that of 1e-4, 0.1 and 0.5 with the least validation error of the float model, seed 0.
WEIGHT_DECAY = 0.1
WEIGHT_DECAY_OF = {"etth1": 0.5}

# No run stops early: with a falling learning rate the last epochs are the best ones.
PROFILES = {"quick": {"epochs": 30, "qat_epochs": 30}, "paper": {"epochs": 80, "qat_epochs": 80}}
STEPS = {"quick": 4_000, "paper": 12_000}  # at most, float and quantised each: fewer epochs of a long series


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

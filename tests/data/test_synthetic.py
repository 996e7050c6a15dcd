"""The generator is deterministic, labelled, and has the columns of what it stands for."""

import numpy as np
import pytest

from qtlib.config import DataConfig
from qtlib.data.baseline_forecasts import baselines
from qtlib.data.datasets import DATASETS, default_config, load
from qtlib.data.windows import prepare


@pytest.mark.parametrize("name", DATASETS)
def test_the_generator_is_deterministic_labelled_and_can_be_prepared(name):
    config = default_config(name)
    first, second = load(config, search=[]), load(config, search=[])
    assert first.sha256 == second.sha256
    assert first.origin == "synthetic" and first.label.endswith("(synthetic)")
    assert not set(first.split) - {"train", "validation", "test", "unused"}
    prepared = prepare(config, series=first)
    assert prepared.label.endswith("(synthetic)") and np.isfinite(prepared.train.x).all()
    assert baselines(prepared).loc["ridge", "rmse"] < baselines(prepared).loc["naive", "rmse"]


def test_the_generator_lists_its_columns():
    with pytest.raises(ValueError, match="the synthetic airu has no column 'CO', only PM1, PM2_5, PM10"):
        load(DataConfig(dataset="airu", features=("CO",)), search=[])

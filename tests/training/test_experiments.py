"""The experiments of the notebooks."""

from dataclasses import replace

import numpy as np
import pytest
from waves import DATA

from qtlib.training import experiments, runs
from qtlib.training.experiments import make_experiment


def test_a_long_series_gets_fewer_epochs_and_a_short_one_all(windows):
    assert make_experiment(windows, bits=8).train.epochs == 30
    many = replace(windows, train=windows.train._replace(x=np.empty((64 * 400, 6, 1), np.float32)))
    found = make_experiment(many, bits=8).train
    assert (found.epochs, found.qat_epochs) == (10, 10)


@pytest.mark.parametrize("profile", experiments.PROFILES)
def test_the_experiment_of_a_profile_fits_its_windows(windows, profile):
    made = experiments.make_experiment(windows, bits=6, d_model=8, profile=profile, seed=3)
    assert (made.data, made.quant.bits, made.train.seed, made.model.d_model) == (DATA, 6, 3, 8)
    runs._check(made, windows)
    assert experiments.make_experiment(windows, bits=None).quant is None


def test_an_unknown_profile_is_refused(windows):
    with pytest.raises(ValueError, match="^train: profile='fast' is not one of quick, paper$"):
        experiments.make_experiment(windows, bits=8, profile="fast")

from types import SimpleNamespace

import numpy as np
import pytest

from qtlib import robust
from qtlib.config import DataConfig

X = np.random.default_rng(1).normal(size=(200, 6, 2)).astype(np.float32)
SPREAD = np.array([1.0, 3.0])


def test_the_spread_is_that_of_the_train_windows_feature_by_feature():
    prepared = SimpleNamespace(train=SimpleNamespace(x=X), test=SimpleNamespace(x=X * 9), config=DataConfig())
    assert robust.spread(prepared) == pytest.approx([X[..., 0].std(), X[..., 1].std()])


def test_relative_windows_are_refused():
    prepared = SimpleNamespace(train=SimpleNamespace(x=X), config=DataConfig(relative=True))
    with pytest.raises(ValueError, match="robust: relative=True; noise and drift are those of absolute windows, take relative=False"):
        robust.spread(prepared)


def test_noise_has_its_level_in_spreads_of_each_feature():
    added = robust.noise(X, 0.5, spread=SPREAD, seed=0) - X
    assert added.std(axis=(0, 1)) == pytest.approx([0.5, 1.5], rel=0.1)  # 1,200 draws each
    assert np.abs(added.mean(axis=(0, 1))).max() < 0.1


def test_noise_of_one_seed_grows_with_the_level_and_another_seed_is_other_noise():
    one, two = (robust.noise(X, level, spread=SPREAD, seed=3) - X for level in (1, 2))
    assert two == pytest.approx(2 * one, abs=1e-5)
    assert not np.allclose(one, robust.noise(X, 1, spread=SPREAD, seed=4) - X)


def test_drift_shifts_every_step_by_its_level():
    assert robust.drift(X, -2, spread=SPREAD) - X == pytest.approx(np.broadcast_to([-2, -6], X.shape), abs=1e-5)


def test_a_ramp_starts_at_nothing_and_ends_at_its_level():
    added = robust.drift(X, 2, spread=SPREAD, ramp=True) - X
    assert added[0, :, 0] == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0], abs=1e-5)
    assert added[..., 1] == pytest.approx(3 * added[..., 0], abs=1e-5)


def test_a_lost_sample_is_the_last_one_that_came():
    x = np.arange(6.0).reshape(1, 6, 1).repeat(500, axis=0)
    found = robust.missing(x, 0.4, seed=0)[..., 0]
    lost = found != np.arange(6)
    assert lost[:, 1:].mean() == pytest.approx(0.4, abs=0.05) and not lost[:, 0].any()
    assert (found[:, 1:][lost[:, 1:]] == found[:, :-1][lost[:, 1:]]).all()


def test_all_features_of_a_lost_step_are_lost():
    found = robust.missing(X, 0.5, seed=0)
    assert ((found != X).all(axis=2) == (found != X).any(axis=2)).all()


def test_a_larger_share_loses_the_same_steps_and_more():
    few, many = (robust.missing(X, share, seed=0) != X for share in (0.2, 0.6))
    assert (few <= many).all() and few.sum() < many.sum()


def test_a_share_of_one_leaves_the_first_step():
    assert (robust.missing(X, 1, seed=0) == X[:, :1]).all()


@pytest.mark.parametrize(
    "perturb",
    [
        lambda level: robust.noise(X, level, spread=SPREAD, seed=0),
        lambda level: robust.drift(X, level, spread=SPREAD),
        lambda level: robust.drift(X, level, spread=SPREAD, ramp=True),
        lambda level: robust.missing(X, level, seed=0),
    ],
    ids=["noise", "drift", "ramp", "missing"],
)
def test_no_perturbation_changes_nothing_and_none_writes_into_its_argument(perturb):
    before = X.copy()
    assert (perturb(0) == X).all()
    changed = perturb(0.5)
    assert changed.dtype == X.dtype and not (changed == X).all() and (before == X).all()


def test_a_negative_level_of_noise_is_refused():
    with pytest.raises(ValueError, match=r"^robust: level=-0\.1 must not be below 0$"):
        robust.noise(X, -0.1, spread=SPREAD, seed=0)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_beyond_all_is_refused(share):
    with pytest.raises(ValueError, match=f"^robust: share={share} is outside 0..1$"):
        robust.missing(X, share, seed=0)

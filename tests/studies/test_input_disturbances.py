from types import SimpleNamespace

import numpy as np
import pytest

from qtlib.config import DataConfig
from qtlib.studies import input_disturbances

X = np.random.default_rng(1).normal(size=(200, 6, 2)).astype(np.float32)
SPREAD = np.array([1.0, 3.0])


def test_the_spread_is_that_of_the_train_windows_feature_by_feature():
    prepared = SimpleNamespace(train=SimpleNamespace(x=X), test=SimpleNamespace(x=X * 9), config=DataConfig())
    assert input_disturbances.spread(prepared) == pytest.approx([X[..., 0].std(), X[..., 1].std()])


def test_relative_windows_are_refused():
    prepared = SimpleNamespace(train=SimpleNamespace(x=X), config=DataConfig(relative=True))
    with pytest.raises(
        ValueError, match="robust: relative=True; noise and drift are those of absolute windows, take relative=False"
    ):
        input_disturbances.spread(prepared)


def test_noise_has_its_level_in_spreads_of_each_feature():
    added = input_disturbances.noise(X, 0.5, spread=SPREAD, seed=0) - X
    assert added.std(axis=(0, 1)) == pytest.approx([0.5, 1.5], rel=0.1)  # 1,200 draws each
    assert np.abs(added.mean(axis=(0, 1))).max() < 0.1


def test_noise_of_one_seed_grows_with_the_level_and_another_seed_is_other_noise():
    one, two = (input_disturbances.noise(X, level, spread=SPREAD, seed=3) - X for level in (1, 2))
    assert two == pytest.approx(2 * one, abs=1e-5)
    assert not np.allclose(one, input_disturbances.noise(X, 1, spread=SPREAD, seed=4) - X)


def test_drift_shifts_every_step_by_its_level():
    assert input_disturbances.drift(X, -2, spread=SPREAD) - X == pytest.approx(
        np.broadcast_to([-2, -6], X.shape), abs=1e-5
    )


def test_a_ramp_starts_at_nothing_and_ends_at_its_level():
    added = input_disturbances.drift(X, 2, spread=SPREAD, ramp=True) - X
    assert added[0, :, 0] == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0], abs=1e-5)
    assert added[..., 1] == pytest.approx(3 * added[..., 0], abs=1e-5)


def test_a_lost_sample_is_the_last_one_that_came():
    x = np.arange(6.0).reshape(1, 6, 1).repeat(500, axis=0)
    found = input_disturbances.missing(x, 0.4, seed=0)[..., 0]
    lost = found != np.arange(6)
    assert lost[:, 1:].mean() == pytest.approx(0.4, abs=0.05) and not lost[:, 0].any()
    assert (found[:, 1:][lost[:, 1:]] == found[:, :-1][lost[:, 1:]]).all()


def test_all_features_of_a_lost_step_are_lost():
    found = input_disturbances.missing(X, 0.5, seed=0)
    assert ((found != X).all(axis=2) == (found != X).any(axis=2)).all()


def test_a_larger_share_loses_the_same_steps_and_more():
    few, many = (input_disturbances.missing(X, share, seed=0) != X for share in (0.2, 0.6))
    assert (few <= many).all() and few.sum() < many.sum()


def test_a_share_of_one_leaves_the_first_step():
    assert (input_disturbances.missing(X, 1, seed=0) == X[:, :1]).all()


@pytest.mark.parametrize(
    "perturb",
    [
        lambda level: input_disturbances.noise(X, level, spread=SPREAD, seed=0),
        lambda level: input_disturbances.drift(X, level, spread=SPREAD),
        lambda level: input_disturbances.drift(X, level, spread=SPREAD, ramp=True),
        lambda level: input_disturbances.missing(X, level, seed=0),
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
        input_disturbances.noise(X, -0.1, spread=SPREAD, seed=0)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_beyond_all_is_refused(share):
    with pytest.raises(ValueError, match=f"^robust: share={share} is outside 0..1$"):
        input_disturbances.missing(X, share, seed=0)


def test_every_disturbance_is_tried_at_every_level_and_nothing_at_level_0_changes_a_window():
    found = input_disturbances.spoiled(X, spread=SPREAD, seed=0)
    assert len(found) == 20 and {kind for kind, _ in found} == {"noise", "offset", "ramp", "missing"}
    assert all((x == X).all() == (level == 0) for (_, level), x in found.items())


def test_errors_of_several_models_stand_beside_their_inputs_in_order():
    inputs = {("offset", level): X + np.float32(level) for level in (0, 2)}
    models = {"same": lambda x: x, "twice": lambda x: 2 * x}
    found = input_disturbances.errors_of(models, inputs, lambda y: float((y - X).mean()))
    assert list(found) == ["kind", "level", "model", "rmse"]
    assert found[["level", "model"]].to_numpy().tolist() == [[0, "same"], [0, "twice"], [2, "same"], [2, "twice"]]
    assert found.rmse.tolist() == pytest.approx([0, X.mean(), 2, X.mean() + 4], abs=1e-4)

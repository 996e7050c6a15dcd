"""Windows: where they are cut, what scales them, what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_data import hours, series

from qtlib.config import DataConfig
from qtlib.data.windows import count_windows, last_steps, prepare


def test_a_series_shorter_than_a_window_is_refused_with_its_length():
    text = (
        r"made: the 10 validation rows hold no gap-free run of window=12, horizon=1, outputs=1; take a shorter window"
    )
    with pytest.raises(ValueError, match=text):
        prepare(DataConfig(window=12), series=series(np.arange(40)))


def test_a_constant_column_is_refused_with_its_value():
    with pytest.raises(
        ValueError, match=r"column 'a' of made is constant \(7\) over the 20 train rows, so it has no scale"
    ):
        prepare(DataConfig(window=4), series=series([7] * 40))


def test_a_column_without_train_values_is_refused():
    with pytest.raises(ValueError, match=r"column 'a' of made has no value in the 20 train rows"):
        prepare(DataConfig(window=4), series=series([np.nan] * 20 + list(range(20))))


def test_a_soft_sensor_that_sees_its_answer_is_refused():
    with pytest.raises(ValueError, match="horizon=0 with target 'a' among the features puts the answer into the input"):
        prepare(DataConfig(window=4, horizon=0), series=series(np.arange(40)))


def test_an_anchor_without_a_forecast_is_refused():
    with pytest.raises(ValueError, match="anchored=True needs horizon >= 1, it is 0"):
        prepare(DataConfig(window=4, horizon=0, anchored=True), series=series(np.arange(40)))


def test_targets_that_change_by_a_constant_cannot_be_anchored():
    with pytest.raises(ValueError, match="never change over the horizon; take anchored=False"):
        prepare(DataConfig(window=4, anchored=True), series=series(np.arange(40)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(
    holes=st.sets(st.integers(0, 79), max_size=12),
    absent=st.sets(st.integers(0, 79), max_size=8),
    window=st.integers(2, 6),
    horizon=st.integers(0, 3),
    outputs=st.integers(1, 3),
)
def test_windows_are_exactly_those_without_gap_missing_value_or_change_of_split(
    holes, absent, window, horizon, outputs
):
    kept = [h for h in range(80) if h not in holes]
    frame = pd.DataFrame({"a": np.arange(80.0), "b": np.arange(80.0)})
    frame.loc[list(absent), "a"] = np.nan
    made = series(frame.loc[kept].copy(), index=hours(kept), targets=("b",))
    config = DataConfig(window=window, horizon=horizon, outputs=outputs)
    for split in ("train", "validation", "test"):
        clock = [h for h, s in zip(kept, made.split, strict=True) if s == split]
        legal = [
            h
            for h in clock
            if all(t in clock for t in range(h - window + 1, h + horizon + outputs))
            and not any(t in absent for t in range(h - window + 1, h + 1))
        ]
        assert [kept[row] for row in last_steps(made, config, split)] == legal


def test_a_missing_target_drops_the_windows_that_need_it():
    frame = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0)})
    frame.loc[6, "b"] = np.nan
    made = series(frame, targets=("b",))
    assert list(last_steps(made, DataConfig(window=4, horizon=0), "train")[:4]) == [3, 4, 5, 7]
    assert list(last_steps(made, DataConfig(window=4, horizon=1), "train")[:4]) == [3, 4, 7, 8]


def test_outputs_are_step_major_and_start_at_the_horizon():
    frame = pd.DataFrame({"a": np.arange(80.0), "b": 100 + np.arange(80.0) ** 2})
    prepared = prepare(DataConfig(window=4, horizon=2, outputs=3), series=series(frame, targets=("a", "b")))
    assert prepared.O == 6
    expected = [[5, 125, 6, 136, 7, 149]]  # last input step 3
    np.testing.assert_allclose(prepared.truth(prepared.train)[:1], expected, rtol=1e-6)
    np.testing.assert_array_equal(prepared.train.anchor[0], [3, 109] * 3)
    np.testing.assert_allclose(
        prepared.train.x[0, :, 0] * prepared.x_scale + prepared.x_offset, [0, 1, 2, 3], atol=1e-5
    )


def test_a_soft_sensor_is_asked_for_the_last_step_and_has_no_anchor():
    frame = pd.DataFrame({"a": np.arange(40.0), "b": 5 + np.arange(40.0)})
    prepared = prepare(DataConfig(window=4, horizon=0), series=series(frame, targets=("b",)))
    np.testing.assert_allclose(prepared.truth(prepared.train)[0], [8], rtol=1e-6)
    assert not prepared.train.anchor.any()


def test_relative_windows_hold_the_change_from_their_last_step():
    values = np.cumsum(np.arange(60) % 7).astype(float)
    plain, relative = (prepare(DataConfig(window=4, relative=r), series=series(values)) for r in (False, True))
    for before, after in zip(
        (plain.train, plain.validation, plain.test), (relative.train, relative.validation, relative.test), strict=True
    ):
        units = before.x * plain.x_scale
        np.testing.assert_allclose(after.x * relative.x_scale, units - units[:, -1:], atol=1e-4)
        np.testing.assert_array_equal(after.y, before.y)
    assert not relative.test.x[:, -1].any() and not relative.x_offset.any()
    assert relative.train.x.std() == pytest.approx(1)


def test_a_level_that_the_training_never_saw_does_not_reach_relative_windows():
    values = np.tile([0.0, 1.0, 3.0, 2.0], 20)
    shifted = np.where(np.arange(80) < 40, values, values + 100)  # behind the train rows
    first, second = (
        prepare(DataConfig(window=4, relative=True, anchored=True), series=series(v)) for v in (values, shifted)
    )
    np.testing.assert_array_equal(first.train.x, second.train.x)
    assert np.abs(second.test.x).max() == pytest.approx(np.abs(first.test.x).max())


def test_a_feature_that_never_changes_in_a_window_cannot_be_relative():
    index = hours(range(20), range(100, 120), range(200, 220), range(300, 320))
    frame = pd.DataFrame({"a": np.arange(80.0) % 7, "b": np.repeat(np.arange(4.0), 20)})
    with pytest.raises(
        ValueError, match="feature 'b' never changes within a train window; leave it out, or take relative=False"
    ):
        prepare(DataConfig(window=4, relative=True), series=series(frame, index=index, features=("a", "b")))


def test_an_anchored_target_is_the_scaled_change_and_comes_back():
    values = np.random.default_rng(0).normal(50, 5, 80)
    prepared = prepare(DataConfig(window=4, outputs=2, anchored=True), series=series(values))
    rows = np.arange(3, 38)
    change = np.stack([values[rows + 1] - values[rows], values[rows + 2] - values[rows]], axis=1)
    np.testing.assert_allclose(prepared.train.y, change / change.std(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prepared.truth(prepared.train)[:, 0], values[rows + 1], rtol=1e-6)


@pytest.mark.parametrize("scaling", ["zscore", "minmax"])
def test_scalers_see_train_rows_only(scaling):
    values = np.random.default_rng(0).normal(size=80)
    other = np.concatenate([values[:40], 1000 * values[40:]])
    first, second = (prepare(DataConfig(window=4), series=series(v, scaling=scaling)) for v in (values, other))
    np.testing.assert_array_equal(first.x_offset, second.x_offset)
    np.testing.assert_array_equal(first.y_scale, second.y_scale)
    np.testing.assert_array_equal(first.train.x, second.train.x)


def test_results_of_another_shape_are_not_brought_to_units():
    prepared = prepare(DataConfig(window=4), series=series(np.arange(80)))
    with pytest.raises(ValueError, match=r"y has shape \[36\], the windows ask for \[36, 1\] \(\[N, O\]\)"):
        prepared.to_units(prepared.train.y[:, 0], prepared.train)


def test_rows_and_windows_are_counted_and_a_missing_value_and_a_jump_cost_windows():
    values = np.arange(40.0)
    values[5] = np.nan
    made = series(values, index=hours(range(25), range(26, 41)))
    whole = count_windows(prepare(DataConfig(window=3, outputs=2), series=series(np.arange(40.0))))
    counted = count_windows(prepare(DataConfig(window=3, outputs=2), series=made))
    assert whole.loc[:, "windows lost"].eq(0).all() and counted["rows"].tolist() == whole["rows"].tolist() == [
        20,
        10,
        10,
    ]
    assert counted["rows with a missing value"].tolist() == [1, 0, 0] and counted["jumps in time"].tolist() == [0, 1, 0]
    assert (counted["windows"] + counted["windows lost"]).tolist() == whole["windows"].tolist()
    assert counted["windows lost"].tolist()[0] == 5 and counted["windows lost"].tolist()[2] == 0

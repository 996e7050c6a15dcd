"""What a model has to beat."""

import numpy as np
import pandas as pd
import pytest
from made_data import hours, series

from qtlib.config import DataConfig
from qtlib.data.baseline_forecasts import baselines, errors, seasonal
from qtlib.data.windows import prepare


def test_errors_are_root_mean_square_and_mean_absolute():
    assert errors([3.0, 0.0], [0.0, 4.0]) == (pytest.approx(12.5**0.5), 3.5)


def test_errors_refuse_shapes_that_would_broadcast_and_values_that_are_no_numbers():
    with pytest.raises(ValueError, match=r"prediction has shape \[2, 1\], truth \[2\]"):
        errors(np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(ValueError, match="1 of 2 errors are not finite"):
        errors([1.0, np.nan], [1.0, 1.0])


def test_ridge_is_exact_and_naive_is_one_off_on_a_line():
    table = baselines(prepare(DataConfig(window=4), series=series(np.arange(80))))
    assert table.loc["naive", "rmse"] == pytest.approx(1, rel=1e-5)
    assert table.loc["ridge", "rmse"] < 1e-3
    assert np.isnan(table.loc["seasonal-naive", "rmse"])
    assert table.loc["seasonal-naive", "rule"] == "no time of day in this series"


def test_the_seasonal_baseline_of_a_monday_is_friday():
    week = pd.bdate_range("2024-01-01", periods=20)
    index = pd.DatetimeIndex(np.concatenate([day + pd.timedelta_range(0, periods=24, freq="h") for day in week]))
    made = series(np.repeat(np.arange(20.0), 24), index=index)  # the value is the number of the weekday
    prepared = prepare(DataConfig(window=4), series=made)
    predicted, exact = seasonal(prepared, prepared.test)
    np.testing.assert_allclose(predicted, prepared.truth(prepared.test) - 1, atol=1e-5)
    assert exact == pytest.approx(96 / 116)  # 24 windows on four days, 20 on the Monday after a gap


def test_the_seasonal_baseline_never_looks_past_the_last_input():
    made = series(np.arange(24.0 * 12), index=hours(range(24 * 12)))
    prepared = prepare(DataConfig(window=4, horizon=20, outputs=10), series=made)
    predicted, _ = seasonal(prepared, prepared.test)
    assert (predicted <= prepared.test.anchor).all()

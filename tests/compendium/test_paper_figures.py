"""Figures of the paper are drawn in the units of their axes, and bars say their numbers."""

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from qtlib.compendium import paper_figures
from qtlib.estimate.energy import PUBLISHED


@pytest.fixture(autouse=True)
def closed():
    mpl.use("Agg")
    yield
    plt.close("all")


def test_latencies_are_clocks_at_the_given_frequency_in_microseconds():
    designs = pd.DataFrame({"bits": [8, 8], "clocks": [1_000, 2_000], "test_rmse": [9.5, 9.6]})
    ax = paper_figures.latency(designs, 50.0, "m").axes[0]
    assert ax.lines[0].get_xdata() == pytest.approx([20, 40])
    assert [text.get_text() for text in ax.texts] == [point.name for point in PUBLISHED if point.latency_ms]


def test_bars_are_labelled_with_their_numbers_and_lighter_where_they_are_no_program_of_ours():
    errors = pd.DataFrame({"model": ["ridge", "8 bit"], "test_rmse": [10.371, 9.5]})
    ax = paper_figures.forecasts(errors, "test RMSE, m").axes[0]
    assert [text.get_text() for text in ax.texts] == ["10.37", "9.50"]
    other = paper_figures.clocks({"published template": 122_495, "this engine": 4_066}, "n = 24").axes[0]
    assert [text.get_text() for text in other.texts] == ["122,495", "4,066"]
    assert [bar.get_facecolor() for bar in ax.patches] == [bar.get_facecolor() for bar in other.patches]
    assert len({bar.get_facecolor() for bar in ax.patches}) == 2

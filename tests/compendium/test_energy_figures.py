"""Energies of published points and of a design are drawn where they belong."""

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from qtlib.compendium import energy_figures
from qtlib.estimate.energy import CALIBRATION, PUBLISHED, Interval, break_even_mw


@pytest.fixture(autouse=True)
def closed():
    mpl.use("Agg")
    yield
    plt.close("all")


def test_published_points_stand_at_the_multiplications_of_their_shape():
    ax = energy_figures.against_published(92_560, Interval(2.5, 3.2), "ours").axes[0]
    crosses = {line.get_xdata()[0]: line.get_ydata()[0] for line in ax.lines if line.get_marker() == "x"}
    assert crosses == {p.model.macs: 1e3 * p.energy_mj for p in PUBLISHED if p.model}
    assert {"ours", "lowest of a search (arXiv 2505.17662)"} <= {text.get_text() for text in ax.texts}


def test_a_small_design_is_not_left_of_the_figure():
    assert energy_figures.against_published(2_000, Interval(0.1, 0.2), "ours").axes[0].get_xlim()[0] < 2_000


def test_the_line_of_energy_over_power_crosses_the_lowest_published_energy_at_the_break_even_power():
    ax = energy_figures.over_power(4_066, 100.0, "ours", {"published totals": CALIBRATION}).axes[0]
    power, energy = ax.lines[0].get_data()
    lowest = min(PUBLISHED, key=lambda point: point.energy_mj)
    assert energy[0] / power[0] * break_even_mw(4_066, 100.0, lowest) == pytest.approx(1e3 * lowest.energy_mj)
    assert "published totals, 63 to 79 mW" in ax.get_legend_handles_labels()[1]

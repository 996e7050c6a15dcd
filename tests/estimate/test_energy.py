"""Energy is exact clocks times a power that is an assumption with a name."""

import pytest

from qtlib.estimate import energy
from qtlib.estimate.energy import CALIBRATION, PUBLISHED, Interval, break_even_mw, energy_mj, scenario, serial_clocks
from qtlib.training.random_models import SHAPES, program


def test_the_calibration_is_what_the_published_points_imply():
    implied = [point.power_mw for point in PUBLISHED if point.latency_ms]
    assert (round(min(implied)), round(max(implied))) == (63, 79) == tuple(CALIBRATION.total)


def test_every_published_figure_names_its_paper_and_that_it_is_second_hand():
    assert all("arXiv" in point.origin and "second-hand" in point.origin for point in PUBLISHED)
    assert "second-hand" in CALIBRATION.origin and "assumption" in scenario(2, 60).origin


def test_energy_is_time_times_power():
    assert energy_mj(100_000, 100) == pytest.approx(Interval(0.063, 0.079))
    assert energy_mj(100_000, 50) == pytest.approx(Interval(0.126, 0.158))


def test_at_break_even_power_a_design_needs_the_published_energy():
    point = PUBLISHED[0]
    power = break_even_mw(4_000, 100, point)
    assert power * 4_000 / 100e6 == pytest.approx(point.energy_mj)


def test_a_scenario_multiplies_only_the_dynamic_part():
    assert scenario(1, 60).total == CALIBRATION.total
    assert scenario(10, 60).total == Interval(90, 250)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scenario(0.5, 0), r"energy: factor=0\.5 must be 1 or more"),
        (lambda: scenario(2, 70), r"energy: static_mw=70 is outside 0\.\.63, the lowest published total"),
        (lambda: energy_mj(0, 100), "energy: clocks=0 and clock_mhz=100 must be above 0"),
        (lambda: energy_mj(10, -1), "energy: clocks=10 and clock_mhz=-1 must be above 0"),
    ],
)
def test_impossible_choices_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_serial_cost_counts_tokens_outputs_and_inputs():
    shape = SHAPES["one-layer"]
    found = serial_clocks(program(shape))
    n, d = shape.window, shape.d_model
    assert sorted(found.values()) == sorted(
        [n * d * 6 + 3, *[n * d * (d + 5) + 3] * 4, n * 4 * d * (d + 5) + 3, n * d * (4 * d + 5) + 3]
    )


def test_a_row_holds_no_figure_that_looks_measured():
    row = energy.table_row("design", 4_000, 100.0)
    assert row["power"] == "published totals"
    assert row["energy_low_uj"] < row["energy_high_uj"]

"""The coefficients against committed counts of synthesis: the band holds on every design, multipliers and block RAM are exact."""

import csv

import pytest

from qtlib.config import HardwareConfig
from qtlib.estimate.coefficients import BAND, COEFFICIENTS, YOSYS
from qtlib.estimate.quantities import quantities
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.memory_mapping import FILLS
from qtlib.studies import cell_counts
from qtlib.training.random_models import SHAPES, program

pytestmark = pytest.mark.xdist_group("coefficients")  # one worker estimates all designs

FITTED, HELD_OUT = cell_counts.designs(), cell_counts.designs(cell_counts.HELD_OUT)
EVERY = {
    f"{name} {'-'.join(map(str, key))}": (key, counts)
    for name, found in (("fitted", FITTED), ("held out", HELD_OUT))
    for key, counts in found.items()
}


@pytest.fixture(scope="module")
def compared():
    """Counts and estimates of every committed design."""
    return {name: cell_counts.compared(*found) for name, found in EVERY.items()}


@pytest.mark.parametrize("kind", ["lut", "ff"])
@pytest.mark.parametrize("name", EVERY)
def test_every_synthesised_design_is_within_the_band(compared, name, kind):
    row = compared[name]
    band = row["lut_band_permille"] / 1000 if kind == "lut" else BAND[kind]
    assert abs(row[f"{kind}_estimated"] / row[f"{kind}_counted"] - 1) <= band


@pytest.mark.parametrize("kind", ["dsp", "ramb18"])
@pytest.mark.parametrize("name", EVERY)
def test_dsp_blocks_and_block_ram_are_exact(compared, name, kind):
    assert compared[name][f"{kind}_estimated"] == compared[name][f"{kind}_counted"]


def test_designs_that_the_fit_has_not_seen_are_estimated_well_on_the_mean(compared):
    rows = [row for name, row in compared.items() if name.startswith("held out")]
    assert len(rows) >= 40
    for kind, limit in (("lut", 0.03), ("ff", 0.01)):
        assert sum(abs(row[f"{kind}_estimated"] / row[f"{kind}_counted"] - 1) for row in rows) / len(rows) <= limit


def test_the_band_of_luts_is_wide_only_where_constants_take_many(compared):
    wide = [row["lut_band_permille"] for row in compared.values() if row["lut_band_permille"] > 130]
    assert 0 < len(wide) < len(compared) / 5
    assert min(row["lut_band_permille"] for row in compared.values()) == 1000 * BAND["lut"]


def test_the_coefficients_and_the_fills_are_those_of_the_fit():
    assert cell_counts.fit() == COEFFICIENTS
    assert cell_counts.fills() == FILLS


def test_the_committed_estimates_are_those_of_today(compared):
    with open(cell_counts.ESTIMATES, newline="") as stream:
        kept = list(csv.DictReader(stream))
    assert [{key: int(row[key]) for key in found} for row, found in zip(kept, compared.values(), strict=True)] == list(
        compared.values()
    )


def test_the_committed_counts_say_which_tool_made_them_and_cover_every_case():
    tools = {
        (row["tool"], row["version"])
        for file in (cell_counts.FILE, cell_counts.HELD_OUT)
        for row in cell_counts.rows(file)
    }
    assert tools == {("yosys", YOSYS.fitted_to)}
    assert set(FITTED) == {*cell_counts.CASES, *map(cell_counts.draw, cell_counts.FITTED_DRAWS)}
    assert set(HELD_OUT) == set(map(cell_counts.draw, cell_counts.HELD_OUT_DRAWS))
    assert not set(FITTED) & set(HELD_OUT)


def test_every_coefficient_belongs_to_a_quantity_and_is_not_negative():
    sizes = quantities(schedule(program(SHAPES["layer-norm"]), HardwareConfig()))
    assert set(COEFFICIENTS) == set(sizes)
    for name, pair in COEFFICIENTS.items():
        for coefficients in pair:
            assert set(coefficients) <= set(sizes[name])
            assert all(value > 0 for value in coefficients.values())

"""What fits a device: the committed table is what the estimates say, and more freedom never loses a design."""

import pandas as pd
import pytest

from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.estimate.device_fit import UNITS
from qtlib.estimate.resources import estimate
from qtlib.hardware.lane_shape import legal_lanes
from qtlib.studies import deployability, precision_studies, published_shapes
from qtlib.training.lowering import example

KEYS = ["device", "window", "d_model", "bits"]


@pytest.fixture(scope="module")
def table():
    return deployability.load()


def test_the_table_holds_every_device_shape_width_and_freedom_once(table):
    size = (
        len(deployability.DEVICES)
        * len(deployability.WINDOWS)
        * len(deployability.WIDTHS)
        * len(deployability.BITS)
        * len(deployability.FREEDOMS)
    )
    assert len(table) == size and not table.duplicated([*KEYS, "freedom"]).any()


@pytest.mark.parametrize(
    ("device", "window", "d_model", "bits", "freedom"),
    [("xc7s15", 6, 8, 8, "distributed"), ("xc7s15", 12, 32, 4, "selectable"), ("xc7s6", 6, 32, 8, "mixed")],
)
def test_the_committed_rows_are_what_the_estimates_say_today(table, device, window, d_model, bits, freedom):
    shape = ModelConfig(window=window, d_model=d_model, features=deployability.FEATURES)
    expected = deployability.judge(lambda quant: example(shape, quant), window, bits, device, freedom)
    row = table.set_index([*KEYS, "freedom"]).loc[(device, window, d_model, bits, freedom)]
    assert {name: row[name] for name in expected} == expected


def test_memory_types_only_add_designs_and_never_clocks(table):
    wide = table.set_index([*KEYS, "freedom"])[["fits", "clocks"]].unstack()
    assert (wide.fits.selectable >= wide.fits.distributed).all() and (wide.fits.mixed >= wide.fits.selectable).all()
    both = wide.fits.distributed
    assert (wide.clocks.selectable[both] <= wide.clocks.distributed[both]).all()


def test_what_does_not_fit_says_by_what_and_what_fits_does_not(table):
    assert (table.exceeds == "").equals(table.fits)
    assert table.exceeds[~table.fits].str.contains(" of ").all()


def test_mixed_widths_narrow_the_feed_forward_block_first():
    pairs = [(quant.weights, dict(quant.overrides)["0.hidden.weight"]) for quant in deployability.widths_of(6, "mixed")]
    assert pairs == [(6, 5), (5, 5), (5, 4), (4, 4), (4, 3), (3, 3), (3, 2), (2, 2)]
    means = [example(ModelConfig(), quant).mean_weight_bits for quant in deployability.widths_of(6, "mixed")]
    assert means == sorted(means, reverse=True)
    assert deployability.widths_of(6, "selectable") == [QuantConfig(bits=6)]


def only_mixed(table):
    wide = table.set_index([*KEYS, "freedom"]).unstack()
    return wide.index[wide.fits.mixed & ~wide.fits.selectable], wide.xs("mixed", axis=1, level=1)


def test_the_study_trains_the_widths_of_what_fits_with_mixed_widths_only(table):
    cases, found = only_mixed(table)
    assert {case[0] for case in cases} == {"xc7s6"}
    expected = {(*case[1:], *map(int, found.loc[case, ["weight_bits", "feed_forward_bits"]])) for case in cases}
    assert set(precision_studies.DEPLOYED) == expected
    trained = {
        (c.experiment.model.window, c.experiment.model.d_model, *c.variants) for c in precision_studies.deployed()
    }
    assert trained == {
        (n, d, f"{bits[0]} bit", precision_studies.DEPLOYED_NAME.format(*bits))
        for n, d, *bits in precision_studies.DEPLOYED
    }


def test_the_designs_that_were_built_are_these_and_their_estimates_those_of_today(table):
    cases, found = only_mixed(table)
    built = pd.read_csv(published_shapes.MIXED).set_index(KEYS)
    assert set(built.index) == set(cases)
    for case, row in built.iterrows():
        assert (
            row.weight_bits == found.loc[case].weight_bits
            and row.feed_forward_bits == found.loc[case].feed_forward_bits
        )
        program, hardware = published_shapes.mixed_design(case, found.loc[case])
        total = estimate(program, hardware).total
        assert {name: row[f"{name}_estimated"] for name in published_shapes.COUNTS} == {
            name: round(getattr(total, name)) for name in published_shapes.COUNTS
        }


def test_every_hardware_choice_is_legal():
    program = example(ModelConfig(window=12, d_model=8), QuantConfig(bits=4))
    choices = list(deployability.hardware_choices(12, device="xc7s6"))
    assert {choice.lanes for choice in choices} == set(legal_lanes(12)) and len(set(choices)) == len(choices)
    for choice in choices:
        estimate(program, choice)


def test_a_device_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="hardware: device='xc7s16' is not one of xc7s6, xc7s15, "):
        deployability.deployability(["xc7s16"])


def test_without_a_table_the_command_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(deployability, "FILE", tmp_path / "deployability.csv")
    with pytest.raises(FileNotFoundError, match="python -m qtlib deployability writes it"):
        deployability.load()


def test_where_nothing_fits_the_nearest_design_is_shown(monkeypatch):
    for name, value in {"WINDOWS": (6,), "WIDTHS": (64,), "BITS": (8,)}.items():
        monkeypatch.setattr(deployability, name, value)
    found = deployability.deployability(["xc7s6"])
    row = found.set_index("freedom").loc["distributed"]
    assert not row.fits and "LUTs" in row.exceeds and isinstance(found, pd.DataFrame)
    shape = ModelConfig(window=6, d_model=64, features=deployability.FEATURES)
    own = {key: int(getattr(row, key)) for key in ("lanes", "unroll", "requantisers")} | {"multiplier": row.multiplier}
    numbers = estimate(
        example(shape, QuantConfig(bits=8)), HardwareConfig(device="xc7s6", **deployability.IN_LUTS, **own)
    )
    assert {kind: round(getattr(numbers.total, kind)) for kind in UNITS} == {kind: row[kind] for kind in UNITS}

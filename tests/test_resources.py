"""Estimates against committed counts of synthesis: the band holds on every design, multipliers and block RAM are exact."""

import csv
import math
import re

import knowledge
import pytest
from small import SHAPES, program

from qtlib import resources
from qtlib.config import HardwareConfig, ModelConfig
from qtlib.emit import emit
from qtlib.memory import FILLS, Memory, Resources, block_ram, distributed, mapped
from qtlib.resources import BAND, COEFFICIENTS, YOSYS, by_component, check_fit, estimate, exceeded, quantities
from qtlib.schedule import schedule

FITTED, HELD_OUT = knowledge.designs(), knowledge.designs(knowledge.HELD_OUT)
EVERY = {f"{name} {'-'.join(map(str, key))}": (key, counts) for name, found in (("fitted", FITTED), ("held out", HELD_OUT)) for key, counts in found.items()}


@pytest.fixture(scope="module")
def compared():
    """Counts and estimates of every committed design."""
    return {name: knowledge.compared(*found) for name, found in EVERY.items()}


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
    assert knowledge.fit() == COEFFICIENTS
    assert knowledge.fills() == FILLS


def test_the_committed_estimates_are_those_of_today(compared):
    with open(knowledge.ESTIMATES, newline="") as stream:
        kept = list(csv.DictReader(stream))
    assert [{key: int(row[key]) for key in found} for row, found in zip(kept, compared.values(), strict=True)] == list(compared.values())


def test_a_corrupted_table_of_counts_is_refused_with_its_line(tmp_path):
    lines = knowledge.FILE.read_text().splitlines()[:3]
    (tmp_path / "counts.csv").write_text("\n".join([*lines[:2], lines[2].rpartition(",")[0] + ",many"]))
    with pytest.raises(ValueError, match="counts.csv, line 3: ramb18='many' is not a count; restore the file or delete the line"):
        knowledge.rows(tmp_path / "counts.csv")
    (tmp_path / "counts.csv").write_text(lines[1])
    with pytest.raises(ValueError, match="counts.csv has the columns .*, expected tool, version, window"):
        knowledge.rows(tmp_path / "counts.csv")


def test_the_committed_counts_say_which_tool_made_them_and_cover_every_case():
    tools = {(row["tool"], row["version"]) for file in (knowledge.FILE, knowledge.HELD_OUT) for row in knowledge.rows(file)}
    assert tools == {("yosys", YOSYS.fitted_to)}
    assert set(FITTED) == {*knowledge.CASES, *map(knowledge.draw, knowledge.FITTED_DRAWS)}
    assert set(HELD_OUT) == set(map(knowledge.draw, knowledge.HELD_OUT_DRAWS))
    assert not set(FITTED) & set(HELD_OUT)


def test_a_total_is_the_sum_of_its_components():
    found = estimate(program(), HardwareConfig())
    assert found.kind == "formula"
    for name in Resources._fields:
        assert math.isclose(getattr(found.total, name), sum(getattr(c, name) for c in found.components.values()))


def test_every_coefficient_belongs_to_a_quantity_and_is_not_negative():
    sizes = quantities(schedule(program(SHAPES["layer-norm"]), HardwareConfig()))
    assert set(COEFFICIENTS) == set(sizes)
    for name, pair in COEFFICIENTS.items():
        for coefficients in pair:
            assert set(coefficients) <= set(sizes[name])
            assert all(value > 0 for value in coefficients.values())


def test_clocks_are_those_of_the_schedule():
    found, plan = estimate(program(), HardwareConfig(lanes=3)), schedule(program(), HardwareConfig(lanes=3))
    assert (found.clocks, found.interval) == (plan.latency, plan.interval)


@pytest.mark.parametrize(
    ("depth", "width", "halves"), [(1024, 18, 1), (512, 36, 1), (512, 72, 2), (3088, 8, 2), (3088, 4, 1), (1025, 18, 2)]
)
def test_block_ram_follows_the_words_of_the_data_sheet(depth, width, halves):
    assert block_ram(depth, width, rom=False)[1] == halves


@pytest.mark.parametrize(
    ("depth", "width", "halves", "parts"),
    [(12_320, 4, 3, 13), (12_320, 6, 5, 7), (6_160, 16, 6, 13), (24_800, 16, 23, 25), (27_888, 7, 11, 14), (3_088, 8, 2, 1)],
)
def test_a_block_of_a_rom_holds_columns_of_any_part(depth, width, halves, parts):
    """Counted with Yosys 0.70."""
    assert block_ram(depth, width, rom=True)[1:] == (halves, parts)


@pytest.mark.parametrize(("depth", "width", "luts"), [(32, 6, 4), (32, 192, 128), (64, 3, 4), (24, 16, 12)])
def test_distributed_ram_follows_the_words_of_the_data_sheet(depth, width, luts):
    assert distributed(depth, width)[1].lut_memory == luts


@pytest.mark.parametrize(("depth", "width", "luts"), [(8, 31, 16), (2, 28, 16), (32, 8, 4), (64, 4, 4)])
def test_a_memory_of_one_address_reads_at_its_writing_port_too(depth, width, luts):
    assert distributed(depth, width, single=True)[1].lut_memory == luts


def test_a_design_with_layer_norm_has_its_components():
    found = estimate(program(SHAPES["layer-norm"]), HardwareConfig())
    assert not {"layer_norm", "square_tables"} - set(found.components)


def test_a_design_without_layer_norm_has_no_such_component():
    assert not {"layer_norm", "square_tables"} & set(estimate(program(), HardwareConfig()).components)


def test_a_memory_type_is_obeyed_and_one_word_is_a_register():
    assert mapped(Memory(16, 8, 1, False, "block")) == Resources(ramb18=1)
    assert mapped(Memory(4096, 8, 1, False, "distributed")).lut_memory > 0
    assert mapped(Memory(1, 8, 1, False, "block")) == Resources(ff=16)


def test_an_instance_of_no_component_is_refused():
    with pytest.raises(ValueError, match="resources: the instance engine/cache belongs to no component"):
        by_component({"engine/cache": {"lut": 1}})


def test_the_parts_of_a_component_are_added():
    found = by_component({"engine/retire/row_n1_requantise": {"lut": 2}, "engine/retire/row_n2_requantise": {"lut": 3}})
    assert found == {"requantisers": {"lut": 5}}
    assert resources.mux(4) == 1


ALL_BLOCK = dict.fromkeys(("activations", "weights", "parameters", "tables"), "block")


@pytest.mark.parametrize(
    ("hardware", "text"),
    [
        (
            {"unroll": 2, "multiplier": "lut", **ALL_BLOCK},
            "resources: the design exceeds an xc7s15 by 7 RAMB18 (27 of 20), by estimate; it takes 514 clocks; would fit: "
            "activations='auto', weights='auto', parameters='auto', tables='auto' with 514 clocks; or device='xc7s25' with 514 clocks",
        ),
        (
            {"unroll": 6, "multiplier": "dsp"},
            "resources: the design exceeds an xc7s15 by 28 DSP blocks (48 of 20), by estimate; it takes 299 clocks; would fit: "
            "unroll=3, multiplier='auto' with 442 clocks; or device='xc7s25' with 299 clocks",
        ),
    ],
    ids=["block-ram", "dsp"],
)
def test_what_exceeds_a_device_is_told_by_how_much_and_what_would_fit(hardware, text):
    clocks = [int(found.replace(",", "")) for found in re.findall(r"([\d,]+) clocks", text)]
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        check_fit(program(), HardwareConfig(**hardware))
    # What the text promises, taken at its word.
    changes = [dict(re.findall(r"(\w+)='?(\w+)'?", way)) for way in text.partition("would fit: ")[2].split("; or ")]
    for change, expected in zip(changes, clocks[1:], strict=True):
        change = {name: int(value) if value.isdigit() else value for name, value in change.items()}
        found = check_fit(program(), HardwareConfig(**{**hardware, **change}))
        assert found.clocks == expected


def test_where_nothing_fits_the_text_says_so(monkeypatch):
    monkeypatch.setattr(resources, "exceeded", lambda *_: {"lut": (9_000, 8_000)})
    text = "by 1,000 LUTs (9,000 of 8,000), by estimate; it takes 954 clocks; no lanes, unroll, multiplier or known device would fit"
    with pytest.raises(ValueError, match=re.escape(text)):
        check_fit(program(ModelConfig(window=6, d_model=8)), HardwareConfig(device="xc7s15"))


def test_what_fits_is_estimated_and_nothing_else():
    found = check_fit(program(), HardwareConfig())
    assert found == estimate(program(), HardwareConfig())
    assert exceeded(found, "xc7s15") == {}


@pytest.mark.parametrize(
    ("hardware", "text"),
    [
        (
            {"stores": {"input": "block"}},
            "memory: stores['input']='block', but the store has one word of 48 bits, which is a register; legal here: auto, distributed",
        ),
        ({"device": "xc7s51"}, "hardware: device='xc7s51' is not one of xc7s6, xc7s15, xc7s25, xc7s50; did you mean 'xc7s50'?"),
        ({"device": "XC7S50"}, "xc7s6, xc7s15, xc7s25, xc7s50; did you mean 'xc7s50'?"),
        ({"lanes": 4}, "schedule: lanes=4 do not fold a window of 6; legal: 1, 2, 3, 6"),
        ({"lanes": 3, "unroll": 2}, "schedule: unroll=2 does not divide lanes=3; legal: 1, 3"),
        (
            {"lanes": 1, "multiplier": "packed"},
            "schedule: multiplier='packed' needs two lanes whose operands fit 25 bits together; with lanes=1 and products of 16 bits "
            "they do not; legal here: auto, dsp, lut",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_illegal_combination_is_refused_before_emission(hardware, text, tmp_path):
    with pytest.raises(ValueError, match=re.escape(text)):
        estimate(program(), HardwareConfig(**hardware))
    with pytest.raises(ValueError, match=re.escape(text)):
        emit(program(), HardwareConfig(**hardware), tmp_path / "design")
    assert not (tmp_path / "design").exists()


@pytest.mark.parametrize(
    ("hardware", "text"),
    [
        ({"stores": {"brodcast": "block"}}, "exponential, reciprocal, score, weight, head, parameter, position, table; did you mean 'broadcast'?"),
        ({"stores": {"head": "blok"}}, "hardware: stores['head']='blok' is not one of auto, block, distributed; did you mean 'block'?"),
        ({"multiplier": "dps"}, "hardware: multiplier='dps' is not one of auto, dsp, lut, packed; did you mean 'dsp'?"),
    ],
    ids=["store", "memory-type", "multiplier"],
)
def test_a_misspelt_choice_gets_a_suggestion(hardware, text):
    with pytest.raises(ValueError, match=re.escape(text) + "$"):
        HardwareConfig(**hardware)


def test_block_ram_for_a_kind_of_stores_leaves_those_of_one_word_in_registers():
    assert estimate(program(), HardwareConfig(activations="block")).components["input_store"].ramb18 == 0

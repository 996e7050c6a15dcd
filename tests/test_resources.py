"""Estimates against committed counts of synthesis: the band holds on every design, multipliers and block RAM are exact."""

import math

import knowledge
import pytest
from small import SHAPES, program

from qtlib import resources
from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.memory import Memory, Resources, block_ram, distributed, mapped
from qtlib.resources import BAND, COEFFICIENTS, by_component, estimate, quantities
from qtlib.schedule import schedule

DESIGNS = knowledge.designs()


@pytest.fixture(scope="module", params=DESIGNS, ids=lambda key: "-".join(map(str, key)))
def pair(request):
    """Estimate and counts of one committed design."""
    counts = DESIGNS[request.param]
    total = {name: sum(row[name] for row in counts.values()) for name in knowledge.COUNTS}
    return estimate(*knowledge.case(*request.param)), total


def test_the_luts_of_every_synthesised_design_are_within_the_band(pair):
    found, counted = pair
    ratio = found.total.lut / (counted["lut_logic"] + counted["lut_memory"])
    assert 1 - BAND <= ratio <= 1 + BAND


def test_the_flip_flops_of_every_synthesised_design_are_within_the_band(pair):
    found, counted = pair
    assert 1 - BAND <= found.total.ff / counted["ff"] <= 1 + BAND


def test_dsp_blocks_are_exact(pair):
    found, counted = pair
    assert found.total.dsp == counted["dsp"]


def test_block_ram_is_exact_or_one_half_block_too_many(pair):
    found, counted = pair
    # Yosys cuts a ROM of few words more than whole blocks hold, and makes the rest of LUTs.
    assert found.total.ramb18 - counted["ramb18"] in (0, 1)


def test_the_committed_counts_say_which_tool_made_them_and_cover_every_case():
    assert {(row["tool"], row["version"]) for row in knowledge.rows()} == {("yosys", "Yosys 0.70")}
    assert set(DESIGNS) == set(knowledge.CASES)


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
    assert block_ram(depth, width)[1] == halves


@pytest.mark.parametrize(("depth", "width", "luts"), [(32, 6, 4), (32, 192, 128), (64, 3, 4), (24, 16, 12)])
def test_distributed_ram_follows_the_words_of_the_data_sheet(depth, width, luts):
    assert distributed(depth, width)[1].lut_memory == luts


@pytest.mark.parametrize(("depth", "width", "luts"), [(8, 31, 16), (2, 28, 16), (32, 8, 4), (64, 4, 4)])
def test_a_memory_of_one_address_reads_at_its_writing_port_too(depth, width, luts):
    assert distributed(depth, width, single=True)[1].lut_memory == luts


# Whole designs of Yosys 0.70, LUTs and flip-flops; the programs are those of tests/small.py.
COUNTED = [
    (ModelConfig(window=24, d_model=16, norm="layer"), QuantConfig(), HardwareConfig(requantisers=3), 4410, 4519),
    (ModelConfig(window=4, d_model=8, norm="layer"), QuantConfig(), HardwareConfig(requantisers=2), 1986, 1767),
    (
        ModelConfig(window=4, d_model=24, norm="layer"), QuantConfig(bits=6, norm_bits=6),
        HardwareConfig(requantisers=1, multiplier="dsp"), 1393, 1306,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("model", "quant", "hardware", "luts", "ffs"), COUNTED)
def test_designs_with_a_layer_norm_are_within_the_band(model, quant, hardware, luts, ffs):
    found = estimate(program(model, quant), hardware)
    assert abs(found.total.lut / luts - 1) <= BAND and abs(found.total.ff / ffs - 1) <= BAND
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

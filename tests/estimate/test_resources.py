"""An estimate is the sum of its components."""

import math
import re

import pytest

from qtlib.config import HardwareConfig
from qtlib.estimate.resources import by_component, estimate
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.memory_mapping import Resources
from qtlib.toolchain.design_directory import emit
from qtlib.training.random_models import SHAPES, program


def test_a_total_is_the_sum_of_its_components():
    found = estimate(program(), HardwareConfig())
    assert found.kind == "formula"
    for name in Resources._fields:
        assert math.isclose(getattr(found.total, name), sum(getattr(c, name) for c in found.components.values()))


def test_clocks_are_those_of_the_schedule():
    found, plan = estimate(program(), HardwareConfig(lanes=3)), schedule(program(), HardwareConfig(lanes=3))
    assert (found.clocks, found.interval) == (plan.latency, plan.interval)


def test_a_design_with_layer_norm_has_its_components():
    found = estimate(program(SHAPES["layer-norm"]), HardwareConfig())
    assert not {"layer_norm", "square_tables"} - set(found.components)


def test_a_design_without_layer_norm_has_no_such_component():
    assert not {"layer_norm", "square_tables"} & set(estimate(program(), HardwareConfig()).components)


def test_an_instance_of_no_component_is_refused():
    with pytest.raises(ValueError, match="resources: the instance engine/cache belongs to no component"):
        by_component({"engine/cache": {"lut": 1}})


def test_the_parts_of_a_component_are_added():
    found = by_component({"engine/retire/row_n1_requantise": {"lut": 2}, "engine/retire/row_n2_requantise": {"lut": 3}})
    assert found == {"requantisers": {"lut": 5}}


@pytest.mark.parametrize(
    ("hardware", "text"),
    [
        (
            {"stores": {"input": "block"}},
            "memory_allocation: stores['input']='block', but the store has one word of 48 bits, which is a register; legal here: auto, distributed",
        ),
        (
            {"device": "xc7s51"},
            "hardware: device='xc7s51' is not one of xc7s6, xc7s15, xc7s25, xc7s50; did you mean 'xc7s50'?",
        ),
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


def test_block_ram_for_a_kind_of_stores_leaves_those_of_one_word_in_registers():
    assert estimate(program(), HardwareConfig(activations="block")).components["input_store"].ramb18 == 0

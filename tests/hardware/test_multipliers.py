"""Multipliers are counted as they are chosen."""

import pytest
from published_schedule import published

from qtlib.config import HardwareConfig
from qtlib.hardware import multipliers
from qtlib.hardware.devices import DEVICES


@pytest.mark.parametrize("multiplier", ["auto", "dsp", "lut", "packed"])
def test_multipliers_are_counted_as_they_are_chosen(multiplier):
    plan = published(HardwareConfig(multiplier=multiplier), bits=4)
    assert {"dsp": (1, 24), "lut": (1, 0), "packed": (plan.operands, -(-24 // plan.operands))}.get(
        multiplier, (plan.operands, plan.dsp_macs)
    ) == (plan.operands, plan.dsp_macs)
    if multiplier == "packed":
        assert plan.operands >= 2 and plan.widths["packed_bits"] <= multipliers.DSP_BITS
    if multiplier == "auto":
        assert plan.dsp_macs <= DEVICES["xc7s15"].dsp

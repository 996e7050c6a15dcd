"""What exceeds a device is told by how much, and what would fit."""

import re

import pytest

from qtlib.config import HardwareConfig, ModelConfig
from qtlib.estimate import device_fit
from qtlib.estimate.device_fit import check_fit, exceeded
from qtlib.estimate.resources import estimate
from qtlib.training.random_models import program

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
    monkeypatch.setattr(device_fit, "exceeded", lambda *_: {"lut": (9_000, 8_000)})
    text = "by 1,000 LUTs (9,000 of 8,000), by estimate; it takes 954 clocks; no lanes, unroll, multiplier or known device would fit"
    with pytest.raises(ValueError, match=re.escape(text)):
        check_fit(program(ModelConfig(window=6, d_model=8)), HardwareConfig(device="xc7s15"))


def test_what_fits_is_estimated_and_nothing_else():
    found = check_fit(program(), HardwareConfig())
    assert found == estimate(program(), HardwareConfig())
    assert exceeded(found, "xc7s15") == {}

"""Programs that the engine cannot run are refused."""

import re
from dataclasses import replace

import pytest

from qtlib.config import HardwareConfig
from qtlib.hardware.engine_schedule import schedule
from qtlib.training import random_models


def changed(program, y, **changes):
    operations = [replace(op, **changes) if op.y == y else op for op in program.operations]
    return replace(program, operations=tuple(operations))


def test_a_layer_norm_that_does_not_follow_its_sum_is_refused():
    program = random_models.program(random_models.SHAPES["layer-norm"])
    text = "schedule: 0.output normalises 0.attention_sum, which is not the result of a linear layer right before it"
    with pytest.raises(ValueError, match=re.escape(text)):
        schedule(changed(program, "0.output", x="0.attention_sum"), HardwareConfig())


def test_layer_norms_that_differ_are_refused():
    program = changed(
        random_models.program(random_models.SHAPES["layer-norm"]), "0.output", reciprocal_bits=4, shift=15
    )
    text = (
        "schedule: the engine has one LayerNorm; features, bits and reciprocal_bits differ: "
        "0.attention_sum: 7, 8, 2; 0.output_sum: 7, 8, 4"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        schedule(program, HardwareConfig())

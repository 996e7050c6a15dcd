"""Codes are saturated and rounded half up; a range knows the bits it needs."""

import numpy as np
import pytest

from qtlib.program.codes import Range, Tensor, code_range


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(-128, 127, 8), (-129, 0, 9), (0, 127, 8), (0, 128, 9), (0, 0, 1), (-1, 0, 1)]
)
def test_the_width_of_a_range_is_that_of_twos_complement(low, high, bits):
    assert Range(low, high).bits == bits


def test_code_ranges_are_those_of_twos_complement():
    assert code_range(4) == (-8, 7)
    assert code_range(4, signed=False) == (0, 15)


def test_codes_round_half_up_saturate_and_give_their_value_back():
    tensor = Tensor(name="x", shape=(4,), bits=4, scale=(0.5,), zero_point=-2)
    assert tensor.codes(np.array([0.25, -0.25, 100.0, -100.0])).tolist() == [-1, -2, 7, -8]
    assert tensor.values(np.array([-2, 0])).tolist() == [0.0, 1.0]

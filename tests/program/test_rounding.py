"""Half up, saturated, and the integers that stand for reciprocals and ratios."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from refusals import raises

from qtlib.program.codes import Tensor, code_range
from qtlib.program.rounding import choose_shift, norm_reciprocal_bits, reciprocal, requantise

EIGHT = Tensor(name="y", shape=(1,), bits=8)


@pytest.mark.parametrize(("total", "code"), [(5, 3), (3, 2), (1, 1), (-1, 0), (-3, -1), (-5, -2)])
def test_requantise_rounds_ties_towards_plus_infinity(total, code):
    half = 1
    assert requantise(np.array([(total + half) / 2]), EIGHT) == code


@pytest.mark.parametrize(("total", "code"), [(1 << 40, 127), (-(1 << 40), -128), (256, 127), (-258, -128)])
def test_requantise_saturates_instead_of_wrapping(total, code):
    assert requantise(np.array([total / 2]), EIGHT) == code


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_reciprocal_rounds_down_and_fits_seventeen_bits(bits):
    top = code_range(bits, signed=False).high
    totals = np.arange(top, 256 * top + 1)
    found = reciprocal(totals, bits)
    assert (found == [floor(Fraction(2 ** (bits + 16), int(total))) for total in totals]).all()
    assert found.max() < 1 << 17


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_smallest_reciprocal_of_a_layer_norm_keeps_eight_bits_and_the_largest_seventeen(bits):
    for d in range(1, 129):
        e = norm_reciprocal_bits(d, bits)
        root = d * (2**bits - 1) // 2  # at both ends, half and half
        assert reciprocal(np.array(max(root, 2**e - 1)), e).item() >= 2**7
        assert reciprocal(np.array(2**e - 1), e).item() < 2**17


def test_a_ratio_gets_the_largest_shift_that_fits():
    for ratio in np.geomspace(1e-5, 8000, 60):
        shift = choose_shift(ratio)
        assert shift % 4 == 0 and ratio * 2**shift <= 2**17 - 1
        assert shift == 24 or ratio * 2 ** (shift + 4) > 2**17 - 1


def test_a_ratio_above_the_limit_is_refused():
    with raises(OverflowError, "requantise: the ratio 8192 is above the limit 8191.94 of 18 bits"):
        choose_shift(8192.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_ratio_that_is_not_finite_is_refused(bad):
    with raises(OverflowError, f"requantise: the ratio {bad} is above the limit 8191.94 of 18 bits"):
        choose_shift(bad)

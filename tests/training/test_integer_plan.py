"""Multipliers and their shifts fit the multiplier block."""

import pytest

from qtlib.program.rounding import MULT_BITS
from qtlib.training.integer_plan import MULT_TOP, choose_residual_shift


def test_the_residual_multiplier_fits_and_keeps_fifteen_bits():
    for largest in (0.01, 0.9, 1.0, 3.7, 100.0):
        behind = choose_residual_shift(largest, 16)
        assert behind % 4 == 0
        assert largest * 2 ** (16 - behind) <= MULT_TOP
        assert behind == 0 or largest * 2 ** (16 - behind + 4) > MULT_TOP


def test_a_residual_that_does_not_fit_is_an_error():
    with pytest.raises(
        OverflowError, match=r"requantise: the residual ratio 200000 is above the limit 131071 of 18 bits"
    ):
        choose_residual_shift(200_000.0, 16)


def test_the_limit_of_a_multiplier_is_the_narrow_port_of_the_multiplier_block():
    assert (MULT_BITS, MULT_TOP) == (18, 2**17 - 1)

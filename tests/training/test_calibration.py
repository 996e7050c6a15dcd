"""Scales with the least squared error on real tensors."""

import pytest
import torch

from qtlib.training.calibration import calibrate, calibrate_channels, calibrate_gain, largest_scale, scale_cost


def test_the_largest_value_just_fits_the_min_max_scale():
    assert largest_scale(torch.tensor([-3.0, 2.0]), 3) == 1.0
    assert largest_scale(torch.tensor([0.0, 14.0]), 3, signed=False) == 2.0


def test_calibration_beats_the_largest_value_as_scale_on_heavy_tails():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5000, generator=generator) ** 3
    found = calibrate(values, 4)

    def error(scale):
        return (((values / scale + 0.5).floor().clamp(-8, 7) * scale - values) ** 2).mean()

    assert error(found) < 0.7 * error(values.abs().max() / 7)


def test_calibration_of_a_tensor_of_zeros_gives_a_usable_scale():
    assert calibrate(torch.zeros(10), 8) > 0
    assert (calibrate_channels(torch.zeros(2, 3), 8) > 0).all()


def test_unsigned_calibration_uses_the_codes_of_both_signs():
    values = torch.linspace(0, 15, 1000)
    assert calibrate(values, 4, signed=False) == pytest.approx(1.0, rel=0.1)


def test_the_context_is_stored_finer_than_v_when_a_mean_is_smaller_than_its_terms():
    generator = torch.Generator().manual_seed(0)
    assert calibrate_gain(torch.randn(1000, generator=generator), 1 / 40, 8) == 0
    assert calibrate_gain(torch.randn(1000, generator=generator) / 8, 1 / 40, 8) == 3


def test_a_scale_costs_what_saturates_and_what_is_rounded():
    values = torch.tensor([-9.0, -8.0, 0.25, 7.0, 8.0], dtype=torch.float64)
    found = scale_cost(values, 1.0, 4)  # codes from -8 to 7
    assert found["saturated"] == pytest.approx(2 / 5)
    assert found["rms error"] == pytest.approx(((1 + 0 + 0.25**2 + 0 + 1) / 5) ** 0.5)
    assert scale_cost(values, 2.0, 4)["saturated"] == 0

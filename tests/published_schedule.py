"""The published shape on the engine, for tests that look at one schedule."""

from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.hardware.engine_schedule import schedule
from qtlib.training import random_models


def published(hardware=None, norm="batch", **quant):
    """Its schedule with random weights."""
    shape = ModelConfig(window=24, d_model=16, norm=norm)
    return schedule(random_models.program(shape, QuantConfig(**quant)), hardware or HardwareConfig())

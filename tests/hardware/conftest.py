"""A design that exceeds the block RAM of its device."""

import pytest

from qtlib.config import ModelConfig, QuantConfig
from qtlib.training import random_models


@pytest.fixture(scope="session")
def large():
    """The published shape that did not fit: 49,600 weights of 8 bits are more than all block RAM."""
    return random_models.program(ModelConfig(window=24, features=7, d_model=64), QuantConfig(bits=8))

"""Random legal designs; the number alone decides everything, so a failure is repeated with ``python -m qtlib verify --first N --designs 1``."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from qtlib.config import STORES, HardwareConfig, ModelConfig, QuantConfig
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.lane_shape import legal_lanes
from qtlib.program.program import Program
from qtlib.training import random_models


def draw(number: int) -> tuple[Program, HardwareConfig]:
    """Program and hardware: small shapes with odd widths, windows that lanes do not divide, both norms, every multiplier and memory type."""
    rng = random.Random(number)
    heads, head_width = rng.choice([1, 1, 2, 3]), rng.choice([1, 2, 3, 4, 5, 8])
    model = ModelConfig(
        window=rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 12]),
        features=rng.randint(1, 9),
        outputs=rng.choice([1, 1, 2, 3]),
        d_model=heads * head_width,
        heads=heads,
        layers=rng.choice([1, 1, 2]),
        ffn=rng.choice([None, None, 3, 10]),
        norm=rng.choice(["batch", "layer"]),
    )
    kinds = ("weight_bits", "input_bits", "residual_bits", "softmax_bits", "head_bits", "norm_bits")
    mixed: dict[str, Any] = {name: rng.randint(2, 8) for name in kinds} if rng.random() < 0.5 else {}
    quant = QuantConfig(bits=2 + number % 7, **mixed)
    lanes = rng.choice(legal_lanes(model.window))
    divisors = [count for count in range(1, lanes + 1) if lanes % count == 0]
    short = ("input", "activation", "broadcast", "exponential", "weight", "head", "parameter", "position")
    single = {name: ["auto", "distributed"] + ["block"] * (name not in short) for name in STORES}
    types = ["auto", "block", "distributed"]
    hardware = HardwareConfig(
        lanes=lanes,
        unroll=rng.choice(divisors),
        requantisers=rng.choice([None, *divisors]),
        multiplier=rng.choice(["auto", "dsp", "lut", "packed"]),
        activations=rng.choice(types),
        weights=rng.choice(types),
        parameters=rng.choice(types),
        tables=rng.choice(types),
        # Block RAM for a single store of one word is refused, and these stores may have one.
        stores={name: rng.choice(legal) for name, legal in single.items() if number % 2 and rng.random() < 0.3},
    )
    program = random_models.program(model, quant)
    try:
        schedule(program, hardware)
    except ValueError as refused:  # products too wide to pack, or a single lane
        if "multiplier='packed' needs two lanes" not in str(refused):
            raise
        hardware = replace(hardware, multiplier="auto")
    return program, hardware

"""Random legal designs; the number alone decides everything, so a failure is repeated with QTLIB_SEED=<number>."""

import os
import random

import small

from qtlib.config import STORES, HardwareConfig, ModelConfig, QuantConfig
from qtlib.schedule import legal_lanes

DRAWS = 12


def numbers(draws=DRAWS):
    """Draws to test: QTLIB_SEED=N is one, QTLIB_DRAWS=N is the first N, without both the first few."""
    if "QTLIB_SEED" in os.environ:
        return [int(os.environ["QTLIB_SEED"])]
    return range(int(os.environ.get("QTLIB_DRAWS", draws)))


def draw(number):
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
    mixed = {name: rng.randint(2, 8) for name in kinds} if rng.random() < 0.5 else {}
    quant = QuantConfig(bits=2 + number % 7, **mixed)
    lanes = rng.choice(legal_lanes(model.window))
    divisors = [count for count in range(1, lanes + 1) if lanes % count == 0]
    short = ("input", "activation", "broadcast", "exponential", "weight", "head", "parameter", "position")
    single = {name: ["auto", "distributed"] + ["block"] * (name not in short) for name in STORES}
    memories = ("activations", "weights", "parameters", "tables")
    hardware = HardwareConfig(
        lanes=lanes,
        unroll=rng.choice(divisors),
        requantisers=rng.choice([None, *divisors]),
        multiplier=rng.choice(["auto", "dsp", "lut", "packed"]),
        **{name: rng.choice(["auto", "block", "distributed"]) for name in memories},
        # Block RAM for a single store of one word is refused, and these stores may have one.
        stores={name: rng.choice(types) for name, types in single.items() if number % 2 and rng.random() < 0.3},
    )
    return small.program(model, quant), hardware

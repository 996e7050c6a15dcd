"""Synthesised designs, counted cell by cell: data/cell_counts.csv, which the estimate is fitted to, and
data/cell_counts_held_out.csv, on which it is judged and which the fit never reads.

    python -m qtlib cell-counts               counts the designs that the files lack; about an hour and a half in all
    python -m qtlib cell-counts estimates     writes data/estimates.csv, every estimate beside its count
    python -m qtlib cell-counts coefficients  prints the fills of qtlib/hardware/memory_mapping.py and the table of
                                              qtlib/estimate/coefficients.py, fitted anew
    python -m qtlib cell-counts emit --directory FOLDER   writes the fitted designs, for Vivado and `python -m qtlib fit`

The programs are random but seeded, so that no training is needed; `case` rebuilds one. A part of the fitted designs and all of the
others are drawn by `draw` from a number: shape, widths, lanes, unroll, memory and multiplier types at random.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from qtlib import paths
from qtlib.config import BITS, HardwareConfig, ModelConfig, QuantConfig
from qtlib.estimate import resources
from qtlib.hardware import memory_allocation, memory_mapping
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.lane_shape import legal_lanes
from qtlib.hardware.memory_allocation import allocate
from qtlib.program.operations import Linear
from qtlib.program.program import Program
from qtlib.studies import coefficient_fit
from qtlib.toolchain import synthesis
from qtlib.toolchain.design_directory import emit
from qtlib.training import random_models
from qtlib.training.bit_widths import widths

FILE = paths.DATA / "cell_counts.csv"
HELD_OUT = paths.DATA / "cell_counts_held_out.csv"
ESTIMATES = paths.DATA / "estimates.csv"
# 1045 and 1138 have weights of mixed widths that exceed the block RAM: found by drawing on from 1020. Those from 2000 on were held out
# until the formulas had been changed after a look at them. Yosys does not map the 100,000 words of 2019 within the 15 minutes that it is given.
FITTED_DRAWS = (*range(1000, 1020), 1045, 1138, *range(2000, 2019), *range(2020, 2041))
HELD_OUT_DRAWS = tuple(range(3000, 3040))
LANES, CONSTANT_BITS = 36, 150_000  # of a drawn design at most: multipliers, and weights in LUTs
COUNTS = ("lut_logic", "lut_memory", "ff", "carry4", "dsp", "ramb18")
KEYS = (
    "window",
    "features",
    "outputs",
    "d_model",
    "heads",
    "layers",
    "bits",
    "mixed",
    "lanes",
    "unroll",
    "requantisers",
    "multiplier",
    "memory",
    "norm",
)
NUMBERS = tuple(name for name in KEYS if name not in ("multiplier", "memory", "norm"))
COLUMNS = ("tool", "version", *KEYS, "component", *COUNTS)
# In the order of KEYS. Lanes, requantisers and multipliers are named, so that a better automatic choice changes no case.
CASES = (
    (24, 1, 1, 16, 1, 1, 8, 0, 24, 1, 3, "packed", "auto", "batch"),
    (24, 1, 1, 16, 1, 1, 6, 0, 24, 1, 3, "packed", "auto", "batch"),
    (24, 1, 1, 16, 1, 1, 4, 0, 24, 1, 3, "packed", "auto", "batch"),
    (24, 1, 1, 16, 1, 1, 8, 0, 8, 1, 1, "dsp", "auto", "batch"),
    (24, 1, 1, 16, 1, 1, 8, 0, 1, 1, 1, "dsp", "auto", "batch"),
    (24, 1, 1, 16, 1, 1, 6, 0, 12, 2, 2, "packed", "block", "batch"),
    (24, 1, 1, 16, 1, 1, 4, 0, 24, 2, 6, "lut", "distributed", "batch"),
    (24, 1, 1, 32, 1, 1, 4, 0, 24, 1, 2, "packed", "auto", "batch"),
    (12, 1, 1, 32, 1, 1, 6, 0, 12, 1, 1, "dsp", "auto", "batch"),
    (12, 1, 1, 24, 1, 1, 8, 0, 12, 1, 1, "dsp", "block", "batch"),
    (12, 3, 2, 16, 2, 1, 8, 0, 12, 2, 4, "packed", "auto", "batch"),
    (6, 1, 1, 8, 1, 1, 8, 0, 6, 1, 2, "dsp", "auto", "batch"),
    (6, 1, 1, 32, 1, 1, 8, 0, 6, 2, 1, "dsp", "auto", "batch"),
    (7, 2, 3, 12, 3, 2, 5, 1, 4, 2, 2, "lut", "auto", "batch"),
    (12, 7, 1, 16, 1, 1, 4, 0, 6, 3, 3, "packed", "distributed", "batch"),
    (24, 1, 1, 16, 1, 1, 3, 0, 24, 1, 3, "packed", "auto", "batch"),
    (24, 1, 1, 16, 1, 1, 8, 0, 24, 1, 3, "packed", "auto", "layer"),
    (6, 1, 1, 32, 1, 1, 4, 0, 6, 1, 2, "dsp", "distributed", "layer"),
    (12, 2, 1, 11, 1, 1, 6, 0, 12, 1, 4, "packed", "block", "layer"),
    (5, 1, 2, 12, 3, 2, 5, 1, 5, 1, 1, "lut", "auto", "layer"),
)


@cache
def case(
    window: int,
    features: int,
    outputs: int,
    d_model: int,
    heads: int,
    layers: int,
    bits: int,
    mixed: int,
    lanes: int,
    unroll: int,
    requantisers: int,
    multiplier: str,
    memory: str,
    norm: str,
) -> tuple[Program, HardwareConfig]:
    """Program and hardware of one case."""
    shape = ModelConfig(
        window=window, features=features, outputs=outputs, d_model=d_model, heads=heads, layers=layers, norm=norm
    )
    quant = QuantConfig(bits=bits)
    if mixed:
        quant = random_models.MIXED if mixed == 1 else mixed_widths(shape, bits, mixed)
    hardware = HardwareConfig(
        lanes=lanes, unroll=unroll, requantisers=requantisers, multiplier=multiplier,
        activations=memory, weights=memory, parameters=memory, tables=memory,
    )  # fmt: skip
    return random_models.program(shape, quant), hardware


def mixed_widths(shape: ModelConfig, bits: int, number: int) -> QuantConfig:
    """Every tensor and the weights of every layer up to two bits off the width of the body."""
    rng = random.Random(number)
    near = [b for b in range(bits - 2, bits + 3) if b in BITS]
    tensors, weights = widths(shape, QuantConfig(bits=bits))
    names = [*tensors, *(f"{layer}.weight" for layer in weights)]
    return QuantConfig(
        bits=bits, softmax_bits=rng.choice(near), overrides=tuple((name, rng.choice(near)) for name in names)
    )


def draw(number: int) -> tuple[Any, ...]:
    """Key of a design that the number alone decides, of a size that the smallest devices may hold."""
    rng = random.Random(number)
    while True:
        window, d_model = rng.choice([4, 6, 8, 12, 16, 20, 24, 32]), rng.choice([8, 12, 16, 24, 32, 48, 64])
        bits, layers = rng.randint(2, 8), rng.choice([1, 1, 1, 2])
        lanes = rng.choice([count for count in legal_lanes(window) if 3 * count >= window])
        divisors = [count for count in range(1, min(lanes, 4) + 1) if lanes % count == 0]
        unroll, requantisers = rng.choice(divisors), rng.choice(divisors)
        multiplier = rng.choice(["auto", "dsp", "lut", "packed"])
        memory = rng.choice(["auto", "auto", "block", "distributed"])
        words = (
            window, rng.randint(1, 8), rng.choice([1, 1, 2, 4]), d_model, rng.choice([1, 1, 2, 4]), layers, bits,
            rng.choice([0, 0, number]), lanes, unroll, requantisers, multiplier, memory, rng.choice(["batch", "batch", "layer"]),
        )  # fmt: skip
        if lanes * unroll > LANES or (memory == "distributed" and 12 * d_model**2 * layers * bits > CONSTANT_BITS):
            continue
        try:
            schedule(*case(*words))
        except ValueError:  # such as products that are too wide to pack
            continue
        return words


def rows(file: Path = FILE) -> list[dict[str, Any]]:
    """What a file holds, numbers as integers."""
    return coefficient_fit.read(file, COLUMNS, (*KEYS, "component"), (*NUMBERS, *COUNTS)) if file.exists() else []


def designs(file: Path = FILE) -> dict[tuple[Any, ...], dict[str, dict[str, Any]]]:
    """Key of every case in a file -> its counts by component."""
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows(paths.table(file)):
        found.setdefault(tuple(row[name] for name in KEYS), {})[row["component"]] = row
    return found


def compared(key: tuple[Any, ...], counts: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Counts and estimates of a whole design, and how far off that of its LUTs may be, as a row of `ESTIMATES`."""
    estimate = resources.estimate(*case(*key))
    counted = {name: sum(row[name] for row in counts.values()) for name in COUNTS}
    counted |= {"lut": counted["lut_logic"] + counted["lut_memory"]}
    both = {name: (counted[name], round(getattr(estimate.total, name))) for name in ("lut", "ff", "dsp", "ramb18")}
    band = {"lut_band_permille": math.floor(1000 * estimate.band["lut"])}
    return band | {
        f"{name}_{which}": value
        for name, pair in both.items()
        for which, value in zip(("counted", "estimated"), pair, strict=True)
    }


def write_estimates() -> None:
    """Write every estimate beside its count."""
    rows = [
        dict(zip(KEYS, key, strict=True)) | {"set": name} | compared(key, counts)
        for name, file in (("fitted", FILE), ("held out", HELD_OUT))
        for key, counts in designs(file).items()
    ]
    lines = [rows[0], *(map(str, row.values()) for row in rows)]
    paths.write_atomic(ESTIMATES, "".join(",".join(line) + "\n" for line in lines))


def fit() -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """Coefficients of every quantity, as `qtlib.estimate.coefficients.COEFFICIENTS`."""
    return coefficient_fit.fit([(allocate(schedule(*case(*key))), counts) for key, counts in designs().items()])


def fills() -> dict[str | int, float]:
    """What a bit of 64 words takes in ROMs of more than 128 words that lie in LUTs, by what they hold; as `memory_mapping.FILLS`."""
    luts: dict[str | int, float] = defaultdict(float)
    bits: dict[str | int, float] = defaultdict(float)
    for key, counts in designs().items():
        plan = allocate(schedule(*case(*key)))
        weights = {i.source.weight_bits for i in plan.instructions if isinstance(i.source, Linear)}
        kinds: dict[str, str | int] = {
            "parameter_store": "parameter",
            "position_store": "position",
            "exponential_tables": "table",
            "square_tables": "square",
        }
        kinds |= {"weight_store": min(*weights, 4)} if len(weights) == 1 else {}
        for name, found in memory_allocation.stores(plan).items():
            one = found[0]
            if name in kinds and len(found) == 1 and one.depth > 128 and not memory_mapping.mapped(one).ramb18:
                luts[kinds[name]] += counts[name]["lut_logic"]
                bits[kinds[name]] += one.copies * one.used * one.width * -(-one.depth // 64)
    return {kind: float(f"{luts[kind] / bits[kind]:.3g}") for kind in memory_mapping.FILLS}


def emit_fitted(folder: Path) -> None:
    """Write the fitted designs as directories, for another tool to count."""
    for number, key in enumerate(designs()):
        emit(*case(*key), folder / f"{number:02d}", must_fit=False)


def print_coefficients() -> None:
    """Print the fills as they stand in memory_mapping.py, and the coefficients, which are fitted to what the fills leave."""
    print(f"FILLS = {fills()}".replace("'", '"'))
    for name, pair in fit().items():
        print(f'    "{name}": (')
        for chosen in pair:
            print(f"        {chosen},".replace("'", '"'))
        print("    ),")


def run(progress: Callable[[str], None] = print) -> None:
    """Synthesise and count every design that the files lack; a file is written whole after every design."""
    for file, cases, draws in ((FILE, CASES, FITTED_DRAWS), (HELD_OUT, (), HELD_OUT_DRAWS)):
        known = rows(file)
        for words in (*cases, *map(draw, draws)):
            key = dict(zip(KEYS, words, strict=True))
            if any(all(row[name] == value for name, value in key.items()) for row in known):
                continue
            with tempfile.TemporaryDirectory() as folder:
                emit(*case(*words), Path(folder), must_fit=False)
                report = synthesis.synthesise(Path(folder))
            for component, counts in resources.by_component(report["entities"]).items():
                figures = {name: counts[name] for name in COUNTS}
                known.append(
                    {"tool": report["tool"], "version": report["version"], **key, "component": component, **figures}
                )
            progress(f"{file.name}: {' '.join(map(str, words))}: {report['total']}")
            lines = [COLUMNS, *([str(row[name]) for name in COLUMNS] for row in known)]
            paths.write_atomic(file, "".join(",".join(line) + "\n" for line in lines))

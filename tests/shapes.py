"""Emit, simulate and synthesise the published shapes and those that did not fit; write data/shapes.csv.

    PYTHONPATH=tests python tests/shapes.py        # skips what the file has; about fifteen minutes in all

The weights are random but seeded, so that no training is needed: clocks and memories depend on the shape alone, and LUTs that hold constants
depend little on their values.
"""

import csv
import tempfile
from pathlib import Path

import small

from qtlib import paths, simulate, synthesise
from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.emit import emit

FILE = paths.ROOT / "data" / "shapes.csv"
KEYS = ("window", "d_model", "bits", "features", "layers", "heads", "lanes", "unroll", "requantisers")
COUNTS = ("lut", "lut_memory", "ff", "dsp", "ramb18")
COLUMNS = (*KEYS, "latency", "interval", *COUNTS, "fits", "windows", "mismatches", "device", "simulator", "synthesiser")
WINDOWS = 20
CASES = (
    (24, 16, 8, 1, 1, 1, 24, 1, 3),
    (24, 16, 4, 1, 1, 1, 24, 2, 4),
    (6, 64, 8, 7, 1, 1, 6, 6, 1),
    (12, 64, 6, 7, 1, 1, 12, 3, 2),
    (12, 32, 4, 7, 1, 1, 12, 4, 2),
    (24, 64, 8, 7, 1, 1, 24, 1, 2),
    (24, 64, 6, 7, 1, 1, 24, 1, 2),
    (24, 64, 4, 7, 1, 1, 24, 1, 2),
    (32, 64, 4, 7, 2, 4, 16, 1, 2),
)


def measure(window, d_model, bits, features, layers, heads, lanes, unroll, requantisers):
    """One row of the file: simulated in every bit, then counted."""
    shape = ModelConfig(window=window, features=features, d_model=d_model, layers=layers, heads=heads)
    program = small.program(shape, QuantConfig(bits=bits))
    hardware = HardwareConfig(lanes=lanes, unroll=unroll, requantisers=requantisers)
    with tempfile.TemporaryDirectory() as folder:
        plan = emit(program, hardware, Path(folder), small.codes(program, WINDOWS))
        found = simulate.simulate(Path(folder), tool="verilator")
        report = synthesise.synthesise(Path(folder), timeout=1800)
    return {
        **dict(zip(KEYS, (window, d_model, bits, features, layers, heads, lanes, unroll, requantisers), strict=True)),
        "latency": plan.latency,
        "interval": plan.interval,
        **{name: report["total"][name] for name in COUNTS},
        "fits": report["device"]["fits"],
        "windows": found.windows,
        "mismatches": found.mismatches,
        "device": report["device"]["name"],
        "simulator": found.version,
        "synthesiser": report["version"],
    }


def main():
    rows = list(csv.DictReader(FILE.open(encoding="utf-8"))) if FILE.exists() else []
    done = {tuple(int(row[key]) for key in KEYS) for row in rows}
    for case in CASES:
        if case not in done:
            rows.append(measure(*case))
            text = "\n".join(",".join(str(row[name]) for name in COLUMNS) for row in (dict(zip(COLUMNS, COLUMNS, strict=True)), *rows))
            paths.write_atomic(FILE, text + "\n")
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main()

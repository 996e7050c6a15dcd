"""Designs placed and routed with nextpnr, a row for each seed: data/placement.csv, the evidence for the clock.

    python -m qtlib placement     skips what the file has; minutes for each seed

The first design is the trained one of notebook 02 (skipped with a word where it is missing); the others have random but seeded weights. RTL and
constants are those for the XC7S15 (see `qtlib.toolchain.place_and_route`). A design that does not fit has one row without a clock.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtlib import paths
from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.hardware import devices
from qtlib.program.file import load
from qtlib.toolchain import external_tools, place_and_route
from qtlib.toolchain.design_directory import emit
from qtlib.training import random_models

FILE = paths.DATA / "placement.csv"
KEYS = ("device", "program", "window", "d_model", "bits", "lanes", "unroll", "requantisers")
MEASURED = (
    "seed",
    "mhz",
    "lut",
    "ff",
    "dsp",
    "block_ram",
    "spilled",
    "start",
    "end",
    "path_ns",
    "routing_ns",
    "missing",
)
COLUMNS = (*KEYS, "latency", "fits", *MEASURED, "placer", "synthesiser")
SEEDS = 5
CLOCK = "clk"
CASES = (
    ("lfe5u-25f", "pems_n24_d16_8bit", 24, 16, 8, 24, 1, 3),
    ("up5k", "random", 24, 16, 8, 24, 1, 3),
    ("up5k", "random", 24, 16, 4, 4, 1, 1),
    ("up5k", "random", 24, 16, 8, 2, 1, 1),
)


def measure(
    device: str,
    name: str,
    window: int,
    d_model: int,
    bits: int,
    lanes: int,
    unroll: int,
    requantisers: int,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Rows of one case."""
    if name == "random":
        program = random_models.program(ModelConfig(window=window, d_model=d_model), QuantConfig(bits=bits))
    else:
        program = load(paths.prepared() / "programs" / f"{name}.qtp")
    hardware = HardwareConfig(lanes=lanes, unroll=unroll, requantisers=requantisers)
    common: dict[str, Any] = dict(
        zip(KEYS, (device, name, window, d_model, bits, lanes, unroll, requantisers), strict=True)
    )
    with tempfile.TemporaryDirectory() as folder:
        common["latency"] = emit(program, hardware, Path(folder)).latency
        try:
            report = place_and_route.place(
                Path(folder),
                device=device,
                seeds=SEEDS,
                progress=lambda done, of: progress(f"{done} of {of} placements"),
            )
        except place_and_route.DoesNotFit as error:
            family = devices.PLACED[device].family
            tool = {
                "placer": place_and_route.version(external_tools.find(f"nextpnr-{family}").version),
                "synthesiser": external_tools.find("yosys").version.split(" (")[0],
            }
            return [{**common, **tool, "fits": False, "missing": str(error).split("fit: ")[1]}]
    rows = []
    for seed in report["seeds"]:
        path = seed["critical_paths"][CLOCK]
        rows.append(
            {
                **common,
                "fits": True,
                "seed": seed["seed"],
                "mhz": round(seed["mhz"][CLOCK], 2),
                **{kind: row["used"] for kind, row in report["resources"].items()},
                "spilled": report["multiplications_in_luts"],
                "start": path["start"],
                "end": path["end"],
                "path_ns": path["ns"],
                "routing_ns": path["routing_ns"],
                "placer": report["version"],
                "synthesiser": report["synthesiser"],
            }
        )
    return rows


def run(progress: Callable[[str], None] = print) -> None:
    """Place every case that the file lacks."""
    rows = list(csv.DictReader(FILE.open(encoding="utf-8"))) if FILE.exists() else []
    done = {tuple(row[key] for key in KEYS) for row in rows}
    for case in CASES:
        if tuple(map(str, case)) in done:
            continue
        try:
            rows += measure(*case, progress)
        except FileNotFoundError as missing:
            progress(f"skipped, run notebook 02 first: {missing}")
            continue
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        paths.write_atomic(FILE, text.getvalue())
        progress(f"{FILE.name}: {rows[-1]}")

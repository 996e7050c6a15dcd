"""The published shapes and those that were published as not fitting: emitted, simulated, synthesised, and their mapped netlists simulated.

    python -m qtlib shapes             data/shapes.csv; skips what it has, netlist included; about half an hour in all
    python -m qtlib shapes programs    netlists of the trained programs, to data/netlists.csv
    python -m qtlib shapes mixed       what fits the XC7S6 with mixed widths only, to data/mixed_shapes.csv

A row is measured again as a whole where its netlist was not simulated: counts and netlist then belong to the same RTL. After a change of the RTL,
delete the files.

The weights are random but seeded, so that no training is needed: clocks and memories depend on the shape alone, and LUTs that hold constants
depend little on their values.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from qtlib import paths
from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.estimate import resources
from qtlib.hardware.engine_schedule import Schedule
from qtlib.program.file import load as load_program
from qtlib.program.program import Program
from qtlib.studies import deployability
from qtlib.toolchain import netlist_simulation, simulation, synthesis
from qtlib.toolchain.design_directory import emit
from qtlib.training import random_models
from qtlib.training.bit_widths import narrow_weights
from qtlib.training.determinism import one_thread
from qtlib.training.lowering import example

FILE = paths.DATA / "shapes.csv"
KEYS = ("window", "d_model", "bits", "features", "layers", "heads", "lanes", "unroll", "requantisers")
COUNTS = ("lut", "lut_memory", "ff", "dsp", "ramb18")
COLUMNS = (
    *KEYS,
    "latency",
    "interval",
    *COUNTS,
    "fits",
    "windows",
    "mismatches",
    "device",
    "simulator",
    "synthesiser",
    "netlist_windows",
)
NETLISTS = paths.DATA / "netlists.csv"
NETLIST_COLUMNS = (
    "program",
    "digest",
    "latency",
    *COUNTS,
    "netlist_windows",
    "mismatches",
    "device",
    "simulator",
    "synthesiser",
)
MIXED = paths.DATA / "mixed_shapes.csv"
MIXED_KEYS = ("device", "window", "d_model", "bits")
WIDTHS = ("weight_bits", "feed_forward_bits")
ENGINE = (*WIDTHS, "lanes", "unroll", "requantisers", "multiplier")
MIXED_COLUMNS = (
    *MIXED_KEYS, *ENGINE, "mean_weight_bits", "latency", *COUNTS, *(f"{name}_estimated" for name in COUNTS),
    "fits", "windows", "mismatches", "netlist_windows", "simulator", "synthesiser",
)  # fmt: skip
WINDOWS = 20
NETLIST_WINDOWS = 2
TIMEOUT = 3600
CASES = (
    (24, 16, 8, 1, 1, 1, 24, 1, 3),
    (24, 16, 4, 1, 1, 1, 24, 2, 4),
    (6, 64, 8, 7, 1, 1, 6, 6, 1),
    (6, 64, 6, 7, 1, 1, 6, 6, 1),
    (12, 64, 6, 7, 1, 1, 12, 3, 2),
    (12, 32, 4, 7, 1, 1, 12, 4, 2),
    (24, 64, 8, 7, 1, 1, 24, 1, 2),
    (24, 64, 6, 7, 1, 1, 24, 1, 2),
    (24, 64, 4, 7, 1, 1, 24, 1, 2),
    (32, 64, 4, 7, 2, 4, 16, 1, 2),
)


def build(prog: Program, hardware: HardwareConfig, simulated: bool) -> tuple[Schedule, int, dict[str, Any], bool]:
    """Emit a design, simulate it if asked, count it and simulate the mapped netlist; each raises where a bit or a clock differs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = emit(prog, hardware, folder, random_models.codes(prog, WINDOWS))
        windows = simulation.simulate(folder, tool="verilator").windows if simulated else 0
        report = synthesis.synthesise(folder, timeout=TIMEOUT)
        mapped = netlist_simulation.check_netlist(folder, windows=NETLIST_WINDOWS, timeout=TIMEOUT)
    common = {
        **{name: report["total"][name] for name in COUNTS},
        "mismatches": 0,
        "device": report["device"]["name"],
        "simulator": mapped.version,
        "synthesiser": report["version"],
        "netlist_windows": mapped.windows,
    }
    return plan, windows, common, report["device"]["fits"]


def measure(
    window: int,
    d_model: int,
    bits: int,
    features: int,
    layers: int,
    heads: int,
    lanes: int,
    unroll: int,
    requantisers: int,
) -> dict[str, Any]:
    """One row of the file: simulated in every bit, counted, and the netlist simulated."""
    shape = ModelConfig(window=window, features=features, d_model=d_model, layers=layers, heads=heads)
    hardware = HardwareConfig(lanes=lanes, unroll=unroll, requantisers=requantisers)
    plan, windows, common, fits = build(random_models.program(shape, QuantConfig(bits=bits)), hardware, simulated=True)
    return {
        **dict(zip(KEYS, (window, d_model, bits, features, layers, heads, lanes, unroll, requantisers), strict=True)),
        "latency": plan.latency,
        "interval": plan.interval,
        **common,
        "fits": fits,
        "windows": windows,
    }


def read(file: Path) -> list[dict[str, Any]]:
    """Rows of a file; none where there is no file."""
    return list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []


def write(file: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write all rows, a cell that a row lacks empty."""
    lines = [columns, *([str(row.get(name, "")) for name in columns] for row in rows)]
    paths.write_atomic(file, "".join(",".join(line) + "\n" for line in lines))


def run(progress: Callable[[str], None] = print) -> None:
    """Measure every case that data/shapes.csv lacks."""
    rows = {tuple(int(row[key]) for key in KEYS): row for row in read(FILE)}
    for case in CASES:
        if not rows.get(case, {}).get("netlist_windows"):
            rows[case] = measure(*case)
            known = sorted(rows.values(), key=lambda row: CASES.index(tuple(int(row[key]) for key in KEYS)))
            write(FILE, COLUMNS, known)
            progress(f"{FILE.name}: {rows[case]}")


def beside_estimates(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of data/shapes.csv with what the estimate says of them today, as in data/mixed_shapes.csv: ``lut_estimated`` and so on,
    and ``latency_estimated``, which is exact."""
    found = []
    for row in rows.to_dict("records"):
        shape = ModelConfig(**{name: row[name] for name in ("window", "d_model", "features", "layers", "heads")})
        hardware = HardwareConfig(**{name: row[name] for name in ("lanes", "unroll", "requantisers")})
        with one_thread():
            estimated = resources.estimate(example(shape, QuantConfig(bits=row["bits"])), hardware)
        counts = {f"{name}_estimated": round(getattr(estimated.total, name)) for name in COUNTS}
        found.append(row | {"latency_estimated": estimated.clocks} | counts)
    return pd.DataFrame(found)


def mixed_design(case: tuple[Any, ...], design: Any) -> tuple[Program, HardwareConfig]:
    """Program and hardware of a row of data/deployability.csv."""
    device, (window, d_model, bits) = case[0], map(int, case[1:])
    shape = ModelConfig(window=window, features=deployability.FEATURES, d_model=d_model)
    quant = narrow_weights(bits, *(int(design[name]) for name in WIDTHS))
    fixed: dict[str, Any] = {key: int(design[key]) for key in ("lanes", "unroll", "requantisers")}
    return random_models.program(shape, quant), HardwareConfig(device=device, multiplier=design.multiplier, **fixed)


def run_mixed(progress: Callable[[str], None] = print) -> None:
    """Designs of data/deployability.csv that fit their device with mixed widths only; their estimates beside the counts."""
    found = deployability.load().set_index([*MIXED_KEYS, "freedom"]).unstack()
    kept = {tuple(row[key] for key in (*MIXED_KEYS, *ENGINE)): row for row in read(MIXED)}
    rows = []
    for case in found.index[found.fits.mixed & ~found.fits.selectable]:
        design = found.loc[case].xs("mixed", level=1)
        key = (*map(str, case), *(str(design[name]) for name in ENGINE))
        if not kept.get(key, {}).get("netlist_windows"):
            prog, hardware = mixed_design(case, design)
            plan, windows, common, fits = build(prog, hardware, simulated=True)
            total = resources.estimate(prog, hardware).total
            kept[key] = dict(zip((*MIXED_KEYS, *ENGINE), key, strict=True)) | common
            kept[key] |= {f"{name}_estimated": round(getattr(total, name)) for name in COUNTS}
            kept[key] |= {"mean_weight_bits": round(prog.mean_weight_bits, 3), "latency": plan.latency}
            kept[key] |= {"fits": fits, "windows": windows}
        rows.append(kept[key])
        write(MIXED, MIXED_COLUMNS, rows)
        progress(f"{MIXED.name}: {rows[-1]}")


def run_programs(progress: Callable[[str], None] = print) -> None:
    """Netlists of the programs that the notebooks trained, on the hardware that they use."""
    rows = {row["program"]: row for row in read(NETLISTS)}
    for file in sorted((paths.prepared() / "programs").glob("*.qtp")):
        prog = load_program(file)
        if rows.get(file.stem, {}).get("digest") != prog.digest:
            plan, _, common, _ = build(prog, HardwareConfig(), simulated=False)
            rows[file.stem] = {"program": file.stem, "digest": prog.digest, "latency": plan.latency, **common}
            write(NETLISTS, NETLIST_COLUMNS, rows.values())
            progress(f"{NETLISTS.name}: {rows[file.stem]}")

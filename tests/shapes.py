"""Emit, simulate and synthesise the published shapes and those that did not fit, and simulate the mapped netlists; write data/shapes.csv.

    PYTHONPATH=tests python tests/shapes.py             # skips what the file has, netlist included; about half an hour in all
    PYTHONPATH=tests python tests/shapes.py 0 4         # only these of CASES
    PYTHONPATH=tests python tests/shapes.py programs    # netlists of the trained programs, to data/netlists.csv
    PYTHONPATH=tests python tests/shapes.py mixed       # what fits the XC7S6 with mixed widths only, to data/mixed_shapes.csv

A row is measured again as a whole where its netlist was not simulated: counts and netlist then belong to the same RTL. After a change of the RTL,
delete the files.

The weights are random but seeded, so that no training is needed: clocks and memories depend on the shape alone, and LUTs that hold constants
depend little on their values.
"""

import csv
import sys
import tempfile
from pathlib import Path

import small

from qtlib import deploy, netlist, paths, program, resources, simulate, synthesise
from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.emit import emit
from qtlib.quantise import narrow_weights

FILE = paths.ROOT / "data" / "shapes.csv"
KEYS = ("window", "d_model", "bits", "features", "layers", "heads", "lanes", "unroll", "requantisers")
COUNTS = ("lut", "lut_memory", "ff", "dsp", "ramb18")
COLUMNS = (*KEYS, "latency", "interval", *COUNTS, "fits", "windows", "mismatches", "device", "simulator", "synthesiser", "netlist_windows")
NETLISTS = paths.ROOT / "data" / "netlists.csv"
NETLIST_COLUMNS = ("program", "digest", "latency", *COUNTS, "netlist_windows", "mismatches", "device", "simulator", "synthesiser")
MIXED = paths.ROOT / "data" / "mixed_shapes.csv"
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


def build(prog, hardware, simulated):
    """Emit a design, simulate it if asked, count it and simulate the mapped netlist; each raises where a bit or a clock differs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = emit(prog, hardware, folder, small.codes(prog, WINDOWS))
        found = simulate.simulate(folder, tool="verilator") if simulated else None
        report = synthesise.synthesise(folder, timeout=TIMEOUT)
        mapped = netlist.check_netlist(folder, windows=NETLIST_WINDOWS, timeout=TIMEOUT)
    common = {
        **{name: report["total"][name] for name in COUNTS},
        "mismatches": 0,
        "device": report["device"]["name"],
        "simulator": mapped.version,
        "synthesiser": report["version"],
        "netlist_windows": mapped.windows,
    }
    return plan, found, common, report["device"]["fits"]


def measure(window, d_model, bits, features, layers, heads, lanes, unroll, requantisers):
    """One row of the file: simulated in every bit, counted, and the netlist simulated."""
    shape = ModelConfig(window=window, features=features, d_model=d_model, layers=layers, heads=heads)
    hardware = HardwareConfig(lanes=lanes, unroll=unroll, requantisers=requantisers)
    plan, found, common, fits = build(small.program(shape, QuantConfig(bits=bits)), hardware, simulated=True)
    return {
        **dict(zip(KEYS, (window, d_model, bits, features, layers, heads, lanes, unroll, requantisers), strict=True)),
        "latency": plan.latency,
        "interval": plan.interval,
        **common,
        "fits": fits,
        "windows": found.windows,
    }


def read(file):
    """Rows of a file; none where there is no file."""
    return list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []


def write(file, columns, rows):
    """Write all rows, a cell that a row lacks empty."""
    lines = [columns, *([str(row.get(name, "")) for name in columns] for row in rows)]
    paths.write_atomic(file, "".join(",".join(line) + "\n" for line in lines))


def main(words):
    if words in (["programs"], ["mixed"]):
        return {"programs": programs, "mixed": mixed}[words[0]]()
    rows = {tuple(int(row[key]) for key in KEYS): row for row in read(FILE)}
    for case in [CASES[int(word)] for word in words] or CASES:
        if not rows.get(case, {}).get("netlist_windows"):
            rows[case] = measure(*case)
            write(FILE, COLUMNS, sorted(rows.values(), key=lambda row: CASES.index(tuple(int(row[key]) for key in KEYS))))
            print(rows[case], flush=True)


def mixed_design(case, design):
    """Program and hardware of a row of data/deployability.csv."""
    device, (window, d_model, bits) = case[0], map(int, case[1:])
    shape = ModelConfig(window=window, features=deploy.FEATURES, d_model=d_model)
    quant = narrow_weights(bits, *(int(design[name]) for name in WIDTHS))
    fixed = {key: int(design[key]) for key in ("lanes", "unroll", "requantisers")}
    return small.program(shape, quant), HardwareConfig(device=device, multiplier=design.multiplier, **fixed)


def mixed():
    """Designs of data/deployability.csv that fit their device with mixed widths only; their estimates beside the counts."""
    found = deploy.load().set_index([*MIXED_KEYS, "freedom"]).unstack()
    kept = {tuple(row[key] for key in (*MIXED_KEYS, *ENGINE)): row for row in read(MIXED)}
    rows = []
    for case in found.index[found.fits.mixed & ~found.fits.selectable]:
        design = found.loc[case].xs("mixed", level=1)
        key = (*map(str, case), *(str(design[name]) for name in ENGINE))
        if not kept.get(key, {}).get("netlist_windows"):
            prog, hardware = mixed_design(case, design)
            plan, simulated, common, fits = build(prog, hardware, simulated=True)
            total = resources.estimate(prog, hardware).total
            kept[key] = dict(zip((*MIXED_KEYS, *ENGINE), key, strict=True)) | common
            kept[key] |= {f"{name}_estimated": round(getattr(total, name)) for name in COUNTS}
            kept[key] |= {"mean_weight_bits": round(prog.mean_weight_bits, 3), "latency": plan.latency}
            kept[key] |= {"fits": fits, "windows": simulated.windows}
        rows.append(kept[key])
        write(MIXED, MIXED_COLUMNS, rows)
        print(rows[-1], flush=True)


def programs():
    """Netlists of the programs that the notebooks trained, on the hardware that they use."""
    rows = {row["program"]: row for row in read(NETLISTS)}
    for file in sorted((paths.prepared() / "programs").glob("*.qtp")):
        prog = program.load(file)
        if rows.get(file.stem, {}).get("digest") != prog.digest:
            plan, _, common, _ = build(prog, HardwareConfig(), simulated=False)
            rows[file.stem] = {"program": file.stem, "digest": prog.digest, "latency": plan.latency, **common}
            write(NETLISTS, NETLIST_COLUMNS, rows.values())
            print(rows[file.stem], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

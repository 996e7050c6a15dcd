"""How fast engine, simulators, training and tools are: each as a ratio to a named reference of the same run.

Times depend on the machine and on what else it does, so a time alone says little: what is compared runs in turns, the first round is thrown
away, and the median stands beside the lowest and the highest. Clocks are formulas and the same everywhere. A missing tool is a
named skip. Every section is written when it is done; a section that is not run again keeps what it had.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import qtlib
from qtlib import paths
from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.estimate import resources
from qtlib.hardware.engine_schedule import schedule
from qtlib.program.program import Program
from qtlib.program.reference import predict as integer_predict
from qtlib.program.reference import run as integer_run
from qtlib.toolchain import external_tools, simulation, synthesis
from qtlib.toolchain.design_directory import emit
from qtlib.toolchain.input_stimuli import stimuli

FILE = "benchmark.json"
# Simulation of the template of arXiv 2407.11041 at n=24, m=1, d=16, FFN 64, 8 bit; quoted, not run here.
TEMPLATE_CLOCKS, TEMPLATE_MACS = 122_495, 92_560
TEMPLATE = f"multiplications per clock of the published template ({TEMPLATE_MACS:,} in {TEMPLATE_CLOCKS:,} clocks)"


class Size(NamedTuple):
    """How much is measured; tests take less."""

    window: int = 24
    d_model: int = 16
    widths: tuple[int, ...] = (16, 64)  # d_model of the training steps
    batch: int = 256  # of inference
    training_batch: int = 64
    steps: int = 10  # training steps in one repetition
    repetitions: int = 7
    slow: int = 3  # repetitions of what takes many seconds
    chunks: int = 6  # of windows in Verilator


class Row(NamedTuple):
    """One measurement."""

    what: str
    kind: str  # formula | measured
    value: float
    unit: str
    low: float | None  # lowest and highest of the repetitions
    high: float | None
    repetitions: int
    reference: str
    ratio: float  # of value to reference; above 1 is better
    ratio_low: float | None = None
    ratio_high: float | None = None


def example(window: int, d_model: int, bits: int, features: int = 1, layers: int = 1, heads: int = 1) -> Program:
    """`qtlib.training.example` of one width."""
    from qtlib.training import lowering

    config = ModelConfig(window=window, d_model=d_model, features=features, layers=layers, heads=heads)
    return lowering.example(config, QuantConfig(bits=bits))


def _models(config: ModelConfig, bits: int) -> tuple[Any, Any]:
    """A float encoder and the same one prepared for quantised training."""
    import torch

    from qtlib.training.encoder import Encoder
    from qtlib.training.quantised_encoder import QuantisedEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = Encoder(config)
        x = torch.randn(32, config.window, config.features)
    return encoder, QuantisedEncoder(encoder, QuantConfig(bits=bits), x)


def timed(actions: Mapping[str, Callable[[], Any]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of every action in every repetition, in turns; an unmeasured round comes first."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for repetition in range(repetitions + 1):
        for name, action in actions.items():
            begin = time.perf_counter()
            action()
            if repetition:
                found[name].append(time.perf_counter() - begin)
    return found


def compared(
    what: str, amount: float, unit: str, own: list[float], reference: str, other: list[float], share: float = 1
) -> Row:
    """A rate (``amount`` per own time) beside that of a reference, which does ``share`` of the amount in its time.

    Args:
        own, other: seconds; of equal length they belong together in pairs, else the medians are compared.
    """
    rates = [amount / seconds for seconds in own]
    if len(own) == len(other):
        ratios = [theirs / (share * mine) for mine, theirs in zip(own, other, strict=True)]
    else:
        ratios = [statistics.median(other) / (share * statistics.median(own))]
    spread = (min(ratios), max(ratios)) if len(ratios) > 1 else (None, None)
    middle = statistics.median(ratios)
    return Row(
        what, "measured", statistics.median(rates), unit, min(rates), max(rates), len(rates), reference, middle, *spread
    )


def engine(size: Size) -> Iterator[Row]:
    """Clocks of the published shapes, laid out as in data/shapes.csv; multiplications per clock against the template's."""
    file = paths.table(paths.DATA / "shapes.csv")
    keys = ["window", "d_model", "bits", "features", "layers", "heads"]
    small = {"window": 24, "d_model": 16, "features": 1, "layers": 1, "heads": 1, "lanes": 24, "unroll": 1}
    cases: list[dict[str, Any]] = [
        small | {"bits": bits} for bits in (8, 6, 4)
    ]  # the trained programs, on the hardware of `HardwareConfig()`
    known = [[case[name] for name in small] + [case["bits"]] for case in cases]
    published = pd.read_csv(file).to_dict("records")
    for case in ({str(name): value for name, value in row.items()} for row in published):
        if [case[name] for name in small] + [case["bits"]] not in known:
            cases.append(case)
    for case in cases:
        choices: dict[str, Any] = {
            name: int(case[name]) for name in ("lanes", "unroll", "requantisers") if name in case
        }
        hardware = HardwareConfig(**choices)
        plan = schedule(example(**{key: int(case[key]) for key in keys}), hardware)
        macs = plan.program.macs
        name = f"n={case['window']}, d={case['d_model']}, m={case['features']}, {case['bits']} bit"
        if case["layers"] > 1:
            name += f", {case['layers']} layers, {case['heads']} heads"
        what = f"{name}, {plan.multipliers} multipliers at {plan.utilisation:.1%}"
        ratio = macs / plan.latency * TEMPLATE_CLOCKS / TEMPLATE_MACS
        yield Row(what, "formula", plan.latency, "clocks", None, None, 0, TEMPLATE, ratio)


def training(size: Size) -> Iterator[Row]:
    """A step of quantised training against the float step of the same model and batch, torch on one thread."""
    import torch

    from qtlib.training.determinism import one_thread
    from qtlib.training.training_loop import step

    with one_thread():
        for width in size.widths:
            config = ModelConfig(window=size.window, d_model=width)
            generator = torch.Generator().manual_seed(1)
            x = torch.randn(size.training_batch, config.window, config.features, generator=generator)
            y = torch.randn(size.training_batch, config.outputs, generator=generator)

            def steps(model: Any, x: Any = x, y: Any = y) -> Callable[[], None]:
                model.train()
                optimiser = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)

                def some() -> None:
                    for _ in range(size.steps):
                        step(model, optimiser, x, y, "benchmark")

                return some

            actions = {"float": steps(_models(config, 8)[0]), "quantised": steps(_models(config, 8)[1])}
            found = timed(actions, size.repetitions)
            what = f"quantised training, d={width}, batch {size.training_batch}, 1 thread"
            reference = "float training step, 1 thread"
            yield compared(what, size.steps, "steps/s", found["quantised"], reference, found["float"])


def inference(size: Size) -> Iterator[Row]:
    """The integer reference in NumPy, which starts no threads, against the float model with torch on one thread and on its default."""
    import torch

    from qtlib.training.determinism import one_thread
    from qtlib.training.training_loop import forecast

    config = ModelConfig(window=size.window, d_model=size.d_model)
    x = np.random.default_rng(0).standard_normal((size.batch, config.window, config.features)).astype(np.float32)
    encoder = _models(config, 8)[0]
    program = example(size.window, size.d_model, 8)
    actions = {
        "float": lambda: forecast(encoder, x, size.batch),
        "integer": lambda: integer_predict(program, x),
    }
    what = f"integer reference, n={size.window}, d={size.d_model}, batch {size.batch}, 1 thread"
    with one_thread():
        found = timed(actions, 3 * size.repetitions)
    yield compared(what, size.batch, "windows/s", found["integer"], "float model in torch, 1 thread", found["float"])
    if (threads := torch.get_num_threads()) > 1:
        found = timed(actions, 3 * size.repetitions)
        reference = f"float model in torch, {threads} threads"
        yield compared(what, size.batch, "windows/s", found["integer"], reference, found["float"])


def _reference(program: Program, size: Size) -> list[float]:
    codes = stimuli(program, size.batch)
    return timed({"integer": lambda: integer_run(program, codes)}, size.repetitions)["integer"]


def ghdl(size: Size) -> Iterator[Row]:
    """Windows per second of the VHDL in GHDL; building is taken off by running two numbers of windows."""
    external_tools.find("ghdl")
    program = example(size.window, size.d_model, 8)
    with tempfile.TemporaryDirectory() as folder:
        emit(program, HardwareConfig(), Path(folder), stimuli(program, 5))
        actions = {str(n): lambda n=n: simulation.simulate(Path(folder), windows=n) for n in (1, 5)}
        found = timed(actions, size.slow)
    own = [five - one for one, five in zip(found["1"], found["5"], strict=True)]
    yield _simulated("GHDL", size, 4, own, program)


def verilator(size: Size) -> Iterator[Row]:
    """Windows per second of the Verilog in Verilator, without building it."""
    for name in simulation.NEEDS["verilator"]:
        external_tools.find(name)
    program = example(size.window, size.d_model, 8)
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        emit(program, HardwareConfig(), Path(folder), stimuli(program, size.chunks * simulation.CHUNK))
        simulation.simulate(Path(folder), tool="verilator", progress=lambda *_: moments.append(time.perf_counter()))
    # The first chunk ends one build after the start, the others one chunk after each other.
    own = [later - earlier for earlier, later in pairwise(moments)]
    yield _simulated("Verilator", size, simulation.CHUNK, own, program)


def _simulated(tool: str, size: Size, windows: int, own: list[float], program: Program) -> Row:
    what = f"{tool}, n={size.window}, d={size.d_model}, 8 bit"
    return compared(
        what, windows, "windows/s", own, "integer reference", _reference(program, size), size.batch / windows
    )


def design(size: Size) -> Iterator[Row]:
    """Designs per second that are estimated and emitted, against synthesis of the same design."""
    from qtlib.studies.deployability import hardware_choices

    external_tools.find("ghdl")
    external_tools.find("yosys")
    program, hardware = example(size.window, size.d_model, 8), HardwareConfig()
    choices = list(hardware_choices(size.window))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quick = {
            "estimated": lambda: [resources.estimate(program, choice) for choice in choices],
            "emitted": lambda: emit(program, hardware, folder),
        }
        found = timed(quick, size.repetitions)
        whole = timed({"synthesised": lambda: synthesis.synthesise(folder, cached=False)}, size.slow)["synthesised"]
    shape = f"n={size.window}, d={size.d_model}, 8 bit"
    for (action, seconds), count in zip(found.items(), (len(choices), 1), strict=True):
        what = f"{action}, {shape}" + (f", {count} choices of hardware" if count > 1 else "")
        yield compared(what, count, "designs/s", seconds, "synthesis by GHDL and Yosys", whole, 1 / count)
    yield Row(
        f"synthesised, {shape}", "measured", 1 / statistics.median(whole), "designs/s", 1 / max(whole), 1 / min(whole), len(whole),
        "synthesis by GHDL and Yosys", 1.0,
    )  # fmt: skip


SECTIONS: dict[str, Callable[[Size], Iterator[Row]]] = {
    "engine": engine,
    "training": training,
    "inference": inference,
    "ghdl": ghdl,
    "verilator": verilator,
    "design": design,
}
TOOLS = {"ghdl": ("ghdl",), "verilator": ("verilator", "g++", "ghdl"), "design": ("ghdl", "yosys")}


def run(
    sections: Collection[str] = (), size: Size | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Measure sections, none given: all, write each to ``data/results/benchmark.json`` when it is done, and return the file's content.

    Raises:
        ValueError: there is no such section.
    """
    for name in sections:
        if name not in SECTIONS:
            raise ValueError(f"benchmark: section={name!r} is not one of {', '.join(SECTIONS)}")
    size = size or Size()
    for name in sections or SECTIONS:
        say(f"bench: {name}: {(SECTIONS[name].__doc__ or name).splitlines()[0]}")
        try:
            versions = {tool: external_tools.find(tool).version for tool in TOOLS.get(name, ())}
            section = {"environment": environment() | versions, "rows": [row._asdict() for row in SECTIONS[name](size)]}
        except external_tools.MissingTool as missing:
            section = {"skipped": str(missing)}
        content = load()
        content[name] = {**content.get(name, {}), **section} if "skipped" in section else section
        ordered = {key: content[key] for key in SECTIONS if key in content}
        text = json.dumps(ordered, indent=1, allow_nan=False, default=float)
        paths.write_atomic(paths.results() / FILE, text + "\n")
    return load()


def load() -> dict[str, Any]:
    """What was measured so far, by section; empty when nothing was."""
    file = paths.results() / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def environment() -> dict[str, Any]:
    """Machine and versions that a time belongs to; ``load`` is the work of others when it begins, in cores."""
    from importlib.metadata import version

    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "torch")},
        "qtlib": qtlib.__version__,
    }


def processor() -> str:
    """Name of the processor as the system tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(content: Mapping[str, Any]) -> str:
    """What was measured, as text: one line for each measurement, and for each section that was skipped."""
    lines = []
    for name, section in content.items():
        if "skipped" in section:
            lines.append((name, f"skipped: {section['skipped']}", "", "", ""))
        for plain in section.get("rows", ()):
            row = Row(**plain)
            spread, within = "formula", ""
            if row.low is not None and row.high is not None:
                spread = f"{_short(row.low)} to {_short(row.high)}, {row.repetitions} times"
            if row.ratio_low is not None and row.ratio_high is not None:
                within = f" ({_short(row.ratio_low)} to {_short(row.ratio_high)})"
            lines.append(
                (
                    name,
                    row.what,
                    f"{_short(row.value)} {row.unit}",
                    spread,
                    f"{_short(row.ratio)}{within} x {row.reference}",
                )
            )
    heads = ("section", "measured", "median", "lowest to highest", "ratio to the reference, above 1 is better")
    widths = [max([len(head), *(len(line[k]) for line in lines if line[2])]) for k, head in enumerate(heads)]
    rows = [heads, tuple("-" * width for width in widths), *lines]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _short(value: float) -> str:
    """Three digits, more of a number that has more before the point."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 6)}f}"

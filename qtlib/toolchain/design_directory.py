"""Write a design directory: the hand-written entities, the constants of one program, vectors and a README.

Templates hold data only; equal inputs give equal bytes, and nothing in a directory depends on where it lies.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from qtlib import __version__
from qtlib.config import STORES, HardwareConfig
from qtlib.estimate.device_fit import check_fit
from qtlib.hardware.engine_schedule import Schedule, schedule
from qtlib.hardware.memory_allocation import allocate
from qtlib.hardware.microprogram import Instruction
from qtlib.hardware.rom_contents import contents
from qtlib.paths import HDL, write_atomic
from qtlib.program import reference
from qtlib.program.codes import Codes
from qtlib.program.file import save
from qtlib.program.operations import Context, Head, LayerNorm, Linear, Scores
from qtlib.program.program import Program

RTL = (
    "qt_pkg", "ram", "rom", "load", "issue", "operand_addresses", "activation_stores", "weight_store", "operand_select", "mac", "lanes",
    "requantise", "retire", "divider", "softmax", "layer_norm", "exponential_store", "reciprocal_store", "row_statistics", "unload", "engine",
)  # fmt: skip
SOURCES = ("qt_pkg.vhd", "design_pkg.vhd", *(f"{name}.vhd" for name in RTL[1:]), "accelerator.vhd")
TESTBENCH = "tb_accelerator.vhd"
VENDOR = ("vivado.tcl", "clock.xdc")
# Of every device in `qtlib.hardware.devices` (AMD DS180, table of Spartan-7 packages), slowest speed grade.
PACKAGE = "ftgb196-1"

_templates = Environment(
    loader=FileSystemLoader(HDL / "templates"),
    undefined=StrictUndefined,  # a forgotten value is an error, not an empty string
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


class Constant(NamedTuple):
    """A VHDL constant."""

    name: str
    type: str
    value: str


class Memory(NamedTuple):
    """Contents of a ROM as binary words."""

    name: str
    bits: int
    words: list[str]


def emit(
    program: Program, hardware: HardwareConfig, directory: Path, codes: Codes | None = None, *, must_fit: bool = False
) -> Schedule:
    """Write a self-contained design directory.

    Args:
        program: what the accelerator computes.
        hardware: how it is built; never changes an output bit.
        directory: created if needed; files of other names are left alone.
        codes: [B, n, m] input codes of the test vectors; None writes no vectors.
        must_fit: refuse, before anything is written, a design that exceeds its device by the estimate.

    Returns:
        the schedule, with the exact clocks.

    Raises:
        ValueError: the hardware choices are illegal for this program, or it must fit and does not; the text says what would.
        NotADirectoryError: ``directory`` is a file.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"emit: {directory} is a file; name a folder, or a path that does not exist yet")
    if must_fit:
        check_fit(program, hardware)
    plan = allocate(schedule(program, hardware))
    for name in RTL:
        write_atomic(directory / f"{name}.vhd", (HDL / "rtl" / f"{name}.vhd").read_bytes())
    write_atomic(directory / TESTBENCH, (HDL / "tb" / TESTBENCH).read_bytes())
    constants, memories = _constants(plan), _memories(plan)
    common = {"version": __version__, "digest": program.digest}
    package = _templates.get_template("design_pkg.vhd.j2").render(
        **common, constants=constants, memories=memories, operations=[_operation(plan, i) for i in plan.instructions]
    )
    write_atomic(directory / "design_pkg.vhd", package)
    generics = [c.name for c in constants if c.name not in ("latency", "interval")]
    generics += [m.name for m in memories] + ["issue_program", "retire_program"]
    outputs = program.output.shape[0]
    top = _templates.get_template("accelerator.vhd.j2").render(**common, generics=generics, outputs=outputs)
    write_atomic(directory / "accelerator.vhd", top)
    save(program, directory / "program.qtp")
    described = describe(plan) | {"asked": asdict(hardware)}  # of which the allocation has settled memory types
    write_atomic(directory / "design.json", json.dumps(described, indent=1, sort_keys=True) + "\n")
    vendor = {
        "part": plan.hardware.device + PACKAGE,
        "sources": " ".join(SOURCES),
        "clock_mhz": f"{plan.hardware.clock_mhz:g}",
        "period": f"{1e3 / plan.hardware.clock_mhz:.3f}",
    }
    for name in VENDOR:
        write_atomic(directory / name, _templates.get_template(f"{name}.j2").render(**common, **vendor))
    count = 0
    if codes is not None:
        count = write_vectors(program, codes, directory)
    else:  # those of an earlier program would fail
        for name in ("stimuli.txt", "expected.txt"):
            (directory / name).unlink(missing_ok=True)
    write_atomic(directory / "README.md", _readme(plan, count))
    return plan


def write_vectors(program: Program, codes: Codes, directory: Path) -> int:
    """Write stimuli and expected results, one integer per line in the order of the ports; returns the windows."""
    expected = reference.run(program, codes)
    stimuli = codes.transpose(0, 2, 1)  # [B, m, n]: feature after feature
    write_atomic(directory / "stimuli.txt", "".join(f"{code}\n" for code in stimuli.ravel()))
    write_atomic(directory / "expected.txt", "".join(f"{result}\n" for result in expected.ravel()))
    return len(codes)


def rtl_digest() -> str:
    """First twelve hex digits of the SHA-256 of the hand-written entities, comments and blank space aside."""
    bare = [re.sub(r"--[^\n]*", "", (HDL / "rtl" / f"{name}.vhd").read_text(encoding="utf-8")) for name in RTL]
    return hashlib.sha256("\n".join(" ".join(text.split()) for text in bare).encode()).hexdigest()[:12]


def describe(plan: Schedule) -> dict[str, Any]:
    """What a design is, for reports: shape, clocks and stores; every number is a formula of the schedule."""
    return {
        "qtlib": __version__,
        "program": plan.program.digest,
        "run_id": plan.program.metadata.get("run_id"),
        "hardware": asdict(plan.hardware),
        "shape": {**asdict(plan.shape), "groups": plan.shape.groups, "multipliers": plan.multipliers},
        "features": plan.program.input.shape[1],
        "outputs": plan.program.output.shape[0],
        "macs": plan.program.macs,
        "latency": plan.latency,
        "interval": plan.interval,
        "kind": "formula",
        "operands": plan.operands,
        "dsp_macs": plan.dsp_macs,
        "weight_store": {
            "packings": [packing._asdict() for packing in plan.weight_packings],
            "segments": list(plan.weight_segments or (plan.weight_words,)),
            "block_segments": plan.block_segments,
        },
        "widths": plan.widths,
    }


def _constants(plan: Schedule) -> list[Constant]:
    shape, hardware = plan.shape, plan.hardware
    numbers = {
        "window": shape.window,
        "features": plan.program.input.shape[1],
        "outputs": plan.program.output.shape[0],
        "lane_count": shape.lanes,
        "unroll": shape.unroll,
        "requantisers": shape.requantisers,
        "operands": plan.operands,
        **plan.widths,
        "activation_depth": plan.activation_depth,
        "broadcast_depth": plan.broadcast_depth,
        "weight_word_bits": plan.weight_word_bits,
        "address_width": plan.address_width,
        "count_width": plan.count_width,
        "latency": plan.latency,
        "interval": plan.interval,
    }
    lists: dict[str, Sequence[int]] = {
        "shifts": plan.shifts,
        "residual_shifts": plan.residual_shifts,
        "widths": plan.code_widths,
    }
    lists["weight_segments"] = plan.weight_segments or (plan.weight_words,)
    lists |= {f"packing_{name}": [getattr(p, name) for p in plan.weight_packings] for name in ("bits", "weights")}
    styles = {f"{store}_memory": hardware.memory_type(store) for store in STORES}
    return [
        *(Constant(name, "positive", str(value)) for name, value in numbers.items()),
        Constant("dsp_macs", "natural", str(plan.dsp_macs)),
        Constant("block_segments", "natural", str(plan.block_segments)),
        *_norm_constants(plan),
        *(
            # Named associations, because VHDL refuses a positional aggregate of one element.
            Constant(
                name,
                f"integer_vector(0 to {len(values) - 1})",
                "(" + ", ".join(f"{index} => {value}" for index, value in enumerate(values)) + ")",
            )
            for name, values in lists.items()
        ),
        *(Constant(name, "string", f'"{value}"') for name, value in styles.items()),
    ]


def _norm_constants(plan: Schedule) -> list[Constant]:
    x = plan.norm_input
    return [
        Constant("norm_features", "natural", str(x.shape[-1] if x else 0)),
        Constant("norm_bits", "positive", str(x.bits if x else 2)),
        Constant("norm_reciprocal_bits", "positive", str(plan.norm.reciprocal_bits if plan.norm else 2)),
    ]


def _memories(plan: Schedule) -> list[Memory]:
    widths, shape, held = plan.widths, plan.shape, contents(plan)
    words_and_bits = {
        "weights": (held.weights, plan.weight_word_bits),
        "head_weights": (held.head_weights, shape.unroll * widths["head_bits"]),
        "parameters": (held.parameters, widths["mult_bits"] + widths["residual_mult_bits"] + widths["offset_bits"]),
        "positions": (held.positions, shape.lanes * widths["position_bits"]),
        "exponentials": (held.exponentials, widths["exponential_bits"]),
    }
    return [
        Memory(name, bits, [f"{word:0{bits}b}" for word in words]) for name, (words, bits) in words_and_bits.items()
    ]


def _operation(plan: Schedule, i: Instruction) -> dict[str, Any]:
    op = i.source
    y = plan.program.tensors[i.tensor]
    residual_shift = op.residual_shift if isinstance(op, Linear) and op.residual is not None else 0
    return {
        "name": i.name,
        "issue": {
            "x_source": i.x_source,
            "w_source": i.w_source,
            "x_base": i.x_base,
            "w_base": i.w_base,
            "last_place": plan.weight_packings[i.packing].weights - 1,
            "packing": i.packing,
            "last_term": i.inner - 1,
            "last_clock": i.period - 1,
            "last_step": i.steps - 1,
            "hold": i.hold,
            "fill": _boolean(isinstance(op, Head)),
        },
        "retire": {
            "last_step": i.steps - 1,
            "parameter_base": i.parameter_base,
            "parameter_shared": _boolean(isinstance(op, (Scores, Context, LayerNorm))),
            "row_multiplier": _boolean(isinstance(op, (Context, LayerNorm))),
            "residual": i.residual,
            "residual_base": i.residual_base,
            "write_activations": _boolean(bool(i.activation)),
            "activation_base": i.activation_base,
            "write_broadcast": _boolean(bool(i.broadcast)),
            "broadcast_base": i.broadcast_base,
            "write_scores": _boolean(isinstance(op, Scores)),
            "write_sums": _boolean(i.root_clocks > 0),
            "table": i.table,
            "write_results": _boolean(isinstance(op, Head)),
            "shift": 0 if isinstance(op, Head) else plan.shifts.index(op.shift),
            "residual_shift": plan.residual_shifts.index(residual_shift),
            "width": 0 if isinstance(op, Head) else plan.code_widths.index(y.bits),
        },
    }


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _readme(plan: Schedule, count: int) -> str:
    program, metadata = plan.program, plan.program.metadata
    n, m = program.input.shape
    commands = "\n".join(
        (
            f"ghdl -a --std=08 {' '.join(SOURCES)} {TESTBENCH}",
            "ghdl -e --std=08 tb_accelerator",
            "ghdl -r --std=08 tb_accelerator --ieee-asserts=disable-at-0",
        )
    )
    facts = [
        {"name": "multiply-accumulates per inference", "value": f"{program.macs:,}", "kind": "formula"},
        {"name": "lanes x unroll", "value": f"{plan.shape.lanes} x {plan.shape.unroll}", "kind": "choice"},
        {"name": "latency, clocks", "value": f"{plan.latency:,}", "kind": "formula, asserted by the testbench"},
        {
            "name": "clocks per window in a stream",
            "value": f"{plan.interval:,}",
            "kind": "formula, asserted by the testbench",
        },
    ]
    return _templates.get_template("README.md.j2").render(
        version=__version__,
        digest=program.digest,
        description=f"Data set: {metadata.get('label', 'not recorded')}; run {metadata.get('run_id', 'not recorded')}.",
        facts=facts,
        window=n,
        features=m,
        input_bits=program.input.bits,
        input_scale=", ".join(map(repr, program.input.scale)),
        input_zero_point=program.input.zero_point,
        result_bits=plan.widths["result_bits"],
        scales=[repr(s) for s in program.output.scale],
        sources=" ".join(SOURCES),
        commands=commands,
        vectors=count,
        results=count * program.output.shape[0],
    )

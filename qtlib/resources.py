"""Resources of a design before synthesis, component by component.

Multipliers, block RAM and distributed RAM follow from the schedule and the rules by which Yosys maps memories; they are exact.
LUTs and flip-flops of control and data paths are sums of *quantities* (bits of an accumulator on every lane, ...) times
coefficients, least squares on the counts of data/knowledge.csv (``python tests/knowledge.py fit``); `qtlib.knowledge` fits them to the Vivado
reports of a user as well. How far off an estimate may be is
`BAND`, from the designs of data/held_out.csv, which the fit has not seen; a test holds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import NamedTuple

from qtlib.config import MULTIPLIERS, STORES, HardwareConfig
from qtlib.devices import DEVICES, device
from qtlib.memory import Resources, allocate, mapped, mux, stores
from qtlib.program import Program
from qtlib.schedule import Schedule, legal_lanes, legal_unrolls, norm_widths, schedule

BAND = {"lut": 0.10, "ff": 0.08}  # of a whole design, relative; on every row of data/held_out.csv

SHORTEST_PRODUCT = 9  # bits of a DSP48E1, DSP_Y_MINWIDTH of synth_xilinx in Yosys 0.70

UNITS = {"lut": "LUTs", "lut_memory": "LUTs as memory", "ff": "flip-flops", "dsp": "DSP blocks", "ramb18": "RAMB18"}

# Instance paths below the top level, the first match wins.
COMPONENTS = (
    (r"engine/multipliers/.*", "multipliers"),
    (r"engine/multipliers", "capture"),
    (r"engine/retire/.*", "requantisers"),
    (r"engine/retire", "retire"),
    (r"engine/issue", "issue"),
    (r"engine/load", "load"),
    (r"engine/unload.*", "unload"),
    (r"engine/softmax/score_store", "score_store"),
    (r"engine/softmax/rows_n\d+_exponentials", "exponential_tables"),
    (r"engine/softmax/rows_n\d+_reciprocal", "dividers"),
    (r"engine/softmax", "softmax"),
    (r"engine/norm_layer_norm/rows_n\d+_squared", "square_tables"),
    (r"engine/norm_layer_norm(/.*)?", "layer_norm"),
    (r"engine/inputs", "input_store"),
    (r"engine/banks_n\d+_activations", "activation_store"),
    (r"engine/banks_n\d+_broadcasts", "broadcast_store"),
    (r"engine/exponential_slices_n\d+_store", "exponential_store"),
    (r"engine/reciprocals", "reciprocal_store"),
    (r"engine/(weight_store|head_store|parameter_store|position_store)(/.*)?", r"\1"),
    (r"(engine)?", "operands"),
)


class Coefficients(NamedTuple):
    """What the LUTs and flip-flops of each quantity come to, by the designs of one tool."""

    fitted_to: str  # tool and version that counted them
    band: dict[str, float]  # how far off a total may be, relative
    values: dict[str, tuple[dict[str, float], dict[str, float]]]  # component -> LUTs, flip-flops of each quantity


class Estimate(NamedTuple):
    """A design before synthesis; every number is a formula."""

    kind: str
    fitted_to: str  # tool and version whose counts the coefficients fit
    components: dict[str, Resources]
    total: Resources
    clocks: int  # latency; exact
    interval: int  # exact
    band: dict[str, float]  # of the coefficients: how far off the total may be, relative; what is not in it is exact


def by_component(entities: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Counts of a synthesis report, by the components of an estimate.

    Raises:
        ValueError: an instance that belongs to no component.
    """
    found: dict[str, dict[str, int]] = {}
    for path, counts in entities.items():
        name = next((match.expand(to) for pattern, to in COMPONENTS if (match := re.fullmatch(pattern, path))), None)
        if name is None:
            raise ValueError(f"resources: the instance {path} belongs to no component")
        row = found.setdefault(name, dict.fromkeys(counts, 0))
        for key, value in counts.items():
            row[key] += value
    return dict(sorted(found.items()))


def estimate(program: Program, hardware: HardwareConfig, coefficients: Coefficients | None = None) -> Estimate:
    """Estimate LUTs, flip-flops, DSP blocks and block RAM of a design.

    Args:
        coefficients: None: `YOSYS`; others by `qtlib.knowledge.load`. Multipliers and memories follow the rules of Yosys with any.

    Raises:
        ValueError: the hardware choices are illegal for this program.
    """
    coefficients = coefficients or YOSYS
    plan = allocate(schedule(program, hardware))
    components = {name: _soft(coefficients.values[name], sizes) for name, sizes in quantities(plan).items()}
    dsp = {"multipliers": mapped_macs(plan), "requantisers": 2 * plan.shape.requantisers}
    for name, blocks in dsp.items():
        components[name] = components[name]._replace(dsp=blocks)
    for name, memory in memories(plan).items():
        components[name] = _sum(components.get(name, Resources()), memory)
    total = _sum(*components.values())
    parts = dict(sorted(components.items()))
    fitted_to, band, _ = coefficients
    return Estimate("formula", fitted_to, parts, total, plan.latency, plan.interval, band)


def exceeded(found: Estimate, name: str) -> dict[str, tuple[int, int]]:
    """Resources of which an estimate needs more than a device has: what it needs, and what there is."""
    budget = device(name)
    pairs = {kind: (round(getattr(found.total, kind)), getattr(budget, kind)) for kind in UNITS}
    return {kind: (needed, there) for kind, (needed, there) in pairs.items() if needed > there}


def check_fit(program: Program, hardware: HardwareConfig, coefficients: Coefficients | None = None) -> Estimate:
    """Estimate a design and refuse it where it exceeds its device.

    Raises:
        ValueError: it does not fit; the text says what is exceeded by how much, and what would fit. Also as `estimate`.
    """
    found = estimate(program, hardware, coefficients)
    over = exceeded(found, hardware.device)
    if not over:
        return found
    needs = ", ".join(
        f"{needed - there:,} {UNITS[kind]} ({needed:,} of {there:,})" for kind, (needed, there) in over.items()
    )
    ways = [
        next(filter(None, (fastest(program, group, coefficients) for group in groups)), None)
        for groups in _alternatives(program, hardware)
    ]
    texts = [f"{_changes(hardware, way)} with {best.clocks:,} clocks" for way, best in filter(None, ways)]
    advice = f"would fit: {'; or '.join(texts)}" if texts else "no lanes, unroll, multiplier or known device would fit"
    raise ValueError(
        f"resources: the design exceeds an {hardware.device} by {needs}, by estimate; it takes {found.clocks:,} clocks; {advice}"
    )


def _alternatives(program: Program, hardware: HardwareConfig) -> tuple[list[list[HardwareConfig]], ...]:
    """Ways out on the same device, and on the next larger ones; in groups, the least change first."""
    free = {
        **dict.fromkeys(sorted(set(STORES.values())), "auto"),
        "stores": (),
        "requantisers": None,
        "multiplier": "auto",
    }
    window = program.input.shape[0]
    lanes = window if hardware.lanes is None else hardware.lanes
    dial = [
        (n, u) for n in legal_lanes(window) for u in legal_unrolls(n) if n * u < lanes * hardware.unroll
    ]
    choices = (hardware.multiplier, *MULTIPLIERS)
    same = [replace(hardware, **{**free, "multiplier": multiplier}) for multiplier in choices]
    same += [replace(hardware, **free, lanes=hardware.lanes if n == lanes else n, unroll=u) for n, u in dial]
    budget = device(hardware.device)
    larger = sorted((found for found in DEVICES.values() if found.lut > budget.lut), key=lambda found: found.lut)
    others = [[replace(hardware, **more, device=other.name)] for other in larger for more in ({}, free)]
    return [same], others


def fastest(
    program: Program, candidates: Iterable[HardwareConfig], coefficients: Coefficients | None = None
) -> tuple[HardwareConfig, Estimate] | None:
    """Of the hardware that fits its device by estimate, what takes the fewest clocks, and of equals the first; None: nothing fits."""
    window = program.input.shape[0]
    best = None
    for candidate in candidates:
        least = program.macs / ((candidate.lanes or window) * candidate.unroll)
        if best and least >= best[1].clocks:
            continue
        try:
            found = estimate(program, candidate, coefficients)
        except ValueError:  # such as products that are too wide to pack
            continue
        if not exceeded(found, candidate.device) and (best is None or found.clocks < best[1].clocks):
            best = candidate, found
    return best


def _changes(before: HardwareConfig, after: HardwareConfig) -> str:
    """The fields in which two choices differ, with the values of the second."""
    values = [(field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(before)]
    return ", ".join(f"{name}={new!r}" for name, old, new in values if new != old)


def _sum(*parts: Resources) -> Resources:
    return Resources(*(sum(column) for column in zip(*parts, strict=True)))


def _soft(pair: tuple[dict[str, float], dict[str, float]], sizes: Mapping[str, float]) -> Resources:
    luts, ffs = pair
    return Resources(
        lut=sum(luts.get(key, 0) * size for key, size in sizes.items()),
        ff=sum(ffs.get(key, 0) * size for key, size in sizes.items()),
    )


def mapped_macs(plan: Schedule) -> int:
    """Multipliers that Yosys makes DSP blocks: of those asked for all, unless their product is too short for it."""
    short = plan.operands == 1 and plan.widths["x_bits"] + plan.widths["w_bits"] < SHORTEST_PRODUCT
    return 0 if short else plan.dsp_macs


def quantities(plan: Schedule) -> dict[str, dict[str, float]]:
    """Sizes that decide the LUTs and flip-flops of each component."""
    s, w = plan.shape, plan.widths
    lanes, unroll, slices, requantisers = s.lanes, s.unroll, s.slices, s.requantisers
    macs = unroll * -(-lanes // plan.operands)
    dsp_macs = mapped_macs(plan)
    soft_macs = macs - dsp_macs
    activation, broadcast, weight, parameter = (
        depth.bit_length()
        for depth in (plan.activation_depth, plan.broadcast_depth, plan.weight_words, plan.words.parameters)
    )
    grouped, normed = s.groups > 1, plan.norm is not None
    residual = max(w["broadcast_bits"], w["position_bits"])
    codes = max(plan.code_widths)
    norm = {}
    if x := plan.norm_input:
        bits = norm_widths(x)
        norm = {"layer_norm": {"row bits": requantisers * (bits.sum + bits.squares + bits.root), "one": 1}}
    return norm | {
        "multipliers": {
            "macs": macs,
            "accumulator bits": macs * plan.operands * w["acc_bits"] * (plan.operands > 1 or dsp_macs == 0)
            if dsp_macs in (0, macs)
            else (dsp_macs * (plan.operands > 1) + soft_macs) * plan.operands * w["acc_bits"],
            # One row for each bit of w; what lies beyond the width of the product is not built.
            "partial product bits": soft_macs
            * plan.operands
            * sum(min(w["x_bits"], w["product_bits"] - row) for row in range(w["w_bits"])),
            "operand bits": soft_macs * plan.operands * (w["x_bits"] + w["w_bits"]),
        },
        "capture": {
            "held bits": unroll * lanes * w["acc_bits"],
            "one": 1,
            "moved bits": (unroll * lanes - requantisers) * w["acc_bits"],
        },
        "operands": {
            "lane inputs": lanes * w["x_bits"] * (2 + unroll),
            "word bits": lanes * (w["input_bits"] + w["exponential_bits"] + unroll * w["activation_bits"]),
            "code bits": unroll * -(-lanes * unroll // 4) * w["key_bits"],  # one of four, registered
            "key bits": unroll * lanes * w["key_bits"],
            "address bits": activation + broadcast + weight,
            "grouped outputs": unroll * grouped,
            "normed outputs": unroll * normed,
            "one": 1,
        },
        "requantisers": {
            "sum bits": requantisers * w["sum_bits"],
            "code bits": requantisers * codes * (len(plan.shifts) + len(plan.code_widths)),
            "requantisers": requantisers,
        },
        "retire": {
            "residual bits": requantisers * residual * mux(slices * (1 + unroll)),
            "operand bits": requantisers * (2 * w["acc_bits"] + w["mult_bits"] + residual),
            "result bits": w["result_bits"] * (requantisers + unroll),
            "summed bits": w["result_bits"] * requantisers,
            "word bits": lanes * codes,
            "address bits": activation + broadcast + parameter,
            "grouped": grouped,
            "instructions": len(plan.instructions),
            "one": 1,
        },
        "issue": {
            "address bits": activation + broadcast,
            "weight address bits": weight,
            "grouped": grouped,
            "normed": normed,
            "instructions": len(plan.instructions),
            "one": 1,
        },
        "weight_store": {
            "segment bits": max(0, len(plan.weight_segments) - 1) * plan.weight_word_bits,
            "place bits": unroll * sum(bits * count for bits, count in plan.weight_packings if count > 1),
        },
        "load": {"word bits": lanes * w["input_bits"], "one": 1},
        "unload": {"one": 1},
        "softmax": {"score bits": requantisers * w["score_bits"], "one": 1},
        "dividers": {"total bits": requantisers * w["total_bits"], "requantisers": requantisers},
    }


def memories(plan: Schedule) -> dict[str, Resources]:
    """Resources of every store."""
    return {
        name: _sum(*(Resources(*(value * memory.copies for value in mapped(memory))) for memory in found))
        for name, found in stores(plan).items()
    }


COEFFICIENTS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "multipliers": (
        {"accumulator bits": 0.992, "partial product bits": 2.25, "operand bits": 1.04},
        {"macs": 4.01, "accumulator bits": 0.99, "partial product bits": 0.153, "operand bits": 1.41},
    ),
    "capture": (
        {"one": 1.0, "moved bits": 1.0},
        {"held bits": 1.0, "one": 4.0},
    ),
    "operands": (
        {"lane inputs": 0.357, "code bits": 2.24, "key bits": 0.0562, "address bits": 0.958, "grouped outputs": 9.66, "normed outputs": 21.4, "one": 18.6},
        {"lane inputs": 0.0648, "word bits": 0.894, "code bits": 1.34, "key bits": 0.0539, "grouped outputs": 2.3, "normed outputs": 3.9, "one": 23.8},
    ),
    "requantisers": (
        {"sum bits": 1.95, "code bits": 0.924, "requantisers": 32.5},
        {"sum bits": 2.4, "code bits": 0.153},
    ),
    "retire": (
        {"residual bits": 1.96, "result bits": 0.673, "word bits": 0.709, "address bits": 2.56, "grouped": 31.0, "instructions": 1.64, "one": 75.6},
        {"residual bits": 0.0841, "operand bits": 0.116, "result bits": 0.527, "summed bits": 1.65, "word bits": 1.38, "address bits": 12.4, "grouped": 29.5, "instructions": 0.000982, "one": 89.6},
    ),
    "issue": (
        {"weight address bits": 6.59, "grouped": 37.6, "normed": 30.6, "instructions": 1.98, "one": 58.9},
        {"address bits": 0.505, "weight address bits": 3.75, "grouped": 11.1, "normed": 17.4, "instructions": 0.443, "one": 41.4},
    ),
    "weight_store": (
        {"segment bits": 0.365, "place bits": 0.833},
        {"place bits": 0.0614},
    ),
    "load": (
        {"word bits": 0.0171, "one": 14.6},
        {"word bits": 1.01, "one": 13.7},
    ),
    "unload": (
        {"one": 4.23},
        {"one": 2.35},
    ),
    "softmax": (
        {"score bits": 6.06, "one": 55.3},
        {"score bits": 6.4, "one": 90.8},
    ),
    "dividers": (
        {"total bits": 2.74, "requantisers": 15.3},
        {"total bits": 2.0, "requantisers": 22.5},
    ),
    "layer_norm": (
        {"row bits": 3.73, "one": 53.1},
        {"row bits": 2.66, "one": 40.9},
    ),
}

YOSYS = Coefficients("Yosys 0.70", BAND, COEFFICIENTS)

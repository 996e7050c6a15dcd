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
from qtlib.memory import Resources, address_bits, allocate, mapped, mux, stores
from qtlib.program import Program
from qtlib.schedule import Schedule, legal_lanes, legal_unrolls, norm_widths, schedule

# Of a whole design, relative; holds on every row of data/held_out.csv. What constant weights in LUTs take is less certain than the rest.
BAND = {"lut": 0.08, "ff": 0.05}
CONSTANT_BAND = 0.30  # more for that part of the LUTs

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
    placed = memories(plan)
    for name, memory in placed.items():
        components[name] = _sum(components.get(name, Resources()), memory)
    total = _sum(*components.values())
    parts = dict(sorted(components.items()))
    fitted_to, band, _ = coefficients
    if coefficients is YOSYS:  # a band measured on the totals of other designs holds what their constants did
        band = band | {"lut": band["lut"] + CONSTANT_BAND * placed["weight_store"].lut / total.lut}
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
    grouped, normed = s.groups > 1, plan.norm is not None
    residual = max(w["broadcast_bits"], w["position_bits"])
    codes = max(plan.code_widths)
    row_slices = s.slices * s.groups
    keys, results = (-(-count // unroll) * unroll for count in (s.window, plan.program.output.shape[0]))
    key = max(keys, -(-plan.program.tensors[plan.norm.x].shape[-1] // unroll) * unroll if plan.norm else 0)
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
            "lane bits": lanes * w["x_bits"],
            "unrolled lane bits": unroll * lanes * w["x_bits"],
            "word bits": lanes * (w["input_bits"] + w["exponential_bits"] + unroll * w["activation_bits"]),
            "code bits": unroll * -(-lanes * unroll // 4) * w["key_bits"],  # one of four, registered
            "key bits": unroll * lanes * w["key_bits"],
            "address bits": plan.address_width,
            "grouped outputs": unroll * grouped,
            "normed outputs": unroll * normed,
            "one": 1,
        },
        "requantisers": {
            "sum bits": requantisers * w["sum_bits"],
            "shifted bits": requantisers * len(plan.shifts) * w["sum_bits"],
            "saturated bits": requantisers * len(plan.code_widths) * codes,
            "requantisers": requantisers,
        },
        "retire": {
            "residual bits": requantisers * residual * mux(slices * (1 + unroll)),
            "operand bits": requantisers * (2 * w["acc_bits"] + w["mult_bits"]),
            "multiplier bits": requantisers * w["mult_bits"],
            "total bits": w["result_bits"] * (2 + unroll),
            "summed bits": w["result_bits"] * requantisers,
            "offset bits": w["offset_bits"],
            "word bits": lanes * codes,
            # What travels with a slot, in as many stages as it is wanted.
            "tag bits": 6 * (address_bits(plan.activation_depth) + address_bits(plan.broadcast_depth))
            + 5 * (address_bits(key) + address_bits(row_slices))
            + 4 * address_bits(results),
            "address bits": plan.address_width,
            "grouped address bits": grouped * plan.address_width,
            "slice bits": (slices - 1).bit_length(),
            "group bits": (s.groups - 1).bit_length(),
            "instructions": len(plan.instructions),
            "one": 1,
        },
        "issue": {
            "address bits": plan.address_width,
            "grouped address bits": grouped * plan.address_width,
            "counter bits": plan.count_width,
            "normed counter bits": normed * plan.count_width,
            "bank and lane bits": (unroll - 1).bit_length() + (lanes - 1).bit_length(),
            "place bits": (max(count for _, count in plan.weight_packings) - 1).bit_length(),
            "instructions": len(plan.instructions),
            "instruction bits": (len(plan.instructions) - 1).bit_length(),
            "one": 1,
        },
        "weight_store": {
            "segment bits": max(0, len(plan.weight_segments) - 1) * plan.weight_word_bits,
            "place bits": unroll * sum(bits * count for bits, count in plan.weight_packings if count > 1),
        },
        "load": {
            "word bits": lanes * w["input_bits"],
            "lane bits": (lanes - 1).bit_length(),
            "address bits": (plan.program.input.shape[1] * s.groups - 1).bit_length(),
            "one": 1,
        },
        "unload": {"one": 1},
        "softmax": {
            "score bits": requantisers * w["score_bits"],
            # So few running maxima are registers.
            "kept score bits": (row_slices <= 2) * requantisers * w["score_bits"],
            "total bits": requantisers * w["total_bits"],
            "address bits": address_bits(s.window * s.groups),
            "slice bits": (row_slices - 1).bit_length(),
            "one": 1,
        },
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
        {"accumulator bits": 0.989, "partial product bits": 2.38, "operand bits": 0.345},
        {"macs": 4.03, "accumulator bits": 0.994, "partial product bits": 0.0587, "operand bits": 1.75},
    ),
    "capture": (
        {"one": 1.0, "moved bits": 1.0},
        {"held bits": 1.0, "one": 4.0},
    ),
    "operands": (
        {"lane bits": 0.158, "unrolled lane bits": 0.908, "code bits": 1.46, "key bits": 0.169, "address bits": 4.08, "grouped outputs": 6.74, "normed outputs": 16.4},
        {"unrolled lane bits": 0.22, "word bits": 0.892, "code bits": 1.15, "key bits": 0.0383, "grouped outputs": 1.19, "normed outputs": 3.83, "one": 25.4},
    ),
    "requantisers": (
        {"sum bits": 2.63, "shifted bits": 0.269, "saturated bits": 1.16},
        {"sum bits": 2.36, "shifted bits": 0.0444, "saturated bits": 0.131},
    ),
    "retire": (
        {"residual bits": 1.6, "operand bits": 0.232, "multiplier bits": 0.673, "total bits": 0.879, "summed bits": 0.205, "offset bits": 0.667, "word bits": 0.58, "tag bits": 0.115, "address bits": 1.56, "grouped address bits": 3.07, "slice bits": 11.3, "group bits": 3.09, "instructions": 1.82},
        {"operand bits": 0.817, "total bits": 0.47, "summed bits": 0.726, "offset bits": 2.87, "word bits": 0.98, "tag bits": 1.45, "address bits": 1.5, "grouped address bits": 1.39, "slice bits": 3.97, "group bits": 2.16, "instructions": 0.0877, "one": 76.7},
    ),
    "issue": (
        {"address bits": 2.61, "grouped address bits": 3.81, "counter bits": 6.77, "normed counter bits": 2.42, "bank and lane bits": 2.97, "place bits": 6.21, "instructions": 1.41, "instruction bits": 1.29, "one": 50.3},
        {"address bits": 1.69, "grouped address bits": 1.17, "counter bits": 3.41, "normed counter bits": 2.25, "bank and lane bits": 1.83, "place bits": 3.13, "instructions": 0.137, "instruction bits": 2.13, "one": 35.7},
    ),
    "weight_store": (
        {"segment bits": 0.528, "place bits": 0.699},
        {"place bits": 0.0595},
    ),
    "load": (
        {"lane bits": 3.14, "address bits": 1.68, "one": 2.11},
        {"word bits": 0.997, "lane bits": 2.48, "address bits": 2.42, "one": 0.872},
    ),
    "unload": (
        {"one": 4.53},
        {"one": 2.54},
    ),
    "softmax": (
        {"score bits": 5.71, "kept score bits": 0.355, "total bits": 0.988, "address bits": 0.486, "slice bits": 6.63, "one": 19.3},
        {"score bits": 5.85, "kept score bits": 1.98, "total bits": 1.07, "address bits": 5.14, "slice bits": 9.23, "one": 22.1},
    ),
    "dividers": (
        {"total bits": 2.83, "requantisers": 14.0},
        {"total bits": 2.0, "requantisers": 22.4},
    ),
    "layer_norm": (
        {"row bits": 3.78, "one": 50.6},
        {"row bits": 2.7, "one": 40.6},
    ),
}

YOSYS = Coefficients("Yosys 0.70", BAND, COEFFICIENTS)

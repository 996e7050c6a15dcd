"""LUTs, flip-flops, DSP blocks and block RAM of a design before synthesis, component by component.

Multipliers, block RAM and distributed RAM follow from the schedule and the rules by which Yosys maps memories; they are exact.
LUTs and flip-flops of control and data paths are sums of *quantities* (bits of an accumulator on every lane, ...) times
coefficients.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from qtlib.config import HardwareConfig
from qtlib.estimate.coefficients import CONSTANT_BAND, YOSYS, Coefficients
from qtlib.estimate.quantities import mapped_macs, memories, quantities, summed
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.memory_allocation import allocate
from qtlib.hardware.memory_mapping import Resources
from qtlib.program.program import Program

# Instance paths below the top level, the first match wins.
COMPONENTS = (
    (r"engine/multipliers/.*", "multipliers"),
    (r"engine/multipliers", "capture"),
    (r"engine/retire/.*", "requantisers"),
    (r"engine/retire", "retire"),
    (r"engine/issue", "issue"),
    (r"engine/load", "load"),
    (r"engine/unload.*", "unload"),
    (r"engine/row_statistics/softmax/score_store", "score_store"),
    (r"engine/row_statistics/softmax/rows_n\d+_exponentials", "exponential_tables"),
    (r"engine/row_statistics/softmax/rows_n\d+_reciprocal", "dividers"),
    (r"engine/row_statistics/softmax", "softmax"),
    (r"engine/row_statistics/norm_layer_norm/rows_n\d+_squared", "square_tables"),
    (r"engine/row_statistics/norm_layer_norm(/.*)?", "layer_norm"),
    (r"engine/row_statistics/exponential_store/each_n\d+_slice", "exponential_store"),
    (r"engine/row_statistics/reciprocal_store/reciprocals", "reciprocal_store"),
    (r"engine/inputs", "input_store"),
    (r"engine/activation_stores/banks_n\d+_activations", "activation_store"),
    (r"engine/activation_stores/banks_n\d+_broadcasts", "broadcast_store"),
    (r"engine/(weight_store|head_store|parameter_store|position_store)(/.*)?", r"\1"),
    # What selects operands, and the few gates that choose the address, the bank or the writer of a store.
    (r"engine/operand_(addresses|select)", "operands"),
    (r"engine/(activation_stores|row_statistics(/(exponential|reciprocal)_store)?)", "operands"),
    (r"(engine)?", "operands"),
)


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
        coefficients: None: `YOSYS`; others by `qtlib.estimate.coefficients.load`. Multipliers and memories follow the rules of Yosys with any.

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
        components[name] = summed(components.get(name, Resources()), memory)
    total = summed(*components.values())
    parts = dict(sorted(components.items()))
    fitted_to, band, _ = coefficients
    if coefficients is YOSYS:  # a band measured on the totals of other designs holds what their constants did
        band = band | {"lut": band["lut"] + CONSTANT_BAND * placed["weight_store"].lut / total.lut}
    return Estimate("formula", fitted_to, parts, total, plan.latency, plan.interval, band)


def _soft(pair: tuple[dict[str, float], dict[str, float]], sizes: Mapping[str, float]) -> Resources:
    luts, ffs = pair
    return Resources(
        lut=sum(luts.get(key, 0) * size for key, size in sizes.items()),
        ff=sum(ffs.get(key, 0) * size for key, size in sizes.items()),
    )

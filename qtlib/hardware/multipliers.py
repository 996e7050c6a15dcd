"""What multiplies: DSP blocks, several lanes packed on one of them, or LUTs."""

from __future__ import annotations

from qtlib.config import HardwareConfig
from qtlib.hardware.devices import device
from qtlib.hardware.lane_shape import Shape
from qtlib.hardware.microprogram import expand
from qtlib.hardware.operand_widths import engine_widths, operand_range
from qtlib.program.codes import Range
from qtlib.program.program import Program

DSP_BITS = 25  # wide port of a DSP48E1 (Xilinx UG479, table 1-1)


def packed_range(x: Range, product_bits: int, operands: int) -> Range:
    """Range of the number that packs several operands for one multiplier."""
    places = sum(1 << (k * product_bits) for k in range(operands))
    return Range(x.low * places, x.high * places)


def operands_range(program: Program) -> Range:
    """Range of all lane operands."""
    ranges = [operand_range(i, program) for i in expand(program, 1)]
    return Range(min(r.low for r in ranges), max(r.high for r in ranges))


def _packable(program: Program, shape: Shape) -> int:
    """Lanes that may share one DSP block."""
    x, product_bits = operands_range(program), engine_widths(program)["product_bits"]
    operands = 1
    while operands < shape.lanes and packed_range(x, product_bits, operands + 1).bits <= DSP_BITS:
        operands += 1
    return operands


def dsp_blocks(program: Program, hardware: HardwareConfig, shape: Shape) -> int:
    """DSP blocks that the multipliers take when there are enough."""
    if hardware.multiplier == "lut":
        return 0
    lanes = 1 if hardware.multiplier == "dsp" else _packable(program, shape)
    return shape.unroll * -(-shape.lanes // lanes)


def choose_multipliers(program: Program, hardware: HardwareConfig, shape: Shape) -> tuple[int, int]:
    """Lanes on one multiplier, and how many multipliers are DSP blocks."""
    packable = _packable(program, shape)
    packed_macs = shape.unroll * -(-shape.lanes // packable)
    single_macs = shape.unroll * shape.lanes
    if hardware.multiplier == "lut":
        return 1, 0
    if hardware.multiplier == "dsp":
        return 1, single_macs
    if hardware.multiplier == "packed":
        if packable < 2:
            raise ValueError(
                f"schedule: multiplier='packed' needs two lanes whose operands fit {DSP_BITS} bits together; with lanes="
                f"{shape.lanes} and products of {engine_widths(program)['product_bits']} bits they do not; legal here: auto, dsp, lut"
            )
        return packable, packed_macs
    budget = max(0, device(hardware.device).dsp - 2 * shape.requantisers)
    return (1, single_macs) if single_macs <= budget else (packable, min(budget, packed_macs))

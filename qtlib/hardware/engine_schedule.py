"""The whole schedule of a `Program` on a `HardwareConfig`: shape, microprogram, clocks, widths and addresses.

`Schedule.latency` is exact; the simulation of every emitted design asserts it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from qtlib.config import HardwareConfig
from qtlib.hardware.devices import device
from qtlib.hardware.lane_shape import Shape, legal_lanes, legal_unrolls, listed
from qtlib.hardware.microprogram import Instruction, expand
from qtlib.hardware.multipliers import choose_multipliers, dsp_blocks, operands_range, packed_range
from qtlib.hardware.operand_widths import engine_widths
from qtlib.hardware.pipeline import CAPTURE, RESULT, UNLOAD
from qtlib.hardware.start_clocks import last_clock, starts
from qtlib.hardware.store_addresses import Words, allocate_tensors, lay_out_constants
from qtlib.program.codes import Tensor
from qtlib.program.operations import Head, LayerNorm, Linear
from qtlib.program.program import Program

# The fewest requantisers whose clocks stay below this multiple of the fewest clocks: they cost DSP blocks, which are worth
# more to a design whose multipliers do not all find one.
SLACK_WITH_DSP, SLACK_WITHOUT_DSP = 1.02, 1.10


class Packing(NamedTuple):
    """How a memory word holds the weights of one width, from bit 0 on."""

    bits: int  # of a weight
    weights: int  # places in a word, each with a weight for every output of a step


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """Everything that the emitted constants say but the contents of memories, and the clocks."""

    program: Program
    hardware: HardwareConfig
    shape: Shape
    instructions: tuple[Instruction, ...]
    widths: dict[str, int]  # generic name -> bits
    shifts: tuple[int, ...]
    residual_shifts: tuple[int, ...]
    code_widths: tuple[int, ...]
    activation_depth: int
    broadcast_depth: int
    words: Words
    operands: int  # lanes on one multiplier
    dsp_macs: int
    weight_packings: tuple[Packing, ...]
    weight_segments: tuple[int, ...] = ()  # memory words of each segment of the weight store; empty: one segment
    block_segments: int = 0  # segments in block RAM, the first ones; the others have the memory type of the weights

    @property
    def norm(self) -> LayerNorm | None:
        """A LayerNorm of the program, of which the engine has one for all; None without."""
        return next((i.source for i in self.instructions if isinstance(i.source, LayerNorm)), None)

    @property
    def norm_input(self) -> Tensor | None:
        """What that LayerNorm reads."""
        return self.program.tensors[self.norm.x] if self.norm else None

    @property
    def multipliers(self) -> int:
        """Multiplications that the engine can do per clock."""
        return self.shape.lanes * self.shape.unroll

    @property
    def load_clocks(self) -> int:
        """Clocks in which a window is received, at full speed."""
        return self.program.input.shape[1] * self.shape.groups * self.shape.lanes

    @property
    def compute_clocks(self) -> int:
        """Clocks from the fetch of the first operation to the last term of the last."""
        return self.instructions[-1].end(self.shape.groups)

    @property
    def latency(self) -> int:
        """Clocks from the first code of a window to its last result, both included, nothing stalled."""
        # Two clocks from the last word to the first fetch; the result's register counts as its code.
        return self.load_clocks + 2 + self._last_slot + RESULT + UNLOAD * self.program.output.shape[0] + 1

    @property
    def _last_slot(self) -> int:
        head = self.instructions[-1]
        sums = head.steps * self.shape.groups
        return head.start + (sums - 1) * head.period + head.inner - 1 + CAPTURE + self.shape.slots - 1

    @property
    def interval(self) -> int:
        """Clocks per window when windows follow each other without a pause."""
        loaded = self.instructions[0].end(self.shape.groups) + self.load_clocks + 2
        unloaded = self._last_slot + RESULT + UNLOAD * self.program.output.shape[0] - self.instructions[-1].start + 1
        return max(self.compute_clocks, loaded, unloaded) + 1

    @property
    def address_width(self) -> int:
        """Bits of an address in the microprogram, which reach every word of the deepest store."""
        shape, words = self.shape, self.words
        inputs, exponentials = self.program.input.shape[1] * shape.groups, shape.window * shape.groups
        return max(
            self.activation_depth, self.broadcast_depth, self.weight_words, words.head_weights, words.parameters,
            words.positions, inputs, exponentials,
        ).bit_length()  # fmt: skip

    @property
    def count_width(self) -> int:
        """Bits of the counters of terms, clocks, steps and waiting."""
        return max(max(i.period, i.steps, i.hold) for i in self.instructions).bit_length()

    @property
    def weight_words(self) -> int:
        """Memory words of the weight store."""
        return sum(map(self.memory_words, self.instructions))

    @property
    def weight_word_bits(self) -> int:
        """Bits of a memory word of the weight store."""
        return max(self.shape.unroll * packing.bits * packing.weights for packing in self.weight_packings)

    def memory_words(self, i: Instruction) -> int:
        """Memory words of the weight store that an instruction reads."""
        return -(-i.steps * i.inner // self.weight_packings[i.packing].weights) if i.w_source == "weight_rom" else 0

    @property
    def utilisation(self) -> float:
        """Multiplications done, out of those that the multipliers could do during the latency."""
        return self.program.macs / (self.multipliers * self.latency)


def choose_shape(program: Program, hardware: HardwareConfig) -> Shape:
    """Lanes, unroll and requantisers of a design.

    Raises:
        ValueError: the lanes do not fold the window, the unroll or the requantisers do not divide the lanes.
    """
    window = program.input.shape[0]
    lanes = window if hardware.lanes is None else hardware.lanes
    legal = legal_lanes(window)
    if lanes not in legal:
        raise ValueError(f"schedule: lanes={lanes} do not fold a window of {window}; legal: {listed(legal)}")
    divisors = legal_unrolls(lanes)
    if hardware.unroll not in divisors:
        raise ValueError(f"schedule: unroll={hardware.unroll} does not divide lanes={lanes}; legal: {listed(divisors)}")
    if hardware.requantisers is not None and hardware.requantisers not in divisors:
        raise ValueError(
            f"schedule: requantisers={hardware.requantisers} does not divide lanes={lanes}; legal: {listed(divisors)}"
        )
    choices = divisors if hardware.requantisers is None else [hardware.requantisers]
    shapes = [Shape(window=window, lanes=lanes, unroll=hardware.unroll, requantisers=n) for n in choices]
    if len(shapes) == 1:
        return shapes[0]
    expanded = expand(program, hardware.unroll)
    clocks = [last_clock(expanded, shape) for shape in shapes]
    # Where the multipliers fit the DSP blocks, the requantisers may not push them out.
    blocks = [2 * shape.requantisers + dsp_blocks(program, hardware, shape) for shape in shapes]
    fitting = [count for count, needed in zip(clocks, blocks, strict=True) if needed <= device(hardware.device).dsp]
    limit = SLACK_WITH_DSP * min(fitting) if fitting else SLACK_WITHOUT_DSP * min(clocks)
    return next(shape for shape, count in zip(shapes, clocks, strict=True) if count <= limit)


def schedule(program: Program, hardware: HardwareConfig) -> Schedule:
    """Lay a program out on the engine.

    Raises:
        ValueError: the lanes, the unroll or the requantisers are illegal, or the engine cannot run an operation.
    """
    shape = choose_shape(program, hardware)
    instructions = list(expand(program, shape.unroll))
    activation, activation_depth = allocate_tensors(instructions, shape, "activation")
    broadcast, broadcast_depth = allocate_tensors(instructions, shape, "broadcast")
    constants, words = lay_out_constants(instructions, program, shape)
    times = [
        {"start": start, "hold": hold, "period": max(i.inner, shape.slots)}
        for i, (start, hold) in zip(instructions, starts(instructions, shape), strict=True)
    ]
    found: list[dict[str, Any]] = [
        a | b | c | d for a, b, c, d in zip(activation, broadcast, constants, times, strict=True)
    ]
    operands, dsp_macs = choose_multipliers(program, hardware, shape)
    widths = dict(engine_widths(program))
    packed = packed_range(operands_range(program), widths["product_bits"], operands)
    ops = [i.source for i in instructions if not isinstance(i.source, Head)]
    return Schedule(
        program=program,
        hardware=hardware,
        shape=shape,
        instructions=tuple(replace(i, **more) for i, more in zip(instructions, found, strict=True)),
        widths=widths | {"packed_bits": max(packed.bits, widths["x_bits"])},
        shifts=tuple(sorted({op.shift for op in ops})),
        residual_shifts=tuple(
            sorted({op.residual_shift for op in ops if isinstance(op, Linear) and op.residual} | {0})
        ),
        code_widths=tuple(sorted({program.tensors[op.y].bits for op in ops})),
        activation_depth=activation_depth,
        broadcast_depth=broadcast_depth,
        words=words,
        operands=operands,
        dsp_macs=dsp_macs,
        weight_packings=(Packing(widths["weight_bits"], 1),),
    )

"""The engine's microprogram: what every clock does, from a `Program` and a `HardwareConfig`.

The engine computes one sum at a time on every lane: a *sum* is `inner` terms of one step (`unroll` output features) of
one group of tokens, and takes `period` clocks. Sums are issued in the order step, group, term; a finished sum is
captured and retired in `unroll * slices` slots, in the order output, slice. An operation starts as soon as the first
word that it reads is written, so its `hold` follows from the times at which words become readable. Nothing depends on the data,
so `Schedule.latency` is exact; the simulation of every emitted design asserts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from qtlib.config import HardwareConfig
from qtlib.devices import device
from qtlib.program import (
    MULT_BITS,
    Context,
    Head,
    LayerNorm,
    Linear,
    Pool,
    Program,
    Range,
    Scores,
    Softmax,
    Tensor,
)

# Clocks of the pipeline; the numbers are registers in hdl/rtl, counted along the path.
START = 2  # issue.vhd: fetch and setup before the first term of an operation
CAPTURE = 6  # from the address of the last term to the slot of its sum: memory, select, operand, product, sum, capture
CODE = 6  # from a slot to its code: memory, operand, product, addend, sum, code
READABLE = 8  # from a slot to the clock in which an address reads the word: code, word, write
RESULT = 5  # retire.vhd: from a slot to the result of a head: memory, operand, partial sum, sum over tokens, offset
EXPONENTIAL = (
    5  # softmax.vhd: from the address of a score to the clock in which an address reads the exponential, less one
)
DIVIDE = 18  # divider.vhd
# layer_norm.vhd: from the last code of the sums to the clock in which an address reads the reciprocal of their first slice, without
# the clocks of the variance and of the root: square, sum, load | variance, one step more than bits | root | divider, written.
ROOT_READABLE = 24
RECIPROCAL_READABLE = 24  # from the address of a row's last score to the clock in which an address reads the reciprocal
# The fewest requantisers whose clocks stay below this multiple of the fewest clocks: they cost DSP blocks, which are worth
# more to a design whose multipliers do not all find one.
SLACK_WITH_DSP, SLACK_WITHOUT_DSP = 1.02, 1.10
DSP_BITS = 25  # wide port of a DSP48E1 (Xilinx UG479, table 1-1)
UNLOAD = 2  # unload.vhd: from a written result to out_valid; also the clocks of each further result


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How the work is laid out on the engine."""

    window: int
    lanes: int
    unroll: int
    requantisers: int

    @property
    def groups(self) -> int:
        """Groups of `lanes` tokens."""
        return -(-self.window // self.lanes)

    @property
    def slices(self) -> int:
        """Groups of `requantisers` lanes."""
        return self.lanes // self.requantisers

    @property
    def slots(self) -> int:
        """Clocks that a captured sum occupies the requantisers."""
        return self.unroll * self.slices


def legal_lanes(window: int) -> list[int]:
    """Lane counts that fold a window without leaving a lane idle that fewer lanes would not need."""
    return sorted({-(-window // groups) for groups in range(1, window + 1)})


def legal_unrolls(lanes: int) -> list[int]:
    """Numbers of outputs computed at once, and of requantisers: what divides the lanes."""
    return [n for n in range(1, lanes + 1) if lanes % n == 0]


def choose_shape(program: Program, hardware: HardwareConfig) -> Shape:
    """Lanes, unroll and requantisers of a design.

    Raises:
        ValueError: the lanes do not fold the window, the unroll or the requantisers do not divide the lanes.
    """
    window = program.input.shape[0]
    lanes = window if hardware.lanes is None else hardware.lanes
    legal = legal_lanes(window)
    if lanes not in legal:
        raise ValueError(f"schedule: lanes={lanes} do not fold a window of {window}; legal: {_listed(legal)}")
    divisors = legal_unrolls(lanes)
    if hardware.unroll not in divisors:
        raise ValueError(
            f"schedule: unroll={hardware.unroll} does not divide lanes={lanes}; legal: {_listed(divisors)}"
        )
    if hardware.requantisers is not None and hardware.requantisers not in divisors:
        raise ValueError(
            f"schedule: requantisers={hardware.requantisers} does not divide lanes={lanes}; legal: {_listed(divisors)}"
        )
    choices = divisors if hardware.requantisers is None else [hardware.requantisers]
    shapes = [Shape(window=window, lanes=lanes, unroll=hardware.unroll, requantisers=n) for n in choices]
    if len(shapes) == 1:
        return shapes[0]
    expanded = _expand(program, hardware.unroll)
    clocks = [_clocks(expanded, shape) for shape in shapes]
    # Where the multipliers fit the DSP blocks, the requantisers may not push them out.
    blocks = [2 * shape.requantisers + _blocks(program, hardware, shape) for shape in shapes]
    fitting = [count for count, needed in zip(clocks, blocks, strict=True) if needed <= device(hardware.device).dsp]
    limit = SLACK_WITH_DSP * min(fitting) if fitting else SLACK_WITHOUT_DSP * min(clocks)
    return next(shape for shape, count in zip(shapes, clocks, strict=True) if count <= limit)


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))


@dataclass(frozen=True, kw_only=True, eq=False)
class Instruction:
    """One operation on the engine; of an operation with heads, one head."""

    name: str  # of the tensor that it computes, with its head
    tensor: str
    source: Linear | Scores | Context | LayerNorm | Head
    x_source: str  # input_store | activation_store | exponential_store
    w_source: str  # weight_rom | head_rom | keys | values_t | centre
    x: str  # region or tensor of the lane operand
    w: str = ""  # region of K or V
    rows: tuple[int, ...] = ()  # output feature of each output; -1: none
    columns: tuple[int, ...] = ()  # input feature of each term; -1: none
    inner: int
    steps: int
    period: int = 0
    hold: int = 0
    x_base: int = 0
    w_base: int = 0  # of weights: their first memory word
    packing: int = 0  # and how it holds them, of `Schedule.weight_packings`
    parameter_base: int = 0
    residual: str = "none"  # none | stream | position
    residual_base: int = 0
    activation: str = ""  # region that it writes
    activation_base: int = 0
    broadcast: str = ""
    broadcast_base: int = 0
    table: int = 0  # of exponentials
    root_clocks: int = 0  # of sums that layer_norm.vhd reads: from their last code to the first reciprocals; else 0
    start: int = 0  # clock of its first term, counted from the fetch of the first operation
    macs: int = 0

    def end(self, groups: int) -> int:
        """Clock after its last term."""
        return self.start + self.steps * groups * self.period


class Packing(NamedTuple):
    """How a memory word holds the weights of one width, from bit 0 on."""

    bits: int  # of a weight
    weights: int  # places in a word, each with a weight for every output of a step


class Words(NamedTuple):
    """How many words each memory of constants holds; what they are is in `qtlib.contents`."""

    weights: int
    head_weights: int
    parameters: int
    positions: int
    exponentials: int


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


class Issue(NamedTuple):
    """What issue.vhd shows in one clock; without `valid` the rest means nothing."""

    valid: bool
    first: bool = False
    last: bool = False
    x_source: str = "input_store"
    x_address: int = 0
    x_bank: int = 0
    w_source: str = "weight_rom"
    w_address: int = 0
    w_lane: int = 0
    w_place: int = 0
    w_packing: int = 0
    diagonal: bool = False  # centre: the term is one of the outputs of the step


def issued(plan: Schedule) -> Iterator[Issue]:
    """Every clock of a window, from the fetch of the first operation to the last term of the last. Twin: hdl/rtl/issue.vhd."""
    groups, lanes, unroll = plan.shape.groups, plan.shape.lanes, plan.shape.unroll
    clock = 0
    for i in plan.instructions:
        for _ in range(i.start - clock):
            yield Issue(False)
        clock = i.end(groups)
        for step, group, term in np.ndindex(i.steps, groups, i.period):
            if term >= i.inner:
                yield Issue(False)
                continue
            banked = i.x_source == "activation_store"
            block, bank = divmod(term, unroll) if banked else (term, 0)
            w, lane, place = i.w_base + step * i.inner + term, 0, 0
            if i.w_source == "weight_rom":
                word, place = divmod(step * i.inner + term, plan.weight_packings[i.packing].weights)
                w = i.w_base + word
            if i.w_source == "keys":
                w, lane = i.w_base + block * groups + step * unroll // lanes, step * unroll % lanes
            elif i.w_source == "values_t":
                w, lane = i.w_base + step * groups + term // lanes, term % lanes
            elif i.w_source == "centre":
                w = i.w_base
            x = i.x_base + block * groups + group
            diagonal = i.w_source == "centre" and block == step
            ends = term == 0, term == i.inner - 1
            yield Issue(True, *ends, i.x_source, x, bank, i.w_source, w, lane, place, i.packing, diagonal)


class Span(NamedTuple):
    """What a unit does, in clocks from the fetch of the first operation; ``end`` is the clock after."""

    unit: str  # lanes | requantisers | softmax | layer_norm | load | unload
    name: str
    start: int
    end: int


def timeline(plan: Schedule) -> list[Span]:
    """When each unit works during one window; ``load`` already receives the next window."""
    shape, spans = plan.shape, []
    for i in plan.instructions:
        spans.append(Span("lanes", i.name, i.start, i.end(shape.groups)))
        first = i.start + i.inner - 1 + CAPTURE
        last = i.end(shape.groups) - i.period + i.inner - 1 + CAPTURE + shape.slots
        spans.append(Span("requantisers", i.name, first, last))
        if isinstance(i.source, Scores):
            first = last + CODE
            last = first + (shape.groups * shape.slices - 1) * max(shape.window, DIVIDE) + shape.window
            spans.append(Span("softmax", i.name, first, last - 1 + RECIPROCAL_READABLE))
        if i.root_clocks:
            last += CODE - 1  # of the last code
            spans.append(
                Span(
                    "layer_norm",
                    i.name,
                    first + CODE,
                    last + (shape.groups * shape.slices - 1) * DIVIDE + i.root_clocks,
                )
            )
    taken = plan.instructions[0].end(shape.groups) + 1
    spans.append(Span("load", plan.program.input.name, taken, taken + plan.load_clocks))
    done = plan.latency - plan.load_clocks - 2
    spans.append(Span("unload", plan.program.output.name, done - UNLOAD * plan.program.output.shape[0], done))
    return spans


def schedule(program: Program, hardware: HardwareConfig) -> Schedule:
    """Lay a program out on the engine.

    Raises:
        ValueError: the lanes, the unroll or the requantisers are illegal, or the engine cannot run an operation.
    """
    shape = choose_shape(program, hardware)
    instructions = list(_expand(program, shape.unroll))
    activation, activation_depth = _allocate(instructions, shape, "activation")
    broadcast, broadcast_depth = _allocate(instructions, shape, "broadcast")
    constants, words = _constants(instructions, program, shape)
    times = [
        {"start": start, "hold": hold, "period": max(i.inner, shape.slots)}
        for i, (start, hold) in zip(instructions, _starts(instructions, shape), strict=True)
    ]
    choices = zip(instructions, activation, broadcast, constants, times, strict=True)
    operands, dsp_macs = _multipliers(program, hardware, shape)
    widths = dict(_widths(program))
    packed = _packed(_operands(program), widths["product_bits"], operands)
    ops = [i.source for i in instructions if not isinstance(i.source, Head)]
    return Schedule(
        program=program,
        hardware=hardware,
        shape=shape,
        instructions=tuple(replace(i, **a | b | c | d) for i, a, b, c, d in choices),
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


def _padded(features: list[int], unroll: int) -> list[int]:
    return features + [-1] * (-len(features) % unroll)


@lru_cache(maxsize=32)
def _expand(program: Program, unroll: int) -> tuple[Instruction, ...]:
    """Operations with heads become one instruction per head; q, k and v are computed just before they are used."""
    window = program.input.shape[0]
    operations = {op.y: op for op in program.operations}
    scores = [op for op in program.operations if isinstance(op, Scores)]
    of_heads = {name for op in scores for name in (op.x, op.other)}
    of_heads |= {op.other for op in program.operations if isinstance(op, Context)}
    residuals = {op.residual for op in program.operations if isinstance(op, Linear)}
    normalised = _normalised(program)
    layout: dict[str, list[int]] = {}  # tensor in the activation store -> feature at each place
    result: list[Instruction] = []

    def places(name: str) -> list[int]:
        """Features that a reader of a tensor goes through: padding in the middle, none at the end."""
        columns = list(layout[name])
        while columns[-1] < 0:
            columns.pop()
        return columns

    def add(op: Any, head: int | None, rows: list[int], columns: list[int], **more: Any) -> Instruction:
        """The next instruction; ``columns`` are the terms of its sums, ``rows`` its outputs."""
        found = Instruction(
            name=op.y if head is None else f"{op.y}[{head}]",
            tensor=op.y,
            source=op,
            rows=tuple(rows),
            columns=tuple(columns),
            inner=len(columns),
            **{"x_source": "activation_store", "x": op.x, "steps": len(rows) // unroll} | more,
        )
        result.append(found)
        return found

    def linear(op: Linear, head: int | None, rows: list[int], activation: bool, broadcast: bool) -> Instruction:
        first = op.x == program.input.name
        name = op.y if head is None else f"{op.y}[{head}]"
        return add(
            op,
            head,
            rows,
            list(range(program.input.shape[1])) if first else places(op.x),
            x_source="input_store" if first else "activation_store",
            w_source="weight_rom",
            residual="none" if op.residual is None else "position" if op.residual in program.constants else "stream",
            activation=name if activation else "",
            broadcast=name if broadcast else "",
            root_clocks=root_clocks(program.tensors[op.y]) if op.y in normalised else 0,
            macs=window * sum(row >= 0 for row in rows) * op.weight.shape[1],
        )

    for op in program.operations:
        if isinstance(op, Linear) and op.y not in of_heads:
            rows = _padded(list(range(len(op.mult))), unroll)
            layout[op.y] = rows
            linear(op, None, rows, True, op.y in residuals)
        elif isinstance(op, Context):
            softmax = operations[op.x]
            score = operations[softmax.x]
            width = program.tensors[op.y].shape[1] // op.heads
            layout[op.y] = []
            for head in range(op.heads):
                rows = _padded(list(range(head * width, (head + 1) * width)), unroll)
                macs = window**2 * width
                q = linear(operations[score.x], head, rows, True, False)
                k = linear(operations[score.other], head, rows, False, True)
                keys = -(-window // unroll)
                add(score, head, [], list(range(width)), w_source="keys", x=q.name, w=k.name, steps=keys, macs=macs)
                v = linear(operations[op.other], head, rows, False, True)
                more = {"x_source": "exponential_store", "w": v.name, "activation": op.y, "macs": macs}
                # A term is a token here, not a feature.
                add(op, head, rows, list(range(window)), w_source="values_t", **more)
                layout[op.y] += rows
        elif isinstance(op, LayerNorm):
            layout[op.y] = layout[op.x]
            kept = op.y if op.y in residuals else ""
            width = program.tensors[op.x].shape[-1]
            add(op, None, layout[op.x], list(range(width)), w_source="centre", activation=op.y, broadcast=kept)
        elif isinstance(op, Head):
            pool = operations.get(op.x)
            if not isinstance(pool, Pool):
                raise ValueError(
                    f"schedule: the head reads {op.x}, which is not a pool; the engine sums its results over tokens"
                )
            rows = _padded(list(range(len(op.offset))), unroll)
            add(op, None, rows, places(pool.x), w_source="head_rom", x=pool.x, macs=op.weight.size)
    exponentials = {program.tensors[op.y].bits for op in program.operations if isinstance(op, Softmax)}
    if len(exponentials) > 1:
        raise ValueError(
            f"schedule: exponentials of {_listed(sorted(exponentials))} bits; the engine has one width for all layers"
        )
    if not result or not isinstance(result[-1].source, Head):
        raise ValueError("schedule: the program does not end with a head; the engine sends the results of a head")
    return tuple(result)


def _normalised(program: Program) -> set[str]:
    """Tensors that a LayerNorm reads: each is written by the linear layer right before it, whose codes layer_norm.vhd sums."""
    found: dict[str, tuple[int, int, int]] = {}
    for before, op in zip((None, *program.operations), program.operations):
        if isinstance(op, LayerNorm):
            if not isinstance(before, Linear) or before.y != op.x:
                raise ValueError(
                    f"schedule: {op.y} normalises {op.x}, which is not the result of a linear layer right before it"
                )
            x = program.tensors[op.x]
            found[op.x] = x.shape[-1], x.bits, op.reciprocal_bits
    if len(set(found.values())) > 1:
        listed = "; ".join(f"{name}: {d}, {bits}, {e}" for name, (d, bits, e) in found.items())
        raise ValueError(f"schedule: the engine has one LayerNorm; features, bits and reciprocal_bits differ: {listed}")
    return set(found)


class NormWidths(NamedTuple):
    """Bits of what layer_norm.vhd keeps of a token."""

    square: int  # odd part of d, times the square of a code
    sum: int  # signed
    squares: int
    root: int


def norm_widths(x: Tensor) -> NormWidths:
    """Widths of the LayerNorm of x. Twin: the constants of hdl/rtl/layer_norm.vhd."""
    d, code = x.shape[-1], 1 << (x.bits - 1)
    odd = d // (d & -d)
    root = max(2, (d * (2 * code - 1) // 2).bit_length())
    return NormWidths((odd * code**2).bit_length(), Range(-d * code, 0).bits, (d * odd * code**2).bit_length(), root)


def root_clocks(x: Tensor) -> int:
    """Clocks from the last code of the sums x to their first reciprocals: the variance and the root take one for each bit."""
    widths = norm_widths(x)
    return ROOT_READABLE + widths.sum + widths.root


def _allocate(instructions: list[Instruction], shape: Shape, store: str) -> tuple[list[dict[str, int]], int]:
    """Base addresses of every instruction in a store, and its depth; an address is free again after its last reader.

    The residual stream is updated in place: each word is read just before it is written.
    """
    blocks: dict[str, int] = {}
    written: dict[str, int] = {}
    read: dict[str, int] = {}
    in_place: dict[str, str] = {}
    for index, i in enumerate(instructions):
        readers = [i.x] if store == "activation" and i.x_source == "activation_store" else []
        if store == "broadcast":
            readers = [i.w] if i.w else []
            if i.residual == "stream":
                readers.append(i.source.residual)
                if i.broadcast:
                    in_place[i.broadcast] = i.source.residual
        for name in readers:
            read[name] = index
        name = getattr(i, store)
        if name:
            written.setdefault(name, index)
            blocks[name] = blocks.get(name, 0) + i.steps
    # A tensor that is updated in place lives on in its successor, under one address.
    root = {name: name for name in written}
    for name, donor in in_place.items():
        if read[donor] == written[name]:
            root[name] = root[donor]
    spans = {
        owner: (
            min(written[name] for name in written if root[name] == owner),
            max(read.get(name, written[name]) for name in written if root[name] == owner),
        )
        for owner in set(root.values())
    }
    # The largest first: a small tensor finds a gap beside a large one, but not the other way round.
    bases: dict[str, int] = {}
    for owner in sorted(spans, key=lambda n: (-blocks[n], spans[n])):
        start, end = spans[owner]
        taken = sorted(
            (bases[other], bases[other] + blocks[other])
            for other in bases
            if spans[other][0] <= end and spans[other][1] >= start
        )
        base = 0
        for low, high in taken:
            if base + blocks[owner] <= low:
                break
            base = max(base, high)
        bases[owner] = base
    bases = {name: bases[root[name]] for name in written}
    depth = max((bases[name] + blocks[name] for name in bases), default=1) * shape.groups
    filled: dict[str, int] = {}
    placed = []
    for i in instructions:
        changes = {}
        name = getattr(i, store)
        if name:
            changes[f"{store}_base"] = (bases[name] + filled.get(name, 0)) * shape.groups
            filled[name] = filled.get(name, 0) + i.steps
        if store == "activation" and i.x_source == "activation_store":
            changes["x_base"] = bases[i.x] * shape.groups
        if store == "broadcast":
            if i.w:
                changes["w_base"] = bases[i.w] * shape.groups
            if i.residual == "stream":
                changes["residual_base"] = bases[i.source.residual] * shape.groups
        placed.append(changes)
    return placed, max(depth, 1)


class _Written(NamedTuple):
    """When the words of a region can be read: ``first + (step * groups + group) * period + unit * slices``.

    Of a region that several instructions write, the last part: it is ready last.
    """

    first: int
    period: int
    steps: int
    before: int = 0  # places in the parts before


def _starts(instructions: Iterable[Instruction], shape: Shape) -> list[tuple[int, int]]:
    """Clock of the first term of every instruction, and how long it was held for that.

    An instruction is held until every word is written when its turn to be read comes. Both times are linear in step, output and
    group, so the latest word is at a corner; and words are written in the order of their places with at least one clock between
    them, while a sum reads one place a clock, so of the terms of a sum the last one decides.
    """
    groups, unroll, slots, lanes, slices = shape.groups, shape.unroll, shape.slots, shape.lanes, shape.slices
    ends = {0, groups - 1}
    written: dict[str, _Written] = {}
    found = []
    clock = 0
    # The window before this one may still be retiring: its last term came two clocks before the first fetch.
    last_capture = -2 + CAPTURE
    stream_slot = -1  # last slot that reads the residual stream
    softmax = row = row_period = (
        0  # first address of a score; readable reciprocal of the first slice, clocks to the next
    )
    for i in instructions:
        period = max(i.inner, slots)
        first_sum = i.inner - 1 + CAPTURE  # from its first term to the slot of its first sum
        start = clock + START
        earliest = [start, last_capture + slots - first_sum]

        def last_term(name: str, group_clocks: int) -> None:
            w = written[name]
            step, unit = divmod(i.inner - 1 - w.before, unroll)
            time = w.first + step * groups * w.period + unit * slices - (i.inner - 1)
            earliest.extend(time + g * (w.period - group_clocks) for g in ends)

        if i.x_source == "activation_store":
            last_term(i.x, period)
        if i.w_source == "keys":
            last_term(i.w, lanes // unroll * groups * period)
        if i.w_source == "values_t":
            w = written[i.w]
            for step in {0, w.steps - 1}:
                time = w.first + step * groups * (w.period - period) + (unroll - 1) * slices
                earliest += [time + g * (w.period - lanes) for g in ends]
            each = max(shape.window, DIVIDE)
            earliest += [softmax + ((g + 1) * slices - 1) * each + EXPONENTIAL - g * period for g in ends]
        if i.w_source in ("values_t", "centre"):
            last = slices - 1
            earliest += [row + (g * slices + last) * row_period - g * period - first_sum - last for g in ends]
        if i.w_source in ("keys", "values_t"):
            earliest.append(stream_slot + 1)
        if i.residual == "stream":
            w = written[i.source.residual]
            for step in {0, i.steps - 1}:
                earliest += [w.first + (step * groups + g) * (w.period - period) - first_sum for g in ends]

        begin = max(earliest)
        found.append((begin, begin - start))
        clock = begin + i.steps * groups * period
        last_capture = clock - period + first_sum
        if i.residual == "stream":
            stream_slot = last_capture + slots - 1
        for name in {i.activation, i.broadcast} - {""}:
            w = written.get(name)
            before = w.before + w.steps * unroll if w else 0
            written[name] = _Written(begin + first_sum + slices - 1 + READABLE, period, i.steps, before)
        last_code = last_capture + slots - 1 + CODE
        if isinstance(i.source, Scores):
            softmax, row_period = last_code + 1, max(shape.window, DIVIDE)
            row = softmax + shape.window - 1 + RECIPROCAL_READABLE
        if i.root_clocks:
            row, row_period = last_code + i.root_clocks, DIVIDE
    return found


def _clocks(instructions: Sequence[Instruction], shape: Shape) -> int:
    """Clock after the last term of the last instruction."""
    last = instructions[-1]
    return _starts(instructions, shape)[-1][0] + last.steps * shape.groups * max(last.inner, shape.slots)


def _constants(instructions: list[Instruction], program: Program, shape: Shape) -> tuple[list[dict[str, int]], Words]:
    """Where the constants of every instruction begin, and how many words each memory of constants has."""
    softmax = [op for op in program.operations if isinstance(op, Softmax)]
    table_of = {op.x: index for index, op in enumerate(softmax)}  # scores -> table
    weights = head_weights = parameters = positions = 0
    bases = []
    for i in instructions:
        changes = {"parameter_base": parameters}
        if isinstance(i.source, Linear):
            changes["w_base"] = weights
            weights += i.steps * i.inner
        elif isinstance(i.source, Head):
            changes["w_base"] = head_weights
            head_weights += i.steps * i.inner
        else:
            changes["table"] = table_of.get(i.tensor, 0)
        parameters += len(i.rows) if isinstance(i.source, (Linear, Head)) else 1
        if i.residual == "position":
            positions += len(i.rows) * shape.groups
        bases.append(changes)
    entries = len(softmax) * max(len(op.table) for op in softmax)
    return bases, Words(weights, head_weights, parameters, positions, entries)


def _signed_bits(*values: int) -> int:
    return Range(min(*values, 0), max(*values, 0)).bits


@lru_cache(maxsize=32)
def _widths(program: Program) -> dict[str, int]:
    """Bits of every store, operand and sum: proven from the program, never assumed."""
    tensors, instructions = program.tensors, _expand(program, 1)
    linears = [i.source for i in instructions if isinstance(i.source, Linear)]
    products = [i.source for i in instructions if not isinstance(i.source, Head)]
    head = instructions[-1].source
    scores = [i.source for i in instructions if isinstance(i.source, Scores)]
    contexts = [i.source for i in instructions if isinstance(i.source, Context)]

    def widest(found: list[Tensor], default: int = 2) -> int:
        return max((t.bits for t in found), default=default)

    streams = [tensors[op.residual] for op in linears if op.residual and op.residual not in program.constants]
    keys = widest([tensors[name] for op in (*scores, *contexts) for name in (op.other,)])
    exponential = widest([tensors[op.x] for op in contexts])
    activation = widest([tensors[i.tensor] for i in instructions if i.activation])
    pooled = tensors[instructions[-1].x].range
    positive, negative = np.maximum(head.weight, 0).sum(1), np.minimum(head.weight, 0).sum(1)
    head_sums = [positive * pooled.high + negative * pooled.low, positive * pooled.low + negative * pooled.high]
    sums = [program.accumulator(op) for op in products] + [Range(int(np.min(head_sums)), int(np.max(head_sums)))]
    result = program.accumulator(head)
    scaled = []
    for op in products:
        acc, whole = program.accumulator(op), program.scaled(op)
        largest = int(np.abs(np.asarray(op.mult)).max()) if hasattr(op, "mult") else 1 << 17
        scaled += [*whole, largest * acc.low, largest * acc.high, -largest * acc.low, -largest * acc.high]
        scaled += [int(o) for o in np.ravel(op.offset)]
        if isinstance(op, Linear) and op.residual:
            extra = int(np.abs(op.residual_mult).max()) << (tensors[op.residual].bits - 1 + op.residual_shift)
            scaled += [-extra, extra]
    multipliers = [int(m) for op in products if hasattr(op, "mult") for m in np.ravel(op.mult)]
    extras = [int(m) for op in linears if op.residual for m in op.residual_mult]
    offsets = [int(o) for i in instructions for o in np.ravel(i.source.offset)]
    corners = [a * b for i in instructions for a in _operand(i, program) for b in _other(i, program)]
    centres = [_other(i, program).bits for i in instructions if isinstance(i.source, LayerNorm)]
    return {
        "input_bits": program.input.bits,
        "activation_bits": activation,
        "broadcast_bits": max(keys, widest(streams)),
        "key_bits": keys,
        "score_bits": widest([tensors[op.y] for op in scores]),
        "exponential_bits": exponential,
        "total_bits": (program.input.shape[0] * ((1 << exponential) - 1)).bit_length(),
        "position_bits": widest([tensors[name] for name in program.constants]),
        "weight_bits": max(op.weight_bits for op in linears),
        "head_bits": head.weight_bits,
        "x_bits": max(activation, program.input.bits, exponential + 1),
        "w_bits": max(max(op.weight_bits for op in linears), head.weight_bits, keys, *centres),
        # In a packed product a field holds one less where the field below is negative (mac.vhd): -1 times the lowest power of two.
        "product_bits": _signed_bits(*corners, min(corners) - 1),
        "acc_bits": max(bound.bits for bound in sums),
        "mult_bits": max(_signed_bits(*multipliers), MULT_BITS if contexts else 2),
        "residual_mult_bits": max(_signed_bits(*extras, 0), 2),
        "offset_bits": max(_signed_bits(*offsets, 0), 2),
        "sum_bits": _signed_bits(*scaled),
        "result_bits": _signed_bits(
            result.low + min(int(head.offset.min()), 0), result.high + max(int(head.offset.max()), 0)
        ),
    }


def _operand(i: Instruction, program: Program) -> Range:
    """Range of the lane operand."""
    return program.tensors[i.x.split("[")[0]].range


def _other(i: Instruction, program: Program) -> Range:
    """Range of the broadcast operand."""
    if isinstance(i.source, (Linear, Head)):
        top = (1 << (i.source.weight_bits - 1)) - 1
        return Range(-top, top)
    if isinstance(i.source, LayerNorm):
        return Range(-1, program.tensors[i.source.x].shape[-1] - 1)
    return program.tensors[i.source.other].range


def _packed(x: Range, product_bits: int, operands: int) -> Range:
    """Range of the number that packs several operands for one multiplier."""
    places = sum(1 << (k * product_bits) for k in range(operands))
    return Range(x.low * places, x.high * places)


def _operands(program: Program) -> Range:
    """Range of all lane operands."""
    ranges = [_operand(i, program) for i in _expand(program, 1)]
    return Range(min(r.low for r in ranges), max(r.high for r in ranges))


def _packable(program: Program, shape: Shape) -> int:
    """Lanes that may share one DSP block."""
    x, product_bits = _operands(program), _widths(program)["product_bits"]
    operands = 1
    while operands < shape.lanes and _packed(x, product_bits, operands + 1).bits <= DSP_BITS:
        operands += 1
    return operands


def _blocks(program: Program, hardware: HardwareConfig, shape: Shape) -> int:
    """DSP blocks that the multipliers take when there are enough."""
    if hardware.multiplier == "lut":
        return 0
    lanes = 1 if hardware.multiplier == "dsp" else _packable(program, shape)
    return shape.unroll * -(-shape.lanes // lanes)


def _multipliers(program: Program, hardware: HardwareConfig, shape: Shape) -> tuple[int, int]:
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
                f"{shape.lanes} and products of {_widths(program)['product_bits']} bits they do not; legal here: auto, dsp, lut"
            )
        return packable, packed_macs
    budget = max(0, device(hardware.device).dsp - 2 * shape.requantisers)
    return (1, single_macs) if single_macs <= budget else (packable, min(budget, packed_macs))

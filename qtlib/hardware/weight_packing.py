"""How the weights fill memory words and segments: a word of block RAM holds as many weights as its bits, parity included, allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from qtlib.hardware.engine_schedule import Packing, Schedule
from qtlib.hardware.memory_mapping import COLUMN, FILLS, ROWS, rom_luts
from qtlib.program.operations import Linear

PACKS = range(1, 19)


def weight_words(plan: Schedule) -> dict[int, list[int]]:
    """How many words of weights each layer has, by the bits of its weights."""
    found: dict[int, list[int]] = {}
    for i in plan.instructions:
        if isinstance(i.source, Linear):
            found.setdefault(i.source.weight_bits, []).append(i.steps * i.inner)
    return dict(sorted(found.items()))


def weight_fill(layers: dict[int, list[int]], packings: tuple[Packing, ...]) -> float:
    """LUTs of each bit of 64 weights; those of a narrower layer that are extended to the widest repeat their sign, which is worth half a bit."""
    fills = {bits: FILLS[min(bits, 4)] for bits in layers}
    size = {bits: bits * sum(words) for bits, words in layers.items()}
    if len(packings) == len(layers):
        return sum(fills[bits] * n for bits, n in size.items()) / sum(size.values())
    widest, words = max(size), sum(n / bits for bits, n in size.items())
    return fills[widest] * (1 + sum(size.values()) / words / widest) / 2


def weight_segments(plan: Schedule) -> list[tuple[int, int]]:
    """Words of each segment of the weight store, and the bits of them that any of its layers uses: synthesis builds no others."""
    found, first = [], 0
    layers = [
        (i.w_base, plan.memory_words(i), plan.weight_packings[i.packing])
        for i in plan.instructions
        if isinstance(i.source, Linear)
    ]
    for words in plan.weight_segments or (plan.weight_words,):
        here = [packing for base, count, packing in layers if base < first + words and first < base + count]
        found.append((words, plan.shape.unroll * max(bits * weights for bits, weights in here)))
        first += words
    return found


def _columns(bits: int) -> int:
    return -(-bits // COLUMN)


def _packings(widths: Iterable[int], unroll: int) -> Iterator[tuple[Packing, ...]]:
    """Every way to hold weights of rising widths: all extended to the widest, or each as many as fill the columns of block RAM that the widest do."""
    *narrow, widest = widths
    for weights in PACKS:
        of_widest = Packing(widest, weights)
        yield (of_widest,)
        if narrow:
            room = _columns(weights * unroll * widest) * COLUMN
            yield (*(Packing(bits, room // (unroll * bits)) for bits in narrow), of_widest)


def _index(bits: int, packings: tuple[Packing, ...]) -> int:
    """Which packing holds the weights of a layer: that of its width, or the only one."""
    return next((k for k, packing in enumerate(packings) if packing.bits == bits), 0)


def _packed(plan: Schedule, available: int) -> Schedule:
    """The weights so in memory words that constants and multiplexers take the fewest LUTs; of equals, the fewest blocks."""
    layers = weight_words(plan)

    def score(packings: tuple[Packing, ...]) -> tuple[float, int]:
        words = sum(
            -(-n // packings[_index(bits, packings)].weights) for bits, counts in layers.items() for n in counts
        )
        bits = max(plan.shape.unroll * b * count for b, count in packings)
        blocks_in, left = _cut(words, bits, available)
        constants = rom_luts(left, bits, weight_fill(layers, packings)) if left else 0
        luts = constants + _select(packings, plan.shape.unroll) + bits * (len(blocks_in) + bool(left) - 1)
        return luts, sum(blocks_in) // ROWS * _columns(bits)

    return _placed(plan, min(_packings(layers, plan.shape.unroll), key=score))


def _select(packings: tuple[Packing, ...], unroll: int) -> float:
    """LUTs that choose the place in a memory word, and the packing: nine places of 8 bits were counted as 24 (docs/design.md, Memory)."""
    places = sum(bits * count for bits, count in packings if count > 1)
    return unroll * (places / 3 + (len(packings) - 1) * packings[-1].bits)


def _cut(words: int, bits: int, available: int) -> tuple[list[int], int]:
    """Segments in block RAM, of powers of two words, which synthesis maps without waste; and how many words are left for LUTs."""
    in_blocks = min(words, available // _columns(bits) * ROWS)
    segments: list[int] = []
    while (left := in_blocks - sum(segments)) > 0:
        segments.append(min(left, max(ROWS, 1 << (left.bit_length() - 1))))
    return segments, words - in_blocks


def _placed(plan: Schedule, packings: tuple[Packing, ...]) -> Schedule:
    """The weights in memory words of these packings. Every layer begins a word."""
    plan = replace(plan, weight_packings=packings)
    base, instructions = 0, []
    for i in plan.instructions:
        if isinstance(i.source, Linear):
            i = replace(i, packing=_index(i.source.weight_bits, packings), w_base=base)
            base += plan.memory_words(i)
        else:
            # Reads no weight, so any would do; the committed counts are of this one.
            i = replace(i, packing=len(packings) - 1)
        instructions.append(i)
    return replace(plan, instructions=tuple(instructions))


def segmented(plan: Schedule, available: int) -> Schedule:
    """Weights in segments of block RAM; the rest in LUTs."""
    plan = _packed(plan, available)
    blocks_in, left = _cut(plan.weight_words, plan.weight_word_bits, available)
    segments = (*blocks_in, left) if left else tuple(blocks_in)
    return replace(plan, weight_segments=segments, block_segments=len(blocks_in))

"""The words of the memories of constants."""

from qtlib.config import HardwareConfig
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.rom_contents import contents, pack
from qtlib.program.operations import Linear
from qtlib.training import random_models


def test_a_word_holds_its_first_code_in_the_lowest_bits():
    assert pack([1, -1, 0, -8], 4) == 0x80F1


def test_padded_places_have_no_weight_and_no_offset():
    program = random_models.program(random_models.SHAPES["two-layers-three-outputs"], random_models.MIXED)
    plan = schedule(program, HardwareConfig(lanes=4, unroll=4))
    for i in plan.instructions:
        if isinstance(i.source, Linear):
            words = contents(plan).weights[i.w_base : i.w_base + i.steps * i.inner]
            bits = plan.widths["weight_bits"]
            for place, row in enumerate(i.rows):
                column = [
                    words[place // 4 * i.inner + term] >> (place % 4 * bits) & ((1 << bits) - 1)
                    for term in range(i.inner)
                ]
                if row < 0:
                    assert not any(column) and contents(plan).parameters[i.parameter_base + place] == 0

"""What one memory costs."""

import pytest

from qtlib.hardware.memory_mapping import Memory, Resources, block_ram, distributed, mapped, mux


@pytest.mark.parametrize(
    ("depth", "width", "halves"), [(1024, 18, 1), (512, 36, 1), (512, 72, 2), (3088, 8, 2), (3088, 4, 1), (1025, 18, 2)]
)
def test_block_ram_follows_the_words_of_the_data_sheet(depth, width, halves):
    assert block_ram(depth, width, rom=False)[1] == halves


@pytest.mark.parametrize(
    ("depth", "width", "halves", "parts"),
    [
        (12_320, 4, 3, 13),
        (12_320, 6, 5, 7),
        (6_160, 16, 6, 13),
        (24_800, 16, 23, 25),
        (27_888, 7, 11, 14),
        (3_088, 8, 2, 1),
    ],
)
def test_a_block_of_a_rom_holds_columns_of_any_part(depth, width, halves, parts):
    """Counted with Yosys 0.70."""
    assert block_ram(depth, width, rom=True)[1:] == (halves, parts)


@pytest.mark.parametrize(("depth", "width", "luts"), [(32, 6, 4), (32, 192, 128), (64, 3, 4), (24, 16, 12)])
def test_distributed_ram_follows_the_words_of_the_data_sheet(depth, width, luts):
    assert distributed(depth, width)[1].lut_memory == luts


@pytest.mark.parametrize(("depth", "width", "luts"), [(8, 31, 16), (2, 28, 16), (32, 8, 4), (64, 4, 4)])
def test_a_memory_of_one_address_reads_at_its_writing_port_too(depth, width, luts):
    assert distributed(depth, width, single=True)[1].lut_memory == luts


def test_a_memory_type_is_obeyed_and_one_word_is_a_register():
    assert mapped(Memory(16, 8, 1, False, "block")) == Resources(ramb18=1)
    assert mapped(Memory(4096, 8, 1, False, "distributed")).lut_memory > 0
    assert mapped(Memory(1, 8, 1, False, "block")) == Resources(ff=16)


def test_four_inputs_are_one_lut():
    assert mux(4) == 1

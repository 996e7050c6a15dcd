"""The whole engine equals `qtlib.program.reference.run`, bit for bit, in the clocks of the schedule."""

import re
from dataclasses import replace

import pytest

from qtlib.config import STORES, HardwareConfig, ModelConfig, QuantConfig
from qtlib.hardware import engine_schedule, weight_packing
from qtlib.studies import random_designs
from qtlib.toolchain import design_directory, external_tools, simulation
from qtlib.toolchain.design_directory import emit
from qtlib.toolchain.input_stimuli import saturated, stimuli
from qtlib.training import random_models

pytestmark = pytest.mark.needs_ghdl


@pytest.mark.parametrize("number", range(8))  # `make verify` checks many more
def test_a_random_design_computes_the_program(tmp_path, number):
    program, hardware = random_designs.draw(number)
    print(hardware)
    codes = stimuli(program, 4, number)
    plan = emit(program, hardware, tmp_path, codes)
    found = simulation.simulate(tmp_path)
    assert (found.latency, found.interval) == (plan.latency, plan.interval)
    simulation.simulate(tmp_path, seed=number + 1, windows=2)


@pytest.mark.needs_verilator
@pytest.mark.parametrize("number", range(2))
def test_the_verilog_of_a_random_design_computes_the_program_too(tmp_path, number):
    """What is synthesised is GHDL's Verilog, so a difference to the VHDL must not pass."""
    program, hardware = random_designs.draw(number)
    emit(program, hardware, tmp_path, stimuli(program, 40, number))
    simulation.simulate(tmp_path, tool="verilator")
    simulation.simulate(tmp_path, tool="verilator", seed=number + 1)


@pytest.mark.needs_verilator
@pytest.mark.parametrize(("unroll", "bits"), [(1, [2, 3, 4, 7]), (3, [2, 3, 4, 7]), (1, [7])])
def test_weights_of_several_widths_share_memory_words(tmp_path, monkeypatch, unroll, bits):
    ways = weight_packing._packings
    monkeypatch.setattr(
        weight_packing, "_packings", lambda *words: [way for way in ways(*words) if len(way) == len(bits)]
    )
    monkeypatch.setattr(weight_packing, "ROWS", 2)  # as in designs whose weights exceed the block RAM
    monkeypatch.setattr(design_directory, "allocate", lambda plan: weight_packing.segmented(plan, 9))
    quant = replace(random_models.MIXED, overrides=(("0.q.weight", 3), ("0.v.weight", 7), ("0.hidden.weight", 2)))
    program = random_models.program(random_models.SHAPES["two-heads"], quant)
    plan = emit(program, HardwareConfig(lanes=3, unroll=unroll), tmp_path, stimuli(program, 20))
    assert [packing.bits for packing in plan.weight_packings] == bits and len(plan.weight_segments) > 1
    simulation.simulate(tmp_path, windows=4)
    simulation.simulate(tmp_path, tool="verilator")


@pytest.mark.needs_verilator
@pytest.mark.parametrize(
    ("lanes", "shape"),
    [
        (
            1,
            ModelConfig(window=4, d_model=4),
        ),  # GHDL 2.0 cut the constant 4 to the two bits of the key that it was compared with
        (1, ModelConfig(window=3, d_model=1)),  # a ROM of one word has an address of no bits
        (32, ModelConfig(window=32, d_model=4)),  # from 27 lanes on GHDL 2.0 did not come to an end
    ],
    ids=["window-4", "d_model-1", "lanes-32"],
)
def test_what_was_once_wrong_in_verilog_is_right(tmp_path, lanes, shape):
    program = random_models.program(shape)
    emit(program, HardwareConfig(lanes=lanes), tmp_path, stimuli(program, 8))
    assert simulation.simulate(tmp_path, tool="verilator").mismatches == 0


@pytest.mark.parametrize(("bits", "norm"), [(8, "batch"), (6, "batch"), (4, "batch"), (8, "layer"), (4, "layer")])
def test_the_published_shape_computes_the_program_also_where_it_saturates(tmp_path, bits, norm):
    program = random_models.program(ModelConfig(window=24, d_model=16, norm=norm), QuantConfig(bits=bits))
    codes = stimuli(
        program, 4, seed=3
    )  # few, because GHDL takes a second for a thousand clocks, and of a seed that reaches the ends
    # A normalised value is at most sqrt(15), which is 124 of the 127 codes of 8 bits: there a LayerNorm cannot saturate.
    bounded = {op.y for op in program.operations if op.kind == "layer_norm" and bits == 8}
    cut = {name: ends for name, ends in saturated(program, codes).items() if name not in bounded}
    assert sum(low + high > 0 for low, high in cut.values()) >= len(cut) - 1, cut
    assert sum(low > 0 and high > 0 for low, high in cut.values()) > len(cut) / 2, cut
    plan = emit(program, HardwareConfig(), tmp_path, codes)
    found = simulation.simulate(tmp_path)
    assert (found.results, found.latency, found.interval) == (4, plan.latency, plan.interval)


NORM_HARDWARE = [
    HardwareConfig(),
    HardwareConfig(lanes=1, tables="block"),
    HardwareConfig(lanes=3, unroll=3, requantisers=1),
    HardwareConfig(unroll=2, requantisers=3),
    HardwareConfig(unroll=6, requantisers=6, multiplier="packed"),
]


@pytest.mark.parametrize("quant", random_models.WIDTHS)
@pytest.mark.parametrize("shape", ["layer-norm", "two-layers-layer-norm"])
def test_layer_norms_compute_the_program_on_every_kind_of_engine(tmp_path, shape, quant):
    program = random_models.program(random_models.SHAPES[shape], random_models.WIDTHS[quant])
    codes = stimuli(program, 3)
    window = program.input.shape[0]
    for number, hardware in enumerate(
        NORM_HARDWARE if window == 6 else [HardwareConfig(lanes=3, unroll=3), HardwareConfig(unroll=5)]
    ):
        plan = emit(program, hardware, tmp_path / str(number), codes)
        found = simulation.simulate(tmp_path / str(number))
        assert (found.latency, found.interval) == (plan.latency, plan.interval)
        simulation.simulate(tmp_path / str(number), seed=number + 1, windows=2)


HARDWARE = [
    HardwareConfig(),
    HardwareConfig(lanes=1),
    HardwareConfig(lanes=3, requantisers=1, multiplier="lut", activations="distributed", weights="distributed"),
    HardwareConfig(unroll=2, multiplier="dsp", clock_mhz=50.0, parameters="block", tables="block"),
    HardwareConfig(unroll=6, multiplier="packed", device="xc7s50", activations="block", weights="block"),
    HardwareConfig(unroll=3, stores={name: ("distributed", "block")[k % 2] for k, name in enumerate(STORES)}),
    HardwareConfig(lanes=2, stores={name: ("block", "distributed")[k % 2] for k, name in enumerate(STORES)}),
]


def test_no_choice_of_the_hardware_changes_an_output_bit(tmp_path):
    program = random_models.program(random_models.SHAPES["one-layer"], random_models.WIDTHS["4-bit"])
    codes = stimuli(program, 6)
    expected, clocks = set(), set()
    for number, hardware in enumerate(HARDWARE):
        plan = emit(program, hardware, tmp_path / str(number), codes)
        simulation.simulate(tmp_path / str(number))
        expected.add((tmp_path / str(number) / "expected.txt").read_bytes())
        clocks.add(plan.latency)
    assert len(expected) == 1 and len(clocks) == len(HARDWARE)


@pytest.mark.parametrize("name", ["latency", "interval"])
def test_a_wrong_formula_fails_the_simulation(tmp_path, name):
    program = random_models.program()
    plan = emit(program, HardwareConfig(), tmp_path, stimuli(program, 3))
    package = tmp_path / "design_pkg.vhd"
    value = getattr(plan, name)
    text, count = re.subn(
        rf"constant {name} : positive := {value};", f"constant {name} : positive := {value + 1};", package.read_text()
    )
    assert count == 1
    package.write_text(text)
    with pytest.raises(simulation.Mismatch, match=f"{name} is {value} clocks, scheduled {value + 1}"):
        simulation.simulate(tmp_path)


@pytest.mark.parametrize("shape", ["two-heads", "layer-norm"])
def test_every_hold_is_needed_to_the_clock(tmp_path, monkeypatch, shape):
    """Shortened by one clock, a hold lets an operation read what is not yet written, or lose a sum."""
    program = random_models.program(random_models.SHAPES[shape], random_models.WIDTHS["8-bit"])
    hardware = HardwareConfig(requantisers=1)
    held = [index for index, i in enumerate(engine_schedule.schedule(program, hardware).instructions) if i.hold]
    assert len(held) >= 4
    exact = engine_schedule.starts
    for index in held:

        def early(instructions, shape, index=index):
            return [
                (start - (k >= index), hold - (k == index))
                for k, (start, hold) in enumerate(exact(instructions, shape))
            ]

        with monkeypatch.context() as patch:
            patch.setattr(engine_schedule, "starts", early)
            emit(program, hardware, tmp_path / str(index), stimuli(program, 4))
        with pytest.raises(simulation.Mismatch, match="result "):
            simulation.simulate(tmp_path / str(index))


def test_a_stopped_engine_is_found_by_the_watchdog(tmp_path):
    program = random_models.program()
    emit(program, HardwareConfig(), tmp_path, stimuli(program, 1))
    file = tmp_path / "issue.vhd"
    text = file.read_text()
    assert "state <= fetch;" in text
    file.write_text(text.replace("state <= fetch;", "state <= idle;"))
    with pytest.raises(simulation.Mismatch, match="no result within"):
        simulation.simulate(tmp_path)


def test_a_missing_last_line_is_not_a_pass(tmp_path):
    program = random_models.program()
    emit(program, HardwareConfig(), tmp_path, stimuli(program, 1))
    file = tmp_path / "tb_accelerator.vhd"
    file.write_text(re.sub(r"report \"checked \".*?;", "", file.read_text(), flags=re.DOTALL))
    with pytest.raises(external_tools.ToolError, match="ended without its last line"):
        simulation.simulate(tmp_path)

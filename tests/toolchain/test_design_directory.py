"""A design directory: complete, self-contained, the same bytes from the same input."""

import json
import re
import shutil
import subprocess

import pytest
from jinja2 import UndefinedError

from qtlib.config import HardwareConfig
from qtlib.program import reference
from qtlib.toolchain import design_directory
from qtlib.toolchain.design_directory import emit
from qtlib.toolchain.input_stimuli import stimuli
from qtlib.training import random_models

TOO_MUCH_BLOCK_RAM = HardwareConfig(
    unroll=2, multiplier="lut", **dict.fromkeys(("activations", "weights", "parameters", "tables"), "block")
)
FILES = {
    *design_directory.SOURCES,
    *design_directory.VENDOR,
    design_directory.TESTBENCH,
    "README.md",
    "design.json",
    "program.qtp",
    "expected.txt",
    "stimuli.txt",
}


def contents(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


@pytest.fixture
def design(tmp_path):
    program = random_models.program(random_models.SHAPES["two-heads"], random_models.MIXED)
    directory = tmp_path / "design"
    plan = emit(program, HardwareConfig(unroll=5, requantisers=1), directory, stimuli(program, 4))
    return plan, directory


def test_a_design_is_these_files_and_no_others(design):
    assert set(contents(design[1])) == FILES


def test_emitting_twice_gives_the_same_bytes(design, tmp_path):
    again = tmp_path / "elsewhere" / "again"
    emit(design[0].program, design[0].hardware, again, stimuli(design[0].program, 4))
    assert contents(again) == contents(design[1])


def test_nothing_in_a_design_says_where_it_was_made(design):
    for name, content in contents(design[1]).items():
        assert str(design[1]).encode() not in content and b"/home" not in content, name


def test_other_files_of_the_directory_are_left_alone(design):
    (design[1] / "notes.txt").write_text("mine")
    emit(design[0].program, design[0].hardware, design[1])
    assert (design[1] / "notes.txt").read_text() == "mine"


def test_vectors_are_in_the_order_of_the_ports(design):
    plan, directory = design
    codes = stimuli(plan.program, 4)
    sent = [int(line) for line in (directory / "stimuli.txt").read_text().split()]
    window, features = plan.program.input.shape
    assert sent[:window] == codes[0, :, 0].tolist()
    assert sent[window : 2 * window] == codes[0, :, 1].tolist()
    assert len(sent) == 4 * window * features
    results = [int(line) for line in (directory / "expected.txt").read_text().split()]
    assert results == reference.run(plan.program, codes).ravel().tolist()


def test_the_description_agrees_with_the_schedule(design):
    plan, directory = design
    described = json.loads((directory / "design.json").read_text())
    assert (described["latency"], described["interval"], described["kind"]) == (plan.latency, plan.interval, "formula")
    assert described["program"] == plan.program.digest
    assert described["shape"]["multipliers"] == plan.multipliers
    package = (directory / "design_pkg.vhd").read_text()
    assert f"constant latency : positive := {plan.latency};" in package


def test_a_template_value_that_was_forgotten_is_an_error():
    with pytest.raises(UndefinedError, match="'version' is undefined"):
        design_directory._templates.get_template("design_pkg.vhd.j2").render(constants=[], memories=[], operations=[])


def test_a_list_of_one_element_is_written_with_its_name(design):
    plan = emit(random_models.program(), HardwareConfig(), design[1])
    text = (design[1] / "design_pkg.vhd").read_text()
    assert len(plan.residual_shifts) != 1 or "residual_shifts : integer_vector(0 to 0) := (0 => 0)" in text
    assert not re.search(r":= \(-?\d+\);", text)


@pytest.mark.needs_ghdl
def test_a_copied_design_runs_by_the_commands_of_its_own_readme(design, tmp_path):
    copy = tmp_path / "a place with blanks" / "copy"
    shutil.copytree(design[1], copy)
    shutil.rmtree(design[1])
    block = re.search(r"```\n(.*?)```", (copy / "README.md").read_text(), re.DOTALL)[1]
    done = subprocess.run(["sh", "-e"], input=block, cwd=copy, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checked 4 results" in (done.stdout + done.stderr)
    assert "checked 4 results" in (copy / "README.md").read_text()


def test_a_design_without_vectors_does_not_say_how_to_simulate_them(design):
    emit(design[0].program, design[0].hardware, design[1])
    text = (design[1] / "README.md").read_text()
    assert "ghdl -r" not in text and "0 windows" not in text
    assert " ".join(design_directory.SOURCES) in text
    assert {file.name for file in design[1].iterdir()} == FILES - {"stimuli.txt", "expected.txt"}


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "design").write_text("mine")
    text = f"emit: {tmp_path}/design is a file; name a folder, or a path that does not exist yet"
    with pytest.raises(NotADirectoryError, match=re.escape(text)):
        emit(random_models.program(), HardwareConfig(), tmp_path / "design")
    assert (tmp_path / "design").read_text() == "mine"


def test_a_design_that_must_fit_and_does_not_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="resources: the design exceeds an xc7s15 by 7 RAMB18"):
        emit(random_models.program(), TOO_MUCH_BLOCK_RAM, tmp_path / "design", must_fit=True)
    assert not (tmp_path / "design").exists()
    emit(random_models.program(), TOO_MUCH_BLOCK_RAM, tmp_path / "design")


def test_the_vendor_script_reads_every_source_and_asks_for_the_part_and_the_clock(tmp_path):
    emit(random_models.program(), HardwareConfig(device="xc7s25", clock_mhz=80.0), tmp_path)
    script, clock = ((tmp_path / name).read_text() for name in design_directory.VENDOR)
    assert "set part xc7s25ftgb196-1\n" in script
    assert f"foreach file {{{' '.join(design_directory.SOURCES)}}} {{\n  read_vhdl -vhdl2008 $file\n}}" in script
    steps = re.findall(r"^(synth_design|opt_design|place_design|route_design|report_\w+)", script, re.MULTILINE)
    assert steps == [
        "synth_design",
        "opt_design",
        "place_design",
        "route_design",
        "report_utilization",
        "report_utilization",
        "report_timing_summary",
        "report_power",
    ]
    assert script.endswith("\nfile copy -force design.json reported.json\n")
    assert "create_clock -name clk -period 12.500 [get_ports clk]" in clock

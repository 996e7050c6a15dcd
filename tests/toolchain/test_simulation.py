"""Simulation reports: equal in both simulators, and every difference is an error that names the first."""

import json

import pytest

from qtlib.config import HardwareConfig
from qtlib.toolchain import external_tools, simulation
from qtlib.toolchain.design_directory import emit
from qtlib.toolchain.input_stimuli import stimuli
from qtlib.training import random_models

tool = pytest.mark.parametrize(
    "tool", [pytest.param(name, marks=getattr(pytest.mark, f"needs_{name}")) for name in simulation.TOOLS]
)


@pytest.fixture
def design(tmp_path):
    prog = random_models.program(random_models.SHAPES["two-layers-three-outputs"], random_models.MIXED)
    return emit(prog, HardwareConfig(lanes=4, unroll=2), tmp_path / "design", stimuli(prog, 5)), tmp_path / "design"


def before_and_after(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


@tool
def test_a_report_says_what_was_simulated_by_which_tool(design, tool):
    plan, directory = design
    before = before_and_after(directory)
    report = simulation.simulate(directory, tool=tool)
    assert (report.kind, report.tool, report.windows, report.results, report.mismatches) == (
        "simulated",
        tool,
        5,
        15,
        0,
    )
    assert (report.latency, report.interval) == (plan.latency, plan.interval)
    assert 4 * plan.interval + plan.latency <= report.clocks < 4 * plan.interval + plan.latency + 20
    assert report.version == external_tools.find(tool).version
    after = before_and_after(directory)
    assert json.loads(after.pop(f"simulation_{tool}.json")) == report._asdict()
    after.pop("accelerator.v", None)
    assert after == before


@tool
def test_paused_streams_change_no_result_and_give_no_clocks(design, tool):
    report = simulation.simulate(design[1], tool=tool, seed=3, windows=4)
    assert (report.seed, report.results, report.latency, report.interval) == (3, 12, None, None)
    assert report.clocks > 4 * design[0].interval


@tool
def test_the_first_wrong_result_is_named_and_leaves_no_report(design, tool):
    directory = design[1]
    simulation.simulate(directory, tool=tool)
    lines = (directory / "expected.txt").read_text().split()
    wrong = str(int(lines[7]) + 1)
    (directory / "expected.txt").write_text("\n".join([*lines[:7], wrong, *lines[8:]]) + "\n")
    place = "result 7" if tool == "ghdl" else "result 1 of window 2"
    with pytest.raises(simulation.Mismatch, match=f"simulate: design: {place} is {lines[7]}, expected {wrong}"):
        simulation.simulate(directory, tool=tool)
    assert not (directory / f"simulation_{tool}.json").exists()


@pytest.mark.needs_verilator
def test_clocks_that_differ_from_the_schedule_fail_in_verilator_too(design):
    plan, directory = design
    described = json.loads((directory / "design.json").read_text())
    (directory / "design.json").write_text(json.dumps({**described, "latency": plan.latency + 1}))
    with pytest.raises(simulation.Mismatch, match=f"latency is {plan.latency} clocks, scheduled {plan.latency + 1}"):
        simulation.simulate(directory, tool="verilator")


@pytest.mark.needs_verilator
def test_progress_ends_with_all_windows(tmp_path, monkeypatch):
    prog = random_models.program()
    emit(prog, HardwareConfig(), tmp_path, stimuli(prog, 7))
    monkeypatch.setattr(simulation, "CHUNK", 3)
    seen = []
    report = simulation.simulate(tmp_path, tool="verilator", progress=lambda *words: seen.append(words))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert report.results == 7


def test_an_unknown_tool_is_refused_with_the_legal_ones(tmp_path):
    with pytest.raises(ValueError, match="simulate: tool='icarus' is not one of ghdl, verilator"):
        simulation.simulate(tmp_path, tool="icarus")


def test_a_folder_without_a_design_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a design directory: it has no design.json"):
        simulation.simulate(tmp_path)


def test_a_design_without_vectors_is_refused(tmp_path):
    emit(random_models.program(), HardwareConfig(), tmp_path)
    with pytest.raises(FileNotFoundError, match="has no stimuli.txt; emit it with input codes"):
        simulation.simulate(tmp_path)


@pytest.mark.parametrize("windows", [0, 6])
def test_more_windows_than_there_are_are_refused(design, windows):
    with pytest.raises(ValueError, match=f"simulate: windows={windows} is outside 1..5, the test vectors of design"):
        simulation.simulate(design[1], windows=windows)


def test_vectors_that_do_not_belong_together_are_refused(design):
    with (design[1] / "stimuli.txt").open("a") as stream:
        stream.write("1\n")
    with pytest.raises(ValueError, match="71 codes do not belong to 5 windows; emit it again"):
        simulation.simulate(design[1])


def test_a_missing_simulator_is_named_with_its_install_command(design, monkeypatch):
    monkeypatch.setenv("QTLIB_GHDL", "no-such-program")
    with pytest.raises(external_tools.MissingTool, match="QTLIB_GHDL=no-such-program is not an executable program"):
        simulation.simulate(design[1])


@pytest.mark.needs_ghdl
def test_vhdl_that_does_not_compile_is_an_error_of_the_tool(design):
    (design[1] / "mac.vhd").write_text("entity")
    with pytest.raises(external_tools.ToolError, match="mac.vhd"):
        simulation.simulate(design[1])


@pytest.mark.needs_ghdl
def test_a_simulation_that_takes_too_long_is_stopped(design):
    with pytest.raises(external_tools.ToolError, match="did not end within 0.01 s and was killed"):
        simulation.simulate(design[1], timeout=0.01)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("QTLIB_GHDL", "no-such-program")
    assert simulation.missing("verilator") is None or "no-such-program" in simulation.missing("verilator")
    assert simulation.missing("ghdl") == "external_tools: QTLIB_GHDL=no-such-program is not an executable program"

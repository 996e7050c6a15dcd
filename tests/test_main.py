import importlib
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import pytest

from qtlib import __main__ as cli
from qtlib import command_line
from qtlib.compendium import notebook_runs
from qtlib.compendium.notebook_execution import NotebookFailed
from qtlib.config import HardwareConfig
from qtlib.program.file import save
from qtlib.toolchain import external_tools
from qtlib.training import random_models


def options(*words):
    """Call the command line as far as argparse goes."""
    return cli._parser(words[0]).parse_args(words)


@pytest.fixture
def called(monkeypatch):
    calls = []
    monkeypatch.setattr(notebook_runs, "run", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


def test_run_passes_stages_profile_and_parameters_on(called):
    assert cli.main(["run", "1", "2", "--profile", "paper", "-p", "seed=1", "-p", "note=a=b", "--force"]) == 0
    expected = {
        "profile": "paper",
        "parameters": {"seed": "1", "note": "a=b"},
        "first": None,
        "last": None,
        "force": True,
    }
    assert called == [(([1, 2],), expected)]


def test_run_without_words_is_the_whole_quick_study(called):
    cli.main(["run"])
    expected = {"profile": "quick", "parameters": {}, "first": None, "last": None, "force": False}
    assert called == [(([],), expected)]


def test_a_range_of_stages_is_passed_on(called):
    cli.main(["run", "--from", "2", "--to", "5"])
    assert (called[0][1]["first"], called[0][1]["last"]) == (2, 5)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["rnu"],
            "command 'rnu' does not exist; did you mean 'run'? legal: bench, cell-counts, deployability, emit, estimate, explore, export, fetch, fit, "
            "place, placement, run, shapes, simulate, study, synthesise, verify",
        ),
        (["run", "two"], "argument NN: invalid int value: 'two'"),
        (["run", "--forc"], "unrecognized arguments: --forc"),
        (["estimate", "x.npz", "--multiplier", "dps"], "argument --multiplier: invalid choice: 'dps'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_words_are_usage_errors_with_status_2(capsys, words, text):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["run", "--profile", "qick"],
            "run: profile 'qick' does not exist; did you mean 'quick'? legal: paper, quick\n",
        ),
        (["run", "-p", "seed"], "run: -p seed must be NAME=VALUE\n"),
        (["run", "77"], "run: stage 77 does not exist; legal: "),
    ],
)
def test_stages_profiles_and_parameters_that_do_not_exist_are_usage_errors_too(capsys, words, text):
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith(text)


@pytest.mark.parametrize(
    "error",
    [
        NotebookFailed("run: 02 failed"),
        external_tools.MissingTool("external_tools: ghdl"),
        external_tools.ToolError("external_tools: x"),
        FileNotFoundError("results: y"),
        OverflowError("width"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_is_its_own_text_and_status_1(capsys, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(notebook_runs, "run", fail)
    assert cli.main(["run"]) == 1
    assert capsys.readouterr().err == f"{error}\n"


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def fail(*_, **__):
        raise KeyError("bug")

    monkeypatch.setattr(notebook_runs, "run", fail)
    with pytest.raises(KeyError, match="bug"):
        cli.main(["run"])


def test_every_choice_of_the_hardware_is_an_option_with_the_default_of_the_config():
    assert command_line.hardware(options("estimate", "x.npz")) == HardwareConfig()
    assert {field.name for field in fields(HardwareConfig)} <= set(vars(options("emit", "x.npz")))


def test_hardware_options_reach_the_config():
    words = ["--lanes", "4", "--unroll", "2", "--multiplier", "packed", "--clock-mhz", "80", "--weights", "block"]
    made = command_line.hardware(options("synthesise", "x.npz", *words))
    assert made == HardwareConfig(lanes=4, unroll=2, multiplier="packed", clock_mhz=80.0, weights="block")


def test_the_memory_type_of_a_store_is_an_option(capsys):
    words = ["--store", "broadcast=distributed", "--store", "head=block"]
    assert command_line.hardware(options("emit", "x.npz", *words)) == HardwareConfig(
        stores={"head": "block", "broadcast": "distributed"}
    )
    assert cli.main(["emit", "x.npz", "--store", "head"]) == 2
    assert capsys.readouterr().err == "hardware: --store head must be NAME=TYPE\n"


def test_place_names_two_devices_the_one_it_places_on_and_that_of_the_design():
    found = options("place", "x.qtp", "--device", "up5k", "--seeds", "2", "--lanes", "4")
    assert (found.target, found.seeds, command_line.hardware(found)) == ("up5k", 2, HardwareConfig(lanes=4))
    assert command_line.hardware(options("place", "x.qtp", "--design-device", "xc7s50")).device == "xc7s50"


def test_a_missing_program_file_is_a_failure(tmp_path, capsys):
    assert cli.main(["estimate", str(tmp_path / "none.npz")]) == 1
    assert "none.npz" in capsys.readouterr().err


def test_every_folder_offers_the_commands_that_the_table_of_contents_lists():
    listed = {}
    for name, (folder, _) in cli.COMMANDS.items():
        listed.setdefault(folder, []).append(name)
    there = {file.parent.name for file in Path(cli.__file__).parent.glob("*/commands.py")}
    assert {folder: list(importlib.import_module(f"qtlib.{folder}.commands").COMMANDS) for folder in there} == listed


def test_help_and_run_do_not_load_pytorch():
    code = "import sys; import qtlib.__main__ as m; m._parser(''); m._parser('run'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_module_runs_and_passes_its_status_on():
    done = subprocess.run([sys.executable, "-m", "qtlib", "run", "77"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_printed_report_keeps_the_names_of_inner_records(capsys):
    class Inner(NamedTuple):
        lut: int

    class Outer(NamedTuple):
        kind: str
        components: dict

    command_line.print_report(Outer("formula", {"issue": Inner(3)}))
    assert json.loads(capsys.readouterr().out) == {"kind": "formula", "components": {"issue": {"lut": 3}}}


def test_emit_writes_a_directory_with_its_test_vectors(tmp_path):
    path = save(random_models.program(), tmp_path / "small.qtp")
    assert cli.main(["emit", str(path), "--directory", str(tmp_path / "design"), "--windows", "2"]) == 0
    program = random_models.program()
    assert (
        len((tmp_path / "design" / "stimuli.txt").read_text().split())
        == 2 * program.input.shape[0] * program.input.shape[1]
    )
    assert len((tmp_path / "design" / "expected.txt").read_text().split()) == 2


def test_fewer_windows_than_one_are_refused(tmp_path, capsys):
    path = save(random_models.program(), tmp_path / "small.qtp")
    assert cli.main(["emit", str(path), "--directory", str(tmp_path / "design"), "--windows", "0"]) == 1
    assert "simulate: windows=0 must be at least 1" in capsys.readouterr().err


def test_what_exceeds_the_device_is_estimated_and_then_said_and_emitted_only_on_demand(tmp_path, capsys):
    path = str(save(random_models.program(), tmp_path / "small.qtp"))
    words = ["--unroll", "6", "--multiplier", "dsp"]
    assert cli.main(["estimate", path, *words]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["total"]["dsp"] > 20
    assert printed.err.startswith("resources: the design exceeds an xc7s15 by ")
    assert cli.main(["emit", path, "--directory", str(tmp_path / "design"), *words]) == 1
    assert not (tmp_path / "design").exists()
    assert cli.main(["emit", path, "--directory", str(tmp_path / "design"), "--oversize", *words]) == 0


def test_a_folder_in_the_place_of_a_program_is_named_with_what_is_in_it(tmp_path, capsys):
    save(random_models.program(), tmp_path / "small.qtp")
    assert cli.main(["estimate", str(tmp_path)]) == 1
    text = f"program: {tmp_path} is a folder; name one program file, such as those in it: small.qtp\n"
    assert capsys.readouterr().err == text


def test_a_misspelt_data_set_gets_a_suggestion(capsys):
    assert cli.main(["fetch", "pesm"]) == 1
    assert capsys.readouterr().err.endswith("; did you mean 'pems'?\n")

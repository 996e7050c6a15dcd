"""The commands of the toolchain."""

import json

import pytest

from qtlib import __main__ as cli
from qtlib.program.file import save
from qtlib.training import random_models


@pytest.mark.needs_ghdl
def test_the_command_emits_and_simulates(tmp_path, capsys):
    program = save(random_models.program(), tmp_path / "small.qtp")
    words = [
        "simulate",
        str(program),
        "--directory",
        str(tmp_path / "d"),
        "--windows",
        "3",
        "--seed",
        "2",
        "--lanes",
        "3",
    ]
    assert cli.main(words) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["tool"], report["windows"], report["seed"], report["mismatches"]) == ("ghdl", 3, 2, 0)
    assert "3 of 3 windows" in printed.err

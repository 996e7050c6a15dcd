"""The driver is built with as little compiling as it needs."""

import pytest

from qtlib.toolchain import verilator_build

DESIGN = {"widths": {"input_bits": 8, "result_bits": 20}, "latency": 10}
FAKES = {
    "VERILATOR": '[ "$1" = --version ] && echo Verilator 9.9 || mkdir -p verilated',
    "GXX": "echo g++ 9.9",
    "MAKE": 'echo "$@"; for name in verilated.o verilated_threads.o; do [ -f $name ] || { echo compiled $name; echo made > $name; }; done',
}


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds with tools that only say what they were asked for; gives what make said."""
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path / "prepared"))
    for name, body in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv(f"QTLIB_{name}", str(tmp_path / name))

    def run(number, clocks=1):
        folder = tmp_path / str(number)
        folder.mkdir()
        verilator_build.build(folder, [tmp_path / "design.v"], DESIGN, clocks=clocks, timeout=60)
        return (folder / "make.log").read_text()

    return run


def test_the_library_of_verilator_is_compiled_once(build):
    first, second = build(1), build(2)
    assert "compiled verilated.o\ncompiled verilated_threads.o\n" in first
    assert "compiled" not in second


def test_only_a_long_simulation_is_optimised(build):
    assert "OPT_FAST=-O0" in build(1, verilator_build.SHORT)
    assert "OPT_FAST=-O1" in build(2, verilator_build.SHORT + 1)

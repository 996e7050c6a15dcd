"""`make verify`: its last record is of today's RTL, and a design that differs is named."""

import concurrent.futures
import json
from types import SimpleNamespace

import pytest

from qtlib.studies import verification
from qtlib.studies.verification import Checked, verify
from qtlib.toolchain import design_directory
from qtlib.toolchain.design_directory import rtl_digest


def test_the_committed_verification_is_of_todays_rtl():
    record = json.loads(verification.FILE.read_text(encoding="utf-8"))
    assert record["rtl"] == rtl_digest(), "the RTL has changed since; run: make verify"
    assert record["first"] == 0
    assert record["designs"] >= verification.DESIGNS
    # Open: docs/design.md, section "What the verification found".
    failed = {text.partition(": ")[0] for text in record["failures"]}
    assert failed <= {"random design 25", "random design 50", "random design 75"}
    assert all("netlist_simulation: " in text for text in record["failures"])
    simulated = record["simulations"]["ghdl"]
    assert simulated == record["simulations"]["ghdl, paused"] == record["designs"] - len(failed)


def test_the_digest_of_the_rtl_is_of_its_code_and_not_of_its_comments(tmp_path, monkeypatch):
    monkeypatch.setattr(design_directory, "HDL", tmp_path)
    monkeypatch.setattr(design_directory, "RTL", ("one",))
    (tmp_path / "rtl").mkdir()
    digests = []
    for text in ("a <= b; -- why", "a  <= b;\n-- another reason\n", "a <= c; -- why"):
        (tmp_path / "rtl" / "one.vhd").write_text(text)
        digests.append(rtl_digest())
    assert digests[0] == digests[1] != digests[2]


@pytest.fixture
def threads(monkeypatch, tmp_path):
    """Threads instead of processes, so that what is patched here is patched there, and no trained program."""
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path))
    monkeypatch.setattr(verification.external_tools, "find", lambda name: SimpleNamespace(version=f"{name} 1"))
    monkeypatch.setattr(
        verification.concurrent.futures,
        "ProcessPoolExecutor",
        lambda workers, mp_context: concurrent.futures.ThreadPoolExecutor(workers),
    )


def test_a_design_that_differs_is_named_and_the_others_are_checked_all_the_same(threads, monkeypatch):
    def check(number):
        if number == 7:
            raise ValueError("latency is 5 clocks, scheduled 6")
        return Checked(f"random design {number}", 10, ("ghdl",))

    monkeypatch.setattr(verification, "check_random", check)
    lines = []
    record = verify(5, 4, progress=lines.append)
    assert record["failures"] == ["random design 7: latency is 5 clocks, scheduled 6"]
    assert (record["results"], len(lines)) == (30, 4)


def test_a_record_counts_what_was_simulated_by_which_tool(threads, monkeypatch):
    monkeypatch.setattr(verification, "check_random", lambda number: Checked("one", 10, ("ghdl", "ghdl, paused")))
    record = verify(3, 2, progress=lambda line: None)
    assert record["simulations"] == {"ghdl": 2, "ghdl, paused": 2}
    assert (record["results"], record["first"], record["designs"], record["rtl"]) == (20, 3, 2, rtl_digest())


@pytest.mark.needs_ghdl
@pytest.mark.needs_verilator
def test_a_random_design_is_simulated_at_full_speed_and_paused():
    assert verification.check_random(1).simulators == ("ghdl", "ghdl, paused")

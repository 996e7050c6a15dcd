"""The benchmark's structure, on a tiny case; times themselves are never tested."""

import json
import statistics

import pytest

from qtlib import __main__ as cli
from qtlib import paths
from qtlib.studies import benchmark
from qtlib.studies.benchmark import Size, compared, load, table, timed

TINY = Size(window=4, d_model=4, widths=(4,), batch=4, training_batch=4, steps=1, repetitions=2, slow=2, chunks=2)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_RESULTS", str(tmp_path))
    return tmp_path


def test_actions_take_turns_and_the_first_round_does_not_count():
    order = []
    found = timed({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert order == ["a", "b"] * 4
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_of_rates_pair_by_pair_with_its_spread():
    row = compared("x", 10, "things/s", [1.0, 2.0, 4.0], "y", [2.0, 2.0, 2.0])
    assert (row.value, row.low, row.high, row.repetitions) == (5.0, 2.5, 10.0, 3)
    assert (row.ratio, row.ratio_low, row.ratio_high) == (1.0, 0.5, 2.0)


def test_a_reference_that_does_another_amount_is_compared_by_rate():
    row = compared("x", 4, "windows/s", [2.0], "y", [1.0, 1.0], share=16 / 4)
    assert row.ratio == (4 / 2) / (16 / 1)
    assert row.ratio_low is None


def test_sections_that_need_no_tool_are_measured_and_kept():
    content = benchmark.run(["training", "inference"], TINY)
    assert list(content) == ["training", "inference"]
    assert json.loads((paths.results() / benchmark.FILE).read_text()) == content == load()
    training, inference = content["training"]["rows"], content["inference"]["rows"]
    assert [row["reference"] for row in training] == ["float training step, 1 thread"]
    assert inference[0]["reference"] == "float model in torch, 1 thread"
    assert len({row["reference"] for row in inference}) == len(inference) <= 2
    assert inference[0]["low"] <= inference[0]["value"] <= inference[0]["high"]
    assert {"processor", "cores", "load", "torch", "numpy"} <= set(content["training"]["environment"])
    assert {row["kind"] for row in training + inference} == {"measured"}


def test_clocks_stand_beside_the_template_by_multiplications_per_clock():
    first = next(benchmark.engine(TINY))
    assert first.kind == "formula"
    assert first.what.startswith("n=24, d=16, m=1, 8 bit, 24 multipliers")
    assert first.ratio == pytest.approx(122_495 / first.value)


@pytest.mark.needs_ghdl
def test_windows_of_a_simulator_are_counted_without_its_build():
    (row,) = benchmark.ghdl(TINY)
    assert (row.unit, row.reference, row.repetitions) == ("windows/s", "integer reference", 2)


def test_a_missing_tool_is_a_named_skip_and_keeps_what_was_measured(monkeypatch):
    row = compared("GHDL", 4, "windows/s", [1.0, 1.1], "integer reference", [2.0, 2.0])
    paths.write_atomic(paths.results() / benchmark.FILE, json.dumps({"ghdl": {"rows": [row._asdict()]}}))
    monkeypatch.setenv("QTLIB_GHDL", "no-such-ghdl")
    content = benchmark.run(["ghdl", "design"], TINY)
    assert content["ghdl"]["skipped"] == "external_tools: QTLIB_GHDL=no-such-ghdl is not an executable program"
    assert content["ghdl"]["rows"] == [row._asdict()]
    text = table(content)
    assert "skipped: external_tools: QTLIB_GHDL=no-such-ghdl" in text and "3.82 windows/s" in text
    assert content["design"].keys() == {"skipped"}


def test_an_interrupted_run_keeps_the_sections_that_were_done(monkeypatch):
    def stopped(size):
        """Stop."""
        yield next(benchmark.inference(size))
        raise KeyboardInterrupt

    monkeypatch.setitem(benchmark.SECTIONS, "training", stopped)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(["inference", "training"], TINY)
    assert list(load()) == ["inference"]


def test_unknown_sections_are_refused_with_the_legal_ones(capsys):
    with pytest.raises(ValueError, match="benchmark: section='gdhl' is not one of engine, training, inference, ghdl"):
        benchmark.run(["gdhl"])
    assert cli.main(["bench", "gdhl"]) == 2
    assert capsys.readouterr().err.startswith(
        "bench: section 'gdhl' does not exist; did you mean 'ghdl'? legal: design, "
    )


def test_the_command_knows_every_section(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "--help"])
    assert ended.value.code == 0
    assert f"of {', '.join(benchmark.SECTIONS)}; none: all" in " ".join(capsys.readouterr().out.split())


def test_the_committed_benchmark_names_machine_and_tools(monkeypatch):
    monkeypatch.delenv("QTLIB_RESULTS")
    content = load()
    assert list(content) == list(benchmark.SECTIONS)
    for section in content.values():
        assert section["environment"]["processor"]
        for row in section["rows"]:
            assert row["kind"] == "formula" or row["low"] <= row["value"] <= row["high"]
    assert statistics.median(row["ratio"] for row in content["engine"]["rows"]) > 10

"""Clocks say whether a simulator counted them, and never differ from the schedule unnoticed."""

import pytest

from qtlib.compendium import inference_clocks, results
from qtlib.config import HardwareConfig
from qtlib.hardware.engine_schedule import schedule
from qtlib.training import random_models


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_RESULTS", str(tmp_path))


@pytest.fixture
def plan():
    return schedule(random_models.program(), HardwareConfig())


def simulated(latency):
    report = {"kind": "simulated", "latency": latency, "tool": "verilator", "version": "5.006"}
    results.save_json("04_simulation", {"simulations": {"8": {"verilator": report}}})


def test_without_a_simulation_the_clocks_are_those_of_the_formula(plan):
    formula = {"value": plan.latency, "kind": "formula", "unit": "clocks"}
    assert inference_clocks.latencies({8: plan}) == {8: formula}
    simulated(plan.latency)
    assert inference_clocks.latencies({4: plan}) == {4: formula}


def test_a_simulation_that_saw_no_whole_window_counts_nothing(plan):
    simulated(None)
    assert inference_clocks.latencies({8: plan})[8]["kind"] == "formula"


def test_simulated_clocks_name_their_tool(plan):
    simulated(plan.latency)
    expected = {"value": plan.latency, "kind": "simulated", "unit": "clocks", "tool": "verilator", "version": "5.006"}
    assert inference_clocks.latencies({8: plan}) == {8: expected}


def test_a_simulation_of_another_design_is_refused(plan):
    simulated(7)
    text = rf"^clocks: notebook 04 simulated a latency of 7 clocks, the schedule says {plan.latency}; run \"python -m qtlib run 4\"$"
    with pytest.raises(ValueError, match=text):
        inference_clocks.latencies({8: plan})

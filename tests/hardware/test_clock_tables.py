"""Clocks as tables agree with the schedule that they are made from."""

from qtlib.config import HardwareConfig
from qtlib.hardware import dial, operation_clocks
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.lane_shape import legal_lanes, legal_unrolls
from qtlib.training.random_models import SHAPES, program


def test_the_clocks_of_the_operations_follow_each_other_without_a_gap():
    plan = schedule(program(SHAPES["two-heads"]), HardwareConfig(unroll=5))
    clock = 0
    for row in (rows := operation_clocks(plan)):
        clock += row["fetch"] + row["hold"]
        assert row["start"] == clock
        clock += row["issue"]
    assert clock == plan.compute_clocks and sum(row["macs"] for row in rows) == plan.program.macs
    assert all(0 < row["utilisation"] <= 1 for row in rows)


def test_the_dial_has_every_legal_choice_with_the_clocks_of_its_schedule():
    prog = program()
    rows = dial(prog)
    assert [(row["lanes"], row["unroll"]) for row in rows] == [(n, u) for n in legal_lanes(6) for u in legal_unrolls(n)]
    for row in rows:
        plan = schedule(prog, HardwareConfig(lanes=row["lanes"], unroll=row["unroll"]))
        assert (row["latency"], row["interval"], row["multipliers"]) == (plan.latency, plan.interval, plan.multipliers)
    assert min(rows, key=lambda row: row["latency"])["lanes"] == 6

"""The table of accelerators says what was counted, and leaves empty what no tool counted."""

from qtlib.compendium import paper_tables

ENERGY = {"clocks": {"8": {"value": 100}, "4": {"value": 90}}, "energy_uj": {"8": [1.0, 2.0], "4": [0.5, 1.5]}}
PROGRAMS = [{"bits": 8, "test_rmse": 9.5}, {"bits": 4, "test_rmse": 9.7}]
COUNTED = {name: {"value": value} for name, value in {"lut": 10, "ff": 20, "dsp": 3, "ramb18": 4}.items()}


def test_a_row_of_the_accelerators_counts_only_windows_without_a_mismatch():
    runs = {"ghdl": {"windows": 8, "mismatches": 0}, "verilator": {"windows": 4176, "mismatches": 0}}
    wrong = {"ghdl": {"windows": 8, "mismatches": 0}, "verilator": {"windows": 4176, "mismatches": 1}}
    designs = {"8": {"count": COUNTED}, "4": {}}
    found = paper_tables.accelerators(PROGRAMS, {"simulations": {"8": runs, "4": wrong}}, {"designs": designs}, ENERGY)
    assert found.loc[0].tolist() == [8, 9.5, 100, 4184, 10, 20, 3, 4, 1.0, 2.0]
    assert found["windows simulated"].tolist() == [4184, 8]
    assert found.loc[1, ["lut", "ff", "dsp", "ramb18"]].isna().all()


def test_a_design_that_was_not_simulated_has_no_count_of_windows():
    designs = {"8": {"count": COUNTED}, "4": {"count": COUNTED}}
    found = paper_tables.accelerators(PROGRAMS, {"simulations": {}}, {"designs": designs}, ENERGY)
    assert found["windows simulated"].isna().all() and (found["lut"] == 10).all()

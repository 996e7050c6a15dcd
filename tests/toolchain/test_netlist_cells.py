"""Every cell counts as what it costs."""

import pytest

from qtlib.toolchain.netlist_cells import Counts, count


def test_every_memory_cell_costs_the_luts_of_the_data_sheet():
    cells = {
        "LUT3": 5,
        "INV": 1,
        "RAM32M": 2,
        "RAM64X1D": 1,
        "SRL16E": 3,
        "RAMB36E1": 1,
        "RAMB18E1": 1,
        "FDSE": 4,
        "BUFG": 1,
    }
    found = count(cells)
    assert found == Counts(lut_logic=6, lut_memory=13, ff=4, ramb18e1=1, ramb36e1=1)
    assert (found.lut, found.ramb18) == (19, 3)


def test_a_cell_of_unknown_cost_is_refused():
    with pytest.raises(ValueError, match=r"synthesise: 2 cell\(s\) of type URAM288, whose cost is not known"):
        count({"LUT2": 1, "URAM288": 2})

"""A mapped netlist computes what it was mapped from."""

import json
import re
import shutil

import pytest

from qtlib.toolchain import netlist_simulation
from qtlib.toolchain.simulation import Mismatch


@pytest.mark.needs_ghdl
@pytest.mark.needs_yosys
@pytest.mark.needs_verilator
@pytest.mark.xdist_group("synthesised")
def test_the_mapped_netlist_computes_the_reference_and_a_changed_bit_does_not(synthesised, tmp_path):
    directory, _ = synthesised
    report = netlist_simulation.check_netlist(directory, windows=2)
    assert (report.windows, report.latency) == (2, json.loads((directory / "design.json").read_text())["latency"])
    broken = tmp_path / "broken"
    shutil.copytree(directory, broken, ignore=shutil.ignore_patterns("build", "prepared"))
    text = (broken / netlist_simulation.NETLIST).read_text()
    # Bit 0 of the first weight of the head.
    place = r"(RAMB18E1 #\((?:(?!\) \\).)*?\.INIT_00\(256'h[0-9a-fx]{63})([0-9a-f])((?:(?!\) \\).)*?\) \\engine\.head_store)"
    changed, changes = re.subn(place, lambda m: m[1] + f"{int(m[2], 16) ^ 1:x}" + m[3], text, count=1, flags=re.DOTALL)
    assert changes == 1
    (broken / netlist_simulation.NETLIST).write_text(changed)
    with pytest.raises(Mismatch, match=r"netlist_simulation: broken: result 0 of window 0 is -?\d+, expected"):
        netlist_simulation.check_netlist(broken)
    assert not (broken / netlist_simulation.REPORT).exists()


def test_a_netlist_with_a_cell_that_has_no_model_is_refused():
    with pytest.raises(ValueError, match="netlist_simulation: no model of MAGIC in Yosys' cells_sim.v"):
        netlist_simulation.cells("module accelerator();\n  MAGIC #(\n    .A(1)\n  ) one (\n  );\nendmodule\n")

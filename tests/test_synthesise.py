"""Counting cells, and the gates that can fail: latches, lost statistics, memory types, the netlist's own results."""

import json
import re
import shutil

import pytest
from small import codes, program

from qtlib import netlist, synthesise, tools
from qtlib.config import HardwareConfig
from qtlib.devices import device
from qtlib.emit import emit
from qtlib.simulate import Mismatch
from qtlib.synthesise import Counts, LatchError, add, compare, count, instances, map_verilog, memory_types, script

STYLES = HardwareConfig(
    lanes=3, activations="distributed", weights="block", parameters="block", tables="distributed",
    stores={"broadcast": "block", "position": "distributed"},
)  # fmt: skip


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    """One small design, mapped once; every store class is forced to one memory type."""
    directory = tmp_path_factory.mktemp("design")
    prog = program()
    emit(prog, STYLES, directory, codes(prog, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QTLIB_PREPARED", str(directory / "prepared"))
        return directory, synthesise.synthesise(directory)


def test_every_memory_cell_costs_the_luts_of_the_data_sheet():
    cells = {"LUT3": 5, "INV": 1, "RAM32M": 2, "RAM64X1D": 1, "SRL16E": 3, "RAMB36E1": 1, "RAMB18E1": 1, "FDSE": 4, "BUFG": 1}
    found = count(cells)
    assert found == Counts(lut_logic=6, lut_memory=13, ff=4, ramb18e1=1, ramb36e1=1)
    assert (found.lut, found.ramb18) == (19, 3)


def test_a_cell_of_unknown_cost_is_refused():
    with pytest.raises(ValueError, match=r"synthesise: 2 cell\(s\) of type URAM288, whose cost is not known"):
        count({"LUT2": 1, "URAM288": 2})


def test_a_design_is_told_what_it_exceeds_and_by_how_much():
    found = compare(Counts(lut_logic=8_100, ramb36e1=10, ramb18e1=1, dsp=20), device("xc7s15"))
    over = {name: row["over"] for name, row in found["resources"].items() if row["over"]}
    assert (found["fits"], over) == (False, {"lut": 100, "ramb18": 1})
    assert compare(Counts(lut_logic=8_000, dsp=20), device("xc7s15"))["fits"]


def test_a_memory_that_is_no_known_store_is_refused():
    text = "module ram_8_4_0\nendmodule\nmodule accelerator\n  ram_8_4_0 scratch (\n);\nendmodule\n"
    with pytest.raises(ValueError, match="the memory scratch is no store that HardwareConfig knows"):
        memory_types(text, HardwareConfig())


def test_one_module_cannot_have_two_memory_types():
    text = "module rom_8_4_0\nendmodule\nmodule accelerator\n"
    text += "  rom_8_4_0 weight_store (\n);\n  rom_8_4_0 parameter_store (\n);\nendmodule\n"
    with pytest.raises(ValueError, match=r"weight_store \(block\) and parameter_store \(auto\) are one module, rom_8_4_0"):
        memory_types(text, HardwareConfig(weights="block"))
    assert set(memory_types(text, HardwareConfig())) == {"weight_store", "parameter_store"}


def test_only_forced_memory_types_reach_yosys():
    styles = {"a": ("ram_1", "auto"), "b": ("ram_2", "block"), "c": ("rom_3", "distributed")}
    chosen = [line for line in script(styles) if line.startswith("setattr")]
    assert chosen == ['setattr -set ram_style "block" ram_2/m:*', 'setattr -set rom_style "logic" rom_3/m:*']


def test_instances_are_found_by_their_path():
    text = "module leaf\nendmodule\nmodule mid\n  leaf one (\n);\nendmodule\nmodule accelerator\n  mid engine (\n);\nendmodule\n"
    assert instances(text) == {"engine": "mid", "engine/one": "leaf"}


@pytest.mark.needs_yosys
def test_a_latch_is_refused_with_its_place(tmp_path):
    text = "module accelerator(input e, d, output reg q);\nalways @* if (e) q = d;\nendmodule\n"
    (tmp_path / "latch.v").write_text(text)
    with pytest.raises(LatchError, match=r"1 latch\(es\): LDCE in accelerator; write every branch"):
        map_verilog(tmp_path / "latch.v", script({}), tmp_path)
    assert not (tmp_path / netlist.NETLIST).exists()


def test_statistics_that_were_not_written_are_an_error(tmp_path, monkeypatch):
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 0\n")
    silent.chmod(0o755)
    monkeypatch.setenv("QTLIB_YOSYS", str(silent))
    (tmp_path / "design.v").write_text("module accelerator; endmodule\n")
    with pytest.raises(tools.ToolError, match=r"yosys ended well but wrote no netlist\.json"):
        map_verilog(tmp_path / "design.v", script({}), tmp_path)


def test_a_folder_without_a_design_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a design directory: it has no design.json"):
        synthesise.synthesise(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"netlist: .* has no design\.json; emit it first"):
        netlist.check_netlist(tmp_path)


@pytest.mark.needs_ghdl
@pytest.mark.needs_yosys
def test_the_entities_of_a_design_add_up_to_its_total(design):
    _, report = design
    parts = [Counts(**{name: row[name] for name in Counts._fields}) for row in report["entities"].values()]
    assert add(parts) == Counts(**{name: report["total"][name] for name in Counts._fields})
    assert (report["kind"], report["version"]) == ("synthesised", "Yosys 0.70")
    assert report["device"]["fits"]


@pytest.mark.needs_ghdl
@pytest.mark.needs_yosys
def test_every_store_becomes_the_memory_that_was_asked_for(design):
    _, report = design
    entity = report["entities"]
    blocks = {path for path in report["stores"] if entity.get(path, {}).get("ramb18")}
    assert report["stores"]["engine/banks_n1_broadcasts"] == "block" != report["stores"]["engine/banks_n1_activations"]
    assert blocks == {path for path, style in report["stores"].items() if style == "block"}
    distributed = [path for path in report["stores"] if path.split("/")[-1] in ("score_store", "banks_n1_activations")]
    assert all(entity[path]["lut_memory"] for path in distributed)


@pytest.mark.needs_ghdl
@pytest.mark.needs_yosys
@pytest.mark.needs_verilator
def test_the_mapped_netlist_computes_the_reference_and_a_changed_bit_does_not(design, tmp_path):
    directory, _ = design
    report = netlist.check_netlist(directory, windows=2)
    assert (report.windows, report.latency) == (2, json.loads((directory / "design.json").read_text())["latency"])
    broken = tmp_path / "broken"
    shutil.copytree(directory, broken, ignore=shutil.ignore_patterns("build", "prepared"))
    text = (broken / netlist.NETLIST).read_text()
    # Bit 0 of the first weight of the head.
    place = r"(RAMB18E1 #\((?:(?!\) \\).)*?\.INIT_00\(256'h[0-9a-fx]{63})([0-9a-f])((?:(?!\) \\).)*?\) \\engine\.head_store)"
    changed, changes = re.subn(place, lambda m: m[1] + f"{int(m[2], 16) ^ 1:x}" + m[3], text, count=1, flags=re.DOTALL)
    assert changes == 1
    (broken / netlist.NETLIST).write_text(changed)
    with pytest.raises(Mismatch, match=r"netlist: broken: result 0 of window 0 is -?\d+, expected"):
        netlist.check_netlist(broken)
    assert not (broken / netlist.REPORT).exists()


def test_a_netlist_with_a_cell_that_has_no_model_is_refused():
    with pytest.raises(ValueError, match="netlist: no model of MAGIC in Yosys' cells_sim.v"):
        netlist.cells("module accelerator();\n  MAGIC #(\n    .A(1)\n  ) one (\n  );\nendmodule\n")


def test_the_first_segments_of_the_weights_are_block_ram():
    text = "module rom_8_4_0\nendmodule\nmodule rom_8_2_1\nendmodule\nmodule store\n"
    text += "  rom_8_4_0 each_n1_segment (\n);\n  rom_8_2_1 each_n2_segment (\n);\nendmodule\n"
    text += "module accelerator\n  store weight_store (\n);\nendmodule\n"
    styles = synthesise.memory_types(text, HardwareConfig(weights="distributed"), block_segments=1)
    assert [style for _, style in styles.values()] == ["block", "distributed"]

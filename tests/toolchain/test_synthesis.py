"""Mapping a design, and the gates that can fail: latches, lost statistics, memory types."""

import pytest

from qtlib.config import HardwareConfig
from qtlib.hardware.devices import device
from qtlib.toolchain import external_tools, netlist_simulation, synthesis
from qtlib.toolchain.netlist_cells import Counts, LatchError, add
from qtlib.toolchain.synthesis import compare, instances, map_verilog, memory_types, script


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
    with pytest.raises(
        ValueError, match=r"weight_store \(block\) and parameter_store \(auto\) are one module, rom_8_4_0"
    ):
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
    assert not (tmp_path / netlist_simulation.NETLIST).exists()


def test_statistics_that_were_not_written_are_an_error(tmp_path, monkeypatch):
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 0\n")
    silent.chmod(0o755)
    monkeypatch.setenv("QTLIB_YOSYS", str(silent))
    (tmp_path / "design.v").write_text("module accelerator; endmodule\n")
    with pytest.raises(external_tools.ToolError, match=r"yosys ended well but wrote no netlist\.json"):
        map_verilog(tmp_path / "design.v", script({}), tmp_path)


def test_a_folder_without_a_design_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a design directory: it has no design.json"):
        synthesis.synthesise(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"netlist_simulation: .* has no design\.json; emit it first"):
        netlist_simulation.check_netlist(tmp_path)


@pytest.mark.needs_ghdl
@pytest.mark.needs_yosys
@pytest.mark.xdist_group("synthesised")
def test_the_entities_of_a_design_add_up_to_its_total(synthesised):
    _, report = synthesised
    parts = [Counts(**{name: row[name] for name in Counts._fields}) for row in report["entities"].values()]
    assert add(parts) == Counts(**{name: report["total"][name] for name in Counts._fields})
    assert (report["kind"], report["version"]) == ("synthesised", "Yosys 0.70")
    assert report["device"]["fits"]


@pytest.mark.needs_ghdl
@pytest.mark.needs_yosys
@pytest.mark.xdist_group("synthesised")
def test_every_store_becomes_the_memory_that_was_asked_for(synthesised):
    _, report = synthesised
    entity = report["entities"]
    blocks = {path for path in report["stores"] if entity.get(path, {}).get("ramb18")}
    bank = "engine/activation_stores/banks_n1"
    assert report["stores"][f"{bank}_broadcasts"] == "block" != report["stores"][f"{bank}_activations"]
    assert blocks == {path for path, style in report["stores"].items() if style == "block"}
    distributed = [path for path in report["stores"] if path.split("/")[-1] in ("score_store", "banks_n1_activations")]
    assert all(entity[path]["lut_memory"] for path in distributed)


def test_the_first_segments_of_the_weights_are_block_ram():
    text = "module rom_8_4_0\nendmodule\nmodule rom_8_2_1\nendmodule\nmodule store\n"
    text += "  rom_8_4_0 each_n1_segment (\n);\n  rom_8_2_1 each_n2_segment (\n);\nendmodule\n"
    text += "module accelerator\n  store weight_store (\n);\nendmodule\n"
    styles = synthesis.memory_types(text, HardwareConfig(weights="distributed"), block_segments=1)
    assert [style for _, style in styles.values()] == ["block", "distributed"]

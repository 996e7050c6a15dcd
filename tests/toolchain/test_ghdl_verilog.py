"""VHDL to Verilog: what GHDL translates wrongly never gets further."""

import pytest

from qtlib.config import HardwareConfig
from qtlib.toolchain import external_tools, ghdl_verilog
from qtlib.toolchain.design_directory import emit
from qtlib.training.random_models import program

ADDER = """library ieee; use ieee.std_logic_1164.all; use ieee.numeric_std.all;
entity small is port (clk : in std_ulogic; a : in signed(7 downto 0); y : out signed(7 downto 0)); end entity;
architecture rtl of small is begin
  process (clk) begin if rising_edge(clk) then y <= {expression}; end if; end process;
end architecture;
"""


def translate(folder, expression):
    (folder / "small.vhd").write_text(ADDER.format(expression=expression))
    return ghdl_verilog.to_verilog(folder, ["small.vhd"], "small")


@pytest.mark.needs_ghdl
def test_a_harmless_entity_is_translated_and_leaves_nothing_else_behind(tmp_path):
    file = translate(tmp_path, "a + 1")
    assert "module small" in file.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.v", "small.vhd"]


@pytest.mark.needs_ghdl
def test_a_signed_shift_to_the_right_is_refused_with_its_line(tmp_path):
    with pytest.raises(
        ghdl_verilog.HazardError, match=r"line \d+: .*>>.*: a signed shift to the right became a logical one"
    ):
        translate(tmp_path, "shift_right(a, to_integer(unsigned(a(2 downto 0))))")
    assert not (tmp_path / "small.v").exists()


@pytest.mark.needs_ghdl
def test_vhdl_with_an_error_is_an_error_of_the_tool(tmp_path):
    with pytest.raises(external_tools.ToolError, match='no declaration for "b"'):
        translate(tmp_path, "b")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("assign y = $signed(a) >> 2;", "line 3: .signed.a. >>: a signed shift to the right became a logical one"),
        ("assign y = $signed({a, b[1]}) >> c;", "became a logical one"),
        ('assign y = "00001111";', 'line 3: "00001111": a constant became a character string'),
        ("assign y = abs a;", "line 3: abs: not an operator of Verilog"),
        ("assign y = a mod 3;", "line 3: mod: not an operator"),
        ("always @* case (a) 1'b0: y = b; endcase", "line 3: case: a case without default infers latches"),
        (
            "always @* case (a) 2'b00: y = b; 2'b01: y = c; 2'b10: y = b; endcase",
            "line 3: case: a case without default",
        ),
        ("always @* case (a) 1'b0: case (b) default: y = 1; endcase endcase", "line 3: case: a case without default"),
    ],
)
def test_a_hazard_is_refused_with_its_line_and_the_way_out(line, message):
    with pytest.raises(ghdl_verilog.HazardError, match=message):
        ghdl_verilog.check(f"/* abs\n*/ module m;\n{line}\nendmodule\n")


@pytest.mark.parametrize(
    "line",
    [
        "assign y = $signed(a) >>> 2;",
        "assign y = a >> 2; // $signed(a) >> 2",
        "assign y = absolute + model; /* rem */",
        "always @* case (a) 1'b0: y = b; default: y = c; endcase",
        "assign y = 188'b0011;",
        "always @* case (a) 2'b00: y = b; 2'b01: y = c; 2'b10: y = b; 2'b11: y = d; endcase",
    ],
)
def test_the_correct_forms_pass(line):
    ghdl_verilog.check(f"module m;\n{line}\nendmodule\n")


def test_a_text_without_a_module_is_not_a_translation():
    with pytest.raises(ghdl_verilog.HazardError, match="there is no module in the translated text"):
        ghdl_verilog.check("/* module m; */\n")


@pytest.mark.needs_ghdl
@pytest.mark.parametrize(
    "hardware", [HardwareConfig(), HardwareConfig(multiplier="lut", lanes=3, unroll=3)], ids=["wide", "folded"]
)
def test_an_emitted_design_passes(tmp_path, hardware):
    emit(program(), hardware, tmp_path)
    assert "module accelerator" in ghdl_verilog.to_verilog(tmp_path).read_text()

"""A testbench for one entity: clock by clock it sets every input and compares every output with a Python twin.

The entity's own port list is read, so a testbench is data: the values of its generics, and for each clock the values of its
ports. An output is looked at just before the rising edge at which its clock ends; one that is absent may be anything. A vector input that
is absent is random, because an entity must not care.
"""

import re

import numpy as np

from qtlib.paths import HDL
from qtlib.toolchain import external_tools
from qtlib.toolchain.design_directory import RTL

ENUMERATIONS = {
    "x_source_t": ("input_store", "activation_store", "exponential_store"),
    "w_source_t": ("weight_rom", "head_rom", "keys", "values_t", "centre"),
}
ENUMERATION_BITS = 3
INTEGER_BITS = 20  # of qt_pkg.count_t
VECTORS = ("std_ulogic_vector", "unsigned", "signed")

BENCH = """library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use std.env.finish;
use std.textio.all;
use work.qt_pkg.all;

entity bench is
end entity;

architecture test of bench is
{declarations}
begin
  dut : entity work.{entity}
    generic map ({generics})
    port map ({ports});

  process
    file vectors : text open read_mode is "vectors.txt";
    variable row : line;
    variable stimulus : std_ulogic_vector({inputs} - 1 downto 0);
    variable expected, found : std_ulogic_vector({outputs} - 1 downto 0);
    variable clocks : natural := 0;
  begin
    while not endfile(vectors) loop
      readline(vectors, row);
      read(row, stimulus);
      read(row, expected);
{drive}
      wait for 4 ns;
{check}
      clk <= '1';
      wait for 5 ns;
      clk <= '0';
      wait for 1 ns;
      clocks := clocks + 1;
    end loop;
    report "checked " & to_string(clocks) & " clocks" severity note;
    finish;
  end process;
end architecture;
"""


def address_bits(depth):
    """Twin of qt_pkg.address_bits."""
    return max((depth - 1).bit_length(), 1)


def analyse(folder):
    """Analyse all entities into a folder, once for many benches."""
    files = [HDL / "rtl" / f"{name}.vhd" for name in RTL]
    external_tools.run("ghdl", ["-a", "--std=08", *files], cwd=folder, timeout=600)
    return folder


def declared(entity, section):
    """Name, direction and type of every generic or port of an entity."""
    text = re.sub(r"--[^\n]*", "", (HDL / "rtl" / f"{entity}.vhd").read_text())
    body = re.search(rf"entity {entity} is.*?\b{section} \((.*?)\n  \);", text, re.DOTALL)[1]
    items = re.findall(r"(\w+) : (?:(in|out) )?([^;]+?)(?: := [^;]*)?(?:;|\s*$)", body)
    return {name: (direction, " ".join(kind.split())) for name, direction, kind in items}


def width(kind, generics):
    """Bits that a port takes in a vector file."""
    if kind == "std_ulogic":
        return 1
    if kind in ENUMERATIONS:
        return ENUMERATION_BITS
    if is_vector(kind):
        span = re.search(r"\((.*) downto 0\)$", kind)
        numbers = {name: value for name, value in generics.items() if isinstance(value, int)}
        return eval(span[1].replace("/", "//"), {"address_bits": address_bits}, numbers) + 1
    return INTEGER_BITS


def constant(name, kind, value):
    """Declaration of a generic's value."""
    if kind == "words_t":
        depth, bits = len(value), len(value[0])
        words = ", ".join(f'{index} => "{word}"' for index, word in enumerate(value))
        return f"  constant {name} : words_t({depth - 1} downto 0)({bits - 1} downto 0) := ({words});"
    if kind == "integer_vector":
        value = "(" + ", ".join(f"{index} => {item}" for index, item in enumerate(value)) + ")"
    elif kind.startswith("string"):
        value = f'"{value}"'
    return f"  constant {name} : {kind} := {value};"


def is_vector(kind):
    return kind.startswith(VECTORS)


def from_bits(kind, bits):
    if kind == "std_ulogic":
        return f"{bits[0]}({bits[1]})"
    word = f"{bits[0]}({bits[2]} downto {bits[1]})"
    if kind in ENUMERATIONS:
        return f"{kind}'val(to_integer(unsigned({word})))"
    if is_vector(kind):
        return f"{kind.split('(')[0]}({word})"
    return f"to_integer(unsigned({word}))"


def to_bits(kind, name):
    if kind == "std_ulogic":
        return f'"" & {name}'
    if kind in ENUMERATIONS:
        return f"std_ulogic_vector(to_unsigned({kind}'pos({name}), {ENUMERATION_BITS}))"
    return (
        f"std_ulogic_vector({name})" if is_vector(kind) else f"std_ulogic_vector(to_unsigned({name}, {INTEGER_BITS}))"
    )


def encode(kind, value, bits):
    if value is None:
        return "-" * bits
    if isinstance(value, str) and kind not in ENUMERATIONS:
        return value  # bits, some of them unknown
    if kind in ENUMERATIONS:
        value = ENUMERATIONS[kind].index(value)
    return f"{int(value) & ((1 << bits) - 1):0{bits}b}"


def run(work, entity, generics, *segments, seed=0):
    """Simulate an entity and compare it with what its twin says.

    Args:
        work: folder from `analyse`.
        generics: value of every generic.
        segments: lists of clocks, each a dictionary from port to integer; before each the entity is reset.

    Raises:
        ToolError: an output differs; the text names the clock.
    """
    rng = np.random.default_rng(seed)
    kinds = declared(entity, "generic")
    assert set(kinds) == set(generics), set(kinds) ^ set(generics)
    ports = declared(entity, "port")
    widths = {name: width(kind, generics) for name, (_, kind) in ports.items()}
    drive, check, places = [], [], {"in": 0, "out": 0}
    for name, (direction, kind) in ports.items():
        if name == "clk":
            continue
        low = places[direction]
        places[direction] += widths[name]
        high = places[direction] - 1
        if direction == "in":
            drive.append(f"      {name} <= {from_bits(kind, ('stimulus', low, high))};")
        else:
            part = f"({high} downto {low})"
            check.append(
                f"      found{part} := {to_bits(kind, name)};\n"
                f"      assert std_match(found{part}, expected{part})\n"
                f'        report "clock " & to_string(clocks) & ": {name} is " & to_string(found{part})\n'
                f'          & ", expected " & to_string(expected{part})\n'
                "        severity failure;"
            )
    declarations = [constant(name, kind, generics[name]) for name, (_, kind) in kinds.items()]
    declarations += [f"  signal {name} : {kind}{initial(kind)};" for name, (_, kind) in ports.items()]
    declarations += ["  signal clk : std_ulogic := '0';"] if "clk" not in ports else []
    text = BENCH.format(
        entity=entity,
        declarations="\n".join(declarations),
        generics=", ".join(f"{name} => {name}" for name in kinds),
        ports=", ".join(f"{name} => {name}" for name in ports),
        inputs=places["in"],
        outputs=places["out"],
        drive="\n".join(drive),
        check="\n".join(check),
    )
    lines = []
    for clocks in segments:
        clocks = [{"rst": 1}] * 3 + [{"rst": 0, **clock} for clock in clocks] if "rst" in ports else clocks
        for clock in clocks:
            unknown = set(clock) - set(ports)
            assert not unknown, unknown
            words = {"in": [], "out": []}
            for name, (direction, kind) in ports.items():
                if name == "clk":
                    continue
                value = clock.get(name)
                if value is None and direction == "in":
                    value = int.from_bytes(rng.bytes(widths[name] // 8 + 1), "big") if is_vector(kind) else 0
                    if kind in ENUMERATIONS:
                        value = ENUMERATIONS[kind][0]
                words[direction].append(encode(kind, value, widths[name]))
            lines.append("".join(reversed(words["in"])) + " " + "".join(reversed(words["out"])))
    (work / "bench.vhd").write_text(text)
    (work / "vectors.txt").write_text("\n".join(lines) + "\n")
    external_tools.run("ghdl", ["-a", "--std=08", "bench.vhd"], cwd=work, timeout=600)
    printed = external_tools.run(
        "ghdl", ["--elab-run", "--std=08", "bench", "--ieee-asserts=disable-at-0"], cwd=work, timeout=600
    )
    assert f"checked {len(lines)} clocks" in printed, printed


def initial(kind):
    if kind == "std_ulogic":
        return " := '0'"
    return " := (others => '0')" if is_vector(kind) else ""

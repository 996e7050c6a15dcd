"""The site says what the files say: pages of entities and commands are generated, the guide names what exists."""

import ast
import csv
import importlib
import re
import sys

import pytest

from qtlib.__main__ import COMMANDS
from qtlib.paths import HDL, ROOT

DOCS = ROOT / "docs"
GUIDE = sorted([*DOCS.glob("guide/*.md"), DOCS / "index.md"])
TEXTS = [*GUIDE, ROOT / "README.md", ROOT / "data" / "README.md"]


sys.path.insert(0, str(DOCS))  # which is no package
entity_pages, package_pages, vhdl_reader, docstrings, python_names = map(
    importlib.import_module, ("entity_pages", "package_pages", "vhdl_reader", "docstrings", "python_names")
)

ADDER = """\
-- Adds two codes.
--
-- Twin:    qtlib.program.rounding.requantise.
-- Clocks:  one; `sum` follows
--          its terms.

entity adder is
  generic (
    bits : positive range 2 to 8 := 4; -- of a code
    style : string -- dsp | lut
  );
  port (
    clk : in std_ulogic;

    a : in signed(bits - 1 downto 0); -- first term
    sum : out signed(bits downto 0) := (others => '0')
  );
end entity;

architecture rtl of adder is
begin
  outer : for k in 0 to 3 generate
    inner : if bits > 2 generate
    begin
      -- cell : entity work.commented
      cell : entity work.ram
        generic map (width => bits)
        port map (clk);
    end generate;
    loops : process (clk)
    begin
      for k in 0 to 3 loop
        null;
      end loop;
    end process;
  end generate;
  last : entity work.rom port map (clk);
end architecture;
"""


def adder(folder, old="", new=""):
    file = folder / "adder.vhd"
    file.write_text(ADDER.replace(old, new))
    return file


def test_an_entity_is_read_with_its_header_generics_ports_and_instances(tmp_path):
    found = vhdl_reader.read_entity(adder(tmp_path))
    assert found.header.paragraphs == [["Adds two codes."]]
    assert found.header.lines == {
        "Twin": "qtlib.program.rounding.requantise.",
        "Clocks": "one; `sum` follows its terms.",
    }
    assert found.generics == [
        ("bits", "positive range 2 to 8", "4", "of a code"),
        ("style", "string", "", "dsp | lut"),
    ]
    assert found.ports == [
        [("clk", "in", "std_ulogic", "")],
        [("a", "in", "signed(bits - 1 downto 0)", "first term"), ("sum", "out", "signed(bits downto 0)", "")],
    ]
    assert [(instance.name, instance.entity) for instance in found.instances] == [
        ("outer_n1_inner_cell", "ram"),
        ("last", "rom"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" -- of a code", "", "adder.vhd: the generic bits has no end-of-line meaning"),
        ("-- Twin:", "-- Twins", "adder.vhd: the header has no line 'Twin:'"),
        (
            "rounding.requantise",
            "rounding.round",
            "adder.vhd: the header names qtlib.program.rounding.round, which does not exist",
        ),
        (
            "qtlib.program.rounding",
            "tests/hdl/none.py",
            "adder.vhd: the header names tests/hdl/none.py, which does not exist",
        ),
        ("entity adder is", "entity add is", "adder.vhd: holds the entity add"),
        ("    clk : in", "    clk, rst : in", "adder.vhd: not a port: clk, rst : in std_ulogic;"),
        (
            "    bits :",
            "    signal bits :",
            "adder.vhd: not a generic: signal bits : positive range 2 to 8 := 4; -- of a code",
        ),
        ("-- Adds", "Adds", "adder.vhd: the file does not start with a comment that says what it is"),
        (
            "entity adder is\n  generic (\n",
            "entity adder is generic (\n",
            "adder.vhd: neither a package nor an entity of the form `entity NAME is generic ( port (`",
        ),
    ],
)
def test_an_entity_of_another_form_is_refused_with_its_place(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        vhdl_reader.read_entity(adder(tmp_path, old, new))


def test_all_findings_of_all_entities_are_told_at_once(tmp_path):
    adder(tmp_path, " -- of a code", "")
    (tmp_path / "other.vhd").write_text("-- Nothing.\n")
    with pytest.raises(ValueError, match=r"adder.vhd: the generic bits .*\nother.vhd: neither a package"):
        vhdl_reader.entities(tmp_path)


def test_a_package_that_names_what_does_not_exist_is_refused(tmp_path):
    (tmp_path / "some_pkg.vhd").write_text("-- Types; see qtlib/none.py.\n\npackage some_pkg is\n")
    with pytest.raises(ValueError, match=r"^some_pkg.vhd: the header names qtlib/none.py, which does not exist$"):
        vhdl_reader.packages(tmp_path)


def test_every_file_of_the_rtl_has_a_page():
    assert {f"{file.stem}.md" for file in (HDL / "rtl").glob("*.vhd")} | {"index.md"} == set(entity_pages.pages())


def test_a_page_of_an_entity_holds_every_generic_and_port_with_its_meaning():
    pages = entity_pages.pages()
    for name, entity in vhdl_reader.entities().items():
        lines = pages[f"{name}.md"].splitlines()
        for row in (*entity.generics, *(port for group in entity.ports for port in group)):
            assert any(
                line.startswith(f"| `{row.name}` |") and entity_pages.plain(row.meaning) in line for line in lines
            )


def counts():
    with open(entity_pages.COUNTS_FILE, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def shown(designs):
    """Rows of the tables of cells on all pages whose column of designs matches."""
    text = "\n".join(entity_pages.pages().values())
    rows = re.findall(rf"^\| `(\w+)` \| {designs} \| (.*) \|$", text, re.MULTILINE)
    return sorted([name, *cells.split(" | ")] for name, cells in rows)


def test_every_counted_cell_of_the_standard_design_is_on_exactly_one_page():
    standard = [row for row in counts() if tuple(row[name] for name in entity_pages.DESIGN) == entity_pages.STANDARD]
    assert len(standard) > 15
    assert shown("standard") == sorted(
        [row["component"], *(row[name] for name in entity_pages.COUNTS)] for row in standard
    )


def test_the_range_of_a_component_is_that_of_all_designs():
    ends = {}
    for row in counts():
        for name in entity_pages.COUNTS:
            low, high = ends.setdefault((row["component"], name), (10**9, 0))
            ends[row["component"], name] = min(low, int(row[name])), max(high, int(row[name]))
    for component, *cells in shown(r"all \d+"):
        for name, cell in zip(entity_pages.COUNTS, cells, strict=True):
            low, high = ends[component, name]
            assert cell == (f"{low} to {high}" if low < high else str(low))


def test_the_cells_of_a_component_have_a_page_also_where_the_standard_design_has_none():
    owners = entity_pages.owners(entity_pages.instance_paths(vhdl_reader.entities()))
    assert {count.component for count in entity_pages.read_counts()} <= set(owners)
    assert all(len(names) == 1 for names in owners.values())


def test_what_is_no_code_in_a_comment_means_itself_in_markdown():
    text = "2**b of `a_b`, x*y, [0] <= c_d | qtlib.program.codes and hdl/rtl/mac.vhd"
    expected = r"2\*\*b of `a_b`, x\*y, \[0\] \<= c\_d \| `qtlib.program.codes` and `hdl/rtl/mac.vhd`"
    assert entity_pages.plain(text) == expected


def test_every_module_of_the_package_is_on_one_page():
    pages = package_pages.pages()
    listed = re.findall(r"^\.\. automodule:: ([\w.]+)$", "\n".join(pages.values()), re.MULTILINE)
    files = [file for file in (ROOT / "qtlib").rglob("*.py") if file.stem != "__main__" and file.parent.name]
    expected = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files}
    assert sorted(listed) == sorted(expected - {"qtlib"})


def test_a_folder_of_the_package_without_a_place_is_refused():
    message = "package_pages: FOLDERS lacks backends of qtlib, and qtlib lacks data of FOLDERS"
    with pytest.raises(ValueError, match=f"^{message}$"):
        package_pages.check_folders({*package_pages.FOLDERS, "backends"} - {"data"})


def test_the_page_of_the_commands_holds_the_options_of_each():
    page = package_pages.commands_page()
    for name in COMMANDS:
        assert f"\n## {name}\n" in page
        assert f"usage: python -m qtlib {name} [-h]" in page
    assert "--requantisers" in page


@pytest.mark.parametrize(
    ("what", "written", "read"),
    [
        ("function", ["Scale by 2**b, `a*b` and a_."], [r"Scale by 2\*\*b, `a*b` and a\_."]),
        ("function", ["A *code* | a value."], [r"A *code* \| a value."]),
        ("function", ["Twin: hdl/rtl/mac.vhd."], ["Twin: ``hdl/rtl/mac.vhd``."]),
        (
            "module",
            ["Two forms:", "", "    a  **x", "", "Text"],
            ["Two forms:", "", "::", "", "    a  **x", "", "Text"],
        ),
        ("module", ["Rules", "  * one", "    two"], ["Rules", "  * one", "    two"]),
        ("function", ["Returns:", "    rows: many"], [":returns:", "    rows: many"]),
        ("function", ["Raises:", "    as `load`."], ["Raises:", "    any: as `load`."]),
        ("attribute", ["widths: of all"], ["..", "", "widths: of all"]),
        ("attribute", ["Alias for field number 0"], ["..", ""]),
    ],
)
def test_a_docstring_is_plain_text(what, written, read):
    lines = list(written)
    docstrings.as_plain_text(None, what, "name", None, None, lines)
    assert lines == read


def test_a_comment_at_the_end_of_a_field_is_its_documentation():
    import qtlib.config

    found = docstrings.comments(qtlib.config.__name__)
    assert found["DataConfig", "window"] == "time steps per input"
    assert ("DataConfig", "dataset") not in found
    assert not any(text.startswith("fmt:") for text in found.values())


def code_of(text):
    """What stands between backticks, and lines of code blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", rest), *(line for block in blocks for line in block.splitlines())]


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_that_a_text_names_exists(file):
    named = {word for code in code_of(file.read_text()) for word in re.findall(r"-m qtlib ([a-z][\w-]*)", code)}
    assert named <= set(COMMANDS), sorted(named - set(COMMANDS))


@pytest.mark.parametrize("file", GUIDE, ids=lambda file: file.stem)
def test_every_file_and_every_name_that_the_guide_names_exists(file):
    for code in code_of(file.read_text()):
        for path in re.findall(r"(?<![\w/.])(?:qtlib|hdl/rtl|hdl/tb|tests|docs|data)/[\w/]+\.(?:py|vhd|md|csv)", code):
            assert (ROOT / path).is_file(), f"{file.name}: {path} does not exist"
        for name in re.findall(r"(?<![\w.])qtlib(?:\.\w+)+", code):
            python_names.python_object(name)
        if re.fullmatch(r"\d\d_\w+", code):
            assert (ROOT / "notebooks" / f"{code}.ipynb").is_file(), f"{file.name}: {code} does not exist"


def test_every_question_of_the_guide_has_an_answer():
    rows = re.findall(r"^\| ([^*|]+\?) \| (.+) \|$", (DOCS / "guide" / "where.md").read_text(), re.MULTILINE)
    assert len(rows) >= 40
    for question, answer in rows:
        assert re.search(r"`[\w/]+\.\w+`", answer), question


@pytest.mark.parametrize("file", GUIDE, ids=lambda file: file.stem)
def test_the_code_of_the_guide_is_python_and_calls_what_exists(file):
    for block in re.findall(r"^```python\n(.*?)^```", file.read_text(), re.DOTALL | re.MULTILINE):
        tree, names = ast.parse(block), {}
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([node], []), file.name, "exec"), names)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                assert hasattr(names[node.value.id], node.attr), f"{file.name}: {ast.unparse(node)} does not exist"

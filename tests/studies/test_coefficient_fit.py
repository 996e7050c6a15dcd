"""Vivado's counts are fitted as those of Yosys are, and kept apart from them.

The reports are synthetic: written here in the documented format, from the counts of Yosys or from known coefficients. No tool of the vendor made them.
"""

import json
import re
import shutil
from dataclasses import asdict

import pytest
import vivado_texts
from vivado_texts import change

import qtlib
from qtlib import __main__ as cli
from qtlib.config import HardwareConfig
from qtlib.estimate import coefficients
from qtlib.estimate.coefficients import COEFFICIENTS, YOSYS
from qtlib.estimate.device_fit import check_fit
from qtlib.estimate.quantities import memories, quantities
from qtlib.estimate.resources import COMPONENTS, estimate
from qtlib.hardware.engine_schedule import schedule
from qtlib.hardware.memory_allocation import allocate
from qtlib.program.file import save
from qtlib.studies import cell_counts, coefficient_fit
from qtlib.toolchain import vivado_reports
from qtlib.toolchain.design_directory import describe, emit
from qtlib.training import random_models

INSTANCES = {
    "operands": "engine",
    "multipliers": "engine/multipliers/outputs[0].tokens[0].unit",
    "capture": "engine/multipliers",
    "requantisers": "engine/retire/row[0].requantise",
    "exponential_tables": "engine/row_statistics/softmax/rows[0].exponentials",
    "dividers": "engine/row_statistics/softmax/rows[0].reciprocal",
    "softmax": "engine/row_statistics/softmax",
    "score_store": "engine/row_statistics/softmax/score_store",
    "layer_norm": "engine/row_statistics/norm.layer_norm",
    "square_tables": "engine/row_statistics/norm.layer_norm/rows[0].squared",
    "input_store": "engine/inputs",
    "activation_store": "engine/activation_stores/banks[0].activations",
    "broadcast_store": "engine/activation_stores/banks[0].broadcasts",
    "exponential_store": "engine/row_statistics/exponential_store/each[0].slice",
    "reciprocal_store": "engine/row_statistics/reciprocal_store/reciprocals",
}
KINDS = ("lut_logic", "lut_memory", "ff", "dsp", "ramb18")


def report(directory, counts, version="2022.2"):
    """Write what Vivado would, had it counted this by component."""
    cells = {INSTANCES.get(name, f"engine/{name}"): [of[kind] for kind in KINDS] for name, of in counts.items()}
    above = {path.rsplit("/", depth)[0] for path in cells for depth in range(1, path.count("/") + 1)}
    cells = dict.fromkeys(["", *above], [0] * 5) | cells
    rows = []

    def row(depth, name, found):
        logic, memory, ff, dsp, ramb18 = found
        words = (logic + memory, logic, memory, 0, ff, ramb18 // 2, ramb18 % 2, dsp)
        rows.append(f"| {'  ' * depth + name:60} | module | {' | '.join(map(str, words))} |")

    def descend(path, depth):
        start = f"{path}/" if path else ""
        below = sorted(p for p in cells if p and p.startswith(start) and "/" not in p[len(start) :])
        inside = [found for p, found in cells.items() if p == path or p.startswith(start)]
        row(depth, path.rpartition("/")[2] or "accelerator", map(sum, zip(*inside, strict=True)))
        if below and any(cells[path]):
            row(depth + 1, f"({path.rpartition('/')[2]})", cells[path])
        for child in below:
            descend(child, depth + 1)

    descend("", 0)
    head = "| Instance | Module | Total LUTs | Logic LUTs | LUTRAMs | SRLs | FFs | RAMB36 | RAMB18 | DSP Blocks |"
    logic, memory, ff, dsp, ramb18 = map(sum, zip(*cells.values(), strict=True))
    used = {"Slice LUTs": logic + memory, "LUT as Logic": logic, "LUT as Memory": memory, "Slice Registers": ff}
    used |= {"Register as Flip Flop": ff, "Register as Latch": 0, "RAMB36/FIFO": 0, "RAMB18": ramb18, "DSPs": dsp}
    bodies = {
        "utilisation": "\n".join(f"| {name} | {count} | 0 | 0 | 9 | 9 |" for name, count in used.items()),
        "hierarchy": "\n".join((head, *rows)),
        "timing": vivado_texts.TIMING,
        "power": vivado_texts.POWER,
    }
    for name, body in bodies.items():
        top = vivado_texts.HEAD.format(command=f"report_{name}", device="xc7s15ftgb196-1", state="Routed", more="")
        (directory / vivado_reports.REPORTS[name]).write_text(top.replace("2022.2", version) + body + "\n")
    shutil.copyfile(directory / "design.json", directory / "reported.json")


def emit_description(program, hardware, directory, must_fit):
    """Of a design what the fit reads; the VHDL of forty would take minutes."""
    directory.mkdir()
    save(program, directory / "program.qtp")
    described = describe(allocate(schedule(program, hardware))) | {"asked": asdict(hardware)}
    (directory / "design.json").write_text(json.dumps(described))


# In one process of the suite, so that the designs are made once.
fitted = pytest.mark.xdist_group("coefficient-fit")


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    """The fitted designs of the committed table, each with a report of the counts that it has there."""
    folder = tmp_path_factory.mktemp("routed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_counts, "emit", emit_description)
        cell_counts.emit_fitted(folder)
    directories = sorted(folder.iterdir())
    for directory, counts in zip(directories, cell_counts.designs().values(), strict=True):
        report(directory, counts)
    return directories


@pytest.fixture
def one(tmp_path):
    """A small design with a report of invented counts."""
    return small_design(tmp_path / "one")


def small_design(directory, hardware=HardwareConfig()):  # noqa: B008
    plan = emit(random_models.program(), hardware, directory)
    report(directory, {name: dict.fromkeys(KINDS, 5) for name in quantities(plan)})
    return directory


def copies(directories, folder):
    return [shutil.copytree(directory, folder / directory.name) for directory in directories]


def test_every_component_has_an_instance_here():
    for name, path in INSTANCES.items():
        spelt = re.sub(r"\[(\d+)\]", r"_n\1", path).replace(".", "_")
        assert next(match.expand(to) for pattern, to in COMPONENTS if (match := re.fullmatch(pattern, spelt))) == name


@fitted
def test_from_the_counts_of_yosys_come_the_committed_coefficients(routed, tmp_path, capsys):
    table = tmp_path / "vendor.csv"
    assert cli.main(["fit", *map(str, routed), "--table", str(table)]) == 0
    assert capsys.readouterr().out == f"{table}\n{tmp_path / 'vendor.json'}\n"
    found = coefficients.load(tmp_path / "vendor.json")
    assert found.values == COEFFICIENTS
    assert (found.fitted_to, found.band["dsp"], found.band["ramb18"]) == ("vivado 2022.2", 0, 0)
    assert 0 < found.band["lut"] <= YOSYS.band["lut"] and 0 < found.band["ff"] <= YOSYS.band["ff"]
    rows = coefficient_fit.read(
        table, coefficient_fit.COLUMNS, (*coefficient_fit.KEYS, "component"), coefficient_fit.COUNTS
    )
    assert {(row["kind"], row["tool"], row["version"], row["part"], row["qtlib"]) for row in rows} == {
        ("vendor report", "vivado", "2022.2", "xc7s15ftgb196", qtlib.__version__)
    }
    wanted = [[row[kind] for kind in KINDS] for of in cell_counts.designs().values() for row in of.values()]
    assert sorted(
        [row[kind] for kind in KINDS]
        for row in rows
        if row["component"] != "operands" or any(row[kind] for kind in KINDS)
    ) == sorted(wanted)
    before = (table.read_bytes(), table.with_suffix(".json").read_bytes())
    assert cli.main(["fit", *map(str, routed), "--table", str(table)]) == 0
    assert (table.read_bytes(), table.with_suffix(".json").read_bytes()) == before


@fitted
def test_known_coefficients_are_found_again_and_change_the_estimate(routed, tmp_path, capsys):
    directories, known = copies(routed, tmp_path), {}
    for directory in directories:
        plan = coefficient_fit.design(directory).plan
        stores, counts = memories(plan), {}
        for name, sizes in quantities(plan).items():
            known[name] = tuple({q: 2.0 * (j + k + 1) for j, q in enumerate(sizes)} for k in range(2))
            soft = [sum(of[q] * size for q, size in sizes.items()) for of in known[name]]
            counts[name] = dict.fromkeys(KINDS, 0) | {"lut_logic": round(soft[0]), "ff": round(soft[1])}
        for name, memory in stores.items():
            row = counts.setdefault(name, dict.fromkeys(KINDS, 0))
            row |= {"lut_logic": row["lut_logic"] + round(memory.lut), "ff": row["ff"] + memory.ff}
        report(directory, counts, version="2023.1")
    coefficient_fit.fit_reports(directories, tmp_path / "vendor.csv")
    found = coefficients.load(tmp_path / "vendor.json")
    for name, pair in known.items():
        for of, wanted in zip(found.values[name], pair, strict=True):
            assert of == pytest.approx(wanted, rel=0.02), name
    assert found.band["lut"] <= 0.01 and found.band["ff"] <= 0.01
    assert found.band["dsp"] > 0  # none was reported
    first = cell_counts.case(*cell_counts.CASES[0])
    assert estimate(*first).fitted_to == "Yosys 0.70"
    ours = estimate(*first, found)
    assert (ours.fitted_to, ours.band) == ("vivado 2023.1", found.band)
    assert ours.total.lut == pytest.approx(vivado_reports.read(directories[0])["utilisation"]["lut"], rel=0.01)
    words = [
        "estimate",
        str(directories[0] / "program.qtp"),
        "--coefficients",
        str(tmp_path / "vendor.json"),
        "--device",
        "xc7s50",
    ]
    cli.main(words)
    assert json.loads(capsys.readouterr().out)["fitted_to"] == "vivado 2023.1"


def test_what_fits_a_device_is_decided_by_the_coefficients_that_are_given():
    values = {name: tuple({q: 60 * c for q, c in of.items()} for of in pair) for name, pair in COEFFICIENTS.items()}
    with pytest.raises(ValueError, match="LUTs .* clocks; no lanes, unroll, multiplier or known device would fit"):
        check_fit(random_models.program(), HardwareConfig(), YOSYS._replace(values=values))
    assert check_fit(random_models.program(), HardwareConfig()).fitted_to == "Yosys 0.70"


@fitted
def test_too_few_designs_are_refused_with_the_coefficients_they_leave_open(routed, tmp_path):
    text = (
        "fit: 3 designs determine 2 of the 4 coefficients of multipliers; open: partial product bits, operand bits; "
        "add designs that differ in them"
    )
    refused(routed[:3], tmp_path / "vendor.csv", text)


@fitted
def test_designs_that_are_all_without_layer_norm_are_refused(routed, tmp_path):
    plain = [directory for directory, key in zip(routed, cell_counts.designs(), strict=True) if key[-1] == "batch"]
    text = "fit: 62 designs determine 8 of the 9 coefficients of operands; open: normed outputs; add designs that differ in them"
    refused(plain, tmp_path / "vendor.csv", text)


@fitted
def test_a_shared_lut_is_counted_once_in_the_band(routed, tmp_path):
    directories = copies(routed, tmp_path)
    whole = vivado_reports.read(directories[0])["utilisation"]["lut"]
    change(directories[0] / "utilisation.rpt", f"| Slice LUTs | {whole} |", f"| Slice LUTs | {whole // 2} |")
    coefficient_fit.fit_reports(directories, tmp_path / "vendor.csv")
    found = coefficients.load(tmp_path / "vendor.json")
    assert found.values == COEFFICIENTS and found.band["lut"] > 0.9


# one directory


def refused(directories, table, text, error=ValueError):
    before = table.read_bytes() if table.exists() else None
    with pytest.raises(error, match=f"^{re.escape(text)}"):
        coefficient_fit.fit_reports(directories, table)
    assert (table.read_bytes() if table.exists() else None) == before
    assert not table.with_suffix(".json").exists()


def test_a_folder_that_is_no_design_is_refused(tmp_path):
    text = f"fit: {tmp_path} is not a design directory: it has no design.json"
    refused([tmp_path], tmp_path / "t.csv", text, FileNotFoundError)


def test_a_missing_report_is_refused_with_the_command_that_makes_it(one, tmp_path):
    (one / "hierarchy.rpt").unlink()
    text = "vivado_reports: one has no hierarchy.rpt; in the directory, run: vivado -mode batch -source vivado.tcl"
    refused([one], tmp_path / "t.csv", text, FileNotFoundError)


def test_a_missing_program_is_refused(one, tmp_path):
    (one / "program.qtp").unlink()
    refused([one], tmp_path / "t.csv", f"program: {one / 'program.qtp'} does not exist", FileNotFoundError)


def test_a_program_of_another_design_is_refused(one, tmp_path):
    was, other = random_models.program(), random_models.program(quant=random_models.WIDTHS["4-bit"])
    save(other, one / "program.qtp")
    text = f"fit: {one}/design.json has program='{was.digest}', its program.qtp gives '{other.digest}'; emit it and run Vivado again"
    refused([one], tmp_path / "t.csv", text)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            f'"qtlib": "{qtlib.__version__}"',
            '"qtlib": "0.0.1"',
            f" is by qtlib 0.0.1, this is {qtlib.__version__}; emit it and run Vivado again",
        ),
        (
            '"qtlib"',
            '"name"',
            f" is by qtlib an older version, this is {qtlib.__version__}; emit it and run Vivado again",
        ),
        ('"interval": ', '"interval": 1', "/design.json has interval=1"),
        ("{", "", "/design.json is damaged: "),
        ('"asked"', '"given"', "/design.json is damaged: "),
    ],
    ids=["version", "no-version", "clocks", "json", "field"],
)
def test_a_design_of_another_version_is_refused(one, tmp_path, old, new, text):
    described = (one / "design.json").read_text()
    (one / "design.json").write_text(described.replace(old, new, 1))
    refused([one], tmp_path / "t.csv", f"fit: {one}{text}")


@pytest.mark.parametrize("emitted", [True, False], ids=["emitted-again", "not-copied"])
def test_reports_that_are_not_of_the_design_are_refused(one, tmp_path, emitted):
    if emitted:
        emit(random_models.program(), HardwareConfig(lanes=3), one)
    else:
        (one / "reported.json").unlink()
    text = (
        f"fit: the reports of {one} are not of this design.json, of which reported.json would be a copy; "
        "in the directory, run: vivado -mode batch -source vivado.tcl"
    )
    refused([one], tmp_path / "t.csv", text)


def test_reports_that_disagree_are_refused(one, tmp_path):
    flip_flops = vivado_reports.read(one)["utilisation"]["ff"]
    change(one / "utilisation.rpt", f"Flip Flop | {flip_flops} |", f"Flip Flop | {flip_flops + 1} |")
    text = (
        f"fit: {one}: hierarchy.rpt adds up to ff={flip_flops}, utilisation.rpt has {flip_flops + 1}; make both again"
    )
    refused([one], tmp_path / "t.csv", text)


def test_a_design_without_its_hierarchy_is_refused(one, tmp_path):
    report(one, {"operands": dict.fromkeys(KINDS, 5)})
    refused(
        [one],
        tmp_path / "t.csv",
        f"fit: {one}: hierarchy.rpt has no register of capture; synthesise without flattening it",
    )


@fitted
def test_a_design_without_luts_is_refused(routed, tmp_path):
    directories = copies(routed, tmp_path)
    report(
        directories[0],
        {
            name: of | {"lut_logic": 0, "lut_memory": 0}
            for name, of in coefficient_fit.design(directories[0]).counts.items()
        },
    )
    text = "fit: a design counts no lut_logic or lut_memory; make its reports again"
    refused(directories, tmp_path / "t.csv", text)


def test_the_same_design_twice_is_refused(one, tmp_path):
    again = shutil.copytree(one, tmp_path / "again")
    refused([one, again], tmp_path / "t.csv", f"fit: {again} and {one} are the same design; name one of them")


def test_two_versions_of_the_tool_are_refused(one, tmp_path):
    other = small_design(tmp_path / "other", HardwareConfig(lanes=3))
    report(other, {name: dict.fromkeys(KINDS, 5) for name in coefficient_fit.design(one).counts}, version="2023.1")
    text = "fit: the directories hold counts of vivado 2022.2 and vivado 2023.1; fit each by itself, into a table of its own"
    refused([one, other], tmp_path / "t.csv", text)


# the table


def test_the_table_of_yosys_is_not_written_over(one, tmp_path):
    table = shutil.copyfile(cell_counts.FILE, tmp_path / "cell_counts.csv")
    refused([one], table, f"fit: {table} has the columns ['tool', 'version', 'window'")


def test_a_table_of_another_ending_is_refused(one, tmp_path):
    table = tmp_path / "t.txt"
    refused([one], table, f"fit: the table {table} must end in .csv; the coefficients go beside it as .json")


def rows(count=2, **changed):
    words = {
        "kind": "vendor report",
        "tool": "vivado",
        "version": "2022.2",
        "part": "p",
        "date": "d",
        "qtlib": "q",
        "program": "a",
        "hardware": "b",
    }
    lines = [words | {"component": f"c{k}"} | dict.fromkeys(KINDS, "1") for k in range(count)]
    lines[-1] |= changed
    return "\n".join(
        ",".join(line)
        for line in (coefficient_fit.COLUMNS, *([line[name] for name in coefficient_fit.COLUMNS] for line in lines))
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (rows(ff="many"), "{}, line 3: ff='many' is not a count; restore the file or delete the line"),
        (rows(dsp="-1"), "{}, line 3: dsp='-1' is not a count"),
        (rows().rpartition(",")[0], "{}, line 3: ramb18=None is not a count"),
        (rows() + ",1", "{}, line 3: more than 14 cells; restore the file or delete the line"),
        (rows(component="c0"), "{}, line 3: the same design and component as line 2; delete one of them"),
        (
            rows(tool="yosys"),
            "{} holds counts of vivado 2022.2 and yosys 2022.2; fit each by itself, into a table of its own",
        ),
        (rows(version="2023.1"), "{} holds counts of vivado 2022.2 and vivado 2023.1; fit each by itself"),
        (
            rows(1, version="2023.1"),
            "{} and the directories hold counts of vivado 2022.2 and vivado 2023.1; fit each by itself",
        ),
        (rows(), "{} has a design that is in no directory: a b; name its directory, or another table"),
        ("", "{} has the columns None, expected kind, tool, version, part, "),
        (rows().replace(",part,", ",parts,"), "{} has the columns ['kind', 'tool', 'version', 'parts'"),
    ],
    ids=[
        "text",
        "negative",
        "short",
        "long",
        "duplicate",
        "tools",
        "versions",
        "other-version",
        "lost",
        "empty",
        "column",
    ],
)
def test_a_table_that_is_damaged_or_of_something_else_is_refused(one, tmp_path, content, text):
    table = tmp_path / "table.csv"
    table.write_text(content)
    refused([one], table, "fit: " + text.format(table))


# the coefficients


@pytest.fixture
def kept(tmp_path):
    plain = {
        "tool": "vivado",
        "version": "2022.2",
        "qtlib": qtlib.__version__,
        "band": {"lut": 0.1},
        "values": COEFFICIENTS,
    }
    file = tmp_path / "kept.json"
    file.write_text(json.dumps(plain))
    return file


def test_kept_coefficients_are_read_as_they_were(kept):
    assert coefficients.load(kept) == YOSYS._replace(fitted_to="vivado 2022.2", band={"lut": 0.1})


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("{", "", "holds no coefficients (JSONDecodeError("),
        ('"band"', '"bond"', "holds no coefficients (KeyError('band')); run: python -m qtlib fit DIRECTORY..."),
        (
            str(COEFFICIENTS["multipliers"][0]["accumulator bits"]),
            '"much"',
            "holds no coefficients (ValueError(\"could not convert string to float: 'much'\"))",
        ),
        ('"capture"', '"caption"', "holds no coefficients (ValueError('not the components of an estimate'))"),
        (f'"{qtlib.__version__}"', '"0.0.1"', f"is by qtlib 0.0.1, this is {qtlib.__version__}; fit again"),
    ],
    ids=["json", "field", "number", "component", "version"],
)
def test_damaged_coefficients_are_refused(kept, old, new, text):
    kept.write_text(kept.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=f"^{re.escape(f'fit: {kept} {text}')}"):
        coefficients.load(kept)

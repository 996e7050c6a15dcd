"""One page for each VHDL file of hdl/rtl: header, generics, ports, instances and the cells that were counted."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vhdl_reader import Entity, Header, entities, packages

from qtlib.estimate.resources import by_component
from qtlib.paths import HDL, ROOT

COUNTS_FILE = ROOT / "data" / "cell_counts.csv"
COUNTS = ("lut_logic", "lut_memory", "ff", "carry4", "dsp", "ramb18")
# The design of every count that stands by itself: the first case of the command cell-counts, in the order of its columns.
DESIGN = (
    *("window", "features", "outputs", "d_model", "heads", "layers", "bits", "mixed"),
    *("lanes", "unroll", "requantisers", "multiplier", "memory", "norm"),
)
STANDARD = ("24", "1", "1", "16", "1", "1", "8", "0", "24", "1", "3", "packed", "auto", "batch")
TOP = "engine"  # instance and entity from which the paths of a synthesis report start


class Count(NamedTuple):
    """Cells of one component of one design."""

    component: str
    design: tuple[str, ...]
    tool: str  # with its version
    cells: tuple[int, ...]  # in the order of COUNTS


def instance_paths(known: Mapping[str, Entity]) -> dict[str, str]:
    """Entity of every instance below the top level, by the path that a synthesis report gives it."""
    found: dict[str, str] = {}

    def descend(path: str, name: str) -> None:
        found[path] = name
        for instance in known[name].instances:
            descend(f"{path}/{instance.name}", instance.entity)

    descend(TOP, TOP)
    return found


def components(paths: Mapping[str, str]) -> dict[str, str]:
    """Component of every instance path.

    Raises:
        ValueError: a path that belongs to none.
    """
    return {path: next(iter(by_component({path: {}}))) for path in paths}


def owners(paths: Mapping[str, str]) -> dict[str, set[str]]:
    """Entities whose cells a component is: those of its outermost instances, with what they instantiate."""
    component = components(paths)
    found: dict[str, set[str]] = {}
    for path, entity in paths.items():
        above = {path[:end] for end in (match.start() for match in re.finditer("/", path))}
        if not any(component[outer] == component[path] for outer in above):
            found.setdefault(component[path], set()).add(entity)
    return found


def read_counts(file: Path = COUNTS_FILE) -> list[Count]:
    """The committed counts of synthesised designs."""
    with open(file, encoding="utf-8", newline="") as stream:
        return [
            Count(
                row["component"],
                tuple(row[name] for name in DESIGN),
                row["version"],
                tuple(int(row[name]) for name in COUNTS),
            )
            for row in csv.DictReader(stream)
        ]


def measured(component: str, counts: Iterable[Count]) -> list[list[str]]:
    """Rows of the table of cells: the standard design, and the smallest and the largest number of any design."""
    own = [count for count in counts if count.component == component]
    standard = [count for count in own if count.design == STANDARD]
    rows = [[f"`{component}`", "standard", *map(str, count.cells)] for count in standard]
    if own:
        ends = [(min(column), max(column)) for column in zip(*(count.cells for count in own), strict=True)]
        spans = [str(low) if low == high else f"{low} to {high}" for low, high in ends]
        rows.append([f"`{component}`", f"all {len(own)}", *spans])
    return rows


def plain(text: str) -> str:
    """Text of a comment as Markdown: what stands between backticks is code, every other sign means itself."""
    parts = re.split(r"(`[^`]+`|\bqtlib(?:\.\w+)+|\b(?:hdl|tests|qtlib)/[\w/]+\.\w+)", text)
    return "".join(
        (part if part.startswith("`") else f"`{part}`") if place % 2 else re.sub(r"([\\*_\[\]<>|$~])", r"\\\1", part)
        for place, part in enumerate(parts)
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return ["", *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)), ""]


def filled(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without the columns that hold nothing."""
    kept = [place for place in range(len(head)) if any(row[place] for row in rows)]
    return [head[place] for place in kept], [[row[place] for place in kept] for row in rows]


def code(text: str) -> str:
    """Code in a cell of a table."""
    return "`" + text.replace("|", r"\|") + "`" if text else ""


def prose(paragraphs: Iterable[Sequence[str]]) -> list[str]:
    """Paragraphs of a header; one that is indented is a drawing."""
    found = []
    for lines in paragraphs:
        drawn = lines[0].startswith("  ")
        found += ["", "```text", *lines, "```"] if drawn else ["", *(plain(line) for line in lines)]
    return found


def source(file: Path) -> list[str]:
    """The file itself; paths of an inclusion start at docs/."""
    return ["", "## Source", "", f"```{{literalinclude}} /../hdl/rtl/{file.name}", ":language: vhdl", "```", ""]


def entity_page(entity: Entity, known: Mapping[str, Entity], counts: Sequence[Count]) -> str:
    """The page of one entity."""
    paths = instance_paths(known)
    lines = [f"# {plain(entity.name)}", *prose(entity.header.paragraphs), ""]
    lines += table(["", ""], [[f"**{word}**", plain(text)] for word, text in entity.header.lines.items()])
    if entity.generics:
        lines += ["## Generics"]
        types = [g.type.partition(" range ")[::2] for g in entity.generics]
        rows = [
            [code(g.name), code(kind), legal, code(g.default), plain(g.meaning)]
            for g, (kind, legal) in zip(entity.generics, types, strict=True)
        ]
        lines += table(*filled(["name", "type", "range", "default", "meaning"], rows))
    lines += ["## Ports", "", "Each group is an interface."]
    groups = [
        [code(p.name), p.way, code(p.type), plain(p.meaning)] if p else [""] * 4
        for place, group in enumerate(entity.ports)
        for p in ([None] if place else []) + group
    ]
    lines += table(*filled(["name", "direction", "type", "meaning"], groups))
    lines += ["## Instances", "", *instances_text(entity, known), ""]
    lines += ["## Measured cells", "", *cells_text(entity.name, paths, counts)]
    return "\n".join(lines + source(entity.file))


def instances_text(entity: Entity, known: Mapping[str, Entity]) -> list[str]:
    """Where an entity is used, and what it uses."""
    used = [
        f"* in [{parent.name}]({parent.name}.md) as `{'.'.join(instance.path).replace('_n1', '')}`"
        for parent in known.values()
        for instance in parent.instances
        if instance.entity == entity.name
    ]
    inside = sorted({instance.entity for instance in entity.instances})
    lines = used or [
        "It is the top of the hand-written entities; `hdl/templates/accelerator.vhd.j2` wires it to the constants of a design."
    ]
    if inside:
        lines += ["", "It instantiates " + ", ".join(f"[{name}]({name}.md)" for name in inside) + "."]
    return lines


def cells_text(name: str, paths: Mapping[str, str], counts: Sequence[Count]) -> list[str]:
    """What was counted of an entity, and where the rest of it is counted."""
    owned = owners(paths)
    component = components(paths)
    own = [part for part, entities in owned.items() if entities == {name}]
    elsewhere = sorted({component[path] for path, entity in paths.items() if entity == name} - set(own))
    rows = [row for part in own for row in measured(part, counts)]
    lines = []
    if rows:
        tools = ", ".join(sorted({count.tool for count in counts if count.component in own}))
        lines += [
            f"Kind: synthesised, by {tools}; not placed. A component is all instances in one role, with what they instantiate unless that is",
            f"a component of its own. *Standard* is the design {standard_text()}; the other row is the smallest and the largest",
            "count of all designs in `data/cell_counts.csv` that have the component.",
        ]
        lines += table(["component", "designs", *(word.replace("_", " ") for word in COUNTS)], rows)
    if elsewhere:
        others = (
            f"`{part}` ({', '.join(f'[{e}]({e}.md)' for e in sorted(owned[part] - {name}))})" for part in elsewhere
        )
        lines += ["", f"{'Other instances' if rows else 'Its instances'} are counted with {', '.join(others)}."]
    if not lines:
        lines += ["No design of `data/cell_counts.csv` has it."]
    return lines


def standard_text() -> str:
    named = dict(zip(DESIGN, STANDARD, strict=True))
    return ", ".join(
        f"{word} {named[word]}" for word in ("window", "d_model", "bits", "lanes", "requantisers", "multiplier")
    ).replace("_", r"\_")


def package_page(name: str, header: Header) -> str:
    """The page of a package: what it is, and its source."""
    return "\n".join(
        [f"# {plain(name)}", "", "A package.", *prose(header.paragraphs), *source(HDL / "rtl" / f"{name}.vhd")]
    )


def index_page(known: Mapping[str, Entity], others: Mapping[str, Header]) -> str:
    """The list of all pages, in the order of the instances below the top level."""
    order = list(dict.fromkeys(instance_paths(known).values()))
    order += sorted(set(known) - set(order))
    lines = [
        "# VHDL entities",
        "",
        "Every page is generated from the file of the entity; the cells are those of `data/cell_counts.csv`.",
    ]
    rows = [[f"[{name}]({name}.md)", plain(" ".join(known[name].header.paragraphs[0]))] for name in order]
    rows += [[f"[{name}]({name}.md)", plain(" ".join(header.paragraphs[0]))] for name, header in others.items()]
    lines += table(["entity", "what it does"], rows)
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *order, *others, "```", ""])


def pages(folder: Path = HDL / "rtl", counts: Path = COUNTS_FILE) -> dict[str, str]:
    """Every page by its file name."""
    known, others, counted = entities(folder), packages(folder), read_counts(counts)
    found = {f"{name}.md": entity_page(entity, known, counted) for name, entity in known.items()}
    found |= {f"{name}.md": package_page(name, header) for name, header in others.items()}
    return found | {"index.md": index_page(known, others)}

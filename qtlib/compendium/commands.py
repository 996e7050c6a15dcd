"""Commands of the compendium: ``run``."""

from __future__ import annotations

import argparse

from qtlib import paths
from qtlib.command_line import Command, pair


def _declare_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "stages", nargs="*", type=int, metavar="NN", help="stage numbers; none: all, the overview 00 last"
    )
    parser.add_argument("--from", type=int, dest="first", metavar="NN", help="first stage")
    parser.add_argument("--to", type=int, dest="last", metavar="NN", help="last stage")
    parser.add_argument("--profile", default="quick", help="quick or paper (default: quick)")
    parser.add_argument(
        "-p",
        action="append",
        default=[],
        dest="parameters",
        metavar="NAME=VALUE",
        help="set a notebook parameter; repeatable",
    )
    parser.add_argument("--force", action="store_true", help="execute also what is up to date")


def _run(arguments: argparse.Namespace) -> None:
    if not paths.CHECKOUT:
        raise FileNotFoundError("run: the notebooks are in the repository of qtlib, not in its package")
    try:
        from qtlib.compendium.notebook_runs import run
    except ModuleNotFoundError as error:
        remedy = "python -m pip install -e '.[notebooks]'"
        raise RuntimeError(f"run: {error.name} is not installed; install it with: {remedy}") from error
    run(
        arguments.stages,
        profile=arguments.profile,
        parameters=dict(pair("run: -p", word) for word in arguments.parameters),
        first=arguments.first,
        last=arguments.last,
        force=arguments.force,
    )


COMMANDS = {"run": Command(_declare_run, _run)}

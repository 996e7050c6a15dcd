"""Commands of the data: ``fetch``."""

from __future__ import annotations

import argparse

from qtlib.command_line import Command
from qtlib.data.datasets import DATASETS, fetch


def _declare_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help="none: all")


def _fetch(arguments: argparse.Namespace) -> None:
    absent = []
    for name in arguments.datasets or DATASETS:
        found = fetch(name)
        print(f"{name}: {found.origin}", *found.paths, flush=True)
        if not found.paths:
            absent.append(name)
    # Some sets are for their owners to place in data/raw, so only what was asked for by name must be there.
    if arguments.datasets and absent:
        raise FileNotFoundError(f"fetch: no file, and no download, of {', '.join(absent)}; see data/README.md")


COMMANDS = {"fetch": Command(_declare_fetch, _fetch)}

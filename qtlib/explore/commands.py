"""Commands of the search: ``explore``, ``export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qtlib.command_line import Command
from qtlib.explore.record import export, front, objectives, save, shown, trials
from qtlib.explore.search import OBJECTIVES, run
from qtlib.explore.space import Space, make_base, read_space


def _declare_explore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="pems", help="data set, as for fetch (default: pems)")
    parser.add_argument("--study", help="name of the study (default: DATASET-OBJECTIVE)")
    parser.add_argument("--trials", type=int, default=100, help="total to reach (default: 100)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    _add_storage(parser)
    parser.add_argument(
        "--objective", choices=OBJECTIVES, default="latency", help="beside the error (default: latency)"
    )
    parser.add_argument("--lut", action="store_true", help="minimise the LUTs, too")
    parser.add_argument(
        "--space", type=Path, metavar="FILE", help="JSON of fields of qtlib.explore.Space (default: its own)"
    )
    parser.add_argument("--qat-epochs", type=int, help="epochs of quantised training per trial (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of sampler and training (default: 0)")
    parser.add_argument(
        "--tables", type=Path, metavar="FOLDER", help="where CSV and LaTeX go (default: data/prepared/explore)"
    )


def _declare_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="name of the study")
    parser.add_argument("trial", type=int, help="its number")
    parser.add_argument("--directory", type=Path, help="design folder (default: a folder in hdl/generated)")
    _add_storage(parser)
    parser.add_argument(
        "--tables",
        type=Path,
        metavar="FOLDER",
        help="read the trial from the tables of a search, such as those in data, and no storage",
    )
    parser.add_argument("--windows", type=int, default=8, help="windows of test vectors (default: 8)")
    parser.add_argument("--verify", action="store_true", help="simulate it, too")
    parser.add_argument("--synthesise", action="store_true", help="map it with Yosys, too")


def _add_storage(parser: argparse.ArgumentParser) -> None:
    text = "journal:///path, sqlite:///path or postgresql://user@host/database"
    parser.add_argument("--storage", metavar="URL", help=f"{text} (default: a journal in data/prepared/explore)")


def _explore(arguments: argparse.Namespace) -> None:
    base = make_base(arguments.dataset, seed=arguments.seed, qat_epochs=arguments.qat_epochs)
    study = run(
        base,
        read_space(arguments.space) if arguments.space else Space(),
        name=arguments.study or f"{arguments.dataset}-{arguments.objective}",
        trials=arguments.trials,
        workers=arguments.workers,
        storage=arguments.storage,
        objective=arguments.objective,
        lut=arguments.lut,
        seed=arguments.seed,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(shown(front(trials(study), objectives(study))).to_string(index=False))
    print(*save(study, arguments.tables), sep="\n")


def _export(arguments: argparse.Namespace) -> None:
    written = export(
        arguments.study,
        arguments.trial,
        arguments.directory,
        storage=arguments.storage,
        tables=arguments.tables,
        count=arguments.windows,
        verify=arguments.verify,
        synthesise=arguments.synthesise,
    )
    print(written)


COMMANDS = {
    "explore": Command(_declare_explore, _explore),
    "export": Command(_declare_export, _export),
}

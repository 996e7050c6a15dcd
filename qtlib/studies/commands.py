"""Commands of the studies: each makes a committed table of data/, or adds what it lacks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from qtlib import paths
from qtlib.command_line import Command, UsageError, print_report, suggest
from qtlib.studies import (
    benchmark,
    cell_counts,
    coefficient_fit,
    deployability,
    placement,
    published_shapes,
    study_tables,
    verification,
)
from qtlib.studies.precision_studies import STUDIES


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _declare_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        choices=tuple(STUDIES),
        help="precision: series, schemes and widths; grid: shapes; deployed: mixed widths",
    )
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")


def _study(arguments: argparse.Namespace) -> None:
    table = study_tables.run(arguments.name, workers=arguments.workers)
    print(f"{study_tables.path(arguments.name)}: {len(table)} rows")


def _declare_nothing(parser: argparse.ArgumentParser) -> None:
    pass


def _deployability(arguments: argparse.Namespace) -> None:
    print(deployability.write(progress=lambda done, of: _say(f"{done} of {of} shapes and widths")))


SHAPES = {
    "published": published_shapes.run,
    "programs": published_shapes.run_programs,
    "mixed": published_shapes.run_mixed,
}


def _declare_shapes(parser: argparse.ArgumentParser) -> None:
    text = "published: data/shapes.csv; programs: data/netlists.csv; mixed: data/mixed_shapes.csv (default: published)"
    parser.add_argument("what", nargs="?", choices=tuple(SHAPES), default="published", help=text)


def _shapes(arguments: argparse.Namespace) -> None:
    SHAPES[arguments.what](_say)


def _declare_cell_counts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=("count", "estimates", "coefficients", "emit"),
        default="count",
        help="count: synthesise what the files lack; estimates: write data/estimates.csv; coefficients: print the fit; "
        "emit: write the fitted designs (default: count)",
    )
    default = paths.generated() / "cell_counts"
    parser.add_argument(
        "--directory", type=Path, default=default, help="of the designs of emit (default: hdl/generated/cell_counts)"
    )


def _cell_counts(arguments: argparse.Namespace) -> None:
    actions: dict[str, Callable[[], None]] = {
        "count": lambda: cell_counts.run(_say),
        "estimates": cell_counts.write_estimates,
        "coefficients": cell_counts.print_coefficients,
        "emit": lambda: cell_counts.emit_fitted(arguments.directory),
    }
    actions[arguments.what]()


def _placement(arguments: argparse.Namespace) -> None:
    placement.run(_say)


def _declare_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "designs", nargs="+", type=Path, metavar="DIRECTORY", help="emitted, and with the reports of vivado.tcl"
    )
    parser.add_argument(
        "--table",
        type=Path,
        default=paths.DATA / "vivado_cell_counts.csv",
        metavar="FILE",
        help="CSV of the counts; the coefficients go beside it as JSON (default: data/vivado_cell_counts.csv)",
    )


def _fit(arguments: argparse.Namespace) -> None:
    print(*coefficient_fit.fit_reports(arguments.designs, arguments.table), sep="\n")


def _declare_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=int, default=0, help="number of the first random design (default: 0)")
    text = (
        f"how many random designs; fewer than {verification.DESIGNS}, or others, write nothing (default: %(default)s)"
    )
    parser.add_argument("--designs", type=int, default=verification.DESIGNS, help=text)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")


def _verify(arguments: argparse.Namespace) -> None:
    record = verification.verify(arguments.first, arguments.designs, workers=arguments.workers, progress=_say)
    print_report(record)
    if arguments.first == 0 and arguments.designs >= verification.DESIGNS:
        print(verification.write(record))
    if failures := record["failures"]:
        raise ValueError(f"verify: {len(failures)} designs failed:\n" + "\n".join(failures))


def _declare_bench(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(benchmark.SECTIONS)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {names}; none: all")


def _bench(arguments: argparse.Namespace) -> None:
    if unknown := [name for name in arguments.sections if name not in benchmark.SECTIONS]:
        raise UsageError(f"bench: section {unknown[0]!r} does not exist{suggest(unknown[0], benchmark.SECTIONS)}")
    print(benchmark.table(benchmark.run(arguments.sections, say=_say)))


COMMANDS = {
    "study": Command(_declare_study, _study),
    "deployability": Command(_declare_nothing, _deployability),
    "shapes": Command(_declare_shapes, _shapes),
    "cell-counts": Command(_declare_cell_counts, _cell_counts),
    "placement": Command(_declare_nothing, _placement),
    "fit": Command(_declare_fit, _fit),
    "verify": Command(_declare_verify, _verify),
    "bench": Command(_declare_bench, _bench),
}

"""Commands of the toolchain: ``emit``, ``simulate``, ``synthesise``, ``place``; each emits the design first."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from qtlib import paths
from qtlib.command_line import Command, add_hardware, hardware, print_report
from qtlib.config import digest
from qtlib.hardware.devices import PLACED
from qtlib.program.file import load
from qtlib.toolchain.design_directory import emit
from qtlib.toolchain.input_stimuli import stimuli
from qtlib.toolchain.place_and_route import place
from qtlib.toolchain.simulation import TOOLS, simulate
from qtlib.toolchain.synthesis import synthesise


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", type=Path, help="file of an integer program")
    parser.add_argument("--directory", type=Path, help="design folder (default: a folder in hdl/generated)")
    parser.add_argument("--windows", type=int, default=8, help="windows of test vectors (default: 8)")


def _declare_emit(parser: argparse.ArgumentParser) -> None:
    _declare(parser)
    parser.add_argument("--oversize", action="store_true", help="emit also what exceeds the device by the estimate")
    add_hardware(parser)


def _declare_simulate(parser: argparse.ArgumentParser) -> None:
    _declare(parser)
    parser.add_argument("--tool", choices=TOOLS, default="ghdl", help="simulator (default: ghdl)")
    parser.add_argument("--seed", type=int, default=0, help="of random pauses; 0: full speed (default)")
    add_hardware(parser)


def _declare_synthesise(parser: argparse.ArgumentParser) -> None:
    _declare(parser)
    add_hardware(parser)


def _declare_place(parser: argparse.ArgumentParser) -> None:
    _declare(parser)
    parser.add_argument(
        "--device",
        dest="target",
        default="lfe5u-25f",
        choices=tuple(PLACED),
        help="what it is placed on (default: lfe5u-25f)",
    )
    parser.add_argument("--seeds", type=int, default=5, help="placements (default: 5)")
    add_hardware(parser, {"device": "--design-device"})


def _emit(arguments: argparse.Namespace) -> None:
    print(_design(arguments, must_fit=not arguments.oversize))


def _simulate(arguments: argparse.Namespace) -> None:
    def progress(done: int, windows: int) -> None:
        print(f"{done:,} of {windows:,} windows", file=sys.stderr, flush=True)

    print_report(simulate(_design(arguments), tool=arguments.tool, seed=arguments.seed, progress=progress))


def _synthesise(arguments: argparse.Namespace) -> None:
    print_report(synthesise(_design(arguments)))


def _place(arguments: argparse.Namespace) -> None:
    def progress(done: int, seeds: int) -> None:
        print(f"{done} of {seeds} placements", file=sys.stderr, flush=True)

    print_report(place(_design(arguments), device=arguments.target, seeds=arguments.seeds, progress=progress))


def _design(arguments: argparse.Namespace, *, must_fit: bool = False) -> Path:
    engine = hardware(arguments)
    directory = arguments.directory or paths.generated() / f"{arguments.program.stem}_{digest(asdict(engine))}"
    program = load(arguments.program)
    emit(program, engine, directory, stimuli(program, arguments.windows), must_fit=must_fit)
    return directory


COMMANDS = {
    "emit": Command(_declare_emit, _emit),
    "simulate": Command(_declare_simulate, _simulate),
    "synthesise": Command(_declare_synthesise, _synthesise),
    "place": Command(_declare_place, _place),
}

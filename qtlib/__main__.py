"""Command line: ``python -m qtlib``. Every command is a thin call of one function; errors are one line and exit status 1."""

from __future__ import annotations

import argparse
import json
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import qtlib
from qtlib import config, devices, paths, run
from qtlib.config import HardwareConfig, digest
from qtlib.notebook import NotebookFailed
from qtlib.tools import MissingTool, ToolError

OK, FAILURE, USAGE = 0, 1, 2
EXPECTED = (ValueError, TypeError, OverflowError, OSError, NotebookFailed, MissingTool, ToolError)

CHOICES = {
    "multiplier": config.MULTIPLIERS,
    **dict.fromkeys(("activations", "weights", "parameters", "tables"), config.MEMORY_TYPES),
}
SECTIONS = ("engine", "training", "inference", "ghdl", "verilator", "design")  # of the benchmark
HELP = {
    "device": "part name",
    "clock_mhz": "clock in MHz",
    "lanes": "tokens computed side by side",
    "unroll": "output features per clock",
    "requantisers": "codes requantised per clock",
    "multiplier": "what multiplies",
    "activations": "memory type of the activation stores",
    "weights": "memory type of the weights",
    "parameters": "memory type of biases and multipliers",
    "tables": "memory type of the softmax tables",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.handler(arguments)
    except run.UsageError as error:
        print(error, file=sys.stderr)
        return USAGE
    except EXPECTED as error:
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
            self.error(f"command {value!r} does not exist{run.suggest(value, list(action.choices))}")
        super()._check_value(action, value)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m qtlib", description=qtlib.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"qtlib {qtlib.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, handler: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(handler=handler)
        return sub

    stages = command("run", _run, "execute notebooks, skipping those that are up to date")
    stages.add_argument(
        "stages", nargs="*", type=int, metavar="NN", help="stage numbers; none: all, the overview 00 last"
    )
    stages.add_argument("--from", type=int, dest="first", metavar="NN", help="first stage")
    stages.add_argument("--to", type=int, dest="last", metavar="NN", help="last stage")
    stages.add_argument("--profile", default="quick", help=f"{' or '.join(run.PROFILES)} (default: quick)")
    stages.add_argument(
        "-p",
        action="append",
        default=[],
        dest="parameters",
        metavar="NAME=VALUE",
        help="set a notebook parameter; repeatable",
    )
    stages.add_argument("--force", action="store_true", help="execute also what is up to date")

    fetch = command("fetch", _fetch, "download or find the raw data and check its SHA-256")
    fetch.add_argument("datasets", nargs="*", metavar="DATASET", help="none: all")

    studies = command("study", _study, "train the missing points of a study and write its table in data/")
    studies.add_argument(
        "name", choices=("precision", "grid", "deployed"), help="precision: series, schemes and widths; grid: shapes; deployed: mixed widths"
    )
    studies.add_argument("--workers", type=int, help="processes (default: one per core)")
    search = command("explore", _explore, "search over mixed precision and hardware; goes on with a study that exists")
    search.add_argument("--dataset", default="pems", help="data set, as for fetch (default: pems)")
    search.add_argument("--study", help="name of the study (default: DATASET-OBJECTIVE)")
    search.add_argument("--trials", type=int, default=100, help="total to reach (default: 100)")
    search.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    _add_storage(search)
    search.add_argument(
        "--objective", choices=("latency", "energy"), default="latency", help="beside the error (default: latency)"
    )
    search.add_argument("--lut", action="store_true", help="minimise the LUTs, too")
    search.add_argument(
        "--space", type=Path, metavar="FILE", help="JSON of fields of qtlib.explore.Space (default: its own)"
    )
    search.add_argument("--qat-epochs", type=int, help="epochs of quantised training per trial (default: 4)")
    search.add_argument("--seed", type=int, default=0, help="of sampler and training (default: 0)")
    search.add_argument(
        "--tables", type=Path, metavar="FOLDER", help="where CSV and LaTeX go (default: data/prepared/explore)"
    )
    export = command("export", _export, "write one trial of a study as a design, with program, choices and estimate")
    export.add_argument("study", help="name of the study")
    export.add_argument("trial", type=int, help="its number")
    export.add_argument("--directory", type=Path, help="design folder (default: a folder in hdl/generated)")
    _add_storage(export)
    export.add_argument(
        "--tables", type=Path, metavar="FOLDER", help="read the trial from the tables of a search, such as those in data, and no storage"
    )
    export.add_argument("--windows", type=int, default=8, help="windows of test vectors (default: 8)")
    export.add_argument("--verify", action="store_true", help="simulate it, too")
    export.add_argument("--synthesise", action="store_true", help="map it with Yosys, too")
    fits = command("fit", _fit, "fit the estimate to Vivado's reports of designs, apart from the fit to Yosys")
    fits.add_argument(
        "designs", nargs="+", type=Path, metavar="DIRECTORY", help="emitted, and with the reports of vivado.tcl"
    )
    fits.add_argument(
        "--table",
        type=Path,
        default=paths.ROOT / "data" / "vendor_knowledge.csv",
        metavar="FILE",
        help="CSV of the counts; the coefficients go beside it as JSON (default: data/vendor_knowledge.csv)",
    )
    command("deployability", _deployability, "estimate which published shapes fit; writes data/deployability.csv")
    bench = command("bench", _bench, "measure speed as ratios to named references; writes data/results/benchmark.json")
    bench.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; none: all")

    for name, handler, text in (
        ("estimate", _estimate, "print the clocks and resources of a program by formula"),
        ("emit", _emit, "write the VHDL of a program, with a testbench and test vectors"),
        ("simulate", _simulate, "emit a program and simulate it"),
        ("synthesise", _synthesise, "emit a program and map it with Yosys"),
        ("place", _place, "emit a program, place and route it with nextpnr"),
    ):
        sub = command(name, handler, text)
        sub.add_argument("program", type=Path, help="file of an integer program")
        if name == "estimate":
            sub.add_argument(
                "--coefficients", type=Path, metavar="FILE", help="of the command fit (default: those fitted to Yosys)"
            )
        else:
            sub.add_argument("--directory", type=Path, help="design folder (default: a folder in hdl/generated)")
            sub.add_argument("--windows", type=int, default=8, help="windows of test vectors (default: 8)")
        if name == "emit":
            sub.add_argument(
                "--oversize", action="store_true", help="emit also what exceeds the device by the estimate"
            )
        if name == "simulate":
            sub.add_argument("--tool", choices=("ghdl", "verilator"), default="ghdl", help="simulator (default: ghdl)")
            sub.add_argument("--seed", type=int, default=0, help="of random pauses; 0: full speed (default)")
        if name == "place":
            sub.add_argument(
                "--device",
                dest="target",
                default="lfe5u-25f",
                choices=tuple(devices.PLACED),
                help="what it is placed on (default: lfe5u-25f)",
            )
            sub.add_argument("--seeds", type=int, default=5, help="placements (default: 5)")
        _add_hardware(sub, {"device": "--design-device"} if name == "place" else {})
    return parser


def _add_storage(parser: argparse.ArgumentParser) -> None:
    text = "journal:///path, sqlite:///path or postgresql://user@host/database (default: a journal in data/prepared/explore)"
    parser.add_argument("--storage", metavar="URL", help=text)


def _add_hardware(parser: argparse.ArgumentParser, renamed: Mapping[str, str] = MappingProxyType({})) -> None:
    group = parser.add_argument_group("hardware: changes clocks and resources, never an output bit")
    hints = typing.get_type_hints(HardwareConfig)
    for field in fields(HardwareConfig):
        if field.name == "stores":
            continue
        kinds = [kind for kind in typing.get_args(hints[field.name]) or [hints[field.name]] if kind is not type(None)]
        group.add_argument(
            renamed.get(field.name, "--" + field.name.replace("_", "-")),
            dest=field.name,
            type=kinds[0],
            default=field.default,
            choices=CHOICES.get(field.name),
            help=f"{HELP.get(field.name, field.name)} (default: {field.default})",
        )
    group.add_argument(
        "--store",
        action="append",
        default=[],
        dest="stores",
        metavar="NAME=TYPE",
        help=f"memory type of one store, before that of its kind; repeatable; NAME: {', '.join(config.STORES)}",
    )


def _hardware(arguments: argparse.Namespace) -> HardwareConfig:
    values = {field.name: getattr(arguments, field.name) for field in fields(HardwareConfig)}
    return HardwareConfig(
        **values | {"stores": dict(_pair("hardware: --store", word, "NAME=TYPE") for word in arguments.stores)}
    )


def _pair(option: str, word: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    name, equals, text = word.partition("=")
    if not equals:
        raise run.UsageError(f"{option} {word} must be {form}")
    return name, text


def _run(arguments: argparse.Namespace) -> None:
    run.run(
        arguments.stages,
        profile=arguments.profile,
        parameters=dict(_pair("run: -p", word) for word in arguments.parameters),
        first=arguments.first,
        last=arguments.last,
        force=arguments.force,
    )


# The imports below wait for their command: `run` and `--help` must not load PyTorch.


def _study(arguments: argparse.Namespace) -> None:
    from qtlib import study

    table = study.run(arguments.name, workers=arguments.workers)
    print(f"{study.path(arguments.name)}: {len(table)} rows")


def _explore(arguments: argparse.Namespace) -> None:
    from qtlib import explore

    base = explore.make_base(arguments.dataset, seed=arguments.seed, qat_epochs=arguments.qat_epochs)
    study = explore.run(
        base,
        explore.read_space(arguments.space) if arguments.space else explore.Space(),
        name=arguments.study or f"{arguments.dataset}-{arguments.objective}",
        trials=arguments.trials,
        workers=arguments.workers,
        storage=arguments.storage,
        objective=arguments.objective,
        lut=arguments.lut,
        seed=arguments.seed,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(explore.shown(explore.front(explore.trials(study), explore.objectives(study))).to_string(index=False))
    print(*explore.save(study, arguments.tables), sep="\n")


def _export(arguments: argparse.Namespace) -> None:
    from qtlib import explore

    written = explore.export(
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


def _fit(arguments: argparse.Namespace) -> None:
    from qtlib import knowledge

    print(*knowledge.fit_reports(arguments.designs, arguments.table), sep="\n")


def _deployability(arguments: argparse.Namespace) -> None:
    from qtlib import deploy

    print(
        deploy.write(progress=lambda done, of: print(f"{done} of {of} shapes and widths", file=sys.stderr, flush=True))
    )


def _fetch(arguments: argparse.Namespace) -> None:
    from qtlib import data

    absent = []
    for name in arguments.datasets or data.DATASETS:
        found = data.fetch(name)
        print(f"{name}: {found.origin}", *found.paths, flush=True)
        if not found.paths:
            absent.append(name)
    # Some sets are for their owners to place in data/raw, so only what was asked for by name must be there.
    if arguments.datasets and absent:
        raise FileNotFoundError(f"fetch: no file, and no download, of {', '.join(absent)}; see data/README.md")


def _bench(arguments: argparse.Namespace) -> None:
    from qtlib import benchmark

    if unknown := [name for name in arguments.sections if name not in SECTIONS]:
        raise run.UsageError(f"bench: section {unknown[0]!r} does not exist{run.suggest(unknown[0], SECTIONS)}")
    print(benchmark.table(benchmark.run(arguments.sections, say=lambda line: print(line, file=sys.stderr, flush=True))))


def _estimate(arguments: argparse.Namespace) -> None:
    from qtlib import knowledge, program, resources

    coefficients = knowledge.load(arguments.coefficients) if arguments.coefficients else None
    loaded, hardware = program.load(arguments.program), _hardware(arguments)
    _print(resources.estimate(loaded, hardware, coefficients))
    resources.check_fit(loaded, hardware, coefficients)


def _emit(arguments: argparse.Namespace) -> None:
    print(_design(arguments, must_fit=not arguments.oversize))


def _simulate(arguments: argparse.Namespace) -> None:
    from qtlib import simulate

    directory = _design(arguments)
    _print(simulate.simulate(directory, tool=arguments.tool, seed=arguments.seed, progress=_progress))


def _progress(done: int, windows: int) -> None:
    print(f"{done:,} of {windows:,} windows", file=sys.stderr, flush=True)


def _synthesise(arguments: argparse.Namespace) -> None:
    from qtlib import synthesise

    _print(synthesise.synthesise(_design(arguments)))


def _place(arguments: argparse.Namespace) -> None:
    from qtlib import place

    _print(place.place(_design(arguments), device=arguments.target, seeds=arguments.seeds, progress=_placed))


def _placed(done: int, seeds: int) -> None:
    print(f"{done} of {seeds} placements", file=sys.stderr, flush=True)


def _design(arguments: argparse.Namespace, *, must_fit: bool = False) -> Path:
    from qtlib import emit, program, simulate

    hardware = _hardware(arguments)
    directory = arguments.directory or paths.generated() / f"{arguments.program.stem}_{digest(hardware)}"
    loaded = program.load(arguments.program)
    emit.emit(loaded, hardware, directory, simulate.stimuli(loaded, arguments.windows), must_fit=must_fit)
    return directory


def _print(report: Any) -> None:
    print(json.dumps(_named(report), indent=1, sort_keys=True, default=str))


def _named(value: Any) -> Any:
    """Records as dictionaries: JSON would drop the names of their fields."""
    if is_dataclass(value):
        value = asdict(value)
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    return {key: _named(item) for key, item in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    sys.exit(main())

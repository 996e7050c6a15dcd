"""Run the notebooks in order, skip what is up to date, and never leave a half-written one behind.

Rules of this module
  * Stages run in the order of their numbers, except 00: the overview reads everybody's results and so runs last.
  * The committed notebooks hold the quick profile with their own defaults. Any other run (a profile, a parameter) keeps its
    notebooks, results and figures to itself, under data/prepared/run/<variant>.
  * A stage is skipped when its code, parameters, qtlib, hdl, tools, data and all earlier results are what they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from qtlib import paths
from qtlib.command_line import UsageError, suggest
from qtlib.compendium import notebook_execution, results
from qtlib.compendium.readme_headline import with_headline
from qtlib.compendium.runtimes import announcement, runtime, spelled
from qtlib.compendium.stages import check_profile, overrides, select, stages
from qtlib.compendium.up_to_date import Place, fingerprint, outputs, stamp, text_digest, up_to_date

FOLDERS = ("QTLIB_DATA", "QTLIB_PREPARED", "QTLIB_GENERATED")


def run(
    numbers: Collection[int] = (),
    *,
    profile: str = "quick",
    parameters: Mapping[str, str] | None = None,
    first: int | None = None,
    last: int | None = None,
    force: bool = False,
    notebooks: Path = paths.NOTEBOOKS,
) -> list[str]:
    """Execute the selected notebooks and return the names of those that were not up to date.

    Args:
        numbers, first, last: which stages (`select`).
        profile: one of `PROFILES`; reaches every notebook with a parameter ``profile``.
        parameters: name -> text; reaches every selected notebook with that parameter.
        force: execute also what is up to date.
        notebooks: folder of the notebooks.

    Raises:
        UsageError: an unknown stage, profile or parameter, or a value of the wrong type; nothing was run.
        NotebookFailed: a notebook raised; earlier stages are done, its previous version is untouched.
    """
    parameters = dict(parameters or {})
    chosen = select(stages(notebooks), numbers, first=first, last=last)
    check_profile(profile)
    legal = {name for stage in chosen for name in notebook_execution.defaults(stage.path)} - {"profile"}
    for name in parameters:
        if name == "profile":
            raise UsageError("run: parameter 'profile' is set by --profile")
        if name not in legal:
            raise UsageError(f"run: parameter {name!r} does not exist{suggest(name, legal)}")
    changes = {stage.number: overrides(stage, profile, parameters) for stage in chosen}

    place = _place(profile, changes, notebooks)
    executed = []
    if said := announcement(stage.path for stage in chosen):
        print(said, flush=True)
    with _environment(place):
        _inherit(place, {stage.number for stage in chosen})
        for position, stage in enumerate(chosen, 1):
            label = f"[{position}/{len(chosen)}] {stage.name}"
            key = fingerprint(stage, profile, changes[stage.number], place)
            if not force and up_to_date(stage, key, place):
                print(f"{label}: up to date", flush=True)
                continue
            if expected := runtime(stage.path):
                print(f"{label}: about {spelled(expected)}", flush=True)
            started = time.monotonic()
            stamp(stage, place).unlink(missing_ok=True)
            target = place.notebooks / stage.path.name
            notebook_execution.execute(stage.path, target, parameters=changes[stage.number], label=label)
            record = {"fingerprint": key, "outputs": outputs(stage, place)}
            paths.write_atomic(stamp(stage, place), json.dumps(record, indent=1, sort_keys=True) + "\n")
            notebook_execution.say(f"{label}: done in {time.monotonic() - started:.0f} s", final=True)
            executed.append(stage.name)
    if place.variant is None and notebooks == paths.NOTEBOOKS and "00_overview" in executed:
        readme = paths.ROOT / "README.md"
        paths.write_atomic(readme, with_headline(readme.read_text(encoding="utf-8"), results.load_json("00_headline")))
    return executed


def _place(profile: str, changes: Mapping[int, Mapping[str, Any]], notebooks: Path) -> Place:
    changed = {n: {k: v for k, v in c.items() if k != "profile"} for n, c in changes.items()}
    given = {name: value for values in changed.values() for name, value in values.items()}
    stamps = paths.prepared() / "run"
    if profile == "quick" and not given:
        return Place(None, notebooks, paths.results(), paths.figures(), stamps, None)
    variant = profile if not given else f"{profile}-{text_digest(json.dumps(given, sort_keys=True))[:6]}"
    home = stamps / variant
    # An explicit QTLIB_RESULTS or QTLIB_FIGURES is the user's own choice of place.
    results = paths.results() if "QTLIB_RESULTS" in os.environ else home / "results"
    figures = paths.figures() if "QTLIB_FIGURES" in os.environ else home / "figures"
    base = None
    if given and results != paths.results():
        base = paths.results() if profile == "quick" else stamps / profile / "results"
    return Place(variant, home, results, figures, home, base)


@contextlib.contextmanager
def _environment(place: Place) -> Iterator[None]:
    """Kernels write into ``place`` and are the interpreter that runs this.

    They start in the folder of the notebooks, where a relative path would mean another folder than here.
    """
    given = {name: os.environ[name] for name in FOLDERS if os.environ.get(name)}
    changed = {
        **{name: str(Path(folder).resolve()) for name, folder in given.items()},
        "QTLIB_RESULTS": str(place.results.resolve()),
        "QTLIB_FIGURES": str(place.figures.resolve()),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _inherit(place: Place, chosen: Collection[int]) -> None:
    """Give a run with changed parameters the results of the stages that it does not run itself."""
    for file in sorted(place.base.glob("[0-9][0-9]_*")) if place.base else ():
        number = int(file.name[:2])
        if number not in chosen and not (place.stamps / f"{number:02}.json").exists():
            paths.write_atomic(place.results / file.name, file.read_bytes())

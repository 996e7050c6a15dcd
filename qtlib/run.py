"""Run the notebooks in order, skip what is up to date, and never leave a half-written one behind.

Rules of this module
  * Stages run in the order of their numbers, except 00: the overview reads everybody's results and so runs last.
  * The committed notebooks hold the quick profile with their own defaults. Any other run (a profile, a parameter) keeps its
    notebooks, results and figures to itself, under data/prepared/run/<variant>.
  * A stage is skipped when its code, parameters, qtlib, hdl, tools, data and all earlier results are what they were.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import hashlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qtlib import notebook, paths, tools
from qtlib import results as stored

PROFILES = ("quick", "paper")


HEADLINE = ("<!-- headline: written by notebook 00 -->", "<!-- headline: end -->")


class UsageError(ValueError):
    """A stage, profile or parameter that does not exist; the text lists the legal ones."""


class Stage(NamedTuple):
    """One notebook."""

    number: int
    path: Path

    @property
    def name(self) -> str:
        """File name without its suffix, ``NN_words``."""
        return self.path.stem


class Place(NamedTuple):
    """Where one run keeps what it makes."""

    variant: str | None  # None: the committed notebooks
    notebooks: Path
    results: Path
    figures: Path
    stamps: Path
    base: Path | None  # results that a run with changed parameters starts from


def stages(notebooks: Path = paths.NOTEBOOKS) -> list[Stage]:
    """All notebooks in the order they run: ascending, the overview 00 last."""
    files = [file for file in notebooks.glob("[0-9][0-9]_*.ipynb") if not file.name.endswith(".failed.ipynb")]
    found = [Stage(int(file.name[:2]), file) for file in files]
    return sorted(found, key=lambda stage: (stage.number == 0, stage.number))


def select(
    found: Sequence[Stage], numbers: Collection[int] = (), *, first: int | None = None, last: int | None = None
) -> list[Stage]:
    """The stages to run: those named, or all from ``first`` to ``last``; without ``last`` the overview ends the run.

    Raises:
        UsageError: a number without a notebook, or both ways of selecting at once.
    """
    if numbers and (first is not None or last is not None):
        raise UsageError("run: give stage numbers or --from/--to, not both")
    legal = sorted(stage.number for stage in found)
    for number in (*numbers, *(n for n in (first, last) if n is not None)):
        if number not in legal:
            raise UsageError(f"run: stage {number} does not exist; legal: {', '.join(map(str, legal)) or 'none'}")
    if numbers:
        return [stage for stage in found if stage.number in numbers]
    high = max(legal, default=0) if last is None else last
    low = min(1, high) if first is None else first
    if low > high:
        raise UsageError(f"run: --from {low} is after --to {high}")
    return [s for s in found if low <= s.number <= high or (s.number == 0 and last is None)]


def check_profile(profile: str) -> str:
    """Return ``profile`` or raise UsageError with the legal ones."""
    if profile not in PROFILES:
        raise UsageError(f"run: profile {profile!r} does not exist{suggest(profile, PROFILES)}")
    return profile


def suggest(word: str, legal: Collection[str]) -> str:
    """The closest legal word and all of them, as the tail of an error message."""
    close = difflib.get_close_matches(word, legal, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{guess} legal: {', '.join(sorted(legal)) or 'none'}"


def overrides(stage: Stage, profile: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Parameters of one stage that differ from its own defaults, with the types of the defaults.

    Args:
        parameters: texts as typed on the command line; names that this notebook lacks are left out.

    Raises:
        UsageError: a text that does not fit the type of the default.
    """
    own = notebook.defaults(stage.path)
    given = {name: _fit(name, text, own[name]) for name, text in parameters.items() if name in own}
    if "profile" in own:
        given["profile"] = profile
    return {name: value for name, value in given.items() if value != own[name]}


def _fit(name: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is None or type(value) is type(default):
        return value
    raise UsageError(f"run: parameter {name}={text} must be {type(default).__name__}, like its default {default!r}")


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
    legal = {name for stage in chosen for name in notebook.defaults(stage.path)} - {"profile"}
    for name in parameters:
        if name == "profile":
            raise UsageError("run: parameter 'profile' is set by --profile")
        if name not in legal:
            raise UsageError(f"run: parameter {name!r} does not exist{suggest(name, legal)}")
    changes = {stage.number: overrides(stage, profile, parameters) for stage in chosen}

    place = _place(profile, changes, notebooks)
    executed = []
    with _environment(place):
        _inherit(place, {stage.number for stage in chosen})
        for position, stage in enumerate(chosen, 1):
            label = f"[{position}/{len(chosen)}] {stage.name}"
            key = fingerprint(stage, profile, changes[stage.number], place)
            if not force and _up_to_date(stage, key, place):
                print(f"{label}: up to date", flush=True)
                continue
            started = time.monotonic()
            _stamp(stage, place).unlink(missing_ok=True)
            target = place.notebooks / stage.path.name
            notebook.execute(stage.path, target, parameters=changes[stage.number], label=label)
            record = {"fingerprint": key, "outputs": _outputs(stage, place)}
            paths.write_atomic(_stamp(stage, place), json.dumps(record, indent=1, sort_keys=True) + "\n")
            notebook.say(f"{label}: done in {time.monotonic() - started:.0f} s", final=True)
            executed.append(stage.name)
    if place.variant is None and notebooks == paths.NOTEBOOKS and "00_overview" in executed:
        readme = paths.ROOT / "README.md"
        paths.write_atomic(readme, with_headline(readme.read_text(encoding="utf-8"), stored.load_json("00_headline")))
    return executed


def with_headline(readme: str, headline: Mapping[str, Any]) -> str:
    """README text whose part between the two headline marks is written anew from a result, so that no number is typed.

    Args:
        readme: the old text, with both marks.
        headline: ``answer``, a sentence, and a table of ``columns`` and ``rows``.
    """
    before, rest = readme.split(HEADLINE[0])
    _, after = rest.split(HEADLINE[1])
    rows = [["" if cell is None else str(cell) for cell in row] for row in headline["rows"]]
    table = [headline["columns"], ["---"] * len(headline["columns"]), *rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"{before}{HEADLINE[0]}\n{headline['answer']}\n\n{lines}\n{HEADLINE[1]}{after}"


def _place(profile: str, changes: Mapping[int, Mapping[str, Any]], notebooks: Path) -> Place:
    changed = {n: {k: v for k, v in c.items() if k != "profile"} for n, c in changes.items()}
    given = {name: value for values in changed.values() for name, value in values.items()}
    stamps = paths.prepared() / "run"
    if profile == "quick" and not given:
        return Place(None, notebooks, paths.results(), paths.figures(), stamps, None)
    variant = profile if not given else f"{profile}-{_digest(json.dumps(given, sort_keys=True))[:6]}"
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
    """Kernels write into ``place`` and are the interpreter that runs this."""
    changed = {
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


def fingerprint(stage: Stage, profile: str, changed: Mapping[str, Any], place: Place) -> str:
    """Digest of everything that decides the outputs of a stage."""
    sources = [*(paths.ROOT / "qtlib").rglob("*.py")]
    sources += [file for folder in ("rtl", "tb", "templates") for file in (paths.HDL / folder).rglob("*.*")]
    earlier = [
        file
        for file in place.results.glob("[0-9][0-9]_*")
        if int(file.name[:2]) != stage.number and (stage.number == 0 or int(file.name[:2]) < stage.number)
    ]
    folders = [paths.RAW, *filter(None, [os.environ.get("QTLIB_DATA")])]
    raw = [
        (file.name, file.stat().st_size) for folder in folders for file in Path(folder).glob("*.*") if file.is_file()
    ]
    found = {}
    for name in tools.TOOLS:
        with contextlib.suppress(tools.MissingTool):
            found[name] = tools.locate(name)
    parts = [notebook.code(stage.path), profile, changed, _digests(sources), _digests(earlier), sorted(raw), found]
    return _digest(json.dumps(parts, sort_keys=True))


def _up_to_date(stage: Stage, key: str, place: Place) -> bool:
    try:
        record = json.loads(_stamp(stage, place).read_text(encoding="utf-8"))
        executed = notebook.is_executed(place.notebooks / stage.path.name)
    except (OSError, ValueError):
        return False
    return executed and record == {"fingerprint": key, "outputs": _outputs(stage, place)}


def _stamp(stage: Stage, place: Place) -> Path:
    return place.stamps / f"{stage.number:02}.json"


def _outputs(stage: Stage, place: Place) -> dict[str, str]:
    folders = (place.results, place.figures)
    return _digests([file for folder in folders for file in folder.glob(f"{stage.number:02}_*")])


def _digests(files: Sequence[Path]) -> dict[str, str]:
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

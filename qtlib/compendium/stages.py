"""The notebooks in the order in which they run, and the parameters that each takes."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qtlib import paths
from qtlib.command_line import UsageError, suggest
from qtlib.compendium import notebook_execution

PROFILES = ("quick", "paper")


class Stage(NamedTuple):
    """One notebook."""

    number: int
    path: Path

    @property
    def name(self) -> str:
        """File name without its suffix, ``NN_words``."""
        return self.path.stem


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


def overrides(stage: Stage, profile: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Parameters of one stage that differ from its own defaults, with the types of the defaults.

    Args:
        parameters: texts as typed on the command line; names that this notebook lacks are left out.

    Raises:
        UsageError: a text that does not fit the type of the default.
    """
    own = notebook_execution.defaults(stage.path)
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

"""Numbers that a text states, compared with those that were computed: what is typed must be what is printed."""

from __future__ import annotations

from qtlib import processor

ELSEWHERE = 0.1  # of a number: how far it may be off where other kernels trained (`qtlib.processor`)


def check_stated(*pairs: tuple[float | str, float]) -> None:
    """Compare numbers of a text with the computed ones, rounded to as many places as the text has.

    Where other kernels than those of the committed numbers compute, digits may differ, and a number only has to be near.

    Args:
        pairs: what the text says, as a string where it ends in 0 behind the point, and what was computed.

    Raises:
        ValueError: some differ; the text names all of them.
    """
    near = bool(processor.note())
    wrong = [f"{stated} is {found:.6g}" for stated, found in pairs if not _agrees(stated, found, near)]
    if wrong:
        raise ValueError(f"stated numbers: {'; '.join(wrong)}")


def _agrees(stated: float | str, found: float, near: bool) -> bool:
    value, places = float(stated), len(str(stated).partition(".")[2])
    if near:
        return abs(found - value) <= 10.0**-places + ELSEWHERE * abs(value)
    return round(float(found), places) == value

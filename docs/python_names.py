"""What a dotted name of qtlib stands for."""

from __future__ import annotations

import importlib


def python_object(name: str) -> object:
    """Module, function, class or member by its dotted name.

    Raises:
        ImportError, AttributeError: there is none.
    """
    words = name.split(".")
    # A folder may offer a function of the name of its module, so that the longest module comes first.
    for end in range(len(words), 0, -1):
        try:
            found: object = importlib.import_module(".".join(words[:end]))
        except ModuleNotFoundError as error:
            if end == 1 or not (error.name or "").startswith("qtlib"):
                raise
            continue
        for word in words[end:]:
            found = getattr(found, word)
        return found
    raise ImportError(name)

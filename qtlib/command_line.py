"""What the commands of all folders share: how they are declared, the options of the hardware, and how a report is printed."""

from __future__ import annotations

import argparse
import difflib
import json
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields, is_dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from qtlib import config
from qtlib.config import HardwareConfig


class UsageError(ValueError):
    """A command, stage, profile or parameter that does not exist; the text lists the legal ones."""


class Command(NamedTuple):
    """One command of a folder; a folder lists its own in ``commands.COMMANDS``."""

    declare: Callable[[argparse.ArgumentParser], Any]  # adds its arguments
    handle: Callable[[argparse.Namespace], None]


CHOICES = {
    "multiplier": config.MULTIPLIERS,
    **dict.fromkeys(("activations", "weights", "parameters", "tables"), config.MEMORY_TYPES),
}
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


def suggest(word: str, legal: Collection[str]) -> str:
    """The closest legal word and all of them, as the tail of an error message."""
    close = difflib.get_close_matches(word, legal, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{guess} legal: {', '.join(sorted(legal)) or 'none'}"


def pair(option: str, word: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Name and text of ``NAME=VALUE``.

    Raises:
        UsageError: there is no equals sign.
    """
    name, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"{option} {word} must be {form}")
    return name, text


def add_hardware(parser: argparse.ArgumentParser, renamed: Mapping[str, str] = MappingProxyType({})) -> None:
    """Declare an option for every field of `HardwareConfig`; ``renamed`` gives some another word."""
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


def hardware(arguments: argparse.Namespace) -> HardwareConfig:
    """The choices of `add_hardware`."""
    values = {field.name: getattr(arguments, field.name) for field in fields(HardwareConfig)}
    return HardwareConfig(
        **values | {"stores": dict(pair("hardware: --store", word, "NAME=TYPE") for word in arguments.stores)}
    )


def print_report(report: Any) -> None:
    """Print a record as JSON."""
    print(json.dumps(_named(report), indent=1, sort_keys=True, default=str))


def _named(value: Any) -> Any:
    """Records as dictionaries: JSON would drop the names of their fields."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    return {key: _named(item) for key, item in value.items()} if isinstance(value, dict) else value

"""Settings that are options of the command line too: the sentence of `--help` is next to the field and its default.

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        epochs: int = field(default=5, metadata=option("Passes over the text.", TRAINING))

`carryover.cli.options` makes the option from it: spelled `--epochs`, a whole number, default 5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from carryover.errors import UsageError

DATA, COMPARISON, MODEL, TRAINING, RESULT, RUN, OUTPUT = (
    "Data", "Comparison", "Model", "Training", "Result", "Run", "Output",
)  # fmt: skip
GROUPS = (DATA, COMPARISON, MODEL, TRAINING, RESULT, RUN, OUTPUT)
"""Headings of `--help`, in the order in which a user needs them."""

SEED = "Seed of everything random. The same seed gives the same numbers."
DEVICE = "auto, cpu, cuda or cuda:N. auto: a GPU if there is one."
TIME_LIMIT = "Stop after this time: seconds, or 90s, 15m, 2h. What is done is kept."

_KEY = "carryover.option"


@dataclass(frozen=True)
class Option:
    """An option of the command line. Name, type and default are those of the field that it fills.

    help : the sentence of `--help`. group : one of `GROUPS`.
    flag : how it is spelled, `--word` or `--word/--no-word`; None: the name of the field with dashes.
    read : makes the value of the text that was given; None: the text, number or truth value itself.
    metavar : what `--help` shows for the value; None: its type.
    """

    help: str
    group: str
    flag: str | None = None
    read: Callable[[str], Any] | None = None
    metavar: str | None = None


def option(
    help: str,
    group: str,
    flag: str | None = None,
    *,
    read: Callable[[str], Any] | None = None,
    metavar: str | None = None,
) -> dict[str, Any]:
    """`metadata` of a field that is an option too; see `Option`."""
    return {_KEY: Option(help, group, flag, read, metavar)}


def same_as(settings: type, name: str) -> Any:
    """A field with the default and the option of the field `name` of another settings class."""
    return field(default=_field(settings, name).default, metadata=same_option(settings, name))


def same_option(settings: type, name: str) -> Mapping[Any, Any]:
    """`metadata` of a field that is the same option as the field `name` of another settings class."""
    return _field(settings, name).metadata


def _field(settings: type, name: str) -> Field[Any]:
    (found,) = (one for one in fields(settings) if one.name == name)
    return found


def option_of(metadata: Mapping[Any, Any]) -> Option | None:
    """The option in the `metadata` of a field; None for a field that the command line does not offer."""
    found: Option | None = metadata.get(_KEY)
    return found


# How a text of the command line becomes a value -------------------------------------------------------------------------

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """`90`, `90s`, `15m`, `1.5h` in seconds. Raises UsageError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"time limit {text!r} is not a time above 0", repair="write 90, 90s, 15m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def column(text: str) -> str | int:
    """A column by number (files without a header) or by name."""
    return int(text) if text.isascii() and text.isdigit() else text


def sources(text: str) -> tuple[str, ...]:
    """Names of files with commas between them; a file whose own name has commas is found as it is. Raises UsageError."""
    if Path(text).exists():
        return (text,)
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"{text!r} has an empty file name at one of its commas", repair="write one.txt,two.txt")
    return names

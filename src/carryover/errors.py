"""The errors a person can cause, each with the exit code the command line returns for it.

A message is one line: where (file and line), what is wrong, and what to do about it. Programming faults stay ordinary
Python exceptions; everything here is the fault of an input, a machine or a missing piece and is worth a clear sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike


class CarryoverError(Exception):
    """Base of all errors with a documented exit code.

    `path` and `line` say where the fault lies, `repair` what a person should do next.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        path: str | PathLike[str] | None = None,
        line: int | None = None,
        repair: str | None = None,
    ) -> None:
        self.message = message
        self.path = None if path is None else str(path)
        self.line = line
        self.repair = repair
        super().__init__(str(self))

    def __str__(self) -> str:
        where = "" if self.path is None else self.path + (f":{self.line}" if self.line is not None else "") + ": "
        then = "" if self.repair is None else f"; {self.repair}"
        return " ".join(f"{where}{self.message}{then}".split())

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders when cells run in parallel; the default would lose the keyword arguments.
        return (_rebuild, (type(self), self.message, self.path, self.line, self.repair))


def _rebuild(
    kind: type[CarryoverError], message: str, path: str | None, line: int | None, repair: str | None
) -> CarryoverError:
    return kind(message, path=path, line=line, repair=repair)


class UsageError(CarryoverError):
    """A wrong option, configuration or combination of the two."""

    exit_code = 2


class TrainingFailed(CarryoverError):
    """Training produced a value that is not finite; the last good checkpoint is intact."""

    exit_code = 3


class GateNotMet(CarryoverError):
    """A score asked for with `--require` was not reached."""

    exit_code = 4


class BadData(CarryoverError):
    """A file's content is not what its format promises, or an artefact is damaged."""

    exit_code = 65


class InputMissing(CarryoverError):
    """An input file or folder does not exist or cannot be read."""

    exit_code = 66


class ExtraMissing(CarryoverError):
    """An optional dependency or a device is missing."""

    exit_code = 69


class CannotWrite(CarryoverError):
    """An output place cannot be created or written (permissions, a file where a folder must be)."""

    exit_code = 73


class DiskFault(CarryoverError):
    """The disk is full or failed while writing; what stood before is unharmed."""

    exit_code = 74


class Busy(CarryoverError):
    """Another live run holds the folder."""

    exit_code = 75


def nearest(name: object, choices: Iterable[str], *, otherwise: str | None = None, cutoff: float = 0.6) -> str:
    """The repair for a name that is none of `choices`: the one spelled most like it; none near, `otherwise` or all of them.

    `cutoff` from 0 to 1 is how alike they must be, as `difflib.get_close_matches` counts it.
    """
    choices = list(choices)
    near = get_close_matches(str(name), choices, n=1, cutoff=cutoff)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"use one of {', '.join(choices)}" if otherwise is None else otherwise


def check_choice(what: str, value: object, choices: Iterable[str]) -> None:
    """Raise UsageError, with the nearest spelling, unless the option called `what` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise UsageError(f"{what} {value!r} is unknown", repair=nearest(value, choices))


def check_schema(what: str, found: object, *known: str, path: str | PathLike[str] | None = None) -> None:
    """Raise BadData unless a document's schema is one of those that this version reads ("carryover.artefact/1").

    A schema of a later version of carryover is told apart from one of something else.
    """
    if found in known:
        return
    version = (
        re.fullmatch(rf"{re.escape(known[0].rpartition('/')[0])}/([0-9]{{1,9}})", found) if isinstance(found, str) else None
    )
    if version is None:
        raise BadData(f"schema is {str(found)[:80]!r}, expected {known[0]!r}", path=path, repair="restore it from a copy")
    newest = known[-1].rpartition("/")[2]
    repair = "upgrade carryover" if int(version[1]) > int(newest) else "make it again with this version"
    raise BadData(f"{what} has format version {int(version[1])}, this carryover reads {newest}", path=path, repair=repair)


def refuse_string(what: str, values: object) -> None:
    """Raise TypeError where a list was wanted and one string given: it would be taken letter by letter."""
    if isinstance(values, str | bytes):
        raise TypeError(f"{what} is the string {values[:40]!r}: give a list, also of one text")

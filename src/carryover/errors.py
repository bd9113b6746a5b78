"""The errors a person can cause, each with the exit code the command line returns for it.

A message is one line: where (file and line), what is wrong, and what to do about it. Programming faults stay ordinary
Python exceptions; everything here is the fault of an input, a machine or a missing piece and is worth a clear sentence.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from numbers import Integral, Real
from os import PathLike
from types import UnionType
from typing import Any, get_args, get_type_hints

from carryover.escaping import printable


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
        return printable(where) + printable(" ".join(f"{self.message}{then}".split()))

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


class NothingToLearn(BadData):
    """The labelled examples hold nothing to choose between: one label only, or no word at all."""


class InputMissing(CarryoverError):
    """An input file or folder does not exist or cannot be read."""

    exit_code = 66


class ExtraMissing(CarryoverError):
    """An optional dependency or a device is missing."""

    exit_code = 69


class ResourcesExhausted(CarryoverError):
    """The machine, or a limit set for this process, has no more memory, files or threads to give."""

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


_MEMORY = (
    "allocate memory", "out of memory", "not enough memory", "bad_alloc", "failed to map segment", "unable to mmap",
    "could not create a primitive",  # oneDNN, which compiles its kernels into memory
)  # fmt: skip
_FILES = ("too many open files",)
_THREADS = ("can't start new thread", "unable to create thread", "resource temporarily unavailable")


def exhausted(error: BaseException) -> ResourcesExhausted | None:
    """What ran out, where `error` or what caused it says that something did; None for every other error.

    PyTorch and other libraries report it as a RuntimeError, a missing import or an OSError with a number, so their words
    are looked at too.
    """
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else None
        words = "" if isinstance(cause, CarryoverError) else str(cause).lower()
        where = error.path if isinstance(error, CarryoverError) else None
        if isinstance(cause, MemoryError) or number == errno.ENOMEM or any(part in words for part in _MEMORY):
            return ResourcesExhausted(
                "there is not enough memory",
                path=where,
                repair="use a smaller model, batch or file, close other programs, or raise the limit (ulimit -v)",
            )
        if number in (errno.EMFILE, errno.ENFILE) or any(part in words for part in _FILES):
            return ResourcesExhausted(
                f"no more files can be opened{_open_files()}",
                path=where,
                repair="raise the limit, for example with ulimit -n 4096, and run the same command again",
            )
        if number == errno.EAGAIN or any(part in words for part in _THREADS):
            return ResourcesExhausted(
                "no more threads or processes can be started",
                path=where,
                repair="set OMP_NUM_THREADS=1, give fewer --jobs, or raise the limit (ulimit -u)",
            )
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


def _open_files() -> str:
    try:
        import resource
    except ImportError:  # not on Windows
        return ""
    return f": the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"


def working_folder() -> str:
    """The working folder. Raises InputMissing when it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109  (a Path is made where one is needed)
    except OSError as error:
        raise InputMissing("the working folder no longer exists", repair="change to a folder that does (cd)") from error


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


def check_fields(what: str, given: Iterable[str], settings: type) -> None:
    """Raise UsageError, with the nearest spelling, unless all names `given` under `what` are fields of the dataclass `settings`.

    Where `given` maps names to values, a value that is not of the type of its field is named, too.
    """
    known = [field.name for field in fields(settings)]
    for name in given:
        if name not in known:
            raise UsageError(f"{what} has no setting {name!r}", repair=nearest(name, known))
    if isinstance(given, Mapping):
        hints = get_type_hints(settings)
        for name, value in given.items():
            _check_kind(what, name, value, hints[name])


_KINDS = {int: "no whole number", float: "no number", str: "no text", bool: "neither True nor False"}


def _check_kind(what: str, name: str, value: object, hint: Any) -> None:
    """Raise UsageError for a value of a plain type where the hint knows plain types and not this one."""
    wanted = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if not set(wanted) <= {*_KINDS, type(None)} or type(value) in wanted:
        return
    if float in wanted and isinstance(value, Real) and not isinstance(value, bool):
        return
    if int in wanted and isinstance(value, Integral) and not isinstance(value, bool):
        return
    kind = next(one for one in wanted if one is not type(None))
    raise UsageError(f"{what}: {name} is {value!r:.60}, which is {_KINDS[kind]}", repair="correct it")


def check_schema(what: str, found: object, *known: str, path: str | PathLike[str] | None = None) -> None:
    """Raise BadData unless a document's schema is one of those that this version reads ("carryover.artefact/1").

    A schema of a later version of carryover is distinguished from any other schema.
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
    """Raise TypeError where a list was wanted and one string given, which would be taken letter by letter, or a dictionary."""
    if isinstance(values, str | bytes):
        raise TypeError(f"{what} is the string {values[:40]!r}: give a list, even for one text")
    if isinstance(values, Mapping):
        raise TypeError(f"{what} is a dictionary: give a list")


def as_words(item: object) -> tuple[str, ...]:
    """The words of a sentence, or other strings. Raises TypeError where something else was given than a sequence of strings."""
    if isinstance(item, bytes | Mapping) or not isinstance(item, Iterable):
        raise TypeError(f"an item is {item!r:.60}: give a text as a string, or a sentence as a list of words")
    words = tuple(item)
    for place, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"number {place} of a list of strings is {word!r:.60}: give strings only")
    return words

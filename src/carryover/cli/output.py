"""What a command prints: data on standard output, everything else on standard error, and the likely next command.

Texts, labels and names come from outside. A line for people shows them as `printable` does, a row of cells as `one_cell`, a
JSON document as `one_json`; nothing else writes to standard output, but for `generate`, whose text is the output itself.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from carryover.errors import CannotWrite, DiskFault
from carryover.escaping import TableCell, one_cell, one_json, printable
from carryover.progress import say
from carryover.storage.faults import is_disk_fault

given_words: list[str] = []  # of the command line that runs, set in `main`


def print_document(document: dict[str, Any]) -> None:
    """One JSON document on standard output, `schema` first."""
    print_json_lines([{"schema": document["schema"], **document}])


def print_json_lines(values: Iterable[Any]) -> None:
    """JSON values on standard output, one a line."""
    _print(one_json(value) for value in values)


def print_lines(lines: Iterable[str]) -> None:
    """Lines for people on standard output; a line that holds a line break is still one line."""
    _print(printable(line) for line in lines)


def print_rows(rows: Iterable[Sequence[TableCell]]) -> None:
    """Rows of cells with tabs between them on standard output, one a line. On a terminal nothing acts on it."""
    shown = printable if sys.stdout.isatty() else str
    _print("\t".join(shown(one_cell(cell)) for cell in row) for row in rows)


def print_text(pieces: Iterable[str]) -> None:
    """Running text on standard output as it comes, its line breaks and tabs among it. On a terminal nothing acts on it."""
    harmless = sys.stdout.isatty()
    with _to_output():
        for piece in pieces:
            sys.stdout.write("".join(c if c in "\n\t" else printable(c) for c in piece) if harmless else piece)
            sys.stdout.flush()


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        with _to_output():
            print(line)
    flush_output()


def flush_output() -> None:
    """Hand on what was printed. Raises BrokenPipeError, DiskFault, CannotWrite."""
    with _to_output():
        sys.stdout.flush()


@contextmanager
def _to_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        let_output_go()
        message = f"standard output: writing failed: {error.strerror or error}"
        if is_disk_fault(error):
            raise DiskFault(message, repair="make room where it goes, then run again") from error
        raise CannotWrite(message, repair="redirect it to a file or a pipe that can be written") from error


def let_output_go() -> None:
    """Point standard output at nothing, so that what is still buffered does not fail again at the end."""
    with suppress(OSError, ValueError):  # standard output is no file, as under a test
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def say_when_waiting(source: str) -> None:
    """Tell the user when the command waits for typed input."""
    if source == "-" and sys.stdin is not None and sys.stdin.isatty():
        say("reading from the terminal, one text a line; end with Ctrl-D")


def suggest_again() -> None:
    """After a dry run: the same command without `--dry-run`."""
    suggest_next(["carryover", *(word for word in given_words if word != "--dry-run")])


def suggest_next(words: Sequence[object]) -> None:
    """The command a person most likely wants now, filled in, on standard error."""
    say("next: " + " ".join(_for_shell(str(word)) for word in words))


def _for_shell(word: str) -> str:
    r"""A word as a shell reads it; one that a terminal cannot show in bash's `$'…'`, which knows `\xe9`, `\n` and `\u202e`."""
    if printable(word) == word:
        return shlex.quote(word)
    return "$'" + printable(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"

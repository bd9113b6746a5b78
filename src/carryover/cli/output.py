"""What a command prints: data on standard output, everything else on standard error, and the likely next command."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from carryover.progress import say

given_words: list[str] = []  # of the command line that runs, set in `main`


def print_document(document: dict[str, Any]) -> None:
    """One JSON document on standard output, `schema` first."""
    ordered = {"schema": document["schema"], **{key: value for key, value in document.items() if key != "schema"}}
    print(json.dumps(ordered, ensure_ascii=False, allow_nan=False))


def print_lines(lines: Iterable[str]) -> None:
    """Plain lines on standard output."""
    for line in lines:
        print(line)
    sys.stdout.flush()


def say_when_waiting(source: str) -> None:
    """A command that waits for somebody to type says so."""
    if source == "-" and sys.stdin is not None and sys.stdin.isatty():
        say("reading from the terminal, one text a line; end with Ctrl-D")


def suggest_again() -> None:
    """After a dry run: the same command without `--dry-run`."""
    suggest_next(["carryover", *(word for word in given_words if word != "--dry-run")])


def suggest_next(words: Sequence[object]) -> None:
    """The command a person most likely wants now, filled in, on standard error."""
    say("next: " + shlex.join(str(word) for word in words))

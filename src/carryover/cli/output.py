"""What a command prints: data on standard output, everything else on standard error, and the likely next command."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from carryover.progress import say


def print_document(document: dict[str, Any]) -> None:
    """One JSON document on standard output, `schema` first."""
    ordered = {"schema": document["schema"], **{key: value for key, value in document.items() if key != "schema"}}
    print(json.dumps(ordered, ensure_ascii=False, allow_nan=False))


def print_lines(lines: Iterable[str]) -> None:
    """Plain lines on standard output."""
    for line in lines:
        print(line)
    sys.stdout.flush()


def suggest_next(words: Sequence[object]) -> None:
    """The command a person most likely wants now, filled in, on standard error."""
    say("next: " + shlex.join(str(word) for word in words))

"""Examples and heads of tasks in one short line each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from carryover.compare.scoring import Figure
from carryover.data.examples import Example, Labels, Source, Text, Words
from carryover.tasks import TASKS
from carryover.tasks.heads import head_from_json
from carryover.tasks.heads.head import Head

LabelledText = Example[Text, Labels]
Tagged = Example[Words, Labels]


def labelled_text(text: str, labels: Labels | None = None, line: int = 0, path: str = "") -> LabelledText:
    return Example(Text(text), labels, Source(path, line))


def tagged_words(tokens: Labels, tags: Labels | None = None, line: int = 0, path: str = "") -> Tagged:
    return Example(Words(tokens), tags, Source(path, line))


def build_head(kind: str, labels: Iterable[str], in_size: int, **options: Any) -> Head:
    """A head and its task, as an artefact describes them."""
    return head_from_json({"kind": kind, "labels": labels, "in_size": in_size, **options})


def figure(name: str, labels: Labels = ("a", "b"), kind: str = "classify", **options: Any) -> Figure:
    """A figure of a task with these labels."""
    return Figure(TASKS[kind].of(labels, options), name)

"""What a user asks of a model: classification of texts and tagging of words, each with head, loss, decoder and score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from carryover.errors import BadData, UsageError
from carryover.tasks.base import Labels, Task
from carryover.tasks.classify import Classify
from carryover.tasks.crf import LinearChainCRF
from carryover.tasks.metrics import ConfusionMatrix, LabelScore
from carryover.tasks.spans import Span, extract_spans, span_scores
from carryover.tasks.tag import Tag

__all__ = [
    "TASKS", "Classify", "ConfusionMatrix", "LabelScore", "Labels", "LinearChainCRF", "Span", "Tag", "Task", "build_task",
    "extract_spans", "span_scores", "task_from_json",
]  # fmt: skip

TASKS: dict[str, type[Task]] = {Classify.kind: Classify, Tag.kind: Tag}


def build_task(
    kind: str,
    labels: Iterable[str],
    in_size: int,
    *,
    dropout: float = 0.0,
    output: str | None = None,
    pooling: str = "mean+max",
    multi_label: bool = False,
    scheme: str | None = None,
    metric: str | None = None,
) -> Task:
    """A new task of a kind, each kind taking the options that concern it. Raises UsageError for an unknown kind."""
    if kind == Classify.kind:
        return Classify(labels, in_size, multi_label=multi_label, pooling=pooling, dropout=dropout, metric=metric)
    if kind == Tag.kind:
        return Tag(labels, in_size, output=output, dropout=dropout, metric=metric, scheme=scheme)
    raise UsageError(f"task {kind!r} is unknown", repair=f"use {' or '.join(TASKS)}")


def task_from_json(content: dict[str, Any]) -> Task:
    """A task with fresh weights, as `Task.to_json` described it. Raises BadData for a kind this version does not know."""
    options = dict(content)
    kind = options.pop("kind", None)
    if kind not in TASKS:
        raise BadData(f"the artefact's task is {kind!r}, this version knows {', '.join(TASKS)}", repair="update carryover")
    return TASKS[kind](options.pop("labels"), options.pop("in_size"), **options)

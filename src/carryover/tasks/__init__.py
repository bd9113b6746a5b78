"""What a user asks of a model: classification of texts and tagging of words, each with head, loss, decoder and score."""

from __future__ import annotations

from typing import Any

from carryover.errors import BadData
from carryover.tasks.base import Labels, Task
from carryover.tasks.classify import Classify
from carryover.tasks.crf import LinearChainCRF
from carryover.tasks.metrics import ConfusionMatrix, LabelScore
from carryover.tasks.spans import Span, extract_spans, span_scores
from carryover.tasks.tag import Tag

__all__ = [
    "TASKS", "Classify", "ConfusionMatrix", "LabelScore", "Labels", "LinearChainCRF", "Span", "Tag", "Task", "extract_spans",
    "span_scores", "task_from_json",
]  # fmt: skip

TASKS: dict[str, type[Task]] = {Classify.kind: Classify, Tag.kind: Tag}


def task_from_json(content: dict[str, Any]) -> Task:
    """A task with fresh weights, as `Task.to_json` described it. Raises BadData for a kind this version does not know."""
    options = dict(content)
    kind = options.pop("kind", None)
    if kind not in TASKS:
        raise BadData(f"the artefact's task is {kind!r}, this version knows {', '.join(TASKS)}", repair="update carryover")
    return TASKS[kind](options.pop("labels"), options.pop("in_size"), **options)

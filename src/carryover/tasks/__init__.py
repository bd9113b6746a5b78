"""What a user asks of a model: classification of texts, tagging of words, annotation of treebanks. No torch: heads are in `carryover.tasks.heads`."""

from __future__ import annotations

from carryover.data.examples import Labels
from carryover.tasks.annotate import Annotate
from carryover.tasks.classify import Classify
from carryover.tasks.metrics import ConfusionMatrix, LabelScore
from carryover.tasks.pair import Pair
from carryover.tasks.spans import Span, extract_spans
from carryover.tasks.tag import Tag
from carryover.tasks.task import Task

__all__ = [
    "TASKS", "Annotate", "Classify", "ConfusionMatrix", "LabelScore", "Labels", "Span", "Tag", "Task", "extract_spans",
]  # fmt: skip

TASKS: dict[str, type[Task]] = {task.name: task for task in (Classify, Tag, Pair, Annotate)}
"""The only table of tasks."""

"""What a user asks of a model: classification of texts and tagging of words. No torch: heads are imported when one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carryover.data.examples import Labels
from carryover.errors import BadData
from carryover.tasks.classify import Classify
from carryover.tasks.metrics import ConfusionMatrix, LabelScore
from carryover.tasks.spans import Span, extract_spans
from carryover.tasks.tag import Tag
from carryover.tasks.task import Task

if TYPE_CHECKING:
    from carryover.tasks.heads.head import Head

__all__ = [
    "TASKS", "Classify", "ConfusionMatrix", "LabelScore", "Labels", "Span", "Tag", "Task", "extract_spans", "head_from_json",
]  # fmt: skip

TASKS: dict[str, type[Task]] = {task.name: task for task in (Classify, Tag)}
"""The only table of tasks."""


def head_from_json(content: dict[str, Any]) -> Head:
    """A head with fresh weights, and its task, as `Head.to_json` described them.

    Raises BadData for a kind of task this version does not know, TypeError for an option it does not have.
    """
    options = dict(content)
    kind = options.pop("kind", None)
    if kind not in TASKS:
        raise BadData(f"the artefact's task is {kind!r}, this version knows {', '.join(TASKS)}", repair="update carryover")
    labels, in_size = options.pop("labels"), options.pop("in_size")
    unknown = set(options) - {*TASKS[kind].options, *TASKS[kind].head_options}
    if unknown:
        raise TypeError(f"the task {kind} has no option {min(unknown)!r}")
    return TASKS[kind].of(labels, options).build_head(in_size, options)

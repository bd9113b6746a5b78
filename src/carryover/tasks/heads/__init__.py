"""The torch side of tasks: a file each, found by the name that its task gives."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from carryover.errors import BadData
from carryover.tasks import TASKS, Task
from carryover.tasks.heads.head import Head

__all__ = ["Head", "build_head", "head_class", "head_from_json"]


def head_class(task: type[Task]) -> type[Head]:
    """The class that `Task.head` names."""
    module, _, name = task.head.partition(":")
    return cast(type[Head], getattr(import_module(module), name))


def build_head(task: Task, in_size: int, options: Mapping[str, Any]) -> Head:
    """The head of `task` over states of size `in_size`, with fresh weights and those of `options` that concern it."""
    return head_class(type(task))(task, in_size, **{name: options[name] for name in task.head_options if name in options})


def head_from_json(content: Mapping[str, Any]) -> Head:
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
    return build_head(TASKS[kind].of(labels, options), in_size, options)

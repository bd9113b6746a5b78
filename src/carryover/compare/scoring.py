"""One figure of a task, as curves, intervals and sentences ask for it: counts add up, figures are made of their sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carryover.data.metric_names import metric_title
from carryover.errors import UsageError
from carryover.tasks.counting import Counts
from carryover.tasks.task import Task

__all__ = ["Counts", "Figure", "choose_figure"]


@dataclass(frozen=True)
class Figure:
    """The figure `name` of `task`; see `Task.count` and `Task.figures`."""

    task: Task
    name: str

    @property
    def title(self) -> str:
        return metric_title(self.name)

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the most that it can be."""
        return self.task.limits(self.name)

    def of(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The figure [...] of added-up counts [..., K]."""
        return self.task.figures(sums)[self.name]

    def never_answered(self, counts: Sequence[Counts]) -> tuple[str, ...]:
        """Labels that some example has and no answer of these cells is; of figures that hide it nothing."""
        if not counts:
            return ()
        sums = np.sum([np.asarray(rows.sum(axis=0)) for rows in counts], axis=0)
        return self.task.never_answered(self.name, sums)


def choose_figure(wanted: str, task: Task, gold: Sequence[tuple[str, ...]] = (), *, multi_label: bool = False) -> Figure:
    """The figure for `wanted`, or for "auto" the one that hides nothing: what the task says of `gold`, the answers of the test
    examples, else its usual one. Raises UsageError for one that the task does not have."""
    name = wanted if wanted != "auto" else task.metric_of(gold, multi_label=multi_label) or task.usual_score
    offered = task.figures(np.zeros(task.count_size))
    if name not in offered:
        raise UsageError(f"{name} does not score the task {task.name} with these labels", repair=f"use {', '.join(offered)}")
    return Figure(task, name)

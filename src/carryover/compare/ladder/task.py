"""The task as rungs are asked it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RungTask:
    """The task as rungs are asked it, with all that decides an answer but the examples.

    `metric` decides what is kept in early stopping and chosen by cross-validation.
    """

    kind: str
    multi_label: bool = False
    metric: str = "auto"
    class_weights: str = "none"

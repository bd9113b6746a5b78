"""The keys of `fitting={…}` in Python, for editors and type checkers: the fields of `FitSettings`, all of them optional."""

from __future__ import annotations

from typing import TypedDict


class FittingKeys(TypedDict, total=False):
    """See `carryover.transfer.settings.FitSettings`; checked there. The page on Python has a line for each."""

    seed: int
    epochs: int | None
    least_updates: int | None
    patience: int | None
    evaluations: int
    token_budget: int | None
    learning_rate: float | None
    weight_decay: float
    clip: float | None
    dropout: float | None
    hidden: int
    word_size: int
    filters: tuple[tuple[int, int], ...]
    output: str | None
    stack: str
    pooling: str
    multi_label: bool
    scheme: str | None
    metric: str
    class_weights: str
    time_limit: float | None
    checkpoint_seconds: float
    checkpoint_updates: int | None

"""The keys of `pretraining={…}` in Python, for editors and type checkers: the fields of `PretrainSettings`, all of them optional."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict


class PretrainingKeys(TypedDict, total=False):
    """See `carryover.pretraining.settings.PretrainSettings`; checked there. The page on Python has a line for each."""

    raw: str | Path
    raw_column: str | int
    raw_format: str | None
    valid: str | Path | tuple[str | Path, ...] | None
    held_out_share: float
    objective: str
    size: str
    model: Mapping[str, Any]
    input: str
    vocabulary_size: int
    minimum_count: int
    softmax: str | None
    keep_spaces: bool
    begin_with: str | Path | None
    new_vocabulary: bool
    batch_size: int | None
    steps: int
    block_tokens: int
    epochs: int
    time_limit: float | None
    patience: int | None
    optimiser: str | None
    learning_rate: float
    schedule: str
    warm_up: float
    weight_decay: float
    clip: float | None
    evaluations: int
    log_steps: int
    checkpoint_seconds: float
    checkpoint_steps: int | None
    seed: int
    device: str
    precision: str
    threads: int | None

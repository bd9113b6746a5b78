"""A text and settings for pretraining in about a second."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from carryover.pretraining.settings import PretrainSettings

WORDS = ["the", "a", "boat", "river", "runs", "sinks", "slowly", "under", "old", "bridges", "Zoë", "1917", ","]


def write_text(path: Path, lines: int = 120, seed: int = 3) -> Path:
    chosen = random.Random(seed)
    path.write_text("".join(" ".join(chosen.choices(WORDS, k=chosen.randint(2, 14))) + " .\n" for _ in range(lines)))
    return path


def tiny(raw: Path | str, **changes: Any) -> PretrainSettings:
    small: dict[str, Any] = {
        "raw": raw,
        "size": "tiny",
        "model": {"character_size": 4, "filters": ((1, 4), (2, 4)), "cells": 8, "projection": 4},
        "vocabulary_size": 15,
        "batch_size": 4,
        "steps": 7,
        "block_tokens": 60,
        "epochs": 2,
        "log_steps": 5,
        "learning_rate": 0.02,
        "seed": 11,
        "device": "cpu",
    }
    return PretrainSettings(**{**small, **changes})

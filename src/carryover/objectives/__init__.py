"""What pretraining asks: batch → targets → loss."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "AdaptiveSoftmax": "adaptive",
    "BiLanguageModelObjective": "bilm",
    "ConditionalObjective": "conditional",
    "FullSoftmax": "softmax",
    "NextTokenObjective": "next_token",
    "SampledSoftmax": "sampled",
    "Pairs": "conditional",
    "TruthSchedule": "scheduled_sampling",
    "draw_inputs": "scheduled_sampling",
    "evaluate": "bilm",
    "evaluate_conditional": "conditional",
    "evaluate_next_token": "next_token",
    "lines_next_token": "next_token",
    "lines_perplexity": "bilm",
}

__all__ = list(_PUBLIC)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


def __getattr__(name: str) -> Any:
    # loaded on first use
    if name in _PUBLIC:
        return getattr(import_module(f"carryover.objectives.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'carryover.objectives' has no attribute {name!r}")

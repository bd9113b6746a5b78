"""Named assemblies of layers, each with its frozen `Config`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "AdaptiveOutputLayer": "output",
    "BiLanguageModel": "bilm",
    "ConditionalLanguageModel": "conditional",
    "EncoderDecoder": "encoder_decoder",
    "LabelToSequence": "label_to_sequence",
    "LanguageModel": "language_model",
    "NEXT_TOKEN_SIZES": "sizes",
    "NoOutputLayer": "output",
    "OutputLayer": "output",
    "SIZES": "sizes",
    "SequenceModel": "sequence_model",
    "SignalModel": "signal",
    "StackConfig": "stacks",
    "WordEncoder": "tagger_encoder",
}

__all__ = list(_PUBLIC)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


def __getattr__(name: str) -> Any:
    # loaded on first use: the names of the sizes are wanted where torch is not
    if name in _PUBLIC:
        return getattr(import_module(f"carryover.models.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'carryover.models' has no attribute {name!r}")

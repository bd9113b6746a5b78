"""Pretrain a sequence model on raw data, carry it over to a small labelled task, and say with evidence what pays.

Everything public is reachable from here and loaded on first use, so that `import carryover` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see; loaded on first use
    from carryover.encoders.loading import load
    from carryover.interop.sklearn.embedder import ElmoEmbedder, TextVectors
    from carryover.interop.sklearn.estimators import SequenceTagger, TextClassifier
    from carryover.interop.sklearn.pairs import PairClassifier, PairRegressor
    from carryover.interop.torch_module import ElmoModule
    from carryover.sequence import Sequence

__version__ = "0.1.0"

_PUBLIC = {
    "Sequence": "carryover.sequence",
    "load": "carryover.encoders.loading",
    "TextClassifier": "carryover.interop.sklearn.estimators",
    "SequenceTagger": "carryover.interop.sklearn.estimators",
    "PairClassifier": "carryover.interop.sklearn.pairs",
    "PairRegressor": "carryover.interop.sklearn.pairs",
    "TextVectors": "carryover.interop.sklearn.embedder",
    "ElmoEmbedder": "carryover.interop.sklearn.embedder",
    "ElmoModule": "carryover.interop.torch_module",
}
_ROOMS = (
    "errors",
    "kernels",
    "layers",
    "generation",
    "data",
    "models",
    "objectives",
    "tasks",
    "encoders",
    "training",
    "pretraining",
    "transfer",
    "embeddings",
    "classical",
    "experiments",
    "compare",
    "bench",
    "interop",
    "inspect",
)

__all__ = [
    "ElmoEmbedder", "ElmoModule", "PairClassifier", "PairRegressor", "Sequence", "SequenceTagger", "TextClassifier", "TextVectors", "__version__", "load",
]  # fmt: skip


def __dir__() -> list[str]:
    """What is offered, loaded or not: for `dir` and for completion."""
    return sorted({*globals(), *_PUBLIC, *_ROOMS})


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _ROOMS:
        return import_module(f"carryover.{name}")
    raise AttributeError(f"module 'carryover' has no attribute {name!r}")

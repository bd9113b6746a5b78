"""Choosing between candidates by cross-validation inside the labelled examples: the folds, and the score over all of them."""

from __future__ import annotations

import numpy as np


def fold_indices(targets: np.ndarray, folds: int, multi_label: bool, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Index pairs (train, held out). Stratified by dealing each class out in turn, so classes of one example are legal."""
    random = np.random.default_rng([seed, 2])
    folds = max(2, min(folds, len(targets)))
    order = random.permutation(len(targets))
    if not multi_label:
        order = order[np.argsort(targets[order], kind="stable")]
    fold_of = np.empty(len(targets), dtype=np.int64)
    fold_of[order] = np.arange(len(targets)) % folds
    return [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(folds)]


def score_folds(answered: list[tuple[np.ndarray, np.ndarray]], metric: str) -> float:
    """The score of (gold, answers) of several folds. A fold is too small for an F1 of rare classes: they are put together."""
    if metric == "accuracy":
        return float(np.mean([(gold == answers).mean() for gold, answers in answered]))
    from sklearn.metrics import f1_score

    gold, answers = (np.concatenate(side) for side in zip(*answered, strict=True))
    return float(f1_score(gold, answers, average=metric.partition("_")[0], zero_division=0.0))

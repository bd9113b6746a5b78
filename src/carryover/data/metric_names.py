"""What metrics are called, and which one tells the truth about a set of labels. No torch, no numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from carryover.errors import check_choice

CORRELATIONS = ("pearson", "spearman")
METRICS = ("accuracy", "macro_f1", "micro_f1", "span_f1", *CORRELATIONS)
_TITLES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "span_f1": "span F1",
    "pearson": "Pearson's r",
    "spearman": "Spearman's rho",
}
SKEWED = 2 / 3
"""Share of the examples from which on one label makes accuracy useless: answering it always is right too often."""


def metric_name(text: str, *, also: tuple[str, ...] = ()) -> str:
    """The name of a metric in its one spelling: `macro-f1` and `Macro F1` are `macro_f1`. `also` are other legal words.

    Raises UsageError with the nearest spelling for anything else.
    """
    name = text.strip().lower().replace("-", "_").replace(" ", "_")
    check_choice("metric", name, (*also, *METRICS))
    return name


def metric_title(name: str) -> str:
    """How a metric is written for people: `macro_f1` is macro-F1."""
    return _TITLES.get(name, name.replace("_", " "))


def largest_share(gold: Iterable[tuple[str, ...]]) -> float:
    """The share of the examples that have the most frequent label; 0 of none."""
    rows = [set(labels) for labels in gold]
    counts = Counter(label for labels in rows for label in labels)
    return max(counts.values(), default=0) / max(1, len(rows))


def metric_of_labels(gold: Iterable[tuple[str, ...]], *, multi_label: bool = False) -> str:
    """The metric for classification unless somebody asks for another one.

    Macro-F1 where a text may have several labels, or where more than two thirds of the texts have the same one; else accuracy.
    """
    return "macro_f1" if multi_label or largest_share(gold) > SKEWED else "accuracy"

"""Spans written as one tag a word (IOB2): validity, and F1 over exact spans.

IOB2 (Ratnaparkhi 1998; Tjong Kim Sang and Veenstra 1999): `B-x` begins a span of type x, `I-x` continues it, `O` is
outside. Readers make IOB2 of every other scheme (`carryover.data.schemes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from carryover.data.schemes import OUTSIDE, Span, extract_spans
from carryover.tasks.metrics import LabelScore

__all__ = ["Span", "extract_spans", "first_violation", "is_span_scheme", "may_follow", "span_scores"]


def is_span_scheme(labels: Iterable[str]) -> bool:
    """Whether these labels are IOB2 tags: nothing but `O`, `B-x` and `I-x`, and at least one `B-x`."""
    labels = set(labels)
    return any(label.startswith("B-") for label in labels) and all(
        label == OUTSIDE or (label[:2] in ("B-", "I-") and len(label) > 2) for label in labels
    )


def may_follow(tag: str, previous: str | None) -> bool:
    """Whether IOB2 allows `tag` after `previous` (None at the beginning of a sentence)."""
    if not tag.startswith("I-"):
        return True
    return previous is not None and previous != OUTSIDE and previous[2:] == tag[2:]


def first_violation(tags: Sequence[str]) -> int | None:
    """Position of the first tag that IOB2 does not allow where it stands, None when there is none."""
    previous: str | None = None
    for position, tag in enumerate(tags):
        if not may_follow(tag, previous):
            return position
        previous = tag
    return None


def span_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, LabelScore]:
    """Exact-match counts for every span type that occurs, sorted. Raises ValueError when lengths disagree."""
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences but {len(predicted)} predicted: every sentence must be scored once")
    counts: dict[str, list[int]] = {}  # label -> [correct, predicted, gold]
    for number, (gold_tags, predicted_tags) in enumerate(zip(gold, predicted, strict=True)):
        if len(gold_tags) != len(predicted_tags):
            raise ValueError(
                f"sentence {number} has {len(gold_tags)} gold tags but {len(predicted_tags)} predicted: "
                "every word must be scored exactly once"
            )
        gold_spans, predicted_spans = set(extract_spans(gold_tags)), set(extract_spans(predicted_tags))
        for column, spans in enumerate((gold_spans & predicted_spans, predicted_spans, gold_spans)):
            for span in spans:
                counts.setdefault(span.label, [0, 0, 0])[column] += 1
    return {label: LabelScore(*counts[label]) for label in sorted(counts)}

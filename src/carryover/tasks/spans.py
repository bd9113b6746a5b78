"""Spans written as one tag a word (IOB2): validity, and the spans they name.

IOB2 (Ratnaparkhi 1998; Tjong Kim Sang and Veenstra 1999): `B-x` begins a span of type x, `I-x` continues it, `O` is
outside. Readers make IOB2 of every other scheme (`carryover.data.schemes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from carryover.data.schemes import OUTSIDE, Span, extract_spans

__all__ = ["Span", "extract_spans", "first_violation", "is_span_scheme", "may_follow", "span_types"]


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


def span_types(labels: Iterable[str]) -> tuple[str, ...]:
    """The types of span that IOB2 tags name, sorted."""
    return tuple(sorted({label[2:] for label in labels if label != OUTSIDE}))

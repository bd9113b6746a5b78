"""Which examples train, which test: seeded, stratified, nested, and never "the first N".

Everything here returns positions in the list it was given and draws from (seed) alone, so that the same seed pairs the
examples across everything that is compared. Examples with labels are stratified by them: by the label, or with several
labels by the rarest one of each. Sentences with span tags are stratified in the same way by the types of span they hold,
so that a small budget holds spans. Other tagged sentences and unlabelled texts are one stratum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryover.data.examples import Example, Words
from carryover.data.order import random_bits
from carryover.errors import NothingToLearn, UsageError

_SPLIT, _BUDGET, _FOLD = 1, 2, 3  # one seed gives independent draws for different ends


def strata_of(examples: Sequence[Any]) -> list[str]:
    """The stratum of each example. Raises NothingToLearn when all labelled texts carry the same labels."""
    labels = _classes(examples)
    if not any(labels):
        return _rarest([_span_types(tags) for tags in _span_tags(examples)])
    if len(set(labels)) == 1:
        raise NothingToLearn(
            f"all {len(labels)} examples are labelled {'+'.join(labels[0])!r}: one class is nothing to learn",
            repair="give examples of at least two classes, or name the right label column",
        )
    return _rarest(labels)


def stratified_order(examples: Sequence[Any], seed: int) -> list[int]:
    """All positions in an order of which every beginning is stratified.

    First one example of each class, the most frequent class first; then the classes in turn as seats are dealt to parties
    by the method of Sainte-Laguë (the i-th of n examples is due at (i − ½) / n). So any beginning holds each class in
    its share to within about one example, and every class there is as soon as there is room for it.
    """
    strata = strata_of(examples)
    ranks, sizes = _ranks_in_strata(strata, seed, _BUDGET)
    due = np.where(ranks == 0, -sizes.astype(np.float64), (ranks + 0.5) / np.maximum(sizes, 1))
    return np.lexsort((random_bits(len(strata), seed, _BUDGET), due)).tolist()


def nested_budgets(examples: Sequence[Any], budgets: Iterable[int], seed: int) -> dict[int, list[int]]:
    """Positions of the examples of each label budget: 25 ⊂ 50 ⊂ 100 …, every one stratified.

    Raises UsageError when a budget is larger than the data or too small for two classes, NothingToLearn for a single class.
    """
    order = stratified_order(examples, seed)
    classes = len(set(_classes(examples)))
    chosen = {}
    for budget in budgets:
        if budget > len(order):
            raise UsageError(
                f"a budget of {budget} labels is larger than the data, which has {len(order)}",
                repair=f"ask for at most {len(order)}, or give more labelled examples",
            )
        if budget < min(classes, 2):
            raise UsageError(f"a budget of {budget} labels cannot hold two classes", repair="ask for at least 2")
        chosen[budget] = order[:budget]
    return chosen


def downsample(examples: Sequence[Any], count: int, seed: int) -> list[int]:
    """`count` positions drawn at random and stratified, in ascending order. Raises UsageError when there are fewer."""
    return sorted(nested_budgets(examples, [count], seed)[count])


def stratified_split(examples: Sequence[Any], fractions: Sequence[float], seed: int) -> list[list[int]]:
    """One list of positions (ascending) a fraction; the fractions sum to 1 and the sizes are rounded to fit exactly.

    Each class is divided in the same proportions to within about one example. Every class is in the first part while
    that has room, so that a class with a single example is trained on and not tested blindly. Raises UsageError when the
    fractions do not fit or would leave a part empty, NothingToLearn for a single class.
    """
    if any(fraction <= 0 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(
            f"the fractions {list(fractions)} sum to {sum(fractions):g}", repair="give positive ones that sum to 1"
        )
    count = len(examples)
    sizes = _round_to_sum(np.array(fractions), count)
    if count and min(sizes) == 0:
        raise UsageError(
            f"{count} examples split as {list(fractions)} leave a part empty", repair="give more examples or fewer parts"
        )
    strata = strata_of(examples)
    ranks, _ = _ranks_in_strata(strata, seed, _SPLIT)
    in_class_order = np.lexsort((ranks, np.array(strata)))
    # Deal the parts in turn along the classes: any run of examples gets them in about the right proportions.
    due = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes] or [np.zeros(0)])
    turn = np.lexsort((np.repeat(np.arange(len(sizes)), sizes), due))
    parts = np.empty(count, dtype=np.int64)
    parts[in_class_order] = np.repeat(np.arange(len(sizes)), sizes)[turn]
    _put_every_class_first(parts, strata)
    return [np.flatnonzero(parts == part).tolist() for part in range(len(sizes))]


def k_fold(examples: Sequence[Any], folds: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """(training, test) positions of each fold; every example is tested once, classes are even to within one example.

    Raises UsageError for fewer than two folds, or more than there are examples.
    """
    if not 2 <= folds <= len(examples):
        raise UsageError(f"{folds} folds of {len(examples)} examples", repair=f"ask for 2 to {len(examples)} folds")
    strata = strata_of(examples)
    ranks, _ = _ranks_in_strata(strata, seed, _FOLD)
    fold = np.empty(len(strata), dtype=np.int64)
    fold[np.lexsort((ranks, np.array(strata)))] = np.arange(len(strata)) % folds
    return [(np.flatnonzero(fold != k).tolist(), np.flatnonzero(fold == k).tolist()) for k in range(folds)]


@dataclass(frozen=True)
class Fold:
    """Steps of a series to train on and the later ones to test on."""

    train: range
    test: range


def walk_forward(steps: int, origins: int, *, horizon: int = 1, window: int | None = None, gap: int = 0) -> list[Fold]:
    """Folds of a series of `steps` values that never look ahead, the earliest first.

    The last `origins` · `horizon` steps are tested, `horizon` at a time, each time after training on all that came before
    (or only on the last `window` steps of it). `gap` steps before each test are left out, for targets that overlap.
    Raises UsageError when nothing, or less than the window, would be left to train on.
    """
    for name, value, least in (
        ("origins", origins, 1),
        ("horizon", horizon, 1),
        ("window", window or 1, 1),
        ("gap", gap, 0),
    ):
        if value < least:
            raise UsageError(f"{name} is {value}", repair=f"it must be at least {least}")
    needed = origins * horizon + gap + (window or 1)
    if needed > steps:
        raise UsageError(
            f"{origins} origins of horizon {horizon} need {needed} steps and the series has {steps}",
            repair="ask for fewer origins, a shorter horizon or a shorter window",
        )
    folds = []
    for start in range(steps - origins * horizon, steps, horizon):
        last = start - gap
        folds.append(Fold(range(0 if window is None else last - window, last), range(start, start + horizon)))
    return folds


def _classes(examples: Sequence[Example[Any, Any]]) -> list[tuple[str, ...]]:
    return [() if isinstance(example.input, Words) else tuple(example.gold or ()) for example in examples]


def _span_tags(examples: Sequence[Any]) -> list[tuple[str, ...]]:
    """The tags of each example where they name spans (IOB2), else nothing."""
    tags = [tuple(example.gold or ()) if isinstance(example.input, Words) else () for example in examples]
    every = {tag for row in tags for tag in row}
    names_spans = any(tag[0] == "B" for tag in every if tag) and all(
        tag == "O" or (tag[:1] in ("B", "I") and tag[1:2] in ("", "-")) for tag in every
    )
    return tags if names_spans else [()] * len(tags)


def _span_types(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({tag[2:] or tag for tag in tags if tag[0] == "B"}))


def _rarest(labels: list[tuple[str, ...]]) -> list[str]:
    """Of the labels of each example the one that the fewest examples have; "" where there is none."""
    counts = Counter(label for several in labels for label in several)
    return [min(several, key=lambda label: (counts[label], label), default="") for several in labels]


def _ranks_in_strata(strata: list[str], seed: int, purpose: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each example its random place within its stratum, and the size of that stratum, both [n]."""
    count = len(strata)
    _, stratum, sizes = np.unique(np.array(strata, dtype=object).astype(str), return_inverse=True, return_counts=True)
    order = np.lexsort((random_bits(count, seed, purpose), stratum))
    starts = np.cumsum(sizes) - sizes
    ranks = np.empty(count, dtype=np.int64)
    ranks[order] = np.arange(count) - starts[stratum[order]] if count else 0
    return ranks, sizes[stratum] if count else np.zeros(0, dtype=np.int64)


def _round_to_sum(fractions: NDArray[np.float64], count: int) -> list[int]:
    """Whole sizes that sum to `count`: the largest remainders are rounded up."""
    exact = fractions / fractions.sum() * count
    sizes = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - sizes), kind="stable")[: count - int(sizes.sum())]
    sizes[largest] += 1
    return sizes.tolist()


def _put_every_class_first(parts: NDArray[np.int64], strata: list[str]) -> None:
    """Exchange examples, in place, until every class is in part 0 or no class there has two to give."""
    inside = Counter(stratum for stratum, part in zip(strata, parts.tolist(), strict=True) if part == 0)
    for missing in sorted(set(strata) - set(inside)):
        rich, many = max(inside.items(), key=lambda item: (item[1], item[0]), default=("", 0))
        if many < 2:
            return
        incoming = strata.index(missing)
        outgoing = next(i for i, stratum in enumerate(strata) if stratum == rich and parts[i] == 0)
        parts[outgoing], parts[incoming] = parts[incoming], 0
        inside[rich] -= 1
        inside[missing] += 1

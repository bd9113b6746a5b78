"""Splits are seeded, stratified and nested, lose nothing and refuse what cannot be."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryover.data.splits import (
    downsample,
    k_fold,
    nested_budgets,
    strata_of,
    stratified_order,
    stratified_split,
    walk_forward,
)
from carryover.errors import BadData, UsageError
from example_material import LabelledText, Tagged, labelled_text, tagged_words


def texts(counts: dict[str, int], seed: int = 0) -> list[LabelledText]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    random.Random(seed).shuffle(labels)
    return [labelled_text(f"text {i}", (label,), i + 1) for i, label in enumerate(labels)]


def count_labels(examples: list[LabelledText], positions: list[int]) -> Counter[str]:
    return Counter(label for i in positions for label in examples[i].gold)


CORPUS = texts({"common": 600, "usual": 280, "rare": 100, "few": 12, "pair": 2, "single": 1})
BUDGETS = [25, 50, 100, 400, 995]


def test_budgets_are_nested_and_stratified() -> None:
    chosen = nested_budgets(CORPUS, BUDGETS, seed=3)
    for small, large in pairwise(BUDGETS):
        assert set(chosen[small]) < set(chosen[large])
    for budget, positions in chosen.items():
        assert len(set(positions)) == len(positions) == budget
        counts = count_labels(CORPUS, positions)
        assert set(counts) == {"common", "usual", "rare", "few", "pair", "single"}, "every class is there"
        for label, total in count_labels(CORPUS, range(len(CORPUS))).items():  # type: ignore[arg-type]
            assert abs(counts[label] - budget * total / len(CORPUS)) <= 3, (budget, label)


def test_budgets_depend_on_the_seed_only() -> None:
    assert nested_budgets(CORPUS, BUDGETS, 1) == nested_budgets(CORPUS, BUDGETS, 1)
    one, other = (set(nested_budgets(CORPUS, [100], seed)[100]) for seed in (1, 2))
    assert 0 < len(one & other) < 40
    assert nested_budgets(CORPUS, [50], 1)[50] == nested_budgets(CORPUS, [900, 50], 1)[50]


def test_a_budget_is_not_the_first_examples() -> None:
    ordered = sorted(CORPUS, key=lambda example: example.gold)
    chosen = nested_budgets(ordered, [100], 0)[100]
    assert max(chosen) > 900 and sum(i < 100 for i in chosen) < 30


def test_a_budget_beyond_the_data_shows_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"1000 labels .* has 995; .*at most 995"):
        nested_budgets(CORPUS, [25, 1000], 0)
    with pytest.raises(UsageError, match="cannot hold two classes"):
        nested_budgets(CORPUS, [1], 0)


def test_one_class_only_is_bad_data() -> None:
    same = texts({"spam": 10})
    for call in (
        lambda: nested_budgets(same, [5], 0),
        lambda: stratified_split(same, [0.5, 0.5], 0),
        lambda: k_fold(same, 2, 0),
    ):
        with pytest.raises(BadData, match=r"all 10 examples are labelled 'spam'.*; give"):
            call()


def test_tagged_sentences_and_unlabelled_texts_are_drawn_at_random() -> None:
    sentences = [tagged_words(("a",), ("X",), i) for i in range(200)]
    chosen = nested_budgets(sentences, [20, 60], 5)
    assert set(chosen[20]) < set(chosen[60])
    assert max(chosen[60]) > 150
    unlabelled = [labelled_text(str(i), (), i) for i in range(30)]
    assert [len(part) for part in stratified_split(unlabelled, [0.8, 0.2], 0)] == [24, 6]


def test_several_labels_are_stratified_by_the_rarest() -> None:
    examples = [labelled_text(str(i), ("a", "b") if i % 10 == 0 else ("a",) if i % 2 else ()) for i in range(200)]
    counts = [count_labels(examples, part) for part in stratified_split(examples, [0.5, 0.5], 0)]
    assert [count["b"] for count in counts] == [10, 10]


@pytest.mark.parametrize("fractions", [[0.8, 0.1, 0.1], [0.5, 0.5], [0.05, 0.95]])
def test_a_split_covers_everything_once_in_proportion(fractions: list[float]) -> None:
    parts = stratified_split(CORPUS, fractions, seed=4)
    assert sorted(i for part in parts for i in part) == list(range(len(CORPUS)))
    totals = count_labels(CORPUS, list(range(len(CORPUS))))
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * len(CORPUS)) < 1
        assert part == sorted(part)
        counts = count_labels(CORPUS, part)
        for label, total in totals.items():
            assert abs(counts[label] - fraction * total) <= 2, (label, fraction)
    first = count_labels(CORPUS, parts[0])
    assert set(first) == set(totals), "no class is tested that was not trained"


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 30), min_size=2),
    st.integers(2, 4),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_any_split_is_a_partition(counts: dict[str, int], parts: int, seed: int) -> None:
    examples = texts(counts)
    if len(examples) < parts * 2:
        return
    split = stratified_split(examples, [1 / parts] * parts, seed)
    assert sorted(i for part in split for i in part) == list(range(len(examples)))
    assert max(map(len, split)) - min(map(len, split)) <= 1
    assert sorted(stratified_order(examples, seed)) == list(range(len(examples)))
    if len(counts) <= len(split[0]):
        assert set(count_labels(examples, split[0])) == set(counts)


def test_fractions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"sum to 0\.9"):
        stratified_split(CORPUS, [0.8, 0.1], 0)
    with pytest.raises(UsageError, match="leave a part empty"):
        stratified_split(texts({"a": 2, "b": 1}), [0.9, 0.1], 0)


def test_downsampling_is_random_and_stratified() -> None:
    kept = downsample(CORPUS, 100, 0)
    assert kept == sorted(kept) and len(kept) == 100
    counts = count_labels(CORPUS, kept)
    assert abs(counts["common"] - 60) <= 3 and abs(counts["usual"] - 28) <= 3


def test_each_fold_tests_its_own_share() -> None:
    folds = k_fold(CORPUS, 5, 0)
    assert sorted(i for _, test in folds for i in test) == list(range(len(CORPUS)))
    for train, test in folds:
        assert sorted(train + test) == list(range(len(CORPUS)))
        assert len(test) == 199
        assert abs(count_labels(CORPUS, test)["rare"] - 20) <= 1
    with pytest.raises(UsageError, match="2 to 3 folds"):
        k_fold(texts({"a": 2, "b": 1}), 4, 0)


def test_walking_forward_never_looks_ahead() -> None:
    folds = walk_forward(20, 3, horizon=2)
    assert [(fold.train, fold.test) for fold in folds] == [
        (range(0, 14), range(14, 16)),
        (range(0, 16), range(16, 18)),
        (range(0, 18), range(18, 20)),
    ]
    windowed = walk_forward(20, 2, horizon=3, window=5, gap=2)
    assert [(fold.train, fold.test) for fold in windowed] == [
        (range(7, 12), range(14, 17)),
        (range(10, 15), range(17, 20)),
    ]
    assert walk_forward(3, 2)[0].train == range(0, 1)
    with pytest.raises(UsageError, match="need 13 steps and the series has 12"):
        walk_forward(12, 4, horizon=2, window=5)
    with pytest.raises(UsageError, match="horizon is 0"):
        walk_forward(12, 4, horizon=0)


def sentences_with_spans() -> list[Tagged]:
    """400 sentences: 5 in 100 hold a person, 2 in 100 a place, the others no span."""
    tags = [("B-person", "I-person") if i % 20 == 3 else ("O", "B-place") if i % 50 == 7 else ("O", "O") for i in range(400)]
    return [tagged_words(("a", "b"), one, i + 1) for i, one in enumerate(tags)]


def test_small_budgets_of_span_tags_hold_spans_and_stay_nested() -> None:
    examples = sentences_with_spans()
    for seed in range(20):
        chosen = nested_budgets(examples, [4, 12, 50, 200], seed)
        for small, large in pairwise([4, 12, 50, 200]):
            assert set(chosen[small]) < set(chosen[large])
        for budget, positions in chosen.items():
            begun = Counter(tag for i in positions for tag in examples[i].gold if tag.startswith("B-"))
            assert set(begun) == {"B-person", "B-place"}, (seed, budget)
            assert abs(begun["B-person"] - 0.05 * budget) <= 1.5
    own, held_out = stratified_split([examples[i] for i in chosen[50]], [0.8, 0.2], 0)
    assert any("B-person" in examples[chosen[50][i]].gold for i in own) and len(held_out) == 10


def test_a_sentence_of_several_types_counts_for_the_rarest() -> None:
    common, both = tagged_words(("a",), ("B-x",), 1), tagged_words(("a", "b"), ("B-x", "B-y"), 2)
    assert strata_of([common, common, both, tagged_words(("a",), ("O",), 3)]) == ["x", "x", "y", ""]
    assert strata_of([tagged_words(("a",), ("B-x",), 1)] * 3) == ["x"] * 3, "one type in every sentence is no fault"
    bare = [tagged_words(("a",), ("B",), 1), tagged_words(("a",), ("O",), 2)]
    assert strata_of(bare) == ["B", ""], "tags without a type are spans of one type"
    plain = [tagged_words(("a",), ("B-x",), 1), tagged_words(("a",), ("NOUN",), 2)]
    assert strata_of(plain) == ["", ""], "tags that name no spans are one stratum"

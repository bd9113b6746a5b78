"""The vocabulary: fixed entries, order, unknown words, round trip."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, UsageError


def test_fixed_entries_come_first() -> None:
    vocabulary = Vocabulary(["cat"])
    assert vocabulary.tokens == ("<pad>", "<unk>", "<s>", "</s>", "cat")
    fixed = (Vocabulary.PAD, Vocabulary.UNKNOWN, Vocabulary.BEGIN, Vocabulary.END)
    assert [vocabulary.id(token) for token in fixed] == [0, 1, 2, 3]
    assert Vocabulary(vocabulary.tokens) == vocabulary


def test_count_orders_by_frequency_then_code_point() -> None:
    assert Vocabulary.count(["b", "a", "c", "b", "a", "é", "Z"]).tokens[4:] == ("a", "b", "Z", "c", "é")


def test_count_limits() -> None:
    words = ["a", "a", "a", "b", "b", "c"]
    assert Vocabulary.count(words, max_size=6).tokens[4:] == ("a", "b")
    assert Vocabulary.count(words, minimum=2).tokens[4:] == ("a", "b")
    assert len(Vocabulary.count(words, max_size=4)) == 4
    with pytest.raises(UsageError, match="no room"):
        Vocabulary.count(words, max_size=3)


def test_count_does_not_depend_on_the_order_of_the_text() -> None:
    words = ["to", "be", "or", "not", "to", "be", "that", "is", "the", "question"]
    assert Vocabulary.count(words) == Vocabulary.count(reversed(words))
    assert Vocabulary.from_counts(Counter(words)) == Vocabulary.count(words)


def test_fixed_entries_in_the_text_keep_their_ids() -> None:
    vocabulary = Vocabulary.count(["<unk>", "a", "<unk>", "</s>", "<pad>"])
    assert vocabulary.tokens[4:] == ("a",)
    assert vocabulary.id("<unk>") == 1


def test_ids_and_unknown_words() -> None:
    vocabulary = Vocabulary(["a", "b"])
    ids = vocabulary.ids(["b", "zebra", "a"])
    assert ids.dtype == np.int64 and ids.tolist() == [5, 1, 4]
    assert vocabulary.ids([]).shape == (0,)
    assert "a" in vocabulary and "zebra" not in vocabulary
    assert vocabulary.token(5) == "b"


def test_a_token_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'a' 2 times"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(UsageError, match="<unk>"):
        Vocabulary(["a", "<unk>"])


def test_round_trip_through_text() -> None:
    vocabulary = Vocabulary(["a", "\u2028", "é"])
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"schema": "carryover.vocabulary/2", "tokens": []}, {"schema": "carryover.vocabulary/1"},
     {"schema": "carryover.vocabulary/1", "tokens": [1]}, {"schema": "carryover.vocabulary/1", "tokens": ["a"]},
     {"schema": "carryover.vocabulary/1", "tokens": [*Vocabulary.FIXED, "a", "a"]}],
)  # fmt: skip
def test_foreign_values_are_refused(value: object) -> None:
    with pytest.raises(BadData):
        Vocabulary.from_json(value)

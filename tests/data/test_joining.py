"""Words to readable text."""

from __future__ import annotations

import pytest

from carryover.data.joining import WordJoiner, join_words
from carryover.data.words import WordTokenizer

TEXTS = [
    "The dog, which barks, sees (perhaps) the rain.",
    "She doesn't know; they'll see it's O'Brien's.",
    'He said "yes, now" and left!',
    "It costs $5.50 at 10:30, a well-known price?!",
    "one two [three] 40%…",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_ordinary_text_survives_being_cut_into_words(text: str) -> None:
    assert join_words(WordTokenizer().words(text)) == text


def test_words_come_one_at_a_time() -> None:
    joiner = WordJoiner()
    assert [joiner.add(word) for word in ["Do", "n't", '"', "go", '"', "(", "now", ")"]] == [
        *("Do", "n't", ' "', "go", '"', " (", "now", ")"),
    ]

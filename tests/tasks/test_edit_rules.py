"""Edit rules: applied to the word that a rule was made from it gives exactly the lemma, whatever both are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryover.tasks.columns.edit_rules import KEEP, apply_rule, edit_rule, parse_rule

# Letters that have more than one capital or small letter, or none of their own, next to plain ones and to the signs of rules.
LETTERS = st.sampled_from("aAbBeEsSzZßẞİıIiſKkǅǆǄéÉΣσςﬀŉ1.-_+→¦;!=↑↓ \u0307𝐀😀")
WORDS = st.text(LETTERS | st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=1500, deadline=None)
@given(WORDS, WORDS)
def test_a_rule_gives_back_the_lemma_of_its_word(form: str, lemma: str) -> None:
    assert apply_rule(edit_rule(form, lemma), form) == lemma


@settings(max_examples=700, deadline=None)
@given(WORDS, WORDS, WORDS, WORDS)
def test_so_does_one_between_words_that_share_a_piece(front: str, piece: str, back: str, other: str) -> None:
    for form, lemma in ((front + piece + back, other + piece), (piece.upper() + back, piece), (piece, piece.title() + "_")):
        assert apply_rule(edit_rule(form, lemma), form) == lemma


@settings(max_examples=700, deadline=None)
@given(WORDS, WORDS, WORDS)
def test_on_another_word_a_rule_gives_a_lemma_or_says_that_it_does_not_fit(form: str, lemma: str, other: str) -> None:
    made = apply_rule(edit_rule(form, lemma), other)
    assert made is None or isinstance(made, str)
    assert apply_rule(KEEP, other) == other


@pytest.mark.parametrize(
    ("form", "lemma", "rule"),
    [
        ("Houses", "house", "↓0;¦-"),
        ("houses", "house", "↓0;¦-"),
        ("Ann", "Ann", "↑0↓1;¦"),
        ("NASA", "NASA", "↑0;¦"),
        ("U.S.", "U.S.", "↑0;¦"),  # a full stop has no case and does not end a run
        ("iPhones", "iPhone", "↓0↑1↓2;¦-"),
        ("Mäuse", "Maus", "↑0↓1;→-+a¦-"),
        ("gekauft", "kaufen", "↓0;--¦-+e+n"),
        ("was", "be", "!be"),
        ("Jones", "_", "!_"),
        ("_", "_", "↓0;¦"),
        ("2003", "2003", "↓0;¦"),
        ("word", "", "!"),
    ],
)
def test_rules_say_what_they_do(form: str, lemma: str, rule: str) -> None:
    assert edit_rule(form, lemma) == rule and apply_rule(rule, form) == lemma


def test_words_follow_the_rules_of_others() -> None:
    assert apply_rule(edit_rule("Häuser", "Haus"), "Mäuler") == "Maul"
    assert apply_rule(edit_rule("gemacht", "machen"), "gekauft") == "kaufen"
    assert apply_rule(edit_rule("Cats", "cat"), "DOGS") == "dog"
    assert apply_rule(edit_rule("MATT", "Matt"), "john") == "John"


@pytest.mark.parametrize("form", ["", "t", "en"])
def test_a_rule_does_not_fit_a_word_of_which_nothing_would_stay(form: str) -> None:
    assert apply_rule(edit_rule("machten", "mach"), form) is None  # it takes three letters
    assert apply_rule(edit_rule("machten", "mach"), f"ab{form}xyz") == f"ab{form}"


@pytest.mark.parametrize("text", ["", "¦", ";¦", "↓0;", "↓0;¦¦", "↓0;+", "↓0;x¦", "↓x;¦", "↓0"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no edit"):
        parse_rule(text)

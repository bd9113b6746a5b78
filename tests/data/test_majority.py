"""The reference that answers without looking: counted, the same whatever the order, scored as scikit-learn scores it."""

from __future__ import annotations

import pytest

from carryover.data.majority import MostFrequentTag, majority_answers, majority_score
from example_material import LabelledText, labelled_text, tagged_words


def texts(*labels: tuple[str, ...]) -> list[LabelledText]:
    return [labelled_text(f"text {i}", one, i + 1) for i, one in enumerate(labels)]


def test_texts_get_the_most_frequent_label() -> None:
    train = texts(("ham",), ("spam",), ("ham",))
    assert majority_answers(train, texts(("spam",), ("ham",))) == [("ham",), ("ham",)]
    assert majority_answers(texts(("b",), ("a",)), texts(("b",))) == [("a",)], "a tie goes to the alphabet"


def test_several_labels_get_the_most_frequent_set() -> None:
    train = texts(("b", "a"), ("a", "b"), ("a",), ())
    assert majority_answers(train, texts(("a",))) == [("a", "b")]
    assert majority_answers(texts((), (), ("a",)), texts(("a",))) == [()]


def test_words_get_their_most_frequent_tag() -> None:
    train = [
        tagged_words(("the", "ship", "sails"), ("DET", "NOUN", "VERB"), 1),
        tagged_words(("the", "sails", "tear"), ("DET", "NOUN", "NOUN"), 5),
    ]
    test = [tagged_words(("the", "sails", "unseen"), ("DET", "NOUN", "X"), 1)]
    assert majority_answers(train, test) == [("DET", "NOUN", "NOUN")], "sails is a tie: NOUN is the more frequent tag"
    assert MostFrequentTag(train[::-1]).tags == MostFrequentTag(train).tags


def test_scores_agree_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    train, test = texts(*[("ham",)] * 5, ("spam",)), texts(*[("ham",)] * 7, ("spam",), ("other",))
    found = majority_score(train, test)
    gold, answers = [example.gold[0] for example in test], ["ham"] * 9
    assert found.answer == "ham"
    assert found.accuracy == pytest.approx(accuracy_score(gold, answers))
    assert found.macro_f1 == pytest.approx(f1_score(gold, answers, average="macro"))
    tagged = [tagged_words(("a", "b"), ("X", "Y"), 1)]
    assert majority_score(tagged, [tagged_words(("a", "c"), ("X", "Y"), 1)]).accuracy == 0.5
    with pytest.raises(ValueError, match="no example to count"):
        majority_score([], test)

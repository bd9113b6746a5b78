from __future__ import annotations

import numpy as np
import pytest

from carryover.classical import pair_features
from carryover.classical.pair_features import CANDIDATES, Candidate, LabelAnswering, NumberAnswering, PairFeatures
from carryover.data.examples import TextPair
from carryover.errors import NothingToLearn

WORDS = ["cat", "dog", "boat", "tree", "road", "lamp", "coin", "leaf", "wind", "moon"]


def pairs_of(count: int, seed: int = 0) -> tuple[list[TextPair], list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Pairs that share 0 to 4 of 4 words. "no" in the second text contradicts; the number is how many words they share."""
    random = np.random.default_rng(seed)
    pairs, labels, numbers = [], [], []
    for _ in range(count):
        first = random.choice(WORDS, 4, replace=False).tolist()
        shared = int(random.integers(5))
        rest = [word for word in WORDS if word not in first]
        second = [*first[:shared], *random.choice(rest, 4 - shared, replace=False)]
        denied = bool(random.integers(2))
        pairs.append(TextPair(" ".join(first), " ".join((["no"] if denied else ["the"]) + second)))
        labels.append(("contradiction" if denied else "entailment" if shared >= 2 else "neutral",))
        numbers.append((str(float(shared)),))
    return pairs, labels, numbers


def test_labels_are_learned_from_overlap_and_words() -> None:
    pairs, labels, _ = pairs_of(200)
    model = PairFeatures(LabelAnswering("accuracy", "none")).fit(pairs, labels, 0)
    held_out, gold, _ = pairs_of(100, seed=1)
    answers = model.predict(held_out)
    assert np.mean([one == other for one, other in zip(answers, gold, strict=True)]) > 0.9
    assert "words" in model.chosen.features, "overlap alone does not see the word no"
    chances = model.predict_proba(held_out)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert [(model.answering.labels[place],) for place in chances.argmax(axis=1)] == answers


def test_numbers_are_learned_from_overlap() -> None:
    pairs, _, numbers = pairs_of(120)
    model = PairFeatures(NumberAnswering()).fit(pairs, numbers, 0)
    held_out, _, gold = pairs_of(100, seed=1)
    answers = model.predict(held_out)
    found, right = ([float(row[0]) for row in rows] for rows in (answers, gold))
    assert np.corrcoef(found, right)[0, 1] > 0.95
    assert model.parameter_count() > 0


def test_the_same_pairs_and_seed_give_the_same_model() -> None:
    pairs, labels, _ = pairs_of(60)
    one, other = (PairFeatures(LabelAnswering("macro_f1", "balanced")).fit(pairs, labels, 3) for _ in range(2))
    assert one.chosen == other.chosen
    np.testing.assert_array_equal(one.predict_proba(pairs), other.predict_proba(pairs))


def test_features_are_named_by_words_in_lower_case() -> None:
    pair = pair_features._Pair.of(TextPair("The cat sleeps", "A Cat runs"))
    assert set(pair.names("overlap+words")) == {"1 the", "1 sleeps", "2 a", "2 runs", "= cat"}
    crossed = {"x the a", "x the runs", "x sleeps a", "x sleeps runs"}
    assert set(pair.names("overlap+words+word pairs")) - set(pair.names("overlap+words")) == crossed
    assert set(pair.names("overlap")) == set()


@pytest.mark.parametrize("candidate", CANDIDATES, ids=str)
def test_texts_without_words_and_new_words_have_an_answer(candidate: Candidate) -> None:
    pairs, labels, numbers = pairs_of(30)
    strange = [TextPair("", ""), TextPair("?!", "zebra"), TextPair("a" * 500, "")]
    for answering, gold in ((LabelAnswering("accuracy", "none"), labels), (NumberAnswering(), numbers)):
        model = PairFeatures(answering, candidates=[candidate]).fit(pairs, gold, 0)
        assert len(model.predict(strange)) == 3
    assert model.predict([]) == []


def test_one_answer_is_nothing_to_learn() -> None:
    pairs, _, _ = pairs_of(5)
    with pytest.raises(NothingToLearn, match=r"only one class \(yes\) among 5 examples"):
        PairFeatures(LabelAnswering("accuracy", "none")).fit(pairs, [("yes",)] * 5)
    with pytest.raises(NothingToLearn, match="all 5 examples have the same number"):
        PairFeatures(NumberAnswering()).fit(pairs, [("2.5",)] * 5)


def test_memory_is_foretold_in_proportion_to_the_examples() -> None:
    pairs, _, _ = pairs_of(50)
    model = PairFeatures(NumberAnswering())
    assert 0 < model.foretold_mib(pairs, 1, 500) < model.foretold_mib(pairs, 1, 5000) < 200

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from carryover.classical import tag_features, text_features
from carryover.classical.tag_features import FeatureTagger, token_features, word_shape
from carryover.classical.text_features import CANDIDATES, Candidate, FeatureClassifier, most_features
from carryover.errors import BadData

RANDOM = np.random.default_rng(0)
WORDS = {"sport": ["goal", "team", "match", "coach"], "food": ["soup", "bread", "salt", "oven"]}


def texts_of(count: int) -> tuple[list[str], list[tuple[str, ...]]]:
    labels = ["sport" if i % 2 else "food" for i in range(count)]
    texts = [" ".join([*RANDOM.choice(WORDS[label], 3), *RANDOM.choice(["the", "a", "of", "and"], 4)]) for label in labels]
    return texts, [(label,) for label in labels]


def test_classifier_learns_and_explains() -> None:
    texts, labels = texts_of(60)
    classifier = FeatureClassifier().fit(texts, labels)
    held_out, gold = texts_of(40)
    assert classifier.predict(held_out) == gold
    probabilities = classifier.predict_proba(held_out)
    assert probabilities.shape == (40, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert [classifier.labels[i] for i in probabilities.argmax(axis=1)] == [row[0] for row in gold]
    strongest = {feature for feature, _ in classifier.weights(3)["sport"]}
    assert strongest & set(WORDS["sport"])
    assert not strongest & set(WORDS["food"])


@pytest.mark.parametrize("candidate", [CANDIDATES[0], CANDIDATES[2], CANDIDATES[5]], ids=str)
@pytest.mark.parametrize("multi_label", [False, True])
def test_every_model_gives_probabilities_that_agree_with_its_predictions(candidate: Candidate, multi_label: bool) -> None:
    texts, labels = texts_of(30)
    classifier = FeatureClassifier(multi_label=multi_label, candidates=[candidate]).fit(texts, labels)
    probabilities = classifier.predict_proba(texts)
    predicted = classifier.predict(texts)
    for row, names in zip(probabilities, predicted, strict=True):
        expected = np.flatnonzero(row > 0.5) if multi_label else [row.argmax()]
        assert names == tuple(classifier.labels[i] for i in expected)


def test_multi_label_rows_may_hold_no_label() -> None:
    texts, labels = texts_of(40)
    texts, labels = [*texts, "nothing here at all", "plain filler words"] * 2, [*labels, (), ()] * 2
    classifier = FeatureClassifier(multi_label=True).fit(texts, labels)
    assert classifier.predict(["team goal match", "soup bread oven"]) == [("sport",), ("food",)]


def many_classes(classes: int, examples: int, words: int = 12) -> tuple[list[str], list[tuple[str, ...]]]:
    """Texts of made-up words, two of which tell the class."""
    random = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    known = ["".join(random.choice(letters, 7)) for _ in range(40 * words)]
    labels = [f"c{i % classes}" for i in range(examples)]
    texts = [" ".join([*random.choice(known, words), label, f"{label}b"]) for label in labels]
    return texts, [(label,) for label in labels]


@pytest.mark.parametrize("multi_label", [False, True])
def test_memory_holds_few_tables_of_classes_and_features(multi_label: bool) -> None:
    """Logistic regression of all classes at once held forty."""
    texts, labels = many_classes(classes=20, examples=60)
    classifier = FeatureClassifier(multi_label=multi_label, candidates=CANDIDATES[6::2], folds=2)
    classifier.fit(texts[:20], labels[:20])  # imports
    tracemalloc.start()
    classifier.fit(texts, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 8 * classifier.parameter_count()
    assert peak < 1.5 * 2**20 * classifier.foretold_mib(texts, 20, 60)


def test_many_classes_get_fewer_features_and_small_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_features(2) == most_features(40) == 200_000
    assert most_features(1000) * 2 * 1000 <= text_features.MOST_WEIGHTS
    texts, labels = many_classes(classes=12, examples=60)
    bayes = next(candidate for candidate in CANDIDATES if candidate.model == "naive Bayes")
    whole = FeatureClassifier(candidates=[bayes]).fit(texts, labels).predict_proba(texts)
    monkeypatch.setattr(text_features, "MOST_TARGETS", 12 * 7)
    parts = FeatureClassifier(candidates=[bayes]).fit(texts, labels).predict_proba(texts)
    np.testing.assert_allclose(parts, whole, rtol=1e-10)


def test_many_classes_with_one_example_each_are_learned_in_silence() -> None:
    """scikit-learn warns that such labels could be numbers; a warning is an error here."""
    texts, labels = many_classes(classes=25, examples=40)
    classifier = FeatureClassifier(folds=2).fit(texts, labels)
    assert sum(a == b for a, b in zip(classifier.predict(texts), labels, strict=True)) > 20
    assert classifier.predict_proba(texts).shape == (40, 25)
    assert set(classifier.weights(1)) == set(classifier.labels)


def test_one_class_is_refused() -> None:
    with pytest.raises(BadData, match="only one class"):
        FeatureClassifier().fit(["a b", "c d"], [("x",), ("x",)])
    with pytest.raises(BadData, match="only one tag"):
        FeatureTagger().fit([["a"]], [["N"]])


def test_same_seed_same_choice_and_predictions() -> None:
    texts, labels = texts_of(50)
    one, two = FeatureClassifier().fit(texts, labels, seed=3), FeatureClassifier().fit(texts, labels, seed=3)
    assert one.chosen == two.chosen
    np.testing.assert_array_equal(one.predict_proba(texts), two.predict_proba(texts))


def sentences_of(count: int) -> tuple[list[list[str]], list[list[str]]]:
    """`watch` is a verb after `they` and a noun after `the`: only the neighbour tells."""
    patterns = [(["they", "watch", "Rome"], ["PRON", "VERB", "PROPN"]), (["the", "watch", "stops"], ["DET", "NOUN", "VERB"])]
    rows = [patterns[i % 2] for i in range(count)]
    return [list(tokens) for tokens, _ in rows], [list(tags) for _, tags in rows]


def test_tagger_uses_the_context_and_keeps_lengths() -> None:
    sentences, tags = sentences_of(30)
    tagger = FeatureTagger(updates=100).fit(sentences, tags)
    predicted = tagger.predict([*sentences[:2], [], ["unheard"]])
    assert [list(row) for row in predicted[:2]] == tags[:2]
    assert [len(row) for row in predicted] == [3, 3, 0, 1]


def test_tagger_is_deterministic_and_independent_of_the_batch() -> None:
    sentences, tags = sentences_of(20)
    one = FeatureTagger(updates=40).fit(sentences, tags, seed=1)
    two = FeatureTagger(updates=40).fit(sentences, tags, seed=1)
    assert all(
        a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
        for a, b in zip(one._table.parameters(), two._table.parameters(), strict=True)
    )
    assert one.predict(sentences) == [one.predict([sentence])[0] for sentence in sentences]


def test_with_many_tags_the_rarest_features_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences, tags = sentences_of(30)
    rare = [[f"rare{i}", "watch"] for i in range(20)]
    sentences, tags = sentences + rare, tags + [["X", "NOUN"]] * 20
    monkeypatch.setattr(tag_features, "MOST_WEIGHTS", 6 * 50)
    tagger = FeatureTagger(updates=100).fit(sentences, tags)
    pairs = 6 * 6 + 2 * 6
    assert tagger.parameter_count() == 6 * 50 + pairs
    assert [list(row) for row in tagger.predict(sentences[:2])] == tags[:2]


def test_memory_of_a_tagger_is_foretold() -> None:
    sentences, _ = sentences_of(20)
    few = FeatureTagger().foretold_mib(sentences, 5, 20)
    assert FeatureTagger().foretold_mib(sentences, 500, 20) > few
    assert FeatureTagger().foretold_mib(sentences, 5, 2000) > few


def test_shape_and_window() -> None:
    assert word_shape("McDonald's-1997") == "XxXxx'x-00"
    features = token_features(["New", "York"])
    assert "-1=new" in features[1]
    assert "+1=york" in features[0]
    assert "+2=>" in features[0]
    assert "-2=<<" in features[0]


def spam_of(count: int, seed: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """One text in eight is spam, and says so by a word in half of the cases only."""
    random = np.random.default_rng(seed)
    labels = ["spam" if i % 8 == 0 else "ham" for i in range(count)]
    hints = [["prize"] if label == "spam" and random.random() < 0.5 else [] for label in labels]
    words = [f"w{i}" for i in range(30)]
    return [" ".join([*random.choice(words, 6), *hint]) for hint in hints], [(label,) for label in labels]


def test_the_metric_decides_between_the_candidates() -> None:
    texts, labels = spam_of(64, 1)
    by = {name: FeatureClassifier(metric=name).fit(texts, labels) for name in ("accuracy", "macro_f1")}
    assert all(0.4 < score < 1 for one in by.values() for score in one.scores.values())
    assert by["accuracy"].scores != by["macro_f1"].scores
    best = max(by["macro_f1"].scores.values())
    assert by["macro_f1"].scores[by["macro_f1"].chosen] == best


@pytest.mark.parametrize("candidate", [CANDIDATES[0], CANDIDATES[2], CANDIDATES[4]], ids=str)
@pytest.mark.parametrize("multi_label", [False, True])
def test_balanced_classes_answer_the_rare_one_more_often(candidate: Candidate, multi_label: bool) -> None:
    texts, labels = spam_of(200, 2)
    answers = {}
    for weights in ("none", "balanced"):
        model = FeatureClassifier(candidates=[candidate], class_weights=weights, multi_label=multi_label).fit(texts, labels)
        answers[weights] = sum("spam" in row for row in model.predict(spam_of(400, 3)[0]))
    assert answers["balanced"] > answers["none"]


def test_words_with_vowel_signs_are_whole_features() -> None:
    texts = ["हिंदी भाषा", "मराठी भाषा"] * 4
    fitted = FeatureClassifier(candidates=[CANDIDATES[0]]).fit(texts, [("a",), ("b",)] * 4)
    assert fitted.weights(1)["a"][0][0] in ("हिंदी", "हिंदी भाषा")

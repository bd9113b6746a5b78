"""Spans and scores against seqeval and scikit-learn."""

from __future__ import annotations

import random
import warnings

import pytest
import seqeval.metrics
import sklearn.metrics
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2

from carryover.tasks import Classify, Tag
from carryover.tasks.metrics import ConfusionMatrix
from carryover.tasks.spans import extract_spans, first_violation, is_span_scheme

TAGS = ["O", "B-per", "I-per", "B-loc", "I-loc", "B-a-b", "I-a-b"]
SPANS = Tag(TAGS)


def random_tags(generator: random.Random, valid: bool) -> list[str]:
    tags: list[str] = []
    for _ in range(generator.randrange(0, 12)):
        tag = generator.choice(TAGS)
        if valid and tag.startswith("I-") and not (tags and tags[-1][2:] == tag[2:]):
            tag = "B" + tag[1:]
        tags.append(tag)
    return tags


@pytest.mark.parametrize("valid", [True, False])
def test_spans_equal_seqeval(valid: bool) -> None:
    generator = random.Random(valid)
    for _ in range(500):
        tags = random_tags(generator, valid)
        expected = [(label, start, end + 1) for label, start, end in get_entities(tags)] if tags else []
        assert [tuple(span) for span in extract_spans(tags)] == expected
        assert (first_violation(tags) is None) or not valid


def test_f1_equals_seqeval() -> None:
    generator = random.Random(5)
    for _ in range(30):
        gold = [tags for tags in (random_tags(generator, True) for _ in range(8)) if tags]
        predicted = [[tag if generator.random() < 0.8 else generator.choice(TAGS) for tag in tags] for tags in gold]
        ours = SPANS.score(gold, predicted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = seqeval.metrics.classification_report(gold, predicted, output_dict=True, zero_division=0)
            assert ours["span_precision"] == pytest.approx(seqeval.metrics.precision_score(gold, predicted))
            assert ours["span_recall"] == pytest.approx(seqeval.metrics.recall_score(gold, predicted))
            assert ours["span_f1"] == pytest.approx(seqeval.metrics.f1_score(gold, predicted))
        for label, part in ours["per_label"].items():
            if label in report:
                assert part["f1"] == pytest.approx(report[label]["f1-score"]) and part["gold"] == report[label]["support"]


def test_valid_predictions_score_the_same_strictly() -> None:
    """What the constrained decoder produces is scored alike by the strict reading of IOB2."""
    generator = random.Random(9)
    gold = [random_tags(generator, True) or ["O"] for _ in range(50)]
    predicted = [[tag if generator.random() < 0.7 else "O" for tag in tags] for tags in gold]
    predicted = [["B" + t[1:] if i in _repairs(tags) else t for i, t in enumerate(tags)] for tags in predicted]
    strict = seqeval.metrics.f1_score(gold, predicted, mode="strict", scheme=IOB2)
    assert SPANS.score(gold, predicted)["span_f1"] == pytest.approx(strict)


def _repairs(tags: list[str]) -> set[int]:
    fixed, places = list(tags), set()
    while (position := first_violation(fixed)) is not None:
        fixed[position] = "B" + fixed[position][1:]
        places.add(position)
    return places


def test_scheme_is_recognised() -> None:
    assert is_span_scheme(["O", "B-per", "I-per"]) and is_span_scheme(["B-x"])
    assert not is_span_scheme(["O"]) and not is_span_scheme([]) and not is_span_scheme(["NOUN", "B-x"])
    assert not is_span_scheme(["O", "B-"])


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="sentence 0 has 2 gold tags but 1"):
        SPANS.score([["O", "O"]], [["O"]])
    with pytest.raises(ValueError, match="2 gold examples but 1"):
        SPANS.score([["O"], ["O"]], [["O"]])


def test_label_scores_equal_scikit_learn() -> None:
    generator = random.Random(3)
    labels = ["a", "b", "c", "d"]
    for _ in range(30):
        gold = [generator.choice(labels) for _ in range(40)]
        predicted = [label if generator.random() < 0.5 else generator.choice(labels[:3]) for label in gold]
        ours = Classify(labels).score([(label,) for label in gold], [(label,) for label in predicted])
        each = ours["per_label"]
        assert ours["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(gold, predicted))
        assert ours["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(gold, predicted, average="macro", zero_division=0))
        matrix = ConfusionMatrix.count(gold, predicted, labels)
        expected = sklearn.metrics.confusion_matrix(gold, predicted, labels=labels).tolist()
        assert [list(row) for row in matrix.counts] == expected
        precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
            gold, predicted, labels=sorted(each), zero_division=0
        )
        for number, part in enumerate(each.values()):
            found = part["precision"], part["recall"], part["f1"]
            assert found == pytest.approx((precision[number], recall[number], f1[number]))
            assert part["gold"] == support[number]


def test_multi_label_scores_equal_scikit_learn() -> None:
    generator = random.Random(4)
    labels = ["a", "b", "c"]
    for _ in range(30):
        gold = [tuple(label for label in labels if generator.random() < 0.4) for _ in range(25)]
        predicted = [tuple(label for label in labels if generator.random() < 0.4) for _ in range(25)]
        ours = Classify(labels, multi_label=True).score(gold, predicted)
        one, other = ([[label in row for label in ours["per_label"]] for row in rows] for rows in (gold, predicted))
        assert ours["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(one, other, average="macro", zero_division=0))
        assert ours["micro_f1"] == pytest.approx(sklearn.metrics.f1_score(one, other, average="micro", zero_division=0))
        assert ours["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(one, other))


def test_labels_outside_the_list_get_their_own_row() -> None:
    matrix = ConfusionMatrix.count(["a", "z"], ["a", "a"], labels=["b", "a"])
    assert matrix.labels == ("b", "a", "z") and matrix.counts == ((0, 0, 0), (0, 1, 0), (0, 1, 0))

"""Counts and scores against scikit-learn and seqeval, and resampling by weights against resampling by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from carryover.compare.scoring import Figure, choose_figure
from carryover.errors import UsageError
from carryover.tasks import Classify, Tag
from example_material import figure

LABELS = ("a", "b", "c", "d")


def classes(seed: int, count: int = 60) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    random = np.random.default_rng(seed)
    gold = [(LABELS[i],) for i in random.choice(4, count, p=[0.6, 0.3, 0.08, 0.02])]
    predicted = [g if random.random() < 0.6 else (LABELS[random.integers(3)],) for g in gold]
    return gold, predicted


def tags(seed: int, count: int = 30) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Valid IOB2 gold, predictions with every kind of mistake."""
    random = np.random.default_rng(seed)
    gold, predicted = [], []
    for _ in range(count):
        row: list[str] = []
        while len(row) < 8:
            kind = str(random.choice(["x", "y"]))
            row += ["O"] if random.random() < 0.5 else [f"B-{kind}", *[f"I-{kind}"] * int(random.integers(3))]
        gold.append(tuple(row))
        noise = ["O", "B-x", "I-x", "B-y", "I-y"]
        predicted.append(tuple(t if random.random() < 0.8 else str(random.choice(noise)) for t in row))
    return gold, predicted


def score(metric: Figure, gold, predicted) -> float:
    return float(metric.of(metric.task.counts(gold, predicted).sum(axis=0)))


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "micro_f1"])
def test_classes_agree_with_scikit_learn(name: str) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    gold, predicted = classes(3)
    flat = [g[0] for g in gold], [p[0] for p in predicted]
    wanted = {
        "accuracy": accuracy_score(*flat),
        "macro_f1": f1_score(*flat, average="macro"),
        "micro_f1": f1_score(*flat, average="micro"),
    }
    assert score(figure(name, LABELS), gold, predicted) == pytest.approx(wanted[name])


def several(name: str) -> Figure:
    return figure(name, LABELS, multi_label=True)


def test_several_labels_agree_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    random = np.random.default_rng(0)
    table = random.random((2, 50, 4)) < 0.3
    gold, predicted = ([tuple(LABELS[i] for i in np.flatnonzero(row)) for row in side] for side in table)
    assert score(several("macro_f1"), gold, predicted) == pytest.approx(f1_score(*table, average="macro"))
    assert score(several("micro_f1"), gold, predicted) == pytest.approx(f1_score(*table, average="micro"))
    assert score(several("accuracy"), gold, predicted) == pytest.approx(accuracy_score(*table))


def test_tags_agree_with_scikit_learn_and_seqeval() -> None:
    from sklearn.metrics import f1_score

    gold, predicted = tags(1)
    flat = [t for row in gold for t in row], [t for row in predicted for t in row]
    labels = tuple(sorted({*flat[0], *flat[1]}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from seqeval.metrics import f1_score as span_f1

        rows = [[list(row) for row in side] for side in (gold, predicted)]
        wanted, each = span_f1(*rows), span_f1(*rows, average="macro")
    assert score(figure("span_f1", labels, "tag"), gold, predicted) == pytest.approx(wanted)
    assert score(figure("macro_f1", labels, "tag"), gold, predicted) == pytest.approx(each), "over the types of span"
    plain = figure("macro_f1", labels, "tag", scheme="plain")
    assert score(plain, gold, predicted) == pytest.approx(f1_score(*flat, average="macro"))
    correct = np.mean([a == b for a, b in zip(*flat, strict=True)])
    assert score(figure("accuracy", labels, "tag"), gold, predicted) == pytest.approx(correct)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "span_f1"])
def test_weighted_counts_are_scores_of_repeated_examples(name: str) -> None:
    gold, predicted = tags(2)
    metric = figure(name, tuple(sorted({t for row in [*gold, *predicted] for t in row})), "tag")
    drawn = np.random.default_rng(5).integers(0, len(gold), len(gold))
    weights = np.bincount(drawn, minlength=len(gold)).astype(float)
    again = score(metric, [gold[i] for i in drawn], [predicted[i] for i in drawn])
    assert float(metric.of(weights @ metric.task.counts(gold, predicted))) == pytest.approx(again, abs=1e-12)


def test_a_label_that_is_drawn_nowhere_does_not_count() -> None:
    metric = figure("macro_f1", ("a", "b", "never"))
    assert score(metric, [("a",), ("b",)], [("a",), ("b",)]) == 1.0
    assert score(metric, [("a",)], [("b",)]) == 0.0


def test_choice_of_metric() -> None:
    assert choose_figure("auto", Tag(("B-x", "I-x", "O"))).name == "span_f1"
    assert choose_figure("auto", Tag(("NOUN", "VERB"))).name == "accuracy"
    assert choose_figure("auto", Classify(LABELS), multi_label=False).name == "accuracy"
    assert choose_figure("auto", Classify(LABELS, multi_label=True), multi_label=True).name == "macro_f1"
    assert choose_figure("macro_f1", Classify(LABELS)).name == "macro_f1"


def test_nothing_goes_unscored() -> None:
    with pytest.raises(ValueError, match="2 gold examples but 1"):
        Classify(LABELS).counts([("a",), ("b",)], [("a",)])
    with pytest.raises(ValueError, match="sentence 0 has 2 gold tags but 1 predicted"):
        Tag(("B-x", "O")).counts([("O", "O")], [("O",)])
    with pytest.raises(UsageError, match="f2 does not score the task classify"):
        choose_figure("f2", Classify(LABELS))
    with pytest.raises(UsageError, match=r"span_f1 does not score the task classify .*; use accuracy, macro_f1, micro_f1"):
        choose_figure("span_f1", Classify(LABELS))

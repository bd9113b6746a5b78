"""What `evaluate` shows, beside scikit-learn and beside answers that are known."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, classification_report, confusion_matrix

from carryover.data.examples import Example, Source, Text, TextPair, Words
from carryover.tasks import TASKS, Labels, Task
from carryover.transfer.answers import write_table
from carryover.transfer.evaluation.examination import Examination
from carryover.transfer.evaluation.lines import examination_lines, warning_lines
from carryover.transfer.evaluation.mistakes import mistake_table
from carryover.transfer.evaluation.page import examination_page
from carryover.transfer.evaluation.reliability import Reliability
from carryover.transfer.predicting import Prediction

LABELS = ["cat", "cow", "dog", "eel"]


def examined(
    task: Task, inputs: Sequence[Any], gold: Sequence[Labels], answers: Sequence[Labels], chances: Sequence[Any]
) -> Examination:
    examples = [
        Example(one, own, Source("test.tsv", line)) for line, (one, own) in enumerate(zip(inputs, gold, strict=True), 2)
    ]
    words = [one.tokens if isinstance(one, Words) else () for one in inputs]
    found = [
        Prediction(own, task.written(answer), np.asarray(rows, dtype=np.float32), answer)
        for own, answer, rows in zip(words, answers, chances, strict=True)
    ]
    return Examination(task, examples, found, task.score(list(gold), list(answers)))


def animals(count: int = 300, never: str = "eel") -> tuple[Examination, np.ndarray, np.ndarray, np.ndarray]:
    """Texts of four classes, one of which is never answered; gold and answered numbers, probabilities."""
    random = np.random.default_rng(3)
    gold = random.integers(4, size=count)
    logits = random.normal(size=(count, 4)) * 2
    logits[np.arange(count), gold] += 1.5
    logits[:, LABELS.index(never)] -= 50
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = chances.argmax(axis=1)
    task = TASKS["classify"].of(LABELS, {})
    texts = [Text(f"text {number} <b>&amp;</b>") for number in range(count)]
    found = examined(task, texts, [(LABELS[g],) for g in gold], [(LABELS[a],) for a in answers], chances)
    return found, gold, answers, chances


def test_figures_are_those_of_scikit_learn() -> None:
    found, gold, answers, chances = animals()
    report = classification_report(gold, answers, target_names=LABELS, output_dict=True, zero_division=0.0)
    for label, row in found.per_label.items():
        for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score"), ("gold", "support")):
            assert row[ours] == pytest.approx(report[label][theirs])
    assert [row["gold"] for row in found.per_label.values()] == sorted(
        (row["gold"] for row in found.per_label.values()), reverse=True
    )
    table = confusion_matrix(gold, answers)
    assert all(found.confusions[LABELS[i], LABELS[j]] == table[i, j] for i in range(4) for j in range(4))
    assert found.confused()[0][2] == max(table[i, j] for i in range(4) for j in range(4) if i != j)
    assert found.reliability is not None
    brier = brier_score_loss(gold, chances, labels=[0, 1, 2, 3], scale_by_half=False)
    assert found.reliability.brier == pytest.approx(brier, abs=1e-5)
    assert found.never_answered == ["eel"] and warning_lines(found)[0].startswith("never answered: 'eel' (")


def test_calibration_by_a_plain_loop() -> None:
    found, gold, answers, chances = animals()
    sure, right = chances.max(axis=1), gold == answers
    error = 0.0
    for number in range(10):
        inside = [i for i in range(len(sure)) if number / 10 < sure[i] <= (number + 1) / 10]
        if inside:
            error += len(inside) / len(sure) * abs(right[inside].mean() - sure[inside].mean())
    assert found.reliability is not None and found.reliability.error == pytest.approx(error, abs=1e-5)
    assert found.reliability.right == pytest.approx(right.mean()) and found.reliability.count == 300
    certain = Reliability.of(np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.zeros(2))
    assert [one.count for one in certain.bins] == [1, *[0] * 8, 1] and certain.error == pytest.approx(0.5)


def test_mistakes_come_surest_first_and_the_table_has_them_all(tmp_path: Path) -> None:
    found, gold, answers, chances = animals()
    assert len(found.mistakes) == int((gold != answers).sum()) > 20
    sureness = [mistake.sureness for mistake in found.mistakes]
    assert sureness == sorted(sureness, reverse=True)
    write_table(mistake_table(found), tmp_path / "errors.csv")
    with (tmp_path / "errors.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = int(rows[0]["line"]) - 2
    assert rows[0]["gold"] == LABELS[gold[first]] != rows[0]["answer"] == LABELS[answers[first]]
    assert float(rows[0]["probability_of_answer"]) == pytest.approx(chances[first].max(), abs=1e-5)
    assert float(rows[0][f"probability_{LABELS[gold[first]]}"]) == float(rows[0]["probability_of_gold"])
    assert len(rows) == len(found.mistakes)


def test_tags_are_examined_word_by_word() -> None:
    task = TASKS["tag"].of(["B-PER", "I-PER", "O"], {})
    chances = [[[0.7, 0.1, 0.2], [0.1, 0.3, 0.6], [0.0, 0.0, 1.0]], [[0.2, 0.0, 0.8]]]
    gold: list[Labels] = [("B-PER", "I-PER", "O"), ("O",)]
    found = examined(task, [Words(("Ann", "Lee", "sings")), Words(("well",))], gold, [("B-PER", "O", "O"), ("O",)], chances)
    [mistake] = found.mistakes
    assert [(one.place, one.gold, one.answer) for one in mistake.wrong] == [(1, "I-PER", "O")]
    assert mistake.sureness == pytest.approx(0.6) and found.reliability is not None and found.reliability.count == 4
    assert found.confusions["I-PER", "O"] == 1 and found.scores["main_name"] == "span_f1"
    row = mistake_table(found).rows[0]
    assert row["wrong"] == "Lee: O for I-PER (0.60)" and row["input"] == "Ann Lee sings"
    page = examination_page(found, test="x")
    assert page.count('class="word wrong"') == 1 and "<span>Lee</span>" in page


def test_several_labels_and_numbers_have_no_confusions() -> None:
    task = TASKS["classify"].of(["a", "b"], {"multi_label": True})
    texts = [Text("one"), Text("two"), Text("three")]
    found = examined(
        task, texts, [("a", "b"), ("a",), ()], [("b", "a"), ("a", "b"), ()], [[0.9, 0.8], [0.9, 0.6], [0.1, 0.1]]
    )
    assert [mistake.example.input.shown for mistake in found.mistakes] == ["two"]
    assert found.reliability is None and not found.labels and set(found.per_label) == {"a", "b"}
    task = TASKS["pair"].of(["1.5", "2.5", "4.0"], {})
    pairs = [TextPair("x", str(number)) for number in range(3)]
    found = examined(task, pairs, [("1.5",), ("2.5",), ("4.0",)], [("1.5",), ("2.0",), ("1.0",)], [[], [], []])
    assert [mistake.distance for mistake in found.mistakes] == [3.0, 0.5] and mistake_table(found).rows[0]["off_by"] == 3.0
    assert "off by 3" in examination_page(found, test="x") and examination_lines(found)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_and_many_labels_are_listed_in_part(width: int) -> None:
    found, *_ = animals()
    lines = examination_lines(found, width=width)
    assert any(line.startswith("answers across") for line in lines)
    task = TASKS["classify"].of([f"label-{number:02}" for number in range(40)], {})
    gold = [(f"label-{number % 40:02}",) for number in range(200)]
    answers = [(f"label-{(number * 7) % 40:02}",) for number in range(200)]
    many = examined(task, [Text("x")] * 200, gold, answers, [[1 / 40] * 40] * 200)
    lines = examination_lines(many, width=width)
    assert "and 20 rarer labels: --all-labels shows them" in lines and any("answered as" in line for line in lines)
    assert sum(line.startswith("label-") for line in examination_lines(many, width=width, every_label=True)) == 40


def test_the_page_escapes_what_comes_from_outside_and_needs_nothing() -> None:
    found, *_ = animals()
    page = examination_page(found, test="test<script>.tsv", command="carryover evaluate")
    assert "<script" not in page and "&lt;b&gt;" in page and "http" not in page.replace("http-equiv", "")
    assert page == examination_page(found, test="test<script>.tsv", command="carryover evaluate")
    assert page.count('class="mistake"') == 50 and 'class="right"' in page and "<svg" in page
    assert "prefers-color-scheme: dark" in page

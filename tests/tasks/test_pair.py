from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from carryover.data.columns import Columns
from carryover.data.examples import Example, Source, TextPair
from carryover.errors import BadData, NothingToLearn, UsageError
from carryover.sequence import Sequence
from carryover.tasks.heads import head_from_json
from carryover.tasks.heads.pair import PairHead
from carryover.tasks.pair import Pair

LABELS = ("contradiction", "entailment", "neutral")


def example(label: str | None, line: int = 0, path: str = "") -> Example[TextPair, Any]:
    return Example(TextPair("a", "b"), None if label is None else (label,), Source(path, line))


def head_of(numbers: bool = False, size: int = 6, **options: Any) -> PairHead:
    torch.manual_seed(0)
    content = {"kind": "pair", "labels": [] if numbers else LABELS, "in_size": size, "hidden": 5, "numbers": numbers}
    found = head_from_json({**content, **options})
    assert isinstance(found, PairHead)
    return found.eval()


def states(*lengths: int, seed: int = 0) -> Sequence:
    """First and second texts side by side: two rows a pair."""
    values = torch.randn(len(lengths), max(lengths), 6, generator=torch.Generator().manual_seed(seed))
    return Sequence.of(values, list(lengths))


def test_first_and_second_text_stand_side_by_side() -> None:
    head, whole = head_of(), states(3, 5, 2, 1)
    alone = [Sequence(whole.values[start : start + 2], whole.lengths[start : start + 2]) for start in (0, 2)]
    torch.testing.assert_close(head.scores(whole), torch.cat([head.scores(one) for one in alone]), rtol=1e-5, atol=1e-6)
    turned = Sequence(whole.values[[1, 0, 3, 2]], whole.lengths[[1, 0, 3, 2]])
    assert not torch.allclose(head.scores(whole), head.scores(turned)), "which text is the first one counts"
    for row in (0, 1):
        changed = whole.values.clone()
        changed[row] += 1
        moved = (head.scores(whole.with_values(changed)) - head.scores(whole)).abs().amax(1) > 1e-4
        assert moved.tolist() == [True, False], "both texts of a pair count, and for that pair alone"
    assert [len(row) for row in head.probabilities(whole)] == [3, 3]
    assert head.decode(whole) == [(LABELS[int(row.argmax())],) for row in head.probabilities(whole)]


@pytest.mark.parametrize("numbers", [False, True])
def test_every_parameter_learns(numbers: bool) -> None:
    head = head_of(numbers).train()
    targets = head.targets([example("1.5"), example("3")] if numbers else [example("neutral"), example("entailment")])
    head.loss(states(3, 5, 2, 1), targets).backward()
    assert all(bool((parameter.grad != 0).any()) for parameter in head.parameters() if parameter.grad is not None)
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_numbers_are_learned_in_standard_deviations_and_answered_as_they_are() -> None:
    head = head_of(True)
    head.begin([("100",), ("300",)])
    assert (float(head.center), float(head.spread)) == (200, 100)
    hidden = states(3, 5, 2, 1)
    scores = head.scores(hidden).squeeze(1)
    answers = [float(answer) for (answer,) in head.decode(hidden)]
    assert answers == pytest.approx((200 + 100 * scores).tolist(), rel=1e-5)
    targets = head.targets([example("100"), example("300")])
    expected = ((scores - torch.tensor([-1.0, 1.0])) ** 2).mean()
    assert float(head.loss(hidden, targets).detach()) == pytest.approx(float(expected.detach()))
    again = head_of(True)
    again.load_state_dict(head.state_dict())
    assert again.decode(hidden) == head.decode(hidden), "the scale is stored with the weights"


def test_class_weights_are_for_labels() -> None:
    head = head_of()
    head.balance([("neutral",)] * 3 + [("entailment",)])
    assert head.class_weights is not None and head.class_weights.tolist() == pytest.approx([1, 2, 4 / 6])
    with pytest.raises(UsageError, match="class weights are for labels, and these are numbers"):
        head_of(True).balance([("1.5",)])


@pytest.mark.parametrize(
    ("labels", "metric", "numeric", "main"),
    [
        (LABELS, None, False, "accuracy"),
        (("1.5", "2", "3"), None, True, "pearson"),
        (("1", "2", "3"), None, False, "accuracy"),
        (("1", "2", "3"), "spearman", True, "spearman"),
        (("yes", "no"), "macro_f1", False, "macro_f1"),
    ],
)
def test_labels_tell_whether_answers_are_numbers(labels: Any, metric: str | None, numeric: bool, main: str) -> None:
    task = Pair(labels, metric=metric)
    assert (task.numeric, task.main_score, task.labels) == (numeric, main, () if numeric else labels)


def test_metrics_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="metric 'accuracy' does not score these labels; use pearson or spearman"):
        Pair(("1.5", "2"), metric="accuracy")
    with pytest.raises(NothingToLearn, match="only the label 'yes': comparing texts needs at least two"):
        Pair(("yes",))


def test_a_word_among_numbers_and_a_number_among_words_are_named() -> None:
    numbers = [example("1.5", 2, "a.tsv"), example("3", 3, "a.tsv"), example("yes", 4, "a.tsv")]
    with pytest.raises(BadData) as caught:
        Pair.labels_of(numbers)
    assert str(caught.value) == (
        "a.tsv:4: label 'yes' is not a number, and other labels are: '1.5'; "
        "correct it, or name the right column with --label-column"
    )
    words = [example("yes", 2, "a.tsv"), example("no", 3, "a.tsv"), example("4.5", 4, "a.tsv")]
    with pytest.raises(BadData) as caught:
        Pair.labels_of(words)
    assert caught.value.message == "label '4.5' is a number, and other labels are words: 'no'" and caught.value.line == 4
    assert Pair.labels_of([example("1"), example("yes")]) == ("1", "yes"), "whole numbers may be names"


def test_test_labels_are_checked_by_the_kind_of_answer() -> None:
    with pytest.raises(BadData, match=r"b.tsv:7: label 'no' is not a number, and this model answers numbers"):
        Pair((), numbers=True).check([example("2"), example("no", 7)], "b.tsv")
    with pytest.raises(BadData, match=r"b.tsv:7: label '2.5' was not among the 3 labels of the training data"):
        Pair(LABELS).check([example("2.5", 7)], "b.tsv")
    Pair((), numbers=True).check([example("7.25")])


def test_scores_of_numbers_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    gold = random.normal(size=50).round(1)
    found = gold + random.normal(size=50)
    score = Pair((), numbers=True).score([(str(one),) for one in gold], [(str(one),) for one in found])
    assert score["main"] == score["pearson"] == pytest.approx(stats.pearsonr(gold, found)[0])
    assert score["spearman"] == pytest.approx(stats.spearmanr(gold, found)[0])
    assert score["mean_squared_error"] == pytest.approx(float(np.mean((gold - found) ** 2)))
    assert (score["examples"], score["unscored"]) == (50, 0)


def test_figures_of_many_draws_are_those_of_each() -> None:
    """What the bootstrap asks: sums of drawn examples; of ranks, those among all examples are kept."""
    random = np.random.default_rng(1)
    gold = random.normal(size=40).round(1)
    found = gold + random.normal(size=40)
    task = Pair((), numbers=True, metric="spearman")
    counts = task.counts([(str(one),) for one in gold], [(str(one),) for one in found])
    assert counts.shape == (40, task.count_size)
    drawn = random.integers(40, size=(7, 40))
    figures = task.figures(counts[drawn].sum(axis=1))
    assert next(iter(figures)) == "spearman" and figures["pearson"].shape == (7,)
    ranks = stats.rankdata(gold), stats.rankdata(found)
    for row, pearson, spearman in zip(drawn, figures["pearson"], figures["spearman"], strict=True):
        assert pearson == pytest.approx(stats.pearsonr(gold[row], found[row])[0])
        assert spearman == pytest.approx(stats.pearsonr(ranks[0][row], ranks[1][row])[0])
    assert task.limits("pearson") == (-1, 1) and Pair(LABELS).limits("accuracy") == (0, 1)


def test_who_never_looks_answers_the_mean_or_the_most_frequent_label() -> None:
    numbers = [example("1.5"), example("2"), example("4")]
    assert Pair.most_frequent(numbers, numbers[:2]) == [("2.5",)] * 2
    assert Pair.most_frequent([example("no"), example("yes"), example("no")], numbers[:1]) == [("no",)]
    assert (Pair((), numbers=True).majority, Pair(LABELS).majority) == (
        "answering the mean",
        "answering the most frequent label",
    )


@pytest.mark.parametrize("numbers", [False, True])
def test_answers_come_back_from_the_store(numbers: bool) -> None:
    task = Pair((), numbers=True) if numbers else Pair(LABELS)
    answers = [("3.84213",), ("-1e-07",), ("3.84213",)] if numbers else [("neutral",), ("entailment",), ("neutral",)]
    table, words = task.encode_answers(answers)
    assert task.decode_answers(table, words, []) == answers


def test_compared_by_a_correlation_whole_numbers_are_numbers() -> None:
    assert Pair.of(("1", "2", "5"), {"figure": "spearman"}).numeric
    assert not Pair.of(("1", "2", "5"), {"figure": "auto"}).numeric
    assert Pair.of(("1", "2.5"), {"figure": "auto"}).usual_score == "pearson"
    assert Pair((), numbers=True).is_known("9.75", {"1", "2"}) and not Pair(LABELS).is_known("9.75", set(LABELS))


def test_scores_of_labels_are_those_of_classification() -> None:
    score = Pair(LABELS).score(
        [("neutral",), ("neutral",), ("entailment",)], [("neutral",), ("entailment",), ("entailment",)]
    )
    assert score["main"] == score["accuracy"] == pytest.approx(2 / 3)
    assert score["per_label"]["neutral"]["recall"] == 0.5 and score["unscored"] == 0


def test_a_number_is_a_number_in_json_and_a_cell_in_a_table() -> None:
    task = Pair((), numbers=True)
    row = task.answer_row(example(None), ("a", "b"), ("3.84213",), np.empty(0))
    assert row == {"first": "a", "second": "b", "number": 3.84213}
    assert list(task.answer_cells(row, probabilities=True)) == [("3.84213", "a", "b")]


def test_options_of_single_texts_are_refused(tmp_path: Path) -> None:
    for columns, name in ((Columns(multi_label=","), "--multi-label"), (Columns(coarse=":"), "--coarse")):
        with pytest.raises(UsageError, match=f"{name} is for single texts, and a pair has one label"):
            Pair.read(tmp_path / "none.tsv", columns)
    with pytest.raises(UsageError, match="does not name two columns"):
        Pair.read(tmp_path / "none.tsv", Columns())
    with pytest.raises(UsageError, match="--scheme is for a tagger, and this model compares texts"):
        Pair(LABELS).write_in("bioes")

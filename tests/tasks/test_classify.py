"""Classification: a perfect encoder must give perfect answers, and nothing but a row's own words may matter."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from carryover.errors import BadData, UsageError
from carryover.layers.pooling import POOLINGS
from carryover.sequence import Sequence
from carryover.tasks import Classify
from carryover.tasks.heads import head_from_json
from carryover.tasks.heads.head import Head
from example_material import LabelledText, build_head, labelled_text

LABELS = ("bad", "fine", "good")


def example(*labels: str, line: int = 0) -> LabelledText:
    return labelled_text("some words", labels, line)


def perfect(gold: list[tuple[str, ...]], lengths: list[int]) -> tuple[Head, Sequence]:
    """A task that reads its answers off states which a fake encoder has made of the gold labels."""
    task = build_head("classify", LABELS, 3, pooling="mean", multi_label=any(len(labels) != 1 for labels in gold))
    with torch.no_grad():
        task.output.weight.copy_(torch.eye(3) * 20)
        task.output.bias.fill_(-10)
    values = torch.full((len(gold), max(lengths), 3), float("nan"))
    for row, (labels, length) in enumerate(zip(gold, lengths, strict=True)):
        values[row, :length] = torch.tensor([float(label in labels) for label in LABELS])
    return task.requires_grad_(False), Sequence.of(values, lengths)


def test_perfect_states_give_perfect_answers() -> None:
    gold = [("good",), ("bad",), ("fine",), ("bad",)]
    task, hidden = perfect(gold, [3, 1, 7, 2])
    assert task.decode(hidden) == gold
    assert all(float(row.max()) > 0.999 for row in task.probabilities(hidden))
    score = task.task.score(gold, task.decode(hidden))
    assert score["main"] == score["accuracy"] == score["macro_f1"] == 1 and score["main_name"] == "accuracy"
    assert float(task.loss(hidden, task.targets([example(*labels) for labels in gold])).detach()) < 1e-3


def test_perfect_states_give_perfect_sets_of_labels() -> None:
    gold = [("bad", "good"), (), ("fine",), ("bad", "fine", "good")]
    task, hidden = perfect(gold, [3, 1, 7, 2])
    assert task.decode(hidden) == gold
    score = task.task.score(gold, task.decode(hidden))
    assert score["main"] == score["macro_f1"] == 1 and score["main_name"] == "macro_f1" and "confusion" not in score
    assert float(task.loss(hidden, task.targets([example(*labels) for labels in gold])).detach()) < 1e-3
    assert task.task.score(gold, [("bad",), (), ("fine",), ()])["accuracy"] == 0.5


@pytest.mark.parametrize("pooling", [*POOLINGS, "ends+max+mean"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_row_is_by_itself(pooling: str, multi_label: bool) -> None:
    torch.manual_seed(0)
    task = build_head("classify", LABELS, 6, pooling=pooling, multi_label=multi_label, dropout=0.5).eval()
    alone = torch.randn(1, 4, 6)
    values = torch.full((3, 9, 6), float("nan"))
    values[1, :4] = alone[0]
    together = Sequence(values, torch.tensor([9, 4, 0]))
    torch.testing.assert_close(task.probabilities(together)[1], task.probabilities(Sequence.of(alone))[0])
    assert task.decode(together)[1] == task.decode(Sequence.of(alone))[0]
    assert torch.isfinite(task.probabilities(together)[2]).all()


def test_gradients_reach_all_parameters_and_no_padding() -> None:
    task = build_head("classify", LABELS, 6, pooling="attention+max", dropout=0.1)
    values = torch.randn(3, 5, 6)
    values[1, 2:] = float("nan")
    values.requires_grad_()
    task.loss(Sequence.of(values, [5, 2, 0]), torch.tensor([0, 2, 1])).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in task.parameters())
    assert torch.isfinite(values.grad).all() and (values.grad[1, 2:] == 0).all() and (values.grad[2] == 0).all()


def test_mean_loss_is_cross_entropy() -> None:
    task = build_head("classify", LABELS, 3, pooling="last")
    hidden = Sequence.of(torch.randn(4, 2, 3), [2, 1, 2, 2])
    targets = torch.tensor([0, 1, 2, 1])
    expected = -torch.stack([row[t].log() for row, t in zip(task.probabilities(hidden), targets, strict=True)]).mean()
    torch.testing.assert_close(task.loss(hidden, targets), expected)


def test_faulty_labels_are_named() -> None:
    task = build_head("classify", LABELS, 4)
    with pytest.raises(BadData, match=r"test\.tsv:7: label 'great' was not among the 3 labels"):
        task.task.check([example("bad"), example("great", line=7)], "test.tsv")
    with pytest.raises(BadData, match="label 'great'"):
        task.targets([example("great", line=7)])
    with pytest.raises(BadData, match="a text has 2 labels"):
        task.targets([example("bad", "good")])
    with pytest.raises(BadData, match="only the label 'bad'"):
        build_head("classify", ("bad",), 4)
    with pytest.raises(BadData, match="no text of the training data has a label"):
        build_head("classify", (), 4, multi_label=True)
    with pytest.raises(UsageError, match="'bad' is listed twice"):
        build_head("classify", ("bad", "bad"), 4)
    with pytest.raises(UsageError, match="pooling 'avarage'"):
        build_head("classify", LABELS, 4, pooling="avarage")


def test_an_unknown_gold_label_counts_as_missed() -> None:
    score = build_head("classify", LABELS, 4).task.score([("bad",), ("great",)], [("bad",), ("good",)])
    assert score["accuracy"] == 0.5 and score["unscored"] == 0 and score["per_label"]["great"]["recall"] == 0
    with pytest.raises(ValueError, match="2 gold examples but 1"):
        build_head("classify", LABELS, 4).task.score([("bad",), ("good",)], [("bad",)])


@pytest.mark.parametrize("multi_label", [False, True])
def test_description_rebuilds_the_task(multi_label: bool) -> None:
    task = build_head("classify", LABELS, 6, pooling="ends+mean", multi_label=multi_label, dropout=0.25, threshold=0.4)
    content = json.loads(json.dumps(task.to_json()))
    again = head_from_json(content)
    again.load_state_dict(task.state_dict())
    hidden = Sequence.of(torch.randn(2, 3, 6))
    assert again.to_json() == task.to_json()
    assert [row.tolist() for row in again.eval().probabilities(hidden)] == [
        row.tolist() for row in task.eval().probabilities(hidden)
    ]
    json.dumps(task.task.score([("bad",)], [("good",)]))
    with pytest.raises(BadData, match="'rank'"):
        head_from_json({**content, "kind": "rank"})


def test_the_main_score_can_be_chosen_and_is_stored() -> None:
    task = build_head("classify", ("ham", "spam"), 3, metric="macro_f1")
    again = head_from_json(task.to_json())
    gold, ham = [("ham",)] * 9 + [("spam",)], [("ham",)] * 10
    assert again.task.score(gold, ham)["main_name"] == "macro_f1"
    assert again.task.score(gold, ham)["main"] == pytest.approx(0.9473684 / 2)
    assert "metric" not in build_head("classify", ("ham", "spam"), 3).to_json(), (
        "what an earlier version wrote stays as it was"
    )
    with pytest.raises(UsageError, match="metric 'span_f1' does not score these labels"):
        build_head("classify", ("ham", "spam"), 3, metric="span_f1")
    assert Classify.metric_of(gold) == "macro_f1"
    assert Classify.metric_of(gold[4:]) == "macro_f1"
    assert Classify.metric_of([("ham",), ("spam",)]) == "accuracy"


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    gold = [("ham",)] * 7 + [("spam",)] * 2 + [("other",)]
    task = build_head("classify", ("ham", "other", "spam"), 3)
    task.balance(gold)
    wanted = compute_class_weight("balanced", classes=np.array(task.task.labels), y=[labels[0] for labels in gold])
    assert task.class_weights.tolist() == pytest.approx(wanted.tolist())
    assert "class_weights" not in task.state_dict()
    hidden = Sequence.pad([torch.randn(4, 3) for _ in range(3)])
    targets, plain = torch.tensor([0, 1, 2]), build_head("classify", ("ham", "other", "spam"), 3)
    plain.load_state_dict(task.state_dict())
    each = torch.nn.functional.cross_entropy(plain.scores(hidden), targets, reduction="none")
    torch.testing.assert_close(task.loss(hidden, targets), (each * task.class_weights).mean())


def test_balanced_weights_of_several_labels_a_text() -> None:
    task = build_head("classify", ("a", "b"), 3, multi_label=True)
    task.balance([("a",), ("a", "b"), ("a",), ()])
    assert task.class_weights.tolist() == pytest.approx([1 / 3, 3.0])
    with pytest.raises(UsageError, match="class weights are for classification"):
        build_head("tag", ("X", "Y"), 3).balance([("X",)])

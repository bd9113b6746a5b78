"""Tagging: a perfect encoder must give perfect answers, and nothing but a sentence's own words may matter."""

from __future__ import annotations

import json

import pytest
import torch

from carryover.data.schemes import Scheme
from carryover.errors import BadData, UsageError
from carryover.sequence import Sequence
from carryover.tasks.heads import head_from_json
from example_material import Tagged, build_head, tagged_words

CLASSES = ("DET", "NOUN", "VERB")
SPANS = ("B-loc", "B-per", "I-loc", "I-per", "O")
GOLD = {
    CLASSES: [("DET", "NOUN", "VERB", "DET", "NOUN"), (), ("VERB",), ("NOUN", "VERB")],
    SPANS: [("B-per", "I-per", "O", "B-loc", "B-loc"), (), ("O",), ("B-loc", "I-loc")],
}


def sentence(*tags: str, line: int = 0) -> Tagged:
    return tagged_words(tuple(f"word{number}" for number in range(len(tags))), tags, line)


@pytest.mark.parametrize("output", ["softmax", "crf"])
@pytest.mark.parametrize("labels", [CLASSES, SPANS])
def test_perfect_states_give_perfect_answers(labels: tuple[str, ...], output: str) -> None:
    """A fake encoder writes the gold tag into each state."""
    task = build_head("tag", labels, len(labels), output=output).eval()
    with torch.no_grad():
        task.output.weight.copy_(torch.eye(len(labels)) * 20)
        task.output.bias.zero_()
    task.requires_grad_(False)
    gold = GOLD[labels]
    values = torch.full((len(gold), 7, len(labels)), float("nan"))
    for row, tags in enumerate(gold):
        for step, tag in enumerate(tags):
            values[row, step] = torch.tensor([float(tag == label) for label in labels])
    hidden = Sequence.of(values, [len(tags) for tags in gold])
    assert task.decode(hidden) == gold
    assert [len(table) for table in task.probabilities(hidden)] == [5, 0, 1, 2]
    assert all(float(table.max(1).values.min()) > 0.999 for table in task.probabilities(hidden) if len(table))
    score = task.task.score(gold, task.decode(hidden))
    assert score["main"] == 1 and score["main_name"] == ("span_f1" if labels == SPANS else "accuracy")
    assert score["words"] == 8 and score["sentences"] == 4 and score["unscored"] == 0
    targets = task.targets([sentence(*tags) for tags in gold])
    assert float(task.loss(hidden, targets).detach()) < 1e-3 and task.weight(targets) == 8


def test_spans_get_the_random_field_by_default() -> None:
    assert build_head("tag", SPANS, 4).output_kind == "crf" and build_head("tag", CLASSES, 4).output_kind == "softmax"
    assert build_head("tag", SPANS, 4, output="softmax").task.main_score == "span_f1"
    with pytest.raises(UsageError, match="'viterbi'"):
        build_head("tag", SPANS, 4, output="viterbi")


def test_decoded_spans_are_always_valid() -> None:
    torch.manual_seed(1)
    task = build_head("tag", SPANS, 6)
    for tags in task.decode(Sequence.of(torch.randn(30, 9, 6) * 5)):
        assert all(
            not tag.startswith("I-") or (before or "O")[2:] == tag[2:]
            for before, tag in zip((None, *tags), tags, strict=False)
        )


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_a_sentence_is_by_itself(output: str) -> None:
    torch.manual_seed(2)
    task = build_head("tag", SPANS, 6, output=output, dropout=0.5).eval()
    alone = torch.randn(1, 4, 6)
    values = torch.full((3, 9, 6), float("nan"))
    values[1, :4] = alone[0]
    values[2, :9] = 1
    together = Sequence.of(values, [0, 4, 9])
    torch.testing.assert_close(task.probabilities(together)[1], task.probabilities(Sequence.of(alone))[0])
    assert task.decode(together)[1] == task.decode(Sequence.of(alone))[0] and task.decode(together)[0] == ()


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_gradients_reach_all_parameters_and_no_padding(output: str) -> None:
    task = build_head("tag", SPANS, 6, output=output, dropout=0.1)
    values = torch.randn(3, 5, 6)
    values[1, 2:] = float("nan")
    values.requires_grad_()
    targets = task.targets([sentence(*["O", "O", "B-per", "I-per", "O"]), sentence("O", "B-loc"), sentence()])
    task.loss(Sequence.of(values, [5, 2, 0]), targets).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in task.parameters())
    assert torch.isfinite(values.grad).all() and (values.grad[1, 2:] == 0).all() and (values.grad[2] == 0).all()


def test_a_batch_of_empty_sentences_costs_nothing() -> None:
    for output in ("softmax", "crf"):
        task = build_head("tag", CLASSES, 4, output=output)
        hidden = Sequence.of(torch.zeros(2, 0, 4))
        assert float(task.loss(hidden, task.targets([sentence(), sentence()])).detach()) == 0
        assert task.decode(hidden) == [(), ()]


def test_faulty_tags_are_named() -> None:
    task = build_head("tag", SPANS, 4)
    with pytest.raises(BadData, match=r"a\.conll:3: label 'B-org' was not among the 5 labels"):
        task.task.check([sentence("O", "B-org", line=3)], "a.conll")
    with pytest.raises(BadData, match=r"tag 'I-per' of word 2 \('word1'\) follows 'B-loc'"):
        task.targets([sentence("B-loc", "I-per")])
    with pytest.raises(BadData, match=r"'I-per' of word 1 .* begins a sentence"):
        task.targets([sentence("I-per")])
    build_head("tag", SPANS, 4, output="softmax").targets([sentence("I-per")])
    with pytest.raises(BadData, match="2 words but 1 tags"):
        task.encode(tagged_words(("a", "b"), ("O",)))
    with pytest.raises(BadData, match="only the label 'O'"):
        build_head("tag", ("O",), 4)


def test_scores() -> None:
    task = build_head("tag", SPANS, 4)
    score = task.task.score([("B-per", "I-per", "O", "B-loc")], [("B-per", "O", "O", "B-loc")])
    assert (score["span_precision"], score["span_recall"], score["span_f1"]) == (0.5, 0.5, 0.5)
    assert score["accuracy"] == 0.75 and score["per_label"]["loc"]["f1"] == 1 and score["per_label"]["per"]["f1"] == 0
    with pytest.raises(ValueError, match="sentence 0 has 2 gold tags but 1"):
        build_head("tag", CLASSES, 4).task.score([("DET", "NOUN")], [("DET",)])


@pytest.mark.parametrize("labels", [CLASSES, SPANS])
def test_description_rebuilds_the_task(labels: tuple[str, ...]) -> None:
    task = build_head("tag", labels, 6, dropout=0.25)
    again = head_from_json(json.loads(json.dumps(task.to_json())))
    again.load_state_dict(task.state_dict())
    hidden = Sequence.of(torch.randn(2, 3, 6))
    assert again.to_json() == task.to_json() and again.eval().decode(hidden) == task.eval().decode(hidden)
    json.dumps(task.task.score([tuple(labels)], [tuple(labels)]))


@pytest.mark.parametrize("spelling", ["BMES B-x O", "BIOES b_x o", "BILOU x-B -", "IOB1 B-x O", "BMEWO B O"])
def test_answers_are_written_as_the_training_data_was(spelling: str) -> None:
    scheme = Scheme.from_spelling(spelling)
    labels = ("B-span", "I-span", "O") if not scheme.typed else SPANS
    task = build_head("tag", labels, 4, scheme=spelling)
    assert task.task.scheme == scheme and task.task.spans and task.output_kind == "crf" and task.task.labels == labels
    again = head_from_json(json.loads(json.dumps(task.to_json())))
    assert again.to_json() == task.to_json() and again.task.scheme == scheme
    kind = labels[0][2:]
    gold = ("O", f"B-{kind}", f"I-{kind}", f"I-{kind}", f"B-{kind}", "O")
    answer = task.task.written(gold)
    assert (
        answer == scheme.from_iob2(gold) and set(answer) <= set(task.task.answers) and task.task.understood(answer) == gold
    )
    task.task.write_in("auto")
    assert task.task.written(gold) == answer
    task.task.write_in("bilou")
    assert task.task.scheme is not None and task.task.scheme.name == "BILOU" and task.task.scheme.outside == scheme.outside
    with pytest.raises(UsageError, match="the model's tags are spans"):
        task.task.write_in("plain")


def test_plain_tags_may_look_like_spans() -> None:
    task = build_head("tag", SPANS, 4, scheme="plain")
    assert not task.task.spans and task.output_kind == "softmax" and task.task.main_score == "accuracy"
    assert head_from_json(task.to_json()).to_json() == task.to_json()
    with pytest.raises(UsageError, match="no spans and cannot be written as BMES"):
        task.task.write_in("bmes")
    with pytest.raises(BadData, match="the span scheme 'BMES' is unknown"):
        build_head("tag", SPANS, 4, scheme="BMES")


def test_a_task_of_an_earlier_version_is_what_it_was() -> None:
    """It says nothing of schemes: IOB2 where all labels are, and bare letters are labels like others."""
    stored = {"kind": "tag", "in_size": 4, "output": "crf", "dropout": 0.0}
    assert head_from_json({**stored, "labels": list(SPANS)}).task.main_score == "span_f1"
    bare = head_from_json({**stored, "output": "softmax", "labels": ["B", "I", "O"]})
    assert bare.task.main_score == "accuracy" and bare.task.written(("I", "O")) == ("I", "O")


def test_a_tag_within_a_span_is_known_when_its_type_is() -> None:
    build_head("tag", ("B-per", "O"), 4).task.check([sentence("B-per", "I-per")])
    with pytest.raises(BadData, match="label 'I-loc' was not among"):
        build_head("tag", ("B-per", "O"), 4).task.check([sentence("O", "I-loc")])

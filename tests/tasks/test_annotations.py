"""Annotation: every column by its parts, put together again as a treebank writes it, and counted as a linguist counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels
from carryover.data.label_columns import LabelColumn, joined_cells, label_columns, split_cells
from carryover.errors import BadData, NothingToLearn, UsageError
from carryover.sequence import Sequence
from carryover.tasks import TASKS, Annotate
from carryover.tasks.columns.features import features_of, written_features
from carryover.tasks.columns.lemmas import Lemmas
from carryover.tasks.heads import head_from_json
from carryover.tasks.heads.annotate import AnnotateHead
from example_material import Tagged, tagged_words

NAMES = ("upos", "feats", "lemma")
WORDS = {
    "Houses": ("NOUN", "Number=Plur", "house"),
    "cats": ("NOUN", "Number=Plur", "cat"),
    "dogs": ("NOUN", "Number=Plur", "dog"),
    "she": ("PRON", "Case=Nom|Gender=Fem|Number=Sing", "she"),
    "her": ("PRON", "Case=Acc|Gender=Fem|Number=Sing", "she"),
    "they": ("PRON", "Case=Nom|Gender=Fem,Masc|Number=Plur", "they"),
    "saw": ("VERB", "Tense=Past", "see"),
    "sat": ("VERB", "Tense=Past", "sit"),
    "not": ("PART", "_", "not"),
    "sthg": ("X", "Typo=Yes", "_"),
    "sg": ("X", "Typo=Yes", "_"),
}
SENTENCES = [("she", "saw", "cats"), ("they", "sat"), ("Houses", "not", "dogs"), ("sthg", "sg", "her", "saw")]


def sentence(*words: str, line: int = 0, **other: tuple[str, ...]) -> Tagged:
    return tagged_words(words, tuple(joined_cells(NAMES, other.get(word, WORDS.get(word, ()))) for word in words), line)


EXAMPLES = [sentence(*words, line=number) for number, words in enumerate(SENTENCES, 1)]
GOLD = [example.gold or () for example in EXAMPLES]


def task(examples: list[Tagged] = EXAMPLES) -> Annotate:
    return Annotate(Annotate.labels_of(examples))


def head_of(own: Annotate) -> AnnotateHead:
    """A head whose states are the scores themselves."""
    head = head_from_json({"kind": "annotate", "labels": own.labels, "in_size": len(own.labels)}).eval()
    assert isinstance(head, AnnotateHead)
    with torch.no_grad():
        head.output.weight.copy_(torch.eye(len(own.labels)) * 20)
        head.output.bias.zero_()
    return head.requires_grad_(False)


def perfect(own: Annotate, examples: list[Tagged]) -> Sequence:
    """States that have a 1 at the right value of every part."""
    values = torch.full((len(examples), 6, len(own.labels)), float("nan"))
    for row, example in enumerate(examples):
        for step, (form, word) in enumerate(zip(example.input.tokens, example.gold or (), strict=True)):
            values[row, step] = 0.0
            starts = [start for places in own.slices.values() for start, _ in places]
            for start, value in zip(starts, own.encode(form, word), strict=True):
                values[row, step, start + max(0, value)] = 1.0
    return Sequence.of(values, [len(example.input.tokens) for example in examples])


def test_perfect_states_give_perfect_answers() -> None:
    own = task(EXAMPLES * 2)  # every rule occurs twice
    head = head_of(own)
    hidden = perfect(own, EXAMPLES)
    answers = head.answers(hidden, [example.input.tokens for example in EXAMPLES])
    assert answers == GOLD
    tables = head.probabilities(hidden)
    assert [table.shape[0] for table in tables] == [3, 2, 3, 4]
    for table in tables:
        for places in own.slices.values():
            for start, end in places:
                assert table[:, start:end].sum(1).allclose(torch.ones(len(table)))
    targets = head.targets(EXAMPLES)
    assert head.weight(targets) == 12 and 0 <= float(head.loss(hidden, targets)) < 1e-3
    score = own.score(GOLD, answers)
    assert score["main"] == 1 and score["main_name"] == "accuracy" and score["words"] == 12 and score["unscored"] == 0
    assert all(score[f"{name}_accuracy"] == 1 for name in NAMES) and score["every_column_right"] == 1


def test_the_loss_is_the_mean_of_the_columns_and_the_sum_of_their_parts() -> None:
    own = task()
    head = head_of(own)
    hidden = Sequence.of(torch.zeros(1, 3, len(own.labels)), [3])
    targets = head.targets(EXAMPLES[:1])
    by_hand = [sum(np.log(end - start) for start, end in places) for places in own.slices.values()]
    assert float(head.loss(hidden, targets)) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_labels_are_the_values_of_all_parts_whatever_the_order_of_the_examples() -> None:
    labels = Annotate.labels_of(EXAMPLES)
    assert labels == Annotate.labels_of(EXAMPLES[::-1])
    own = task()
    assert list(own.columns) == list(NAMES)
    assert own.columns["feats"].parts == ("Case", "Gender", "Number", "Tense", "Typo")
    assert own.columns["feats"].values[1] == ("_", "Fem", "Fem,Masc")  # several values of one attribute are one
    assert own.columns["upos"].values == (("NOUN", "PART", "PRON", "VERB", "X"),)
    # her → she and sat → sit occur once and are not learned; saw → see occurs in two sentences.
    assert own.columns["lemma"].values == (("↓0;¦", "↓0;¦-", "!_", "↓0;¦--+e+e", "="),)
    assert own.summary == "upos (5 tags), feats (5 attributes), lemma (5 edit rules)"


def test_a_word_whose_rule_is_too_rare_is_learned_by_another_that_gives_its_lemma_or_not_at_all() -> None:
    lemmas = Lemmas("lemma", Lemmas.learn({("McX", "McX"): 1, ("a", "a"): 5, ("went", "go"): 1}))
    assert lemmas.values == (("↓0;¦", "="),)
    assert lemmas.encode("McX", "McX") == (1,) and lemmas.encode("went", "go") == (-1,) and lemmas.encode("b", "b") == (0,)
    assert Lemmas.learn({("went", "go"): 2})[""] == ["!go", "="]


def test_a_rule_that_does_not_fit_gives_way_to_the_next_by_probability() -> None:
    lemmas = Lemmas("lemma", {"": ["↓0;¦----", "↓0;¦--", "↓0;¦-", "="]})
    scores = [np.array([[0.5, 0.1, 0.3, 0.1]] * 4)]
    assert lemmas.decode(["walking", "dogs", "A", "s"], scores) == ["wal", "dog", "A", "s"]
    chances = lemmas.chances(["dogs", "dogs", "dogs"], ["dog", "do", "cat"], [np.array([[0.5, 0.1, 0.3, 0.1]] * 3)])
    assert chances == pytest.approx([0.3, 0.1, 0.0])


def test_words_that_all_lack_features_are_a_column_too() -> None:
    examples = [tagged_words(("a", "b"), ("upos=X\tfeats=_", "upos=Y\tfeats=_"))]
    own = task(examples)
    own.check(examples)
    assert own.answer(["a"], np.zeros((1, len(own.labels)))) == ("upos=X\tfeats=_",)
    assert own.units == ["upos X", "upos Y"]


def test_features_are_written_in_the_order_of_universal_dependencies() -> None:
    assert written_features({"b": "1", "Aspect": "x", "C": "_", "a": "2"}) == "a=2|Aspect=x|b=1"
    assert written_features({}) == "_" and features_of("_") == {}
    assert written_features(features_of("Number=Sing|Case=Nom")) == "Case=Nom|Number=Sing"
    for wrong, why in (("Sing", "Name=Value"), ("Number=", "Name=Value"), ("A=1|A=2", "twice"), ("A=1||B=2", "Name=Value")):
        with pytest.raises(ValueError, match=why):
            features_of(wrong)


def test_counts_are_those_of_a_brute_count() -> None:
    own = task()
    swap = {"cats": ("NOUN", "Number=Sing", "cat"), "her": ("NOUN", "_", "her"), "sg": ("X", "Typo=Yes", "sg")}
    answers = [sentence(*words, **swap).gold or () for words in SENTENCES]
    score = own.score(GOLD, answers)
    assert score["upos_accuracy"] == pytest.approx(11 / 12)
    assert score["feats_accuracy"] == pytest.approx(10 / 12)
    assert score["lemma_accuracy"] == pytest.approx(10 / 12)
    assert score["main"] == score["accuracy"] == pytest.approx((11 + 10 + 10) / 36)
    assert score["every_column_right"] == pytest.approx(9 / 12)
    number = score["per_label"]["feats Number"]
    # gold: she, cats, they, Houses, dogs, her; answered: all but her; cats has another value
    assert (number["gold"], number["predicted"]) == (6, 5)
    assert number["precision"] == pytest.approx(4 / 5) and number["recall"] == pytest.approx(4 / 6)
    assert score["per_label"]["upos NOUN"]["precision"] == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="3 gold words but 2 predicted"):
        own.score([GOLD[0]], [GOLD[0][:2]])


def test_what_training_did_not_have_counts_as_missed() -> None:
    own = task()
    gold = [sentence("she", she=("PRON", "Case=Nom|Clusivity=Ex", "she")).gold or ()]
    answer = [sentence("she").gold or ()]
    own.check([Example(EXAMPLES[0].input, (gold[0][0],) * 3)])  # features are no fault
    score = own.score(gold, answer)
    assert score["per_label"]["feats Clusivity"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "gold": 1, "predicted": 0}
    assert score["feats_accuracy"] == 0 and score["lemma_accuracy"] == 1
    strange = sentence("she", she=("INTJ", "_", "she"), line=7)
    with pytest.raises(BadData, match="upos 'INTJ' of 'she' was not among") as error:
        own.check([strange], "t.conllu")
    assert error.value.line == 7
    assert own.score([strange.gold or ()], answer)["per_label"]["upos INTJ"]["gold"] == 1
    assert not own.is_known((strange.gold or ())[0], own.labels) and own.is_known(gold[0][0], own.labels)


def test_other_columns_than_those_of_the_model_are_refused() -> None:
    with pytest.raises(BadData, match="the columns of 'she' are upos; those of the model upos, feats, lemma"):
        task().check([tagged_words(("she",), ("upos=PRON",), 3)])


def test_probabilities_of_cells_are_those_of_their_parts() -> None:
    own = Annotate(("upos\t\tA", "upos\t\tB", "feats\tN\t_", "feats\tN\t1", "feats\tG\t_", "feats\tG\tx"))
    table = np.array([[0.9, 0.1, 0.2, 0.8, 0.5, 0.5]])
    assert own.chances(["w"], ("upos=A\tfeats=N=1",), table) == pytest.approx([0.9, 0.4])
    assert own.chances(["w"], ("upos=C\tfeats=H=1",), table) == pytest.approx([0, 0])
    assert own.concentration(table) == pytest.approx([0.82, 0.68 * 0.5])
    assert own.decisions(("upos=A\tfeats=N=1",), ("upos=B\tfeats=_",)) == [
        ("upos A", "upos B"), ("feats N=1", "feats _"),
    ]  # fmt: skip
    assert own.decisions_of_one == 2


def test_the_most_frequent_annotation_makes_lemmas_of_words_it_never_saw() -> None:
    found = Annotate.most_frequent(EXAMPLES, [tagged_words(("her", "birds", "ab"))])
    cells = [split_cells(word) for word in found[0]]
    assert cells[0] == dict(zip(NAMES, WORDS["her"], strict=True))
    assert cells[1]["upos"] == "NOUN" and cells[1]["lemma"] == "birds"  # by the most frequent rule


def test_answers_survive_storing() -> None:
    own = task()
    numbers, words = own.encode_answers(GOLD)
    assert own.decode_answers(numbers, words, [example.input for example in EXAMPLES]) == GOLD
    assert [own.from_json(json.loads(json.dumps(own.to_json(answer)))) for answer in GOLD] == GOLD


@pytest.mark.parametrize(
    "labels",
    [
        ("upos\t\tA",),
        ("upos", "x"),
        ("upos\t\tA", "feats\tN\t_", "upos\t\tB"),
        ("lemma\t\t↓0;¦", "lemma\t\t!x"),
        ("lemma\t\t=", "lemma\t\tnonsense"),
        ("lemma\tN\t=", "lemma\tN\t↓0;¦"),
        ("upos\t\tA", "upos\tN\tB"),
    ],
)
def test_labels_of_another_form_are_refused(labels: Labels) -> None:
    with pytest.raises((ValueError, NothingToLearn)):
        Annotate(labels)


def test_the_task_of_tags_becomes_annotation_where_columns_ask_for_it() -> None:
    for text, name in (
        ("upos", "tag"), (None, "tag"), ("xpos", "tag"), (3, "tag"), ("3", "tag"), ("feats", "annotate"), ("lemma", "annotate"),
        ("upos,xpos", "annotate"), ("3,4", "annotate"), ("upos=3", "annotate"),
    ):  # fmt: skip
        assert TASKS["tag"].for_columns(Columns(label_column=text)).name == name, text
    assert TASKS["classify"].for_columns(Columns(label_column="a,b")).name == "classify"


def test_names_of_columns() -> None:
    assert label_columns("upos, feats=5") == (LabelColumn("upos", "upos"), LabelColumn("feats", 5))
    assert label_columns(3) == (LabelColumn("3", 3),) and label_columns(None) == ()
    for text, why in (("upos,", "empty name"), ("upos,upos", "'upos' twice"), ("a=", "empty name")):
        with pytest.raises(UsageError, match=why):
            label_columns(text)


@pytest.mark.parametrize(("option", "why"), [({"output": "crf"}, "one column of tags"), ({"metric": "span_f1"}, "span_f1")])
def test_options_for_one_column_are_refused(option: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        head_from_json({"kind": "annotate", "labels": task().labels, "in_size": 4, **option})


def test_no_scheme_of_spans_can_be_asked_for(tmp_path: Path) -> None:
    own = task()
    own.write_in("auto")
    with pytest.raises(UsageError, match="no spans"):
        own.write_in("bioes")

"""Task models and their predictor: no answer depends on its neighbours, and storing changes nothing."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from carryover.encoders.loading import load
from carryover.errors import BadData, as_words, refuse_string
from carryover.sequence import Sequence
from carryover.transfer.fit import CarryPlan, FitSettings, fit_task
from carryover.transfer.predictor import TaskPredictor
from carryover.transfer.trainable_encoders import MixedEncoder
from example_material import labelled_text, tagged_words
from task_material import classified, examples, language_model, tagged, word_vectors

MODES = ("scratch", "static", "frozen", "head", "top-k", "full")


def predictor(kind: str, mode: str, folder: Path, updates: int = 3) -> TaskPredictor:
    return fit_task(
        kind,
        examples(kind, 12),
        examples(kind, 4, seed=1),
        plan=CarryPlan(mode=mode, unfreezing_share=0.0),
        encoder=language_model(),
        vectors=word_vectors(),
        settings=FitSettings(least_updates=updates, epochs=1, hidden=6, word_size=6, filters=((2, 4),)),
        cache_folder=folder,
    ).predictor


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_alone_in_company_stored_and_loaded(kind: str, mode: str, tmp_path: Path) -> None:
    """The same label, and probabilities within 1e-6, alone, in a batch of many in any order, and after a round trip."""
    made = predictor(kind, mode, tmp_path)
    items: list = [*examples(kind, 30, seed=2)]
    items += [labelled_text("", ())] if kind == "classify" else [tagged_words((), ())]
    items += [labelled_text("the boat " * 200, ())] if kind == "classify" else [tagged_words(("the", "boat") * 200, ())]
    labels, tables = made.predict(items), made.predict_proba(items)
    order = list(range(len(items)))
    random.Random(0).shuffle(order)
    shuffled, shuffled_tables = made.predict([items[i] for i in order]), made.predict_proba([items[i] for i in order])
    made.save(tmp_path / "artefact")
    again = load(tmp_path / "artefact")
    loaded, loaded_tables = again.predict(items), again.predict_proba(items)
    for place, position in enumerate(order):
        alone, alone_table = made.predict([items[position]])[0], made.predict_proba([items[position]])[0]
        assert labels[position] == alone == shuffled[place] == loaded[position]
        assert alone_table.shape == ((len(made.labels),) if kind == "classify" else (len(alone), len(made.labels)))
        for table in (alone_table, shuffled_tables[place], loaded_tables[position]):
            np.testing.assert_allclose(table, tables[position], rtol=0, atol=1e-6)
    answers = again.predictions(items)
    assert [answer.labels for answer in answers] == labels and answers[0].words == made.words(items[0])
    assert json.loads(json.dumps(again.record)) == json.loads(json.dumps(made.record))
    card = (tmp_path / "artefact" / "README.md").read_text()
    assert "12 labelled" in card and all(line in card for line in made.record["proof_lines"])


def test_text_words_and_examples_are_all_taken(tmp_path: Path) -> None:
    made = predictor("classify", "scratch", tmp_path)
    text = "the boat sees Ann Lee"
    assert made.predict([text]) == made.predict([text.split()]) == made.predict([labelled_text(text, ())])
    tagger = predictor("tag", "scratch", tmp_path)
    assert len(tagger.predict([text])[0]) == 5 and tagger.predict([]) == [] and tagger.predict_proba([]) == []


def test_unseen_labels_stop_or_count_as_missed(tmp_path: Path) -> None:
    made = predictor("classify", "scratch", tmp_path)
    strange = [*classified(5, seed=3), labelled_text("the cow", ("desert",), 6)]
    with pytest.raises(BadData, match=r"test\.tsv:6: label 'desert'"):
        made.score(strange, "test.tsv")
    assert made.score(strange, unseen_labels="miss")["examples"] == 6
    assert made.score(strange[:5])["unscored"] == 0


def test_neighbours_full_of_nan_change_nothing(tmp_path: Path) -> None:
    """Ready-made vectors: NaN in other rows and in the padding reach no output and no gradient."""
    for kind in ("tag", "classify"):
        model = predictor(kind, "frozen", tmp_path).model.requires_grad_(True)
        encoder = model.encoder
        assert isinstance(encoder, MixedEncoder)
        alone = torch.randn(1, 3, encoder.model.mixed_layers, encoder.model.out_size)
        values = torch.full((3, 8, *alone.shape[2:]), float("nan"))
        values[1, :3] = alone[0]
        together = Sequence(values, torch.tensor([8, 3, 0]))
        sentences = [("a",) * 8, ("a",) * 3, ()]
        expected = model.hidden(sentences[1:2], Sequence.of(alone)).values[0]
        hidden = model.hidden(sentences, together)
        torch.testing.assert_close(hidden.values[1, :3], expected)
        values[0, :] = 1  # of a real NaN the gradient of a weight may be NaN, of one in the padding never
        model.hidden(sentences, together).values.sum().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_word_known_by_its_vector_alone_is_used(tmp_path: Path) -> None:
    """`yacht` stands in no training sentence but has a vector like those of the nouns."""
    result = fit_task(
        "tag",
        tagged(40),
        tagged(10, seed=1),
        plan=CarryPlan(mode="static"),
        vectors=word_vectors(),
        settings=FitSettings(least_updates=150, hidden=16, filters=((2, 4),)),
    )
    sentence = ["the", "yacht", "sees", "the", "cow"]
    assert result.predictor.predict([sentence]) == [("DET", "NOUN", "VERB", "DET", "NOUN")]
    coder = result.predictor.coder
    assert coder.vocabulary.id("yacht") != coder.vocabulary.id("Zanzibar") == 1
    assert result.proof.moved == {"word vectors": 0.0}
    assert result.proof.vocabulary_rows_matched < result.proof.vocabulary_rows


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    made = predictor("tag", "scratch", tmp_path)
    made.save(tmp_path / "artefact")
    stored = load_parts(tmp_path / "artefact")
    for change, message in [
        ({"labels": {"labels": list(made.labels)[:-1]}}, r"task.output.*\[4.*\[3"),
        ({"labels": {"labels": "abc"}}, "no list of labels"),
        ({"labels": None}, "no list of labels"),
        ({"config": {}}, "config.json: cannot be used: .task. is missing"),
        ({"config": {**stored["config"], "context_size": 5}}, "cannot be built|task reads states"),
        ({"config": {**stored["config"], "encoder": {"kind": "tree", "model": {}}}}, "'tree'"),
        ({"tokenizer": {}}, "expected 'carryover.task-tokenizers/1'"),
        ({"tokenizer": {**stored["tokenizer"], "encoder": {}}}, "expected .carryover.coder/1."),
    ]:
        with pytest.raises(BadData, match=message):
            TaskPredictor.from_artefact(_artefact({**stored, **change}))


def load_parts(folder: Path) -> dict:
    from carryover.storage.artefact import load_artefact

    stored = load_artefact(folder)
    return {name: getattr(stored, name) for name in stored.__dataclass_fields__}


def _artefact(parts: dict):  # type: ignore[no-untyped-def]
    from carryover.storage.artefact import Artefact

    return Artefact(**parts)


def test_what_is_no_sentence_is_named() -> None:
    for item, message in (
        (None, "an item is None: give a text"),
        (1, "an item is 1"),
        (b"abc", "an item is b'abc'"),
        ({"a": 1}, "an item is {'a': 1}"),
        (["a", None], "number 1 of a list of strings is None"),
        ([1], "number 0 of a list of strings is 1"),
    ):
        with pytest.raises(TypeError, match=re.escape(message)):
            as_words(item)
    assert as_words(["a", "b"]) == ("a", "b") and as_words(()) == ()
    with pytest.raises(TypeError, match="items is a dictionary"):
        refuse_string("items", {"a": 1})

"""From a folder to vectors: the same for a sentence alone, in any company and in any order."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

import carryover
from carryover import storage
from carryover.data.coding import TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.artefact_parts import fill
from carryover.encoders.bilm import BidirectionalEncoder
from carryover.errors import BadData
from carryover.models.bilm import BiLanguageModel
from carryover.storage.artefact import load_artefact
from task_material import store_language_model


def model(input: str = "characters") -> BidirectionalEncoder:
    torch.manual_seed(0)
    coder = TokenCoder(input, Vocabulary.count(["the", "boat", "river"] * 2))
    config = BiLanguageModel.Config.of_size("tiny", input=input, vocabulary_size=len(coder.vocabulary))
    return BidirectionalEncoder(BiLanguageModel(config), coder, {})


@pytest.fixture(scope="module")
def sentences() -> list[list[str]]:
    chosen = random.Random(0)
    words = [f"word{number}" for number in range(200)] + ["the", "boat", "Zoë", "水", "x" * 80]
    return [chosen.choices(words, k=int(chosen.lognormvariate(2.2, 0.8))) for _ in range(60)] + [[], ["alone"], []]


@pytest.mark.parametrize("input", ["characters", "words"])
def test_vectors_do_not_depend_on_company_order_or_batch_size(input: str, sentences: list[list[str]]) -> None:
    encoder = model(input)
    together = encoder.embed(sentences)
    assert [tuple(vectors.shape) for vectors in together] == [(len(sentence), 3, 96) for sentence in sentences]
    alone = [encoder.embed([sentence])[0] for sentence in sentences]
    small = encoder.embed(sentences, batch_tokens=50)
    order = random.Random(1).sample(range(len(sentences)), len(sentences))
    shuffled = encoder.embed([sentences[number] for number in order])
    for number, vectors in enumerate(together):
        for other in (alone[number], small[number], shuffled[order.index(number)]):
            torch.testing.assert_close(other, vectors, rtol=0, atol=1e-6)


def test_vectors_are_the_same_to_the_last_bit_on_this_machine(sentences: list[list[str]]) -> None:
    """Rounding too: batches are never so small that the products of matrices take another path."""
    encoder = model()
    together = encoder.embed(sentences)
    assert all(torch.equal(encoder.embed([sentence])[0], together[n]) for n, sentence in enumerate(sentences))


def test_vectors_do_depend_on_the_words(sentences: list[list[str]]) -> None:
    one, other = model().embed([["the", "boat"], ["the", "river"]])
    assert not torch.allclose(one[0, 1], other[0, 1]), "the first word sees the second"


def test_no_dropout_and_no_gradient() -> None:
    encoder = model()
    first, second = (encoder.embed([["the", "boat"]])[0] for _ in range(2))
    assert torch.equal(first, second) and not first.requires_grad and not encoder.model.training


def test_nothing_gives_nothing_and_a_string_is_refused() -> None:
    assert model().embed([]) == []
    with pytest.raises(TypeError, match=r"use coder\.tokenize first"):
        model().embed(["the boat"])


def test_what_is_loaded_gives_the_vectors_of_what_was_saved(tmp_path: Path, sentences: list[list[str]]) -> None:
    encoder = model()
    loaded = carryover.load(store_language_model(tmp_path / "lm", encoder, {"objective": "bilm"}))
    assert loaded.record == {"objective": "bilm"} and loaded.folder == tmp_path / "lm"
    for one, other in zip(encoder.embed(sentences), loaded.embed(sentences), strict=True):
        assert torch.equal(one, other)


def test_a_mismatch_of_parts_shows_both_values(tmp_path: Path) -> None:
    folder = store_language_model(tmp_path / "lm", model(), {"objective": "bilm"})
    for field, value, message in (
        ("cells", 97, r"float32 \[384, 48\], config\.json asks for float32 \[388, 48\]"),
        ("vocabulary_size", 8, r"characters with 7 entries, config\.json characters with 8"),
        ("input", "words", r"has characters with 7 entries, config\.json words with 7"),
        ("layers", 3, "has no tensor"),
        ("cels", 96, "did you mean 'cells'"),
    ):
        content = json.loads((folder / "config.json").read_text())
        before = json.dumps(content)
        content["config"][field] = value
        (folder / "config.json").write_text(json.dumps(content))
        (folder / storage.MANIFEST).unlink()
        storage.write_manifest(folder)
        with pytest.raises(BadData, match=message):
            carryover.load(folder)
        (folder / "config.json").write_text(before)


def test_filling_takes_no_memory_for_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"float32 \[2, 2\], config\.json asks for float32 \[1000000000, 1000000\]"):
        fill(lambda: torch.nn.Linear(1_000_000, 1_000_000_000, bias=False), {"weight": torch.zeros(2, 2)}, tmp_path)


def test_an_artefact_in_the_move_is_loaded(tmp_path: Path) -> None:
    folder = store_language_model(tmp_path / "lm", model(), {"objective": "bilm"})
    following = folder / ".next"
    following.mkdir()
    for place in list(folder.iterdir()):
        if place.is_file():
            place.rename(following / place.name)
    assert load_artefact(folder).kind == "bilm"


def test_a_model_that_is_stopped_while_it_is_built_leaves_gradients_on(tmp_path: Path) -> None:
    def build() -> torch.nn.Module:
        with torch.no_grad():
            while True:
                torch.empty(1)

    with pytest.raises(BadData, match="asks for far more tensors"):
        fill(build, {}, tmp_path)
    assert torch.is_grad_enabled()

"""Occurrences of a word: found, sampled, told apart by their contexts; senses by the nearest labelled one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carryover import load
from carryover.data import builtin
from carryover.encoders.embed_lines import EmbeddedLine
from carryover.errors import BadData, UsageError
from carryover.inspect import occurrences, senses
from carryover.inspect.occurrences import Occurrence, diverse, find_occurrences, neighbours_in_context, occurrence_vectors
from carryover.inspect.senses import sense_accuracy, sense_occurrences
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.settings import PretrainSettings
from example_material import Tagged, tagged_words
from task_material import language_model

GRAMMAR = "grammar?raw=3000&labelled=400&words=60"


def numbered(*lines: str) -> list[tuple[int, str]]:
    return list(enumerate(lines, 1))


# Finding ------------------------------------------------------------------------------------------------------------


def test_where_a_word_stands() -> None:
    lines = numbered("the boat sees the gull", "a boats", "Boat", "", "boat and boat", "the boat sees the gull")
    found = find_occurrences(lines, "boat", str.split)
    places = [(one.line, one.position) for one in found.occurrences]
    assert places == [(1, 1), (5, 0), (5, 2)] and found.total == 3, "the same sentence counts once"
    assert found.occurrences[1].marked() == "[boat] and boat"
    as_words = find_occurrences([(7, ["a", "boat"])], "boat", str.split)
    assert as_words.occurrences == [Occurrence(("a", "boat"), 1, 7)]


def test_a_sample_is_drawn_from_the_whole_text() -> None:
    lines = numbered(*(f"boat {number}" for number in range(1000)))
    found = find_occurrences(lines, "boat", str.split, most=50)
    assert len(found.occurrences) == 50 and found.total == 1000
    drawn = [one.line for one in found.occurrences]
    assert drawn == sorted(set(drawn)) and 350 < np.mean(drawn) < 650
    assert find_occurrences(lines, "boat", str.split, most=50) == found
    assert find_occurrences(lines, "boat", str.split, most=50, seed=1) != found


def test_the_case_counts_where_the_word_occurs_so() -> None:
    lines = numbered("a Boat", "the boat", "BOAT", "Straße", "STRASSE")
    exact = find_occurrences(lines, "boat", str.split)
    assert [one.line for one in exact.occurrences] == [2] and exact.spellings == {"boat": 1}
    folded = find_occurrences(lines, "bOAT", str.split)
    assert [one.line for one in folded.occurrences] == [1, 2, 3] and folded.total == 3
    assert folded.spellings == {"Boat": 1, "boat": 1, "BOAT": 1}
    assert find_occurrences(lines, "strasse", str.split).total == 2, "casefold, not lower"


def test_a_word_that_is_not_there() -> None:
    with pytest.raises(BadData, match="the word 'ship' does not occur in the text, in upper or lower case"):
        find_occurrences(numbered("the boat"), "ship", str.split)
    with pytest.raises(BadData, match="check that the tokenizer keeps it as one word"):
        find_occurrences(numbered("the boat"), "the boat", str.split)


# Vectors and neighbours ---------------------------------------------------------------------------------------------


def test_the_vector_is_that_of_the_place() -> None:
    encoder = language_model()
    places = [Occurrence(("the", "boat", "sees", "the", "cow"), 3), Occurrence(("the",), 0)]
    vectors = occurrence_vectors(encoder, places, layers="1")
    (every,) = encoder.embed([places[0].words])
    assert np.allclose(vectors[0], torch.nn.functional.normalize(every[3, 1], dim=0), atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert occurrence_vectors(encoder, []).shape == (0, encoder.model.out_size)
    with pytest.raises(UsageError, match="not one vector a word"):
        occurrence_vectors(encoder, places, layers="all")


def test_diverse_rows() -> None:
    vectors = np.array([[1, 0], [0.99, 0.14], [1, 0], [0, 1], [0.1, 0.99], [-1, 0]], float)
    first, second, third = diverse(vectors, 3)
    assert first == 1 and second == 5 and third in (3, 4)
    assert sorted(diverse(vectors, 99)) == list(range(6)) and diverse(vectors[:0], 2) == []


class PlaceTells:
    """In place of an encoder: a word's vector is made of the word before it."""

    class model:
        mixed_layers, out_size = 3, 2

    @staticmethod
    def lines(encoder: Any, lines: Any, *, layers: str) -> Any:
        noun, verb = torch.tensor([1.0, 0.1]), torch.tensor([0.1, 1.0])
        for words in lines:
            before = ["", *words[:-1]]
            yield EmbeddedLine(list(words), torch.stack([noun if one in ("the", "a") else verb for one in before]))


@pytest.fixture
def place_tells(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(occurrences, "embed_lines", PlaceTells.lines)
    return PlaceTells()


def test_neighbours_have_the_sense_of_the_context(place_tells: Any) -> None:
    lines = numbered("the play was long", "they play well", "a play in four acts", "we play here", "you saw the play")
    found = find_occurrences(lines, "play", str.split)
    contexts = neighbours_in_context(place_tells, found, contexts=2, top=2)
    assert len(contexts) == 2
    noun, verb = sorted(contexts, key=lambda one: one["line"] not in (1, 3, 5))
    assert {noun["line"], *(row["line"] for row in noun["neighbours"])} == {1, 3, 5}
    assert verb["line"] in (2, 4) and verb["neighbours"][0]["line"] == 6 - verb["line"]
    assert verb["neighbours"][0]["cosine"] > 0.999 > verb["neighbours"][1]["cosine"]
    alone = neighbours_in_context(place_tells, find_occurrences(lines[:1], "play", str.split))
    assert alone[0]["neighbours"] == [], "one occurrence has no others"
    with pytest.raises(UsageError, match="contexts is 0"):
        neighbours_in_context(place_tells, found, contexts=0)


# Senses -------------------------------------------------------------------------------------------------------------


def tagged(*rows: str) -> list[Tagged]:
    pairs = [[part.split("/") for part in row.split()] for row in rows]
    return [tagged_words(tuple(w for w, _ in row), tuple(t for _, t in row), n) for n, row in enumerate(pairs, 1)]


def test_senses_of_a_made_up_encoder(place_tells: Any) -> None:
    labelled = sense_occurrences(tagged("the/D play/N", "they/P play/V", "the/D act/N", "a/D play/N", "we/P act/V"))
    assert {one.word for one in labelled} == {"play", "act"}
    test = sense_occurrences(
        tagged("a/D play/N ran/V", "you/P play/V", "you/P act/V", "a/D act/N", "the/D run/N", "we/P run/V")
    )
    score = sense_accuracy(place_tells, labelled, test)
    assert score.accuracy == 1 and score.static_level == 0.5
    assert (score.tested, score.unscored, score.words, score.labelled) == (4, 2, 2, 5)
    assert score.to_json()["schema"] == "carryover.senses/1"
    with pytest.raises(BadData, match="no word to test has two senses"):
        sense_accuracy(place_tells, labelled[:1], test)
    shuffled = [senses.SenseOccurrence(one.occurrence, random.Random(i).choice("NV")) for i, one in enumerate(test)]
    assert sense_accuracy(place_tells, labelled, shuffled).accuracy < 1


def test_a_pretrained_model_tells_homographs_apart(tmp_path: Path) -> None:
    """Far above what one vector a word could do, and its context-free layer is not."""
    settings = PretrainSettings(
        raw=f"builtin:{GRAMMAR}", size="tiny", input="words", vocabulary_size=120, epochs=4, batch_size=16, device="cpu"
    )
    pretrain(settings, tmp_path / "lm", quiet=True)
    encoder = load(tmp_path / "lm")
    found = sense_occurrences(builtin.tagged(GRAMMAR))
    half = len(found) // 2
    score = sense_accuracy(encoder, found[:half], found[half:])
    assert score.tested > 200 and score.static_level < 0.7
    assert score.accuracy > score.static_level + 0.2
    without = sense_accuracy(encoder, found[:half], found[half:], layers="0")
    assert without.accuracy < score.static_level + 0.05

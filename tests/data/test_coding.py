"""From words to numbers: the published character layout, padding, borders, pieces, and independence of what came before."""

from __future__ import annotations

import json
import pickle
import threading

import numpy as np
import pytest
import torch

from carryover.data.coding import CHARACTER_IDS, TokenBatch, TokenCoder, character_rows
from carryover.data.subwords import SubwordTokenizer
from carryover.data.tokenizers import WhitespaceTokenizer
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, UsageError

SENTENCES = [["the", "cat", "sat"], ["the"], [], ["a", "zebra", "the", "cat"]]
VOCABULARY = Vocabulary(["the", "cat", "sat", "a"])


def plain_characters(word: str) -> list[int]:
    """The published layout written out slowly."""
    if word == "<s>":
        signs = [258, 256, 259]
    elif word == "</s>":
        signs = [258, 257, 259]
    else:
        signs = [258, *word.encode("utf-8")[:48], 259]
    return [sign + 1 for sign in signs + [260] * (50 - len(signs))]


@pytest.mark.parametrize("word", ["the", "", "é", "x" * 48, "x" * 49, "日本語" * 20, "<s>", "</s>", "<unk>", "\ud800"])
def test_character_layout(word: str) -> None:
    if word == "\ud800":
        assert character_rows([word])[0, 1:4].tolist() == [0xED + 1, 0xA0 + 1, 0x80 + 1]
        return
    rows = character_rows(["filler", word])
    assert rows.dtype == np.uint16 and rows.shape == (2, 50)
    assert rows[1].tolist() == plain_characters(word)
    assert rows.max() < CHARACTER_IDS and rows.min() > 0


def test_character_rows_of_nothing() -> None:
    assert character_rows([]).shape == (0, 50)


def coder(kind: str) -> TokenCoder:
    if kind == "subwords":
        return TokenCoder(kind, subwords=SubwordTokenizer.train(["the cat sat on the mat"] * 5, "wordpiece", 270))
    return TokenCoder(kind, VOCABULARY)


@pytest.mark.parametrize("borders", [True, False])
def test_characters(borders: bool) -> None:
    batch = coder("characters").batch(SENTENCES, borders)
    assert batch.characters is not None and batch.word_of_unit is None
    assert batch.characters.dtype == torch.int64
    assert batch.word_lengths.tolist() == [3, 1, 0, 4]
    assert batch.index.lengths.tolist() == [length + 2 * borders for length in (3, 1, 0, 4)]
    assert not batch.characters[0].any(), "row 0 is the padding word"
    assert not batch.index.values[~batch.index.mask].any(), "padding points to row 0"
    for sentence, row in zip(SENTENCES, batch.index.rows(), strict=True):
        words = ["<s>", *sentence, "</s>"] if borders else sentence
        assert batch.characters[row].tolist() == [plain_characters(word) for word in words]
    distinct = {word for sentence in SENTENCES for word in sentence}
    assert len(batch.characters) == 1 + len(distinct) + 2 * borders, "every distinct word once"


def test_words() -> None:
    batch = coder("words").batch(SENTENCES, True)
    assert batch.characters is None
    assert batch.index.values.tolist() == [[2, 4, 5, 6, 3, 0], [2, 4, 3, 0, 0, 0], [2, 3, 0, 0, 0, 0], [2, 7, 1, 4, 5, 3]]


@pytest.mark.parametrize("borders", [True, False])
def test_pieces_know_their_words(borders: bool) -> None:
    subword_coder = coder("subwords")
    sentences = [["the", "cats", ""], [], ["中", "mat"]]
    batch = subword_coder.batch(sentences, borders)
    assert batch.word_of_unit is not None
    assert batch.word_lengths.tolist() == [3, 0, 2]
    tokens = subword_coder.vocabulary.tokens
    for sentence, pieces, owners in zip(sentences, batch.index.rows(), batch.word_of_unit, strict=True):
        spelled = [""] * len(sentence)
        real = owners[: len(pieces)].tolist()
        for piece, owner in zip(pieces.tolist(), real, strict=True):
            if owner >= 0:
                spelled[owner] += tokens[piece].removeprefix("##")
        assert [word.replace("<unk>", "?") for word in spelled] == [
            word if word.isascii() and word else "?" for word in sentence
        ]
        assert set(range(len(sentence))) <= set(real), "every word has a piece"
        if borders:
            assert real[0] == real[-1] == -1 and pieces[0] == 2 and pieces[-1] == 3
        assert (owners[len(pieces) :] == -1).all()


@pytest.mark.parametrize("kind", TokenCoder.KINDS)
def test_a_batch_depends_on_nothing_before_it(kind: str) -> None:
    used = coder(kind)
    used.batch([["mat", "cat"], ["sat", "zebra", "other"]], True)
    assert_same(used.batch(SENTENCES, True), coder(kind).batch(SENTENCES, True))


def test_forgetting_words_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from carryover.data import coding

    plain = [coder("characters").batch([[f"w{n}", "the", f"w{n + 1}"]], True) for n in range(20)]
    monkeypatch.setattr(coding._RowCache, "LIMIT", 5)
    small = coder("characters")
    for expected, n in zip(plain, range(20), strict=True):
        assert_same(small.batch([[f"w{n}", "the", f"w{n + 1}"]], True), expected)
    assert len(small._rows) < 15


def test_a_failure_leaves_the_coder_whole() -> None:
    one = coder("characters")
    with pytest.raises(AttributeError):
        one.batch([["new", 3, "word"]], True)  # type: ignore[list-item]
    assert_same(one.batch(SENTENCES, True), coder("characters").batch(SENTENCES, True))


def test_threads_share_a_coder() -> None:
    one = coder("characters")
    sentences = [[f"w{(n * 7 + k) % 3000}" for k in range(50)] for n in range(200)]
    wrong = []

    def work() -> None:
        for sentence in sentences:
            batch = one.batch([sentence], False)
            assert batch.characters is not None
            if batch.characters[batch.index.values[0]].tolist() != [plain_characters(word) for word in sentence]:
                wrong.append(sentence)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def assert_same(one: TokenBatch, other: TokenBatch) -> None:
    assert torch.equal(one.index.values, other.index.values)
    assert torch.equal(one.index.lengths, other.index.lengths)
    assert torch.equal(one.word_lengths, other.word_lengths)
    for mine, its in ((one.characters, other.characters), (one.word_of_unit, other.word_of_unit)):
        assert (mine is None) == (its is None)
        assert mine is None or its is None or torch.equal(mine, its)


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_words_that_look_like_borders_are_unknown(kind: str) -> None:
    one = coder(kind)
    assert_same(one.batch([["a", "<s>", "</s>", "<pad>"]], True), one.batch([["a", "<unk>", "<unk>", "<unk>"]], True))
    assert one.softmax_ids([["<s>", "a"]], True).values.tolist() == [[2, 1, 7, 3]]


@pytest.mark.parametrize("kind", TokenCoder.KINDS)
def test_softmax_ids_stand_beside_the_index(kind: str) -> None:
    one = coder(kind)
    ids, batch = one.softmax_ids(SENTENCES, True), one.batch(SENTENCES, True)
    assert torch.equal(ids.lengths, batch.index.lengths)
    if kind != "characters":
        assert torch.equal(ids.values, batch.index.values)
    else:
        assert ids.values[3].tolist() == [2, 7, 1, 4, 5, 3]


def test_units_and_unknown_share() -> None:
    assert coder("words").units("The cat isn't.") == ["The", "cat", "is", "n't", "."]
    assert coder("subwords").units("the cat") == ["the", "cat"]
    assert coder("words").unknown_share(SENTENCES) == pytest.approx(1 / 8)
    assert coder("characters").unknown_share([[]]) == 0.0
    assert coder("subwords").unknown_share([["the", "中"]]) == 0.5
    assert TokenCoder("words", VOCABULARY, tokenizer=WhitespaceTokenizer()).tokenize("isn't it.") == ["isn't", "it."]


@pytest.mark.parametrize("kind", TokenCoder.KINDS)
def test_round_trip(kind: str) -> None:
    one = coder(kind)
    one.batch(SENTENCES, True)
    for again in (TokenCoder.from_json(json.loads(json.dumps(one.to_json()))), pickle.loads(pickle.dumps(one))):
        assert again.to_json() == one.to_json()
        assert_same(again.batch(SENTENCES, True), one.batch(SENTENCES, True))


def test_no_sentences() -> None:
    for kind in TokenCoder.KINDS:
        batch = coder(kind).batch([], True)
        assert batch.index.values.shape == (0, 0)
        assert coder(kind).batch([[], []], False).index.values.shape == (2, 0)


def test_to_device_keeps_everything() -> None:
    for kind in TokenCoder.KINDS:
        batch = coder(kind).batch(SENTENCES, True)
        assert_same(batch.to("cpu"), batch)


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="characters, words, subwords"):
        TokenCoder("letters")
    with pytest.raises(UsageError, match="needs"):
        TokenCoder("subwords")
    with pytest.raises(UsageError, match="takes no"):
        TokenCoder("words", subwords=SubwordTokenizer.train(["a b"], "bpe", 260))
    for value in (None, {}, {"schema": "carryover.coder/1", "kind": "letters"}):
        with pytest.raises(BadData):
            TokenCoder.from_json(value)

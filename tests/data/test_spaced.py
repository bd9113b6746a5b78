"""Tokens that keep white space: every character is in one of them, and pieces learned of them give any text back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryover.data.coding import TokenCoder
from carryover.data.subwords import SubwordTokenizer
from carryover.data.tokenizers import CharacterTokenizer, SpacedTokenizer, WhitespaceTokenizer, tokenizer_from_json
from carryover.data.vocabulary import Vocabulary
from carryover.data.words import WordTokenizer
from carryover.errors import BadData, UsageError

CODE = [
    "def f(x, y):",
    "    return  x + y  # </s> or <unk>",
    "\ttab\t and  two ",
    "",
    "  ",
    "\\begin{align}  a &= b \\\\",
    "Zoë, 日本",
]
TOKENIZERS = {"words": SpacedTokenizer(WordTokenizer()), "runs": SpacedTokenizer(WhitespaceTokenizer())}
TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=40) | st.text(alphabet=" \tab(.\u00a0\u2003", max_size=40)


def test_single_spaces_go_with_the_token_after_them_and_others_stand_alone() -> None:
    words = TOKENIZERS["words"].words
    assert words("    return  f(x, y) ") == ["    ", "return", "  ", "f", "(", "x", ",", " y", ")", " "]
    assert words(" a\tb \n c") == [" ", "a", "\t", "b", " \n ", "c"]
    assert words("") == [] and words("  ") == ["  "]
    assert TOKENIZERS["runs"].words("a=b  c d") == ["a=b", "  ", "c", " d"]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXT | st.sampled_from(CODE))
@settings(max_examples=200, deadline=None)
def test_the_tokens_are_the_text(name: str, text: str) -> None:
    tokens = TOKENIZERS[name].tokenize(text)
    assert "".join(token.text for token in tokens) == text == "".join(TOKENIZERS[name].words(text))
    end = 0
    for token in tokens:
        assert token.start == end < token.end and text[token.start : token.end] == token.text
        end = token.end


def test_it_is_stored_with_what_it_wraps() -> None:
    wanted = SpacedTokenizer(WordTokenizer(hyphens="split"))
    again = tokenizer_from_json(json.loads(json.dumps(wanted.to_json())))
    assert isinstance(again, SpacedTokenizer) and again.exact
    assert again.words("  well-known") == wanted.words("  well-known") == ["  ", "well", "-", "known"]
    with pytest.raises(BadData, match="nested in another one"):
        tokenizer_from_json({**wanted.to_json(), "inner": wanted.to_json()})
    for inner in (None, {"schema": "carryover.tokenizer/1", "kind": "no such"}, 3):
        with pytest.raises(BadData, match=r"is unknown|schema is"):
            tokenizer_from_json({**wanted.to_json(), "inner": inner})


@pytest.fixture(scope="module")
def exact() -> SubwordTokenizer:
    """Trained on much of what is spelled like a border, so that it would be a piece."""
    return SubwordTokenizer.train([*CODE, "a</s>b <s> <unk> <pad>"] * 40, size=340, split=TOKENIZERS["words"])


@given(text=TEXT | st.sampled_from([*CODE, "<pad></s></s> <unk><s>", "\0 \0", "<unk>"]))
@settings(max_examples=200, deadline=None)
def test_pieces_give_any_text_back(exact: SubwordTokenizer, text: str) -> None:
    cut = exact.pieces_of_words(TOKENIZERS["words"].words(text))
    ids = [number for pieces in cut for number in pieces]
    assert exact.decode(ids) == text
    assert not set(ids) & set(range(len(Vocabulary.FIXED)))


def test_a_piece_that_would_be_a_border_is_cut_into_bytes() -> None:
    text = "</s>\t<unk>\t<s>\t<pad>\tab"
    learned = SubwordTokenizer.train([text] * 200, size=340, split=TOKENIZERS["runs"])
    cut = learned.pieces_of_words(TOKENIZERS["runs"].words(text))
    assert [len(pieces) for pieces in cut] == [4, 1, 5, 1, 3, 1, 5, 1, 1]
    ids = [number for pieces in cut for number in pieces]
    assert learned.decode(ids) == text and min(ids) >= len(Vocabulary.FIXED)


def test_an_indentation_is_one_piece_and_no_piece_crosses_a_token(exact: SubwordTokenizer) -> None:
    assert [len(pieces) for pieces in exact.pieces_of_words(["    ", "  "])] == [1, 1]
    for piece in exact.vocabulary().tokens[4:]:
        spaces = len(piece) - len(piece.lstrip("Ġ"))
        assert spaces <= 1 or spaces == len(piece), piece  # a space before a word, or nothing but spaces


def test_what_is_stored_is_exact_too(exact: SubwordTokenizer) -> None:
    coder = TokenCoder("subwords", tokenizer=TOKENIZERS["words"], subwords=exact)
    again = TokenCoder.from_json(json.loads(json.dumps(coder.to_json())))
    assert coder.exact and again.exact and again.units(CODE[1]) == coder.units(CODE[1])
    plain = SubwordTokenizer.train(CODE * 40, size=300)
    assert not plain.exact and not TokenCoder("subwords", tokenizer=TOKENIZERS["words"], subwords=plain).exact
    assert TokenCoder("words", tokenizer=CharacterTokenizer()).exact and not TokenCoder("words").exact


def test_pieces_that_could_not_be_exact_are_refused() -> None:
    with pytest.raises(UsageError, match="wordpiece pieces of spaced do not give a text back"):
        SubwordTokenizer.train(CODE, "wordpiece", split=TOKENIZERS["words"])
    with pytest.raises(UsageError, match="bpe pieces of words do not give a text back"):
        SubwordTokenizer.train(CODE, split=WordTokenizer())

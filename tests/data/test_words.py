"""The word tokenizer: what it keeps whole, what it parts, places in the text, and time that stays linear."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryover.data.token import Tokenizer
from carryover.data.tokenizers import CharacterTokenizer, WhitespaceTokenizer, tokenizer_from_json
from carryover.data.words import WordTokenizer
from carryover.errors import BadData, UsageError

WORDS = WordTokenizer()

CASES = [
    ("She doesn't know.", "She does n't know ."),
    ("I can't, won't, DON'T; don’t", "I ca n't , wo n't , DO N'T ; do n’t"),
    ("I'm sure they'll say he's here, we've", "I 'm sure they 'll say he 's here , we 've"),
    ("the dogs' house, John's", "the dogs ' house , John 's"),
    ("at five o'clock with O'Brien", "at five o'clock with O'Brien"),
    ("cannot, gonna, gotta; scanning", "can not , gon na , got ta ; scanning"),
    ("l'homme qu'il", "l' homme qu' il"),
    ("'90s and 'em", "'90s and 'em"),
    ("Mr. Smith of the U.S. met J. Doe, Ph.D., etc.", "Mr. Smith of the U.S. met J. Doe , Ph.D. , etc."),
    ("It ended. He left.", "It ended . He left ."),
    ('He said "no" (twice).', 'He said " no " ( twice ) .'),
    ("wait... what -- no!!! Really?", "wait ... what -- no !!! Really ?"),
    ("see http://x.org/a?b=c, www.cnn.com.", "see http://x.org/a?b=c , www.cnn.com ."),
    ("amazon.com/books is.Next", "amazon.com/books is . Next"),
    ("mail a.b+c@ex-ample.co.uk now", "mail a.b+c@ex-ample.co.uk now"),
    ("pay $1,200.50 or 3% at 10:30 on 12/05/2006", "pay $ 1,200.50 or 3 % at 10:30 on 12/05/2006"),
    ("the 3rd, 1990s, 4x4, B2B, .5", "the 3rd , 1990s , 4x4 , B2B , .5"),
    ("a well-known e-mail", "a well-known e-mail"),
    ("@paulwalk #photography :) <3 <unk>", "@paulwalk #photography :) <3 <unk>"),
    ("_emphasis_ but snake_case", "_ emphasis _ but snake_case"),
    ("中文字 हिन्दी भाषा", "中 文 字 हिन्दी भाषा"),
    ("caf\u0065\u0301 na\u00efve", "caf\u0065\u0301 na\u00efve"),
    ("👨‍👩‍👧 🇩🇪 👍🏽!", "👨‍👩‍👧 🇩🇪 👍🏽 !"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_words_of(text: str, expected: str) -> None:
    assert WORDS.words(text) == expected.split()


def test_hyphens_may_be_split() -> None:
    assert WordTokenizer(hyphens="split").words("a well-known e-mail") == ["a", "well", "-", "known", "e", "-", "mail"]
    with pytest.raises(UsageError, match="hyphens"):
        WordTokenizer(hyphens="maybe")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("tokenizer", [WORDS, WordTokenizer(hyphens="split"), CharacterTokenizer(), WhitespaceTokenizer()])
def test_tokens_lie_in_order_and_cover_all_but_white_space(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.tokenize(text)
    assert [token.text for token in tokens] == tokenizer.words(text)
    end = 0
    for token in tokens:
        assert text[token.start : token.end] == token.text != ""
        assert token.start >= end
        assert not text[end : token.start].strip()
        end = token.end
    assert not text[end:].strip()


HOSTILE = [
    "a.", "ab.", "a-", "1.", "1,", "a@", "a.b@", "http://", "www.", "-", "a'", "n't", "'s", "_", "a_", "(", ":)", ":-",
    "\u0301", "a\u0301", "\u200d", "😀\u200d", "中", "x.com", "@", "#", "1a.", "can", "cannot", "a.b-", "ab.cd", "A.", "A. ",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("tail", ["", "1x", "é"])
def test_time_is_linear_in_hostile_text(unit: str, tail: str) -> None:
    """A quadratic expression would need minutes for these 60,000 characters; the bound leaves room for a busy machine."""
    text = unit * (60_000 // len(unit)) + tail
    begin = time.process_time()
    words = WORDS.words(text)
    assert time.process_time() - begin < 5
    assert "".join(words) == "".join(text.split())


@pytest.mark.parametrize(
    "tokenizer", [WORDS, WordTokenizer(hyphens="split"), CharacterTokenizer(), WhitespaceTokenizer()], ids=lambda t: t.kind
)
def test_round_trip(tokenizer: Tokenizer) -> None:
    text = "It isn't well-known."
    for again in (tokenizer_from_json(tokenizer.to_json()), pickle.loads(pickle.dumps(tokenizer))):
        assert type(again) is type(tokenizer)
        assert again.tokenize(text) == tokenizer.tokenize(text)
        assert again.to_json() == tokenizer.to_json()


@pytest.mark.parametrize(
    "value", [None, {}, {"kind": "words"}, {"schema": "carryover.tokenizer/1", "kind": "none"},
              {"schema": "carryover.tokenizer/1", "kind": "words", "hyphens": "maybe"},
              {"schema": "carryover.tokenizer/1", "kind": []}],
)  # fmt: skip
def test_foreign_descriptions_are_refused(value: object) -> None:
    with pytest.raises(BadData):
        tokenizer_from_json(value)

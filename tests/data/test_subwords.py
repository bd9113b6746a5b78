"""Learned pieces: places in the text, the same on every run, foreign files checked, no panic let through."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryover.data import subwords
from carryover.data.subwords import KINDS, SubwordTokenizer
from carryover.data.tokenizers import tokenizer_from_json
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, InputMissing, UsageError

TEXTS = [
    "the quick brown fox jumps over the lazy dog, and the dog sleeps",
    "she sells sea shells by the sea shore; shells she sells are sea shells",
    "naïve cafés in Zürich sell crêpes — don't they?",
    "walking, walked, walks, walker; talking, talked, talks, talker",
] * 4


@pytest.fixture(scope="module")
def trained() -> dict[str, SubwordTokenizer]:
    return {kind: SubwordTokenizer.train(TEXTS, kind, 320) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_entries_have_their_ids(trained: dict[str, SubwordTokenizer], kind: str) -> None:
    vocabulary = trained[kind].vocabulary()
    assert vocabulary.tokens[:4] == Vocabulary.FIXED
    assert len(vocabulary) == len(trained[kind]) <= 320


@pytest.mark.parametrize("kind", KINDS)
def test_frequent_words_have_few_pieces_and_others_many(trained: dict[str, SubwordTokenizer], kind: str) -> None:
    frequent, rare = trained[kind].pieces_of_words(["walked", "zebras"])
    assert len(frequent) <= 3 < len(rare)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=60) | st.sampled_from(TEXTS))
@settings(max_examples=150, deadline=None)
def test_places_are_right_and_cover_the_text(trained: dict[str, SubwordTokenizer], kind: str, text: str) -> None:
    covered = set()
    begin = 0
    for token in trained[kind].tokenize(text):
        assert text[token.start : token.end] == token.text
        assert token.text.strip() == token.text != ""
        assert token.start >= begin, "pieces lie in order"
        begin = token.start
        covered.update(range(token.start, token.end))
    if kind != "wordpiece":  # which drops control characters between words, as its inventors did
        assert all(place in covered or character.isspace() for place, character in enumerate(text))


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_name_what_they_cover(trained: dict[str, SubwordTokenizer], kind: str) -> None:
    text = "  the walker, walked"
    for piece, number, start, end in trained[kind].pieces(text):
        assert trained[kind].vocabulary().tokens[number] == piece
        plain = piece.replace("##", "").replace("▁", "").replace("Ġ", "")
        assert text[start:end].strip() == plain
    assert trained[kind].decode([piece.id for piece in trained[kind].pieces("the walker")]).strip() == "the walker"


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_spells_a_border_does_not_become_one(trained: dict[str, SubwordTokenizer], kind: str) -> None:
    for word in ("<s>", "</s>", "<pad>"):
        ids = trained[kind].pieces_of_words([word])[0]
        assert not {0, 2, 3} & set(ids)
        assert not {0, 2, 3} & {piece.id for piece in trained[kind].pieces(f"a {word} b{word}")}
    assert len(trained["bpe"].pieces("<s>")) > 1, "ordinary pieces for it"
    assert 1 in trained[kind].pieces_of_words(["<unk>"])[0]


def test_bytes_leave_no_character_unknown(trained: dict[str, SubwordTokenizer]) -> None:
    assert all(1 not in ids for ids in trained["bpe"].pieces_of_words(["中文", "😀", "\x07", "ﬁ"]))
    assert trained["wordpiece"].pieces_of_words(["中文"]) == [[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_lone_surrogates_do_no_harm(trained: dict[str, SubwordTokenizer], kind: str) -> None:
    assert len(trained[kind].pieces_of_words(["\ud800", "a\udfff", ""])) == 3
    text = "the \ud800 \U0001f600 dog"
    assert next(text[token.start : token.end] for token in trained[kind].tokenize(text)) == "the"


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(trained: dict[str, SubwordTokenizer], kind: str) -> None:
    tokenizer = trained[kind]
    described = json.loads(json.dumps(tokenizer.to_json()))
    for again in (tokenizer_from_json(described), pickle.loads(pickle.dumps(tokenizer))):
        assert isinstance(again, SubwordTokenizer)
        assert again.to_json() == tokenizer.to_json()
        assert again.pieces(TEXTS[2]) == tokenizer.pieces(TEXTS[2])


def test_training_gives_the_same_in_every_process(trained: dict[str, SubwordTokenizer]) -> None:
    """The library's own WordPiece and Unigram trainers differ from run to run."""
    script = (
        "import json, sys; from carryover.data.subwords import *\n"
        "texts = json.load(sys.stdin)\n"
        "print(json.dumps([SubwordTokenizer.train(texts, kind, 320).to_json() for kind in KINDS]))"
    )
    expected = [trained[kind].to_json() for kind in KINDS]
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", script], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
        )
        assert json.loads(run.stdout) == expected


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="bpe, wordpiece, unigram"):
        SubwordTokenizer.train(TEXTS, "morphemes")
    with pytest.raises(UsageError, match="too few"):
        SubwordTokenizer.train(TEXTS, "bpe", 100)
    for kind in KINDS:
        with pytest.raises(BadData, match="no text"):
            SubwordTokenizer.train(["", "  ", "x" * 500], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_many_different_characters_are_fine(kind: str) -> None:
    texts = ["".join(chr(0x4E00 + n) for n in range(start, start + 3)) for start in range(0, 900, 2)]
    tokenizer = SubwordTokenizer.train(texts, kind, 400)
    assert len(tokenizer) <= 400
    assert tokenizer.tokenize(texts[0])


def test_a_panic_of_the_library_becomes_bad_data(
    trained: dict[str, SubwordTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        """Like pyo3's, which `except Exception` does not catch."""

    class Broken:
        def encode(self, *_: object, **__: object) -> None:
            raise PanicException("index out of range")

    broken = SubwordTokenizer(trained["bpe"].description)
    monkeypatch.setattr(broken, "_library", Broken())
    with pytest.raises(BadData, match="index out of range"):
        broken.tokenize("the")


def test_an_interrupt_is_no_bad_data() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        subwords._guard("x", interrupted)


FOREIGN: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "the": 1, "cat": 2}, "unk_token": "[UNK]"},
    "post_processor": None,
    "decoder": None,
}


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_a_foreign_file_is_read(tmp_path: Path) -> None:
    tokenizer = SubwordTokenizer.from_file(write(tmp_path / "tokenizer.json", FOREIGN))
    assert tokenizer.pieces_of_words(["The", "dog"]) == [[1], [0]]
    with pytest.raises(UsageError, match=r"\[UNK\]"):
        tokenizer.vocabulary()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "Invented"}]}),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "x"}, "content": ""}]}),
        ("normalizer", "Lowercase"),
        ("decoder", {"type": "CTC"}),
        ("model", {"type": "Remote"}),
    ],
)
def test_foreign_parts_that_are_not_allowed(tmp_path: Path, part: str, value: Any) -> None:
    path = write(tmp_path / "tokenizer.json", {**FOREIGN, part: value})
    with pytest.raises(BadData, match=f"its {part}") as caught:
        SubwordTokenizer.from_file(path)
    assert caught.value.path == str(path)


def replacing(wanted: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": wanted}, "content": content}


def steps(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(parts)}


@pytest.mark.parametrize(
    ("part", "value", "fault"),
    [
        ("normalizer", steps(*[replacing("a", "aa")] * 40), "has 41 steps"),
        ("normalizer", steps(*[replacing("a", "aa")] * 20), "replaces 'a' by a longer text"),
        ("normalizer", steps(steps(steps(replacing("a", "bab")))), "replaces 'a' by a longer text"),
        ("normalizer", replacing("", "a"), "looks for an empty text"),
        ("normalizer", {"type": "Replace", "pattern": "a", "content": "aa"}, "holds a regular expression"),
        ("normalizer", {"type": "Replace", "content": "aa"}, "has no pattern"),
        ("normalizer", {"type": "Prepend", "prepend": "a" * 65}, "has a prepend of more than 64"),
        ("normalizer", steps(*[{"type": "ByteLevel"}] * 2), "writes bytes as letters more than once"),
        ("decoder", {"type": "Sequence", "decoders": [replacing("a", "aa")] * 20}, "by a longer text"),
        ("decoder", {"type": "WordPiece", "prefix": "#" * 1000, "cleanup": True}, "has a prefix of more than 64"),
        ("pre_tokenizer", {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated"}, "looks for an empty text"),
        ("model", {**FOREIGN["model"], "type": "WordPiece", "max_input_chars_per_word": 10**9}, "matches words of up to"),
        ("model", {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}, "at random"),
        ("model", {"type": "BPE", "vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "x" * 10**6}, "of more than 64"),
    ],
)
def test_parts_that_may_take_for_ever_are_refused(tmp_path: Path, part: str, value: Any, fault: str) -> None:
    path = write(tmp_path / "tokenizer.json", {**FOREIGN, part: value})
    with pytest.raises(BadData, match=f"its {part}.*{fault}"):
        SubwordTokenizer.from_file(path)


def test_what_published_tokenizers_are_made_of_is_allowed() -> None:
    marks = steps({"type": "Prepend", "prepend": "▁"}, replacing(" ", "▁"), replacing("``", '"'))
    decoder = {"type": "Sequence", "decoders": [replacing("▁", " "), {"type": "Fuse"}]}
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "▁the▁cat": 1}, "unk_token": "[UNK]"}
    parts = {"normalizer": marks, "pre_tokenizer": None, "decoder": decoder, "model": model}
    tokenizer = SubwordTokenizer({**FOREIGN, **parts})
    assert [piece.id for piece in tokenizer.pieces("the cat")] == [1] and tokenizer.decode([1]) == " the cat"


def test_the_worst_that_is_allowed_ends() -> None:
    widening = [{"type": kind} for kind in ("NFKD", "NFD", "Nmt")] * 4
    widening += [{"type": "Prepend", "prepend": "ﷺ" * 64}, {"type": "NFKD"}] * 7
    bert = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    parts = {
        "normalizer": steps(*widening, bert, bert, {"type": "ByteLevel"}),
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False},
    }
    tokenizer = SubwordTokenizer({**FOREIGN, **parts})
    began = time.process_time()
    tokenizer.pieces("ﷺ水" * 5000)
    assert time.process_time() - began < 60


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": {}}', '{"model": {"type": "BPE"}}', "[" * 100_000, "ÿ"])
def test_files_that_are_no_tokenizer(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadData) as caught:
        SubwordTokenizer.from_file(write(tmp_path / "tokenizer.json", content))
    assert caught.value.path is not None


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        SubwordTokenizer.from_file(tmp_path / "absent.json")

"""A corpus on disk: exact, whole or absent, built once, with memory that does not grow with the text."""

from __future__ import annotations

import gzip
import pickle
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from carryover.data import shard_passes
from carryover.data.coding import character_rows
from carryover.data.shards import Shards, build_shards
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, InputMissing, UsageError

LINES = ["the cat saw the dog", "", "a dog saw été", "   ", "the the the end"]


def numbered(lines: list[str]) -> list[tuple[int, str]]:
    return list(enumerate(lines, start=1))


def build(folder: Path, lines: list[str] = LINES, kind: str = "characters", **options: object) -> Shards:
    return build_shards(numbered(lines), kind, folder, tokenize=str.split, **options)  # type: ignore[arg-type]


def test_every_word_comes_back(tmp_path: Path) -> None:
    shards = build(tmp_path / "shards")
    kept = [line.split() for line in LINES if line.split()]
    assert list(shards.sentences()) == kept
    assert (shards.lines, shards.blank_lines) == (3, 2)
    assert shards.tokens == sum(len(words) + 2 for words in kept) == len(shards.ids)
    assert shards.line_offsets.tolist() == [0, 7, 13, 19]
    spelled = [shards.spellings[number] for number in shards.ids]
    assert spelled[:8] == ["<s>", "the", "cat", "saw", "the", "dog", "</s>", "<s>"]
    assert shards.read(7, 13).tolist() == shards.ids[7:13].tolist()


def test_types_are_ranked_so_that_the_softmax_id_is_the_type(tmp_path: Path) -> None:
    words = [f"w{i % 37}" for i in range(500)] + [f"w{i}" for i in range(20)]
    shards = build(tmp_path / "shards", [" ".join(words[i : i + 9]) for i in range(0, len(words), 9)], vocabulary_size=14)
    assert shards.vocabulary == Vocabulary.count(words, max_size=14)
    assert shards.types == 4 + 37
    expected = [shards.vocabulary.id(shards.spellings[number]) for number in shards.ids]
    assert shards.softmax_ids(shards.ids).tolist() == expected
    counts = Counter(words)
    assert shards.counts[4:].tolist() == [counts[word] for word in shards.spellings[4:]]
    assert sorted(shards.counts[4:].tolist(), reverse=True) == shards.counts[4:].tolist()
    assert shards.unknown_tokens == expected.count(Vocabulary.UNKNOWN_ID) > 0


def test_characters_of_every_type(tmp_path: Path) -> None:
    shards = build(tmp_path / "shards")
    assert not shards.characters[Vocabulary.PAD_ID].any()
    assert np.array_equal(shards.characters[1:], character_rows(shards.spellings[1:]))


def test_held_out_text_shares_a_vocabulary_and_keeps_its_own_words(tmp_path: Path) -> None:
    vocabulary = build(tmp_path / "train").vocabulary
    shards = build(tmp_path / "valid", ["the bird saw a bird"], vocabulary=vocabulary)
    assert shards.vocabulary == vocabulary
    assert shards.spellings[: len(vocabulary)] == list(vocabulary.tokens)
    assert list(shards.sentences()) == [["the", "bird", "saw", "a", "bird"]]
    assert shards.unknown_tokens == 2


@pytest.mark.parametrize("kind", ["words", "subwords"])
def test_kinds_without_characters_keep_the_vocabulary_only(tmp_path: Path, kind: str) -> None:
    vocabulary = Vocabulary(["the", "dog"])
    shards = build(tmp_path / "shards", kind=kind, vocabulary=vocabulary)
    assert shards.types == len(vocabulary) == 6
    assert next(shards.sentences()) == ["the", "<unk>", "<unk>", "the", "dog"]
    with pytest.raises(UsageError, match="not characters"):
        _ = shards.characters


def test_words_that_look_like_marks_are_unknown_words(tmp_path: Path) -> None:
    shards = build(tmp_path / "shards", ["a </s> b <s> <pad> <unk>"])
    assert list(shards.sentences()) == [["a", "<unk>", "b", "<unk>", "<unk>", "<unk>"]]
    assert shards.unknown_tokens == 4


@pytest.mark.parametrize("lines", [[], ["", "  ", "\t"]])
def test_a_corpus_without_words_is_refused_and_leaves_nothing(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(BadData, match=r"no text: .*; give a file") as error:
        build(tmp_path / "shards", lines)
    assert error.value.exit_code == 65
    assert not any(tmp_path.iterdir())


def test_a_failing_build_leaves_what_stood_there(tmp_path: Path) -> None:
    before = build(tmp_path / "shards").fingerprint

    def failing(line: str) -> list[str]:
        if "été" in line:
            raise BadData("bad line", path="x.txt", line=3)
        return line.split()

    with pytest.raises(BadData, match=r"x\.txt:3"):
        build_shards(numbered(LINES), "words", tmp_path / "shards", tokenize=failing)
    assert Shards.open(tmp_path / "shards").fingerprint == before
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="characters, words, subwords"):
        build(tmp_path / "shards", kind="letters")
    with pytest.raises(UsageError, match="vocabulary"):
        build(tmp_path / "shards", kind="subwords")


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    build(tmp_path / "shards")
    for path in sorted((tmp_path / "shards").iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BadData):
            Shards.open(tmp_path / "shards")
        path.write_bytes(whole)
    Shards.open(tmp_path / "shards")
    ids = tmp_path / "shards" / "ids.int32"
    ids.write_bytes(ids.read_bytes()[:-4])
    with pytest.raises(BadData, match=r"ids\.int32 has 72 bytes instead of 76"):
        Shards.open(tmp_path / "shards", verify=False)
    with pytest.raises(InputMissing):
        Shards.open(tmp_path / "nothing")


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    plain.write_text("\n".join(LINES) + "\n")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    prints = {
        build_shards(path, kind, tmp_path / f"{path.name}-{kind}", tokenize=str.split).fingerprint
        for path in (plain, packed)
        for kind in ("characters", "words")
    }
    assert len(prints) == 2


def test_shards_travel_to_other_processes_and_survive_replacement(tmp_path: Path) -> None:
    shards = build(tmp_path / "shards")
    twin = pickle.loads(pickle.dumps(shards))
    assert twin.read(0, 5).tolist() == shards.read(0, 5).tolist()
    before = shards.read(0, 7).tolist()
    build(tmp_path / "shards", ["z y x w v u t s"])
    assert shards.read(0, 7).tolist() == before
    with pytest.raises(BadData, match="cannot be read"):
        shards.read(15, 30)


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_passes, "BUFFER", 4096)

    def peak(times: int) -> int:
        lines = (line for i in range(times * 1500) for line in [(i, f"a b c d e f g h w{i % 97} j k l m n o")])
        tracemalloc.start()
        try:
            shards = build_shards(lines, "words", tmp_path / f"{times}", tokenize=str.split)
            assert shards.tokens == times * 1500 * 17
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    small, large = peak(1), peak(10)
    assert large < 1.2 * small, f"{small} bytes at 1×, {large} at 10×"

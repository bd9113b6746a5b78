"""The readers on real data sets, with the numbers of examples their makers state."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from carryover.data.coding import TokenCoder
from carryover.data.doctor import examine
from carryover.data.formats.reading import read_raw, read_tagged, read_texts
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData

BY_NUMBER = {"text_column": 0, "label_column": 1}
COLA = {"text_column": 3, "label_column": 1}
TEXTS: list[tuple[str, int, dict[str, int], dict[str, Any]]] = [
    ("sst2/train.tsv", 6920, {}, BY_NUMBER),
    ("sst2/dev.tsv", 872, {}, BY_NUMBER),
    ("sst2/test.tsv", 1821, {}, BY_NUMBER),
    ("sentence-polarity/train.tsv", 8505, {"1": 4243}, {}),
    ("sentence-polarity/dev.tsv", 1103, {"1": 542}, {}),
    ("sentence-polarity/test.tsv", 1054, {"1": 546}, {}),
    ("trec-qc/train.txt", 5452, {}, {}),
    ("trec-qc/test.txt", 500, {}, {}),
    ("cola/in_domain_train.tsv", 8551, {}, COLA),
    ("cola/in_domain_dev.tsv", 527, {}, COLA),
    ("cola/out_of_domain_dev.tsv", 516, {}, COLA),
    ("sick/SICK_train.txt", 4500, {}, {"text_column": "sentence_A", "label_column": "entailment_judgment"}),
    ("blimp-part/blimp.jsonl.gz", 22_000, {}, {"text_column": "sentence_good", "label_column": "UID"}),
]


@pytest.mark.parametrize(("name", "examples", "of_label", "options"), TEXTS)
def test_texts(shared_data: Path, name: str, examples: int, of_label: dict[str, int], options: dict[str, Any]) -> None:
    result = read_texts(shared_data / name, **options)
    assert result.rows == len(result.examples) == examples
    labels = Counter(label for example in result.examples for label in example.gold)
    assert labels.total() == examples
    for label, count in of_label.items():
        assert labels[label] == count


def test_labels_of_questions(shared_data: Path) -> None:
    path = shared_data / "trec-qc" / "train.txt"
    assert len({example.gold for example in read_texts(path).examples}) == 50
    assert len({example.gold for example in read_texts(path, coarse=":").examples}) == 6


TAGGED = [
    ("conll2000-chunking/train.txt.gz", 8936, 211_727, "IOB2"),
    ("conll2000-chunking/test.txt.gz", 2012, 47_377, "IOB2"),
    ("wnut17-ner/train.conll", 3394, 62_730, "IOB2"),
    ("wnut17-ner/dev.conll", 1009, 15_733, "IOB2"),
    ("wnut17-ner/test.conll", 1287, 23_394, "IOB2"),
    ("ud-english-ewt/en_ewt-ud-train.conllu.gz", 12_544, None, None),
    ("ud-english-ewt/en_ewt-ud-dev.conllu.gz", 2001, None, None),
    ("ud-english-ewt/en_ewt-ud-test.conllu.gz", 2077, None, None),
]


@pytest.mark.parametrize(("name", "sentences", "tokens", "scheme"), TAGGED)
def test_tagged(shared_data: Path, name: str, sentences: int, tokens: int | None, scheme: str | None) -> None:
    result = read_tagged(shared_data / name)
    assert result.rows == len(result.examples) == sentences
    assert (None if result.scheme is None else str(result.scheme)) == scheme
    assert all(len(sentence.input.tokens) == len(sentence.gold) for sentence in result.examples)
    if tokens is not None:
        assert sum(len(sentence.input.tokens) for sentence in result.examples) == tokens
    else:
        assert len({tag for sentence in result.examples for tag in sentence.gold}) == 17


def test_hashes_are_words_in_tweets(shared_data: Path) -> None:
    sentences = read_tagged(shared_data / "wnut17-ner" / "train.conll").examples
    words = [token for sentence in sentences for token in sentence.input.tokens]
    assert "#" in words
    assert any(word.startswith("#") and len(word) > 1 for word in words)


def test_raw_text(shared_data: Path) -> None:
    lines = list(read_raw(shared_data / "lm-english-mixed" / "valid.txt.gz"))
    assert [number for number, _ in lines] == list(range(1, len(lines) + 1))
    assert sum(len(line.split()) for _, line in lines) == 90_340
    assert any(not line for _, line in lines)


def test_words_of_raw_text_cover_a_treebank(shared_data: Path) -> None:
    """The word tokenizer and the treebank agree on what a word is: hardly a frequent token is never produced."""
    coder = TokenCoder("words", Vocabulary())
    produced: set[str] = set()
    for _, line in read_raw(shared_data / "lm-english-mixed" / "valid.txt.gz"):
        produced.update(coder.tokenize(line))
    treebank = read_tagged(shared_data / "ud-english-ewt" / "en_ewt-ud-dev.conllu.gz").examples
    frequent = [word for word, count in Counter(w for s in treebank for w in s.input.tokens).items() if count >= 20]
    missing = [word for word in frequent if word not in produced]
    assert len(missing) <= len(frequent) // 20, missing


def test_tokens_of_a_treebank_text(shared_data: Path) -> None:
    """Retokenising the words of chunked newspaper text joined by blanks gives nearly all of them back."""
    sentences = read_tagged(shared_data / "conll2000-chunking" / "test.txt.gz").examples[:500]
    coder = TokenCoder("words", Vocabulary())
    same = total = 0
    for sentence in sentences:
        found = Counter(coder.tokenize(" ".join(sentence.input.tokens)))
        same += (found & Counter(sentence.input.tokens)).total()
        total += len(sentence.input.tokens)
    assert same / total > 0.99


def test_doctor_on_reviews(shared_data: Path) -> None:
    report = examine(train=shared_data / "sst2" / "train.tsv", test=shared_data / "sst2" / "test.tsv", **BY_NUMBER)
    assert report.errors == 0
    assert [finding.count for finding in report.findings if "also occur in train" in finding.message] == [2]


def test_a_wrong_guess_is_explained(shared_data: Path) -> None:
    with pytest.raises(BadData, match="for a file without a header give numbers"):
        read_texts(shared_data / "sst2" / "train.tsv")
    with pytest.raises(BadData, match="looks like text without labels"):
        read_texts(shared_data / "lm-english-mixed" / "valid.txt.gz")

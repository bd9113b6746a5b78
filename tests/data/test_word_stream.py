"""Words read as a stream: the same as the readers that look at the whole file, in order, none lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carryover.data.formats.reading import read_tagged
from carryover.data.formats.word_stream import read_items
from carryover.errors import BadData, CarryoverError, UsageError

COLUMNS = (
    "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\n# 3\n# CD I-NP O\n. . O O\n\n\nPeter NNP I-NP B-PER\n"
)
TREEBANK = (
    "# text = a b\n1\tVámonos\tir\tVERB\t_\t_\t0\troot\t_\t_\n2-3\tal\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "2\ta\ta\tADP\t_\t_\t3\tcase\t_\t_\n3\tel\tel\tDET\t_\t_\t1\tdet\t_\t_\n3.1\tx\tx\tX\t_\t_\t_\t_\t_\t_\n\n"
)


@pytest.mark.parametrize(
    ("name", "content"), [("a.conll", COLUMNS), ("a.conll", COLUMNS.replace(" ", "\t")), ("a.conllu", TREEBANK)]
)
def test_as_the_reader_of_whole_files(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content.replace("#\t3\n", "# 3\n"))
    assert list(read_items(path)) == [list(sentence.input.tokens) for sentence in read_tagged(path).examples]


def test_lines_and_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\n\n three\n")
    assert list(read_items(tmp_path / "a.txt")) == ["one two", "", " three"]
    rows = [{"text": "a b"}, {"tokens": ["don't", "go"], "text": "x"}, {"text": ""}, {"tokens": []}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_items(tmp_path / "a.jsonl")) == ["a b", ["don't", "go"], "", []]
    (tmp_path / "b.data").write_text(json.dumps({"body": "c"}) + "\n")
    assert list(read_items(tmp_path / "b.data", format="jsonl", text_column="body")) == ["c"]
    assert len(list(read_items("builtin:grammar?raw=7"))) == 7


def test_it_streams(tmp_path: Path) -> None:
    """The fault at the end is met only there."""
    (tmp_path / "a.conll").write_text("a X\nb Y\n\nc\td e f\n\n")
    stream = read_items(tmp_path / "a.conll")
    assert next(stream) == ["a", "b"]
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\nnothing\n')
    rows = read_items(tmp_path / "b.jsonl")
    assert next(rows) == "a"
    with pytest.raises(BadData, match=r"b\.jsonl:2: "):
        next(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.conll", "a X\nb\n", r"a\.conll:1: 2 columns where the sentence has 1"),
        ("a.conllu", "1\ta\n", r"a\.conllu:1: 2 columns where CoNLL-U has 10"),
        ("a.jsonl", '{"texts": "a"}\n', r"a\.jsonl:1: no column 'text'; did you mean 'texts'\?"),
        ("a.jsonl", '{"text": 3}\n', r"a\.jsonl:1: 'text' is not a string"),
        ("a.jsonl", '{"tokens": ["a", ""]}\n', r"a\.jsonl:1: 'tokens' is not a list"),
        ("a.jsonl", '{"tokens": ["\\ud800"]}\n', r"a\.jsonl:1: the text holds half"),
    ],
)
def test_faults(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CarryoverError, match=message):
        list(read_items(tmp_path / name))
    with pytest.raises(UsageError, match="did you mean 'conll'"):
        read_items(tmp_path / name, format="connl")

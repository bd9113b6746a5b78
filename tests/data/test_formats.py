"""The table of formats: every suffix, the beginnings that tell, and the same text from every format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from carryover.data.doctor import examine
from carryover.data.formats.choosing import FORMATS, choose_format, holds_tags
from carryover.data.formats.reading import read_raw, read_tagged, read_texts
from carryover.data.formats.word_stream import read_items
from carryover.errors import BadData, CarryoverError, UsageError

LINES = ["they see the house", "the house is old", "a gull sees the boat"]


def treebank(plus: bool) -> str:
    head = "# global.columns = ID FORM UPOS PARSEME:MWE\n" if plus else ""
    blocks = []
    for line in LINES:
        words = enumerate(line.split(), start=1)
        rest = "X\t*" if plus else "_\tX\t_\t_\t_\t_\t_\t_"
        blocks.append("# text = markup\n" + "".join(f"{number}\t{word}\t{rest}\n" for number, word in words))
    return head + "\n".join(blocks)


def table(sign: str, column: str) -> str:
    return "".join(f"{sign.join(row)}\n" for row in [("label", column), *(("pos", line) for line in LINES)])


def contents(folder: Path, column: str = "text") -> dict[str, bytes]:
    """The same three texts in every format."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({column: LINES, "label": ["pos"] * 3}), folder / "table")
    rows = "".join(json.dumps({"label": "pos", column: line}) + "\n" for line in LINES)
    words = "\n".join("".join(f"{word} O\n" for word in line.split()) for line in LINES)
    return {
        "a.txt": "\n".join(LINES).encode(),
        "a.tsv": table("\t", column).encode(),
        "a.csv": table(",", column).encode(),
        "a.jsonl": rows.encode(),
        "a.json": rows.encode(),
        "a.parquet": (folder / "table").read_bytes(),
        "a.conll": words.encode(),
        "a.iob2": words.replace(" ", "\t").encode(),
        "a.conllu": treebank(plus=False).encode(),
        "a.conllup": treebank(plus=True).encode(),
        "b.conllup": treebank(plus=False).encode(),
    }


NAMES = (
    "a.txt", "a.tsv", "a.csv", "a.jsonl", "a.json", "a.parquet", "a.conll", "a.iob2", "a.conllu", "a.conllup", "b.conllup",
)  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_text_from_every_format(name: str, packed: bool, tmp_path: Path) -> None:
    """No markup is read as words."""
    content = contents(tmp_path)[name]
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    words = [item.split() if isinstance(item, str) else item for item in read_items(path)]
    assert words == [line.split() for line in LINES]
    assert [line for _, line in read_raw(path) if line] == LINES
    assert examine(raw=path).figures["raw"]["lines"] == 3


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_named_and_numbered(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(contents(tmp_path, "body")[name])
    assert [line for _, line in read_raw(path, column="body") if line] == LINES
    if name in ("a.tsv", "a.csv", "a.jsonl", "a.parquet"):
        with pytest.raises(BadData, match="no column 'text'"):
            list(read_raw(path))
    if name in ("a.tsv", "a.csv"):
        assert [line for _, line in read_raw(path, column=1)][1:] == LINES
    if name not in ("a.parquet", "a.txt"):
        assert [line for _, line in read_raw(path, format="text") if line] != LINES, "as it stands, if asked for"


@pytest.mark.parametrize("name", NAMES)
def test_the_beginning_tells_where_the_name_does_not(name: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    for file in (path, tmp_path / name):
        file.write_bytes(contents(tmp_path)[name])
    format = choose_format(path, None, "raw", otherwise="text")
    expected = choose_format(tmp_path / name, None, "raw", otherwise="text")
    assert format == (expected if expected in ("jsonl", "parquet", "conllu") else "text")


def test_running_text_stays_running_text(tmp_path: Path) -> None:
    for name, content in {
        "a.py": '{"text": 1}\n',
        "b.txt": '{"a": 1} is an object\nand this is not\n',
        "c.txt": "1 2 3\n",
        "d.log": '{"text": "x"}\n',
        "e.txt": "\n\n",
        "f.txt": "# a heading\n\ntext\n",
    }.items():
        (tmp_path / name).write_text(content)
        assert choose_format(tmp_path / name, None, "raw", otherwise="text") == "text"
    (tmp_path / "g.txt").write_text("__label__a some text\n__label__b __label__a more text\n")
    assert list(read_items(tmp_path / "g.txt")) == ["some text", "more text"]
    unlabelled = read_texts(tmp_path / "g.txt", require_labels=False).examples
    assert [example.input.text for example in unlabelled] == ["some text", "more text"], "labels are no words"


def test_every_suffix_means_one_format() -> None:
    suffixes = [suffix for one in FORMATS.values() for suffix in one.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert holds_tags("a.IOB2.gz", None) and holds_tags("a", "conllu") and not holds_tags("a.json", None)
    assert not holds_tags("a.conll", "tsv")


@pytest.mark.parametrize(
    ("name", "read", "message"),
    [
        ("a.conllu", read_texts, r"is CoNLL-U by its suffix \.conllu, which holds no labelled texts; .*--format"),
        ("a.iob2", read_texts, r"is CoNLL columns by its suffix \.iob2"),
        ("a.csv", read_tagged, r"is a CSV table by its suffix \.csv, which holds no tagged sentences"),
        ("a.parquet", read_tagged, r"is a Parquet table by its suffix"),
    ],
)
def test_a_format_of_something_else_is_refused(name: str, read: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(contents(tmp_path)[name])
    with pytest.raises(UsageError, match=message):
        read(tmp_path / name)


def test_a_table_of_tags_is_columns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("EU\tB-ORG\nrejects\tO\n")
    assert read_tagged(tmp_path / "a.tsv").examples[0].input.tokens == ("EU", "rejects")


def test_texts_of_several_lines_are_documents(tmp_path: Path) -> None:
    rows = [{"text": "one\ntwo"}, {"text": "three"}, {"text": ""}, {"tokens": ["do", "n't"]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_raw(tmp_path / "a.jsonl")) == [(1, "one"), (1, "two"), (1, ""), (2, "three"), (3, ""), (4, "do n't")]


def test_a_folder_of_rows(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps({"text": f"row {number}"}) + "\n")
    (tmp_path / "2.txt").write_text("plain\n")
    assert [line for _, line in read_raw(tmp_path)] == ["row 0", "", "row 1", "", "plain"]


def test_faults_of_a_format_told_by_the_name_say_how_to_read_it_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n "pretty": 1\n}\n')
    with pytest.raises(BadData, match=r"a\.json:1: the line is not JSON .*--raw-format text"):
        list(read_raw(tmp_path / "a.json"))
    assert len(list(read_raw(tmp_path / "a.json", format="text"))) == 3
    with pytest.raises(CarryoverError, match="did you mean 'jsonl'"):
        list(read_raw(tmp_path / "a.json", format="json"))

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from carryover.data.examples import Example, Source, TextPair
from carryover.data.formats.pairs import pair_of_line, read_pairs, text_columns
from carryover.errors import BadData, UsageError

DATA = os.environ.get("CARRYOVER_TEST_DATA")
ROWS = [("a cat sleeps", "an animal sleeps", "yes"), ("a dog runs", "nobody runs", "no")]


def table(folder: Path, separator: str = "\t", name: str = "pairs.tsv") -> Path:
    path = folder / name
    rows = [("one", "two", "label"), *ROWS]
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl", "parquet"])
def test_every_table_gives_the_same_pairs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"pairs.{kind}"
    names = ("one", "two", "label")
    if kind == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in ROWS))
    elif kind == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table(dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True))), path)
    else:
        path = table(tmp_path, "," if kind == "csv" else "\t", path.name)
    result = read_pairs(path, text_column="one,two")
    assert [(one.input, one.gold) for one in result.examples] == [(TextPair(a, b), (label,)) for a, b, label in ROWS]
    assert result.rows == 2 and {one.source.path for one in result.examples} == {str(path)}


def test_numbers_name_columns_of_a_file_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "plain.tsv"
    path.write_text("4.5\ta\tb\n1\tc\td\n")
    found = read_pairs(path, text_column="1,2", label_column=0).examples
    assert [(one.input, one.gold) for one in found] == [(TextPair("a", "b"), ("4.5",)), (TextPair("c", "d"), ("1",))]
    assert [one.gold for one in read_pairs(path, text_column="2,1", require_labels=False).examples] == [None, None]


def test_lines_of_two_texts_are_pairs_without_labels(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("a cat\tan animal\n\na dog\ta pet\n")
    found = read_pairs(path, text_column="one,two", require_labels=False).examples
    assert [one.source.line for one in found] == [1, 3]
    assert found[1] == Example(TextPair("a dog", "a pet"), None, Source("", 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", "--text-column 'text' does not name two columns, but a pair has two texts"),
        ("a,b,c", "--text-column 'a,b,c' does not name two columns, but a pair has two texts"),
        ("a,", "--text-column 'a,' does not name two columns, but a pair has two texts"),
        ("a,a", "--text-column names 'a' twice"),
    ],
)
def test_an_option_that_does_not_name_two_columns_is_refused(given: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        text_columns(given)
    assert caught.value.message == message


def test_two_columns_are_names_or_numbers() -> None:
    assert text_columns("sentence_A, sentence_B") == ("sentence_A", "sentence_B")
    assert text_columns("0,2") == (0, 2)


def test_faults_name_line_and_repair(tmp_path: Path) -> None:
    path = table(tmp_path)
    with pytest.raises(BadData) as caught:
        read_pairs(path, text_column="one,too")
    assert str(caught.value).startswith(f"{path}:1: no column 'too'; did you mean 'two'? ")
    path.write_text("one\ttwo\tlabel\na\t \tyes\nb\tc\t\n")
    with pytest.raises(BadData) as caught:
        read_pairs(path, text_column="one,two")
    assert str(caught.value) == f"{path}:2: the text is empty; fill it in or remove the row"
    with pytest.raises(BadData, match="none of the 2 rows can be used"):
        read_pairs(path, text_column="one,two", on_error="skip")
    with pytest.raises(BadData) as caught:
        pair_of_line("only one text", "-", 7)
    assert caught.value.message == "the line holds 1 text separated by tabs, but a pair has 2"
    assert caught.value.line == 7
    with pytest.raises(UsageError, match="the format label-first has no two columns of text"):
        read_pairs(path, text_column="one,two", format="label-first")
    with pytest.raises(UsageError, match="cannot hold pairs of texts"):
        read_pairs("builtin:grammar", text_column="one,two")


@pytest.mark.skipif(not DATA, reason="CARRYOVER_TEST_DATA does not name the folder of real data")
def test_sick_is_read_whole() -> None:
    folder = Path(str(DATA)) / "sick"
    for name, count in (("SICK_train.txt", 4500), ("SICK_trial.txt", 500), ("SICK_test_annotated.txt", 4927)):
        found = read_pairs(folder / name, text_column="sentence_A,sentence_B", label_column="entailment_judgment")
        assert len(found.examples) == count and not found.rejected
        assert {one.gold for one in found.examples} == {("NEUTRAL",), ("ENTAILMENT",), ("CONTRADICTION",)}

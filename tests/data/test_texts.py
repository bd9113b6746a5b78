"""Labelled texts from tables and lines: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import builtins
import csv
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from carryover.data.formats.reading import Rejected, TextExample, read_texts, write_rejected
from carryover.errors import BadData, ExtraMissing, InputMissing, UsageError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(path: Path, **options: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(example.text, example.labels) for example in read_texts(path, **options).examples]


ROWS = [("plain text", ("a",)), ("with, comma", ("b",)), ("ünïcode 中文", ("a",))]


def as_tsv(header: bool = True) -> str:
    return "label\ttext\tother\n" * header + "".join(f"{labels[0]}\t{text}\tx\n" for text, labels in ROWS)


def as_csv() -> str:
    return "label,text\n" + "".join(f'{labels[0]},"{text}"\n' for text, labels in ROWS)


def as_jsonl() -> str:
    return "".join(json.dumps({"text": text, "label": labels[0]}) + "\n" for text, labels in ROWS)


def as_parquet(path: Path, columns: dict[str, list[Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path.read_bytes()


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.parquet", "a.txt"])
def test_every_format_plain_and_packed(name: str, packing: str, tmp_path: Path) -> None:
    columns = {"label": [labels[0] for _, labels in ROWS], "text": [text for text, _ in ROWS]}
    content = {
        "a.tsv": lambda: as_tsv().encode(),
        "a.csv": lambda: as_csv().encode(),
        "a.jsonl": lambda: as_jsonl().encode(),
        "a.parquet": lambda: as_parquet(tmp_path / "plain", columns),
        "a.txt": lambda: "".join(f"{labels[0]} {text}\n" for text, labels in ROWS).encode(),
    }[name]()
    packed = {"": lambda data: data, ".gz": gzip.compress, ".xz": lzma.compress}[packing](content)
    result = read_texts(write(tmp_path / (name + packing), packed))
    assert [(example.text, example.labels) for example in result.examples] == ROWS
    assert result.rows == 3 and not result.rejected
    first = 2 if name in ("a.tsv", "a.csv") else 1
    assert [example.line for example in result.examples] == [first, first + 1, first + 2]


def test_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", as_tsv(header=False))
    assert pairs(path, text_column=1, label_column=0) == ROWS
    assert pairs(path, text_column="1", label_column="0") == ROWS
    assert pairs(write(tmp_path / "a.csv", 'pos,"a, b"\n'), text_column=1, label_column=0) == [("a, b", ("pos",))]


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\nhe said "no\ta\n"quoted"\tb\n\\t \'\tc\n')
    assert pairs(path) == [('he said "no', ("a",)), ('"quoted"', ("b",)), ("\\t '", ("c",))]


def test_csv_quotes_and_rows_over_several_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\r\n"one\r\ntwo, ""three""",a\r\n\r\nplain,b\r\n')
    result = read_texts(path)
    assert [(one.text, one.labels, one.line) for one in result.examples] == [
        ('one\ntwo, "three"', ("a",), 2),
        ("plain", ("b",), 5),
    ]


def test_csv_with_semicolons_and_long_cells(tmp_path: Path) -> None:
    long = "word " * 100_000
    csv.field_size_limit(1000)
    assert pairs(write(tmp_path / "a.csv", f"text;label\n{long};a\n")) == [(long, ("a",))]


def test_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    for name, content in (("a.tsv", "text\tlabel\r\nx y\ta\r\n"), ("a.csv", "text,label\r\nx y,a\r\n")):
        assert pairs(write(tmp_path / name, b"\xef\xbb\xbf" + content.encode())) == [("x y", ("a",))]


def test_labels_of_other_types(tmp_path: Path) -> None:
    values: list[Any] = [1, 0, True, 2.5, " spaced "]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps({"text": "t", "label": value}) + "\n" for value in values))
    assert [labels for _, labels in pairs(path)] == [("1",), ("0",), ("true",), ("2.5",), ("spaced",)]


def test_several_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\nx\ta, b,a\ny\t\nz\tc\n")
    assert pairs(path, multi_label=",") == [("x", ("a", "b")), ("y", ()), ("z", ("c",))]
    path = write(tmp_path / "a.jsonl", '{"text": "x", "label": ["b", "a"]}\n{"text": "y", "label": []}\n')
    assert pairs(path, multi_label=",") == [("x", ("b", "a")), ("y", ())]
    with pytest.raises(BadData, match=r"the label is a list; .*multi_label"):
        read_texts(path)
    with pytest.raises(UsageError, match="separator"):
        read_texts(path, multi_label="")


def test_coarse_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "NUM:dist How far ?\nNUM:date When ?\nLOC Where ?\n")
    assert [labels for _, labels in pairs(path, coarse=":")] == [("NUM",), ("NUM",), ("LOC",)]


def test_unlabelled(tmp_path: Path) -> None:
    assert pairs(write(tmp_path / "a.txt", "one\n\ntwo words\n"), require_labels=False) == [("one", ()), ("two words", ())]
    assert pairs(write(tmp_path / "a.tsv", "text\tid\nx y\t1\n"), require_labels=False) == [("x y", ())]
    assert pairs(write(tmp_path / "a.tsv", "x y\t1\n"), text_column=0, require_labels=False) == [("x y", ())]
    assert pairs(write(tmp_path / "a.tsv", "text\tlabel\nx\ta\ny\t\n"), require_labels=False) == [("x", ("a",)), ("y", ())]
    assert pairs(write(tmp_path / "a.jsonl", '{"text": "x"}\n'), require_labels=False) == [("x", ())]
    with pytest.raises(UsageError, match="plain text has no labels"):
        read_texts(tmp_path / "a.txt", format="text")


def test_format_of_a_txt_file(tmp_path: Path) -> None:
    assert pairs(write(tmp_path / "a.txt", "text\tlabel\nx y\ta\n")) == [("x y", ("a",))]
    running = "".join(f"{word} begins this line of running text\n" for word in "abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(BadData, match="looks like text without labels: 26 different"):
        read_texts(write(tmp_path / "b.txt", running))
    assert len(read_texts(tmp_path / "b.txt", format="label-first").examples) == 26


FAULTS = [
    ("a.tsv", "text\tlabel\nx\ta\ny\tb\tc\n", 3, r"3 columns where the header has 2"),
    ("a.tsv", "text\tlabel\nx\ta\ny\n", 3, r"1 columns where the header has 2"),
    ("a.tsv", "text\tlabel\nx\ta\n \tb\n", 3, r"the text is empty"),
    ("a.tsv", "text\tlabel\nx\ta\ny\t \n", 3, r"the label is empty"),
    ("a.tsv", b"text\tlabel\nx\ta\ncaf\xe9\tb\n", 3, r"byte 4 .* is not UTF-8"),
    ("a.tsv", "text\tlabel\nx\ta\nca\0f\tb\n", 3, r"zero byte"),
    ("a.csv", 'text,label\nx,a\n"y"z,b\n', 3, r"expected after"),
    ("a.csv", 'text,label\nx,a\n"y,b\nz,c\n', 3, r"a quoted cell that begins here never ends"),
    ("a.csv", "text,label\nx,a\ny\n", 3, r"1 columns where the header has 2"),
    ("a.csv", b'text,label\nx,a\n"one\n\xff",b\n', 4, r"is not UTF-8"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n\n{"text": \n', 3, r"the line is not JSON \(Expecting value at column 1\d\)"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n["y", "a"]\n', 2, r"the line is an array; write one JSON object a line"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"txet": "y", "label": "a"}\n', 2, r"no column 'text'; did you mean 'txet'"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": 5, "label": "a"}\n', 2, r"the text in column 'text' is of type int"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": null, "label": "a"}\n', 2, r"the text in column 'text' is missing"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "y", "label": {}}\n', 2, r"the label is of type dict"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "\\ud800", "label": "a"}\n', 2, r"half of a surrogate pair"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "\\u0000", "label": "a"}\n', 2, r"zero character"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n' + "[" * 200_000 + "\n", 2, r"the line is not JSON"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "y", "label": ' + "9" * 5000 + "}\n", 2, r"the line is not JSON"),
    ("a.txt", "A x\nB\n", 2, r"no text after the label 'B'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "line", "message"), FAULTS)
def test_faulty_rows(name: str, content: str | bytes, line: int, message: str, tmp_path: Path) -> None:
    """Stopping at the first names file and line; skipping keeps the others and accounts for every row."""
    path = write(tmp_path / name, content)
    options: dict[str, Any] = {"format": "label-first"} if name == "a.txt" else {}
    with pytest.raises(BadData, match=message) as caught:
        read_texts(path, **options)
    assert (caught.value.path, caught.value.line) == (str(path), line)
    assert caught.value.repair
    result = read_texts(path, on_error="skip", **options)
    assert [example.text for example in result.examples] == ["x"]
    assert result.rows == len(result.examples) + len(result.rejected) == 2
    assert result.rejected[0].line == line and result.rejected[0].path == str(path)
    assert result.rejected[0].reason == f"{caught.value.message}; {caught.value.repair}"


HEADER_FAULTS = [
    ("a.tsv", "txt\tlabel\nx\ta\n", r":1: no column 'text'; did you mean 'txt'\? the columns are: txt, label; .*numbers"),
    ("a.tsv", "Text\tlabel\nx\ta\n", r"did you mean 'Text'\?"),
    ("a.tsv", "text\tlabel\ttext\nx\ta\ty\n", r"the column 'text' stands twice"),
    ("a.csv", "text,lab\nx,a\n", r"no column 'label'"),
    ("a.tsv", "one two three\t0\n", r"no column 'text'; the columns are: one two three, 0; for a file without a header"),
    ("a.tsv", "", r"the file holds no examples"),
    ("a.tsv", "\n\n", r"the file holds no examples"),
    ("a.tsv", "text\tlabel\n", r"the file holds no examples"),
    ("a.csv", "", r"the file holds no examples"),
    ("a.jsonl", "", r"the file holds no examples"),
    ("a.txt", "", r"the file holds no examples"),
    ("a.parquet", "", r"damaged"),
    ("a.parquet", "PAR1 nonsense PAR1", r"damaged"),
    ("a.tsv", b"te\xfft\tlabel\nx\ta\n", r":1: byte 3"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), HEADER_FAULTS)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_faulty_files(name: str, content: str | bytes, message: str, on_error: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=message):
        read_texts(write(tmp_path / name, content), on_error=on_error)


def test_numbers_beyond_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "x\ta\n")
    with pytest.raises(BadData, match="no column 2: the first row has 2; use 0 to 1"):
        read_texts(path, text_column=0, label_column=2)
    with pytest.raises(UsageError, match="negative"):
        read_texts(path, text_column=0, label_column=-1)
    with pytest.raises(UsageError, match="by name and by number"):
        read_texts(path, text_column=0, label_column="label")
    with pytest.raises(UsageError, match="names, not numbers"):
        read_texts(write(tmp_path / "a.jsonl", "{}"), text_column=0, label_column=1)


def test_nothing_usable_left(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\n\ta\n\tb\n")
    with pytest.raises(BadData, match=r":2: none of the 2 rows can be used; the first: the text is empty"):
        read_texts(path, on_error="skip")


def test_parquet_types(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"text": ["x", None, "z"], "label": [1, 2, 3], "tags": [["a"], ["b", "c"], []]}
    path = write(tmp_path / "a.parquet", as_parquet(tmp_path / "p", columns))
    result = read_texts(path, on_error="skip")
    assert [(one.text, one.labels, one.line) for one in result.examples] == [("x", ("1",), 1), ("z", ("3",), 3)]
    assert result.rejected[0].line == 2
    assert [labels for _, labels in pairs(path, label_column="tags", multi_label=",", on_error="skip")] == [("a",), ()]
    with pytest.raises(BadData, match="no column 'lable'; did you mean 'label'"):
        read_texts(path, label_column="lable")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ExtraMissing, match=r"pip install carryover\[hub\]"):
        read_texts(write(tmp_path / "a.parquet", "PAR1"))


def test_wrong_requests(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\nx\ta\n")
    with pytest.raises(UsageError, match="on_error"):
        read_texts(path, on_error="ignore")
    with pytest.raises(UsageError, match="did you mean 'jsonl'"):
        read_texts(path, format="json")
    with pytest.raises(UsageError, match=r"did you mean builtin:pydocs\?"):
        read_texts("builtin:pydoc")
    with pytest.raises(InputMissing):
        read_texts(tmp_path / "b.tsv")


def test_rejected_rows_are_written(tmp_path: Path) -> None:
    rejected = [Rejected("a.tsv", 3, "the text is empty", "\tü"), Rejected("a.tsv", 9, "x", "line\nbreak")]
    write_rejected(tmp_path / "rejects.jsonl", rejected)
    rows = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [Rejected(**row) for row in rows] == rejected


def test_builtin_data_is_read_by_the_same_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    from carryover.data import builtin
    from carryover.data.formats.reading import read_raw

    monkeypatch.setattr(builtin, "classified", lambda name: [TextExample(name, ("a",), 1)])
    monkeypatch.setattr(builtin, "raw_lines", lambda name: iter([name, ""]))
    assert read_texts("builtin:grammar").examples == [TextExample("grammar", ("a",), 1)]
    assert list(read_raw("builtin:pydocs")) == [(1, "pydocs"), (2, "")]

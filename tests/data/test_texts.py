"""Labelled texts from tables and lines: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import builtins
import csv
import gzip
import json
import lzma
import time
from pathlib import Path
from typing import Any

import pytest

from carryover.data.formats.reading import Rejected, read_texts, write_rejected
from carryover.errors import BadData, ExtraMissing, InputMissing, UsageError
from example_material import labelled_text


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(path: Path, **options: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(example.input.text, example.gold) for example in read_texts(path, **options).examples]


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
    assert [(example.input.text, example.gold) for example in result.examples] == ROWS
    assert result.rows == 3 and not result.rejected
    first = 2 if name in ("a.tsv", "a.csv") else 1
    assert [example.source.line for example in result.examples] == [first, first + 1, first + 2]


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
    assert [(one.input.text, one.gold, one.source.line) for one in result.examples] == [
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
    assert pairs(write(tmp_path / "a.txt", "one\n\ntwo words\n"), require_labels=False) == [
        ("one", None),
        ("two words", None),
    ]
    assert pairs(write(tmp_path / "a.tsv", "text\tid\nx y\t1\n"), require_labels=False) == [("x y", None)]
    assert pairs(write(tmp_path / "a.tsv", "x y\t1\n"), text_column=0, require_labels=False) == [("x y", None)]
    assert pairs(write(tmp_path / "a.tsv", "text\tlabel\nx\ta\ny\t\n"), require_labels=False) == [("x", ("a",)), ("y", None)]
    assert pairs(write(tmp_path / "a.jsonl", '{"text": "x"}\n'), require_labels=False) == [("x", None)]
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
    assert [example.input.text for example in result.examples] == ["x"]
    spans = 1 + ("never ends" in message or "is not UTF-8" in message) * (name == "a.csv")  # lines of the faulty row
    assert result.rows == len(result.examples) + len(result.rejected) == 1 + spans
    assert result.rejected[0].line == line and result.rejected[0].path == str(path)
    assert result.rejected[0].reason == f"{caught.value.message}; {caught.value.repair}"


MANY = [f"film {n} was {'good' if n % 2 else 'bad'},{'pos' if n % 2 else 'neg'}" for n in range(300)]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("strays", [(4,), (4, 150), (0, 8), (298,), (299,), (2, 3, 50, 51, 200)])
@pytest.mark.parametrize("closing", [False, True], ids=["opened", "opened and closed"])
def test_an_open_quote_does_not_swallow_rows(swapped: bool, strays: tuple[int, ...], closing: bool, tmp_path: Path) -> None:
    """Every line is a used or a rejected row, and all of the rejected text is kept."""
    rows = [",".join(reversed(row.split(","))) for row in MANY] if swapped else list(MANY)
    for number, stray in enumerate(strays):
        cells = rows[stray].split(",")
        cells[-1 if swapped else 0] = f'{cells[-1]}"' if closing and number % 2 else f'"{cells[-1 if swapped else 0]}'
        rows[stray] = ",".join(cells)
    path = write(tmp_path / "a.csv", "\n".join(["label,text" if swapped else "text,label", *rows]) + "\n")
    with pytest.raises(BadData, match="quote"):
        read_texts(path)
    result = read_texts(path, on_error="skip")
    assert result.rows == len(result.examples) + len(result.rejected) == 300
    known = set(MANY) | {",".join(reversed(row.split(","))) for row in MANY}
    used = {f"{one.input.text},{one.gold[0]}" for one in result.examples}
    assert len(used & known) >= 300 - 2 * len(strays) and {"pos", "neg"} == {one.gold[0] for one in result.examples}
    assert {one.text for one in result.rejected} <= set(rows) and len(result.examples) >= 300 - 2 * len(strays) - 1


def test_long_cells_are_pointed_out_and_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verse = "\n".join(f"the {n}th line, of verse {n // 4}" if n % 3 else "its end" for n in range(150))
    path = write(tmp_path / "a.csv", f'text,label\n"{verse}",a\nplain,b\n"two, or\nthree",a\n')
    result = read_texts(path)
    assert [one.input.text for one in result.examples] == [verse, "plain", "two, or\nthree"]
    assert "a.csv:2: a row of 150 lines" in capfd.readouterr().err


def test_rejected_text_is_kept_whole(tmp_path: Path) -> None:
    long = "word " * 1000
    content = b"text\tlabel\nx\ta\n" + long.encode() + b"\n" + b"caf\xe9\tb\n"
    result = read_texts(write(tmp_path / "a.tsv", content), on_error="skip")
    assert [one.text for one in result.rejected] == [long, "caf\\xe9\tb"]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.tsv.gz"])
def test_joined_files(name: str, tmp_path: Path) -> None:
    """Each brings a byte order mark and its header."""
    table = "\ufefftext\tlabel\ngood\tpos\nbad\tneg\n".replace("\t", "," if ".csv" in name else "\t").encode() * 3
    path = write(tmp_path / name, gzip.compress(table) if name.endswith("gz") else table)
    with pytest.raises(BadData, match=r":4: the header is repeated; .*joining files"):
        read_texts(path)
    result = read_texts(path, on_error="skip")
    assert (len(result.examples), len(result.rejected), result.rows) == (6, 2, 8)
    assert {one.gold for one in result.examples} == {("pos",), ("neg",)}
    numbered = "\ufeffpos\tgood\nneg\tbad\n".encode() * 2
    found = read_texts(write(tmp_path / "b.tsv", numbered), text_column=1, label_column=0)
    assert [one.gold[0] for one in found.examples] == ["pos", "neg"] * 2
    labelled = read_texts(write(tmp_path / "c.txt", "\ufeffpos good\nneg bad\n".encode() * 2), format="label-first")
    assert [one.gold[0] for one in labelled.examples] == ["pos", "neg"] * 2
    rows = ('\ufeff{"text": "x", "label": "a"}\n' * 2).encode()
    assert len(read_texts(write(tmp_path / "d.jsonl", rows)).examples) == 2


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(ending: str, tmp_path: Path) -> None:
    for name, make in (("a.tsv", as_tsv), ("a.csv", as_csv), ("a.jsonl", as_jsonl)):
        path = write(tmp_path / name, make().replace("\n", ending).encode())
        expected = write(tmp_path / f"of-unix-{name}", make().encode())
        assert pairs(path) == pairs(expected)
    path = write(tmp_path / "a.txt", f"NUM how far{ending}HUM who{ending}".encode())
    assert pairs(path, format="label-first") == [("how far", ("NUM",)), ("who", ("HUM",))]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.csv", "a.tsv"])
def test_missing_labels_are_no_class(name: str, tmp_path: Path) -> None:
    good: list[dict[str, Any]] = [{"text": "one", "label": 1.0}, {"text": "two", "label": 0.0}]
    for gap in (float("nan"), None, "nan", "NULL"):
        rows = [good[0], {"text": "gap", "label": gap}, good[1]]
        if name == "a.jsonl":
            content: Any = "".join(json.dumps(row) + "\n" for row in rows)
        elif name == "a.parquet":
            if isinstance(gap, str):
                rows = [{**row, "label": str(row["label"])} for row in rows]
            content = as_parquet(tmp_path / "p", {key: [row[key] for row in rows] for key in ("text", "label")})
        else:
            sign = "," if name == "a.csv" else "\t"
            cells = [[str(row["text"]), "" if row["label"] is None else str(row["label"])] for row in rows]
            content = "".join(sign.join(row) + "\n" for row in [["text", "label"], *cells])
        path = write(tmp_path / name, content)
        with pytest.raises(BadData, match="the label is empty") as caught:
            read_texts(path)
        assert caught.value.line == (3 if name in ("a.csv", "a.tsv") else 2)
        result = read_texts(path, on_error="skip")
        assert [one.gold for one in result.examples] == [("1.0",), ("0.0",)]
        assert read_texts(path, require_labels=False).examples[1].gold is None
    lists = write(tmp_path / "b.jsonl", '{"text": "x", "label": ["a", NaN]}\n')
    with pytest.raises(BadData, match="the label is empty"):
        read_texts(lists, multi_label=",")


def test_labels_of_fasttext(tmp_path: Path) -> None:
    lines = "__label__a __label__b the text\n__label__c\tanother text\n__label__a\t__label__a more\n"
    path = write(tmp_path / "a.txt", lines)
    expected = [("the text", ("__label__a", "__label__b")), ("another text", ("__label__c",)), ("more", ("__label__a",))]
    assert pairs(path, multi_label=",") == expected
    with pytest.raises(BadData, match=r":1: the line has 2 labels \(__label__a, __label__b\); .*--multi-label"):
        read_texts(path)
    write(path, "__label__a __label__b\n__label__b text\n")
    with pytest.raises(BadData, match=":1: no text after the label '__label__b'"):
        read_texts(path)


HEADER_FAULTS = [
    ("a.tsv", "txt\tlabel\nx\ta\n", r":1: no column 'text'; did you mean 'txt'\? the columns are: txt, label; .*numbers"),
    ("a.tsv", "Text\tlabel\nx\ta\n", r"did you mean 'Text'\?"),
    ("a.tsv", "text\tlabel\ttext\nx\ta\ty\n", r"the column 'text' occurs twice"),
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
    assert [(one.input.text, one.gold, one.source.line) for one in result.examples] == [("x", ("1",), 1), ("z", ("3",), 3)]
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

    monkeypatch.setattr(builtin, "classified", lambda name: [labelled_text(name, ("a",), 1)])
    monkeypatch.setattr(builtin, "raw_lines", lambda name: iter([name, ""]))
    assert read_texts("builtin:grammar").examples == [labelled_text("grammar", ("a",), 1)]
    assert list(read_raw("builtin:pydocs")) == [(1, "pydocs"), (2, "")]


def test_many_labels_of_one_line_take_linear_time(tmp_path: Path) -> None:
    path = write(tmp_path / "many.txt", "__label__a " * 200_000 + "text\n")  # 20 s where each label copies the rest
    began = time.process_time()
    assert read_texts(path, multi_label=",").examples[0].gold == ("__label__a",)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("middle", ["", "see you at noon\n", "see you, at noon\n", "pos, and so on\n"])
def test_texts_of_several_lines_are_rows(tmp_path: Path, middle: str) -> None:
    """As a spreadsheet or Python's csv module writes them: quoted only where they must be."""
    rows = [(f"hello {n}\n{middle}bye" if n % 4 == 0 else f"plain {n}", ("pos", "neg")[n % 2]) for n in range(60)]
    path = tmp_path / "mails.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    found = read_texts(path)
    assert [(one.input.text, one.gold[0]) for one in found.examples] == rows and found.rows == 60


def test_a_quote_closed_by_the_next_stray_one_is_told(tmp_path: Path) -> None:
    lines = [f"neg,film {n} was bad" for n in range(20)]
    lines[4], lines[9] = 'neg,"film 4 was bad', 'neg,film 9 was bad"'
    path = write(tmp_path / "a.csv", "\n".join(["label,text", *lines]) + "\n")
    found = read_texts(path, on_error="skip")
    assert found.rows == 20 and [one.line for one in found.rejected] == [6] and len(found.examples) == 19

"""Lines of files: compression, line ends, byte order marks, and every fault named with its file and line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from pathlib import Path

import pytest

from carryover.data.formats import opening
from carryover.data.formats.opening import inner_suffix, read_lines, scan_lines
from carryover.data.formats.reading import read_raw
from carryover.errors import BadData, InputMissing

TEXT = "first\n\nthird, with é\nlast"
PACKERS = {"plain": lambda data: data, "gzip": gzip.compress, "xz": lzma.compress}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["a.txt", "a.unknown"])
def test_all_kinds_of_files_give_the_same_lines(packer: str, name: str, tmp_path: Path) -> None:
    """The content tells the compression: a packed file without .gz is read, too."""
    (tmp_path / name).write_bytes(PACKERS[packer](TEXT.encode()))
    assert list(read_lines(tmp_path / name)) == [(1, "first"), (2, ""), (3, "third, with é"), (4, "last")]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"\xef\xbb\xbfone\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"one\rstill one\n", ["one\rstill one"]),
        ("one\u2028still one\x0b\x85\n".encode(), ["one\u2028still one\x0b\x85"]),
        (b"", []),
        (b"\n", [""]),
        (b"no end", ["no end"]),
    ],
)
def test_line_ends_and_byte_order_mark(content: bytes, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert [line for _, line in read_lines(tmp_path / "a")] == lines


def test_bad_utf8_names_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("gut\nschön\n".encode("latin-1"))
    with pytest.raises(BadData, match=r"a\.txt:2: byte 4 of the line \(0xF6\) is not UTF-8; .*iconv") as caught:
        list(read_lines(path))
    assert (caught.value.path, caught.value.line) == (str(path), 2)


def test_zero_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntw\0o\n")
    with pytest.raises(BadData, match=":2: character 3 is a zero byte"):
        list(read_lines(tmp_path / "a.txt"))


def test_faulty_lines_can_be_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n\xff\nthree\n")
    lines = list(scan_lines(tmp_path / "a.txt"))
    assert [line if isinstance(line, str) else type(line) for _, line in lines] == ["one", BadData, "three"]


@pytest.mark.parametrize("packer", ["gzip", "xz"])
def test_truncated_and_damaged_archives(packer: str, tmp_path: Path) -> None:
    packed = PACKERS[packer](bytes(range(1, 128)) * 500)
    path = tmp_path / ("a.txt.gz" if packer == "gzip" else "a.txt.xz")
    for damaged in (packed[:-1], packed[: len(packed) // 2], packed[:20], packed[:-12] + b"\x00" * 12):
        path.write_bytes(damaged)
        with pytest.raises(BadData, match="damaged or cut short") as caught:
            list(read_lines(path))
        assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (bz2.compress(b"text"), "bzip2"),
        (b"PK\x03\x04rest", "zip archive"),
        ("text".encode("utf-16"), "UTF-16"),
        (b"%PDF-1.4", "PDF"),
        (b"\x28\xb5\x2f\xfdxx", "zstd"),
    ],
)
def test_other_kinds_of_files_are_called_by_name(content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(BadData, match=kind):
        list(read_lines(tmp_path / "a.txt"))


def test_a_name_that_promises_compression(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"plain")
    with pytest.raises(BadData, match="the name says compressed"):
        list(read_lines(tmp_path / "a.gz"))
    (tmp_path / "empty.gz").write_bytes(b"")
    assert list(read_lines(tmp_path / "empty.gz")) == []


def test_missing_files(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("x")
    with pytest.raises(InputMissing, match=r"no such file; did you mean .*train\.tsv\?"):
        list(read_lines(tmp_path / "trian.tsv"))
    with pytest.raises(InputMissing, match="no such file; check the path"):
        list(read_lines(tmp_path / "zzzzzzzzzz"))
    with pytest.raises(InputMissing, match="does not exist either"):
        list(read_lines(tmp_path / "no" / "where"))
    with pytest.raises(InputMissing, match="is a folder"):
        list(read_lines(tmp_path))
    with pytest.raises(InputMissing):
        list(read_lines(tmp_path / "train.tsv" / "below"))
    with pytest.raises(InputMissing):
        list(read_lines("with\0zero"))
    with pytest.raises(InputMissing):
        list(read_lines(tmp_path / ("x" * 5000)))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"one\ntwo\n"))))  # type: ignore[arg-type]
    assert [line for _, line in read_lines("-")] == ["one", "two"]


def test_long_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 3_000_000
    (tmp_path / "a.txt").write_text(f"a\n{long}\nb\n")
    assert [len(line) for _, line in read_lines(tmp_path / "a.txt")] == [1, 3_000_000, 1]
    monkeypatch.setattr(opening, "LONGEST_LINE", 1 << 20)
    with pytest.raises(BadData, match=":2: the line is longer than 1 MiB"):
        list(read_lines(tmp_path / "a.txt"))


def test_raw_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(" one \n \t\ntwo\n")
    assert list(read_raw(path)) == [(1, "one"), (2, ""), (3, "two")]
    for nothing in ("", "\n\n  \n"):
        path.write_text(nothing)
        with pytest.raises(BadData, match="holds no text"):
            list(read_raw(path))


def test_suffixes() -> None:
    assert inner_suffix("a/b.TSV.GZ") == ".tsv"
    assert inner_suffix("b.conllu.xz") == ".conllu"
    assert inner_suffix("b.gz") == ""

"""Lines of files: compression, line ends, byte order marks, and every fault named with its file and line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
from itertools import islice
from pathlib import Path

import pytest

from carryover.data.formats import opening
from carryover.data.formats.opening import inner_suffix, read_lines, scan_lines
from carryover.data.formats.reading import read_raw
from carryover.data.shards import content_fingerprint
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
        (b"one\rtwo\r", ["one", "two"]),
        (b"one\r\rthree", ["one", "", "three"]),
        (b"of a Mac\rand\nof Unix\r\nand Windows\n\r\n", ["of a Mac", "and", "of Unix", "and Windows", ""]),
        (b"\r", [""]),
        (b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\nth\xef\xbb\xbfree\r\xef\xbb\xbf", ["one", "two", "th\ufeffree", ""]),
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
    assert [line if isinstance(line, str) else type(line) for _, line in lines] == ["one", opening.BadLine, "three"]
    assert lines[1][1].text == "\\xff"  # type: ignore[union-attr]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 64])
def test_lines_are_whole_wherever_a_block_ends(
    end: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_AT_ONCE", at_once)
    lines = ["", "a", "bc" * 40, "", "", "é" * 9, "last"]
    for content in (end.join(lines), end.join(lines) + end):
        (tmp_path / "a").write_bytes(content.encode())
        assert list(read_lines(tmp_path / "a")) == list(enumerate(lines, start=1))


@pytest.mark.parametrize(
    ("line", "repair"),
    [
        ("it’s – “quoted” €".encode("cp1252"), "iconv -f cp1252 "),
        ("schön".encode("latin1"), "iconv -f cp1252 "),
        (b"caf\x8f", "iconv -f macintosh "),
        ("все люди".encode("cp1251"), "cp1251, gb18030, shift_jis"),
        ("人人生而自由".encode("gb18030"), "cp1251, gb18030, shift_jis"),
        ("schön und ".encode() + b"sch\xf6n", "UTF-8 apart from such bytes"),
        ("ab cd".encode("utf-16le"), "iconv -f utf-16le "),
    ],
)
def test_the_repair_names_the_encoding(line: bytes, repair: str, tmp_path: Path) -> None:
    """Latin1 has control characters where the quotes and dashes of cp1252 are: converting from it would spoil them."""
    (tmp_path / "a.txt").write_bytes(b"text\n" + line + b"\n")
    with pytest.raises(BadData, match=":2: ") as caught:
        list(read_lines(tmp_path / "a.txt"))
    assert repair in str(caught.value)


@pytest.mark.parametrize("packer", ["gzip", "xz"])
def test_members_padding_and_junk(packer: str, tmp_path: Path) -> None:
    pack, path = PACKERS[packer], tmp_path / "a.txt"
    path.write_bytes(pack(b"one\n") + pack(b"\xef\xbb\xbftwo\n") + b"\0" * 512 + pack(b"") + pack(b"three") + b"\0" * 1024)
    assert [line for _, line in read_lines(path)] == ["one", "two", "three"]
    for junk in (b"junk", b"\0\0junk\n", b"x"):
        path.write_bytes(pack(b"one\n") + junk)
        with pytest.raises(BadData, match="something else follows the compressed text"):
            list(read_lines(path))


@pytest.mark.parametrize("packer", ["gzip", "xz"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_encodings_inside_compression_are_named(packer: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(PACKERS[packer]("text\tlabel\n".encode(encoding)))
    with pytest.raises(BadData, match=f"the compressed file is {encoding.upper()} text; .*iconv -f {encoding} "):
        list(read_lines(tmp_path / "a.tsv"))
    (tmp_path / "a.tsv").write_bytes(PACKERS[packer](PACKERS[packer](b"text")))
    with pytest.raises(BadData, match="compressed twice"):
        list(read_lines(tmp_path / "a.tsv"))


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
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"one\ntwo\n"))))
    assert [line for _, line in read_lines("-")] == ["one", "two"]


def test_what_can_be_read_once_is_kept_for_the_second_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = gzip.compress("".join(f"line {n}\n" for n in range(50_000)).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    for source in ("-", pipe):
        first = read_raw(source)
        begin = [next(first) for _ in range(10)]
        assert begin == list(islice(read_raw(source), 10))
        assert list(read_raw(source)) == [*begin, *first]
        (tmp_path / "same.gz").write_bytes(content)
        assert content_fingerprint(source) == content_fingerprint(tmp_path / "same.gz")
    writer.join()


def test_a_stream_is_read_as_it_comes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    going_on = threading.Event()

    def write() -> None:
        with pipe.open("wb", buffering=0) as out:
            out.write(b"one\n")
            going_on.wait(30)
            out.write(b"two\n")

    writer = threading.Thread(target=write)
    writer.start()
    lines = read_lines(pipe)
    assert next(lines) == (1, "one")
    going_on.set()
    assert list(lines) == [(2, "two")]
    writer.join()


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputMissing, match="standard input is closed"):
        list(read_lines("-"))


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

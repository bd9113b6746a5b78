"""A text in many files: order, patterns, borders, and faults that name the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from carryover.data.formats.folders import text_files
from carryover.data.formats.reading import read_raw
from carryover.data.shards import content_fingerprint
from carryover.errors import BadData, InputMissing


@pytest.fixture
def thesis(tmp_path: Path) -> Path:
    folder = tmp_path / "thesis"
    (folder / "parts" / ".git").mkdir(parents=True)
    (folder / "b.tex").write_text("  second\n\nthird")
    (folder / "a.tex").write_text("first\n")
    (folder / "empty.tex").write_text("")
    (folder / "parts" / "c.tex").write_text("fourth\n")
    (folder / "parts" / "notes.txt").write_text("fifth\n")
    (folder / "parts" / ".git" / "config.tex").write_text("hidden\n")
    (folder / ".hidden.tex").write_text("hidden\n")
    return folder


def test_a_folder_is_its_files_by_name_with_blank_lines_between(thesis: Path) -> None:
    expected = ["first", "", "second", "", "third", "", "fourth", "", "fifth"]
    assert [line for _, line in read_raw(thesis)] == expected
    assert [file.name for file in text_files(thesis)] == ["a.tex", "b.tex", "empty.tex", "c.tex", "notes.txt"]


def test_a_pattern_chooses(thesis: Path) -> None:
    lines = list(read_raw(f"{thesis}/**/*.tex", exact=True))
    assert lines == [(1, "first"), (0, ""), (1, "  second"), (2, ""), (3, "third"), (0, ""), (1, "fourth")]
    assert [line for _, line in read_raw(f"{thesis}/?.tex")] == ["first", "", "second", "", "third"]
    (thesis / "odd[1].txt").write_text("its own name\n")
    assert list(read_raw(thesis / "odd[1].txt")) == [(1, "its own name")]


def test_a_fingerprint_covers_content_and_order(thesis: Path) -> None:
    before, pattern = content_fingerprint(thesis), content_fingerprint(f"{thesis}/*.tex")
    assert content_fingerprint(str(thesis)) == before != pattern
    assert content_fingerprint(thesis / "a.tex") != content_fingerprint(f"{thesis}/a*.tex"), "a file's is of its bytes"
    (thesis / "parts" / "notes.txt").write_text("other\n")
    assert content_fingerprint(thesis) != before and content_fingerprint(f"{thesis}/*.tex") == pattern


def test_faults_name_the_file_and_what_to_do(thesis: Path, tmp_path: Path) -> None:
    (thesis / "parts" / "figure.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(BadData, match=r"figure\.png:1: byte 1 .*pattern in quotes, such as '.*thesis/\*\*/\*\.tex'"):
        list(read_raw(thesis))
    (tmp_path / "none").mkdir()
    for nothing in (tmp_path / "none", f"{thesis}/*.md"):
        with pytest.raises(InputMissing, match="there is no file here"):
            list(read_raw(nothing))
        with pytest.raises(InputMissing, match="there is no file here"):
            content_fingerprint(nothing)
    (tmp_path / "none" / "blank.txt").write_text("\n \n")
    with pytest.raises(BadData, match="the files hold no text"):
        list(read_raw(tmp_path / "none"))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_a_folder_that_may_not_be_read_is_not_passed_over(thesis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(top: Path, onerror: object) -> list[object]:
        assert callable(onerror)
        onerror(PermissionError(13, "Permission denied", str(top / "parts")))
        return []

    monkeypatch.setattr("carryover.data.formats.folders.os.walk", refuse)
    with pytest.raises(InputMissing, match=r"parts: cannot be read \(Permission denied\)"):
        text_files(thesis)

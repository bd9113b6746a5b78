"""The doctor finds what was planted, and nothing in clean data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carryover.data.doctor import Report, examine
from carryover.data.overlap import RawScan, words_of
from carryover.errors import BadData, InputMissing, UsageError

WORDS = [f"w{n}x" for n in range(400)]


def sentence(start: int, length: int = 12) -> str:
    return " ".join(WORDS[(start * 7 + n * 3) % 400] for n in range(length))


def write_table(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return path


def counts(report: Report, part: str) -> dict[str, int]:
    return {finding.message: finding.count for finding in report.findings if part in finding.message}


def one(report: Report, part: str) -> int:
    found = counts(report, part)
    assert len(found) == 1, f"{part!r}: {found} among {report.findings}"
    return next(iter(found.values()))


CLEAN_TRAIN = [(sentence(n), "ab"[n % 2]) for n in range(40)]
CLEAN_TEST = [(sentence(n), "ab"[n % 2]) for n in range(100, 110)]


def test_clean_data_gives_no_alarm(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("".join(" ".join(WORDS[n:] + WORDS[:n]) + "\n" for n in range(0, 400, 50)))
    report = examine(
        tmp_path / "raw.txt",
        write_table(tmp_path / "train.tsv", CLEAN_TRAIN),
        test=write_table(tmp_path / "test.tsv", CLEAN_TEST),
    )
    assert not [finding for finding in report.findings if finding.level != "note"]
    assert report.errors == 0
    assert "nothing alarming found" in report.lines()
    assert report.figures["train"]["rows"] == 40
    assert report.figures["train"]["labels_by_count"] == {"a": 20, "b": 20}
    assert report.figures["test"]["covered_by_raw"] == 1.0
    assert report.figures["raw"]["lines"] == 8 and report.figures["raw"]["words"] == 8 * 400
    document = json.loads(json.dumps(report.to_json()))
    assert document["schema"] == "carryover.doctor/1" and next(iter(document)) == "schema"


def test_duplicates_and_contradictions(tmp_path: Path) -> None:
    rows = [*CLEAN_TRAIN, (sentence(0).upper(), "a"), (sentence(1), "a"), (sentence(1), "b")]
    report = examine(train=write_table(tmp_path / "a.tsv", rows))
    assert one(report, "train: duplicate texts") == 3
    assert one(report, "different labels") == 1


def test_overlap_of_train_and_test(tmp_path: Path) -> None:
    test = [*CLEAN_TEST, CLEAN_TRAIN[3], ("  " + CLEAN_TRAIN[4][0] + " ", "a")]
    report = examine(train=write_table(tmp_path / "a.tsv", CLEAN_TRAIN), test=write_table(tmp_path / "b.tsv", test))
    assert one(report, "test: texts that also stand in train") == 2


def test_overlap_of_raw_text_and_test(tmp_path: Path) -> None:
    """Found inside a paragraph, with other case and punctuation, and in part; not by seven common words."""
    hidden = [
        "Intro words. " + CLEAN_TEST[0][0].upper() + ", and so on",
        " ".join(CLEAN_TEST[1][0].split()[2:10]),
        " ".join(CLEAN_TEST[2][0].split()[2:9]) + " other",
        "short one here",
        "short one here",
    ]
    (tmp_path / "raw.txt").write_text("\n".join(hidden))
    test = [*CLEAN_TEST, ("Short one here!", "a"), ("one here", "b")]
    report = examine(tmp_path / "raw.txt", test=write_table(tmp_path / "test.tsv", test))
    assert one(report, "test: texts that stand in the raw text") == 3
    assert one(report, "raw: duplicate lines") == 1


def test_clitics_and_punctuation_do_not_hide_a_copy() -> None:
    assert words_of("I do n't, \"she 's\"") == words_of("I don't she's") == ["i", "do", "nt", "she", "s"]
    scan = RawScan({"test": ["do n't you know that she 's been here already ?"], "none": ["a b"], "empty": []})
    scan.add("He said: Don't you know that she's been here already?")
    assert scan.found() == {"test": 1, "none": 0, "empty": 0}
    swapped = RawScan({"test": ["one two three four five six seven eight"]})
    swapped.add("one two three four five six eight seven")
    assert swapped.found() == {"test": 0}, "the order of the words counts"


def test_marks_and_signs_belong_to_their_words() -> None:
    """Vowel signs are letters to a reader, though `\\w` leaves them out: different words stay different."""
    hindi = "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता"
    assert words_of(hindi + " ।") == hindi.split()
    scan = RawScan({"other words": ["दिन सुर मिला"], "copied": [hindi], "short": ["a b c " + hindi[:10]]})
    for line in ("दीन सूर मूल", "x " + " ".join(hindi.split()[:8]), "C", "C++", "C#", "ดี", "ดู", "!!!", "???", "-5", "+5", "5"):
        scan.add(line)
    assert scan.found() == {"other words": 0, "copied": 1, "short": 0}
    assert scan.duplicate_lines() == 0
    scan.add("c  ++")
    assert scan.duplicate_lines() == 1, "case and white space do not make a line another one"


def test_labels(tmp_path: Path) -> None:
    train = [*CLEAN_TRAIN, (sentence(50), "rare")]
    test = [*CLEAN_TEST, (sentence(120), "new"), (sentence(121), "new"), (sentence(122), "newer")]
    report = examine(train=write_table(tmp_path / "a.tsv", train), test=write_table(tmp_path / "b.tsv", test))
    assert one(report, "label never stands in train: 'new', 'newer'") == 3
    assert one(report, "fewer than 5 cases: rare") == 1
    assert report.errors == 1
    report = examine(train=write_table(tmp_path / "a.tsv", [(text, "a") for text, _ in CLEAN_TRAIN]))
    assert one(report, "all examples have the label 'a'") == 40
    skewed = [(text, "a" if n else "b") for n, (text, _) in enumerate(CLEAN_TRAIN)]
    assert one(examine(train=write_table(tmp_path / "a.tsv", skewed)), "the label 'a' makes 98% of all") == 39


def test_coverage(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("Some words of Raw text .")
    rows = [("some words of raw text", "a"), ("unheard things entirely", "b")]
    report = examine(tmp_path / "raw.txt", test=write_table(tmp_path / "t.tsv", rows))
    assert report.figures["test"]["covered_by_raw"] == pytest.approx(3 / 8)
    assert one(report, "test: words that raw does not hold; it covers 37.5%") == 5
    low = write_table(tmp_path / "t.tsv", [("some raw text", "a"), ("words of", "b")])
    assert counts(examine(tmp_path / "raw.txt", test=low), "100.0% if capitals are ignored")


def test_characters(tmp_path: Path) -> None:
    texts = ["caf\u00c3\u00a9", "lost \ufffd", "e\u0301", "bell \x07", "it\u00e2\u20ac\u2122s", "ünïcode “fine” Ä"]
    report = examine(train=write_table(tmp_path / "a.tsv", [(text, "ab"[n % 2]) for n, text in enumerate(texts)]))
    assert one(report, "decoded wrongly") == 2
    assert one(report, "U+FFFD") == 1
    assert one(report, "normal form C") == 1
    assert one(report, "control characters") == 1


def test_faulty_rows_are_counted(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.tsv", CLEAN_TRAIN)
    path.write_text(path.read_text() + "no label\n\tempty\n")
    report = examine(train=path)
    assert one(report, "train: faulty rows, the first in line 42: 1 columns where the header has 2") == 2
    assert report.errors == 1
    (tmp_path / "raw.txt").write_bytes(b"good line\nbad \xff line\n")
    assert "raw.txt:2" in next(iter(counts(examine(tmp_path / "raw.txt"), "raw: unreadable")))


def test_tagged_data(tmp_path: Path) -> None:
    train, test = tmp_path / "train.conll", tmp_path / "test.conll"
    train.write_text("New\tB-LOC\nYork\tI-LOC\n\n" + "in\tO\n\n" + "Rio\tB-LOC\n\n" * 5)
    test.write_text("in\tO\nAnn\tB-PER\nLee\tI-PER\n\nOslo\tB-LOC\nFjord\tI-LOC\n\n")
    report = examine(train=train, test=test)
    assert report.figures["train"]["labels_by_count"] == {"LOC": 6}, "spans are counted, not their words"
    assert one(report, "label never stands in train: 'PER'") == 1
    assert report.figures["test"]["words"] == 5


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to examine"):
        examine()
    with pytest.raises(UsageError, match="classify or tag"):
        examine(train="x.tsv", task="parse")
    with pytest.raises(InputMissing):
        examine(train=tmp_path / "absent.tsv")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadData, match="no text"):
        examine(tmp_path / "empty.txt")


def test_lines_put_the_gravest_first(tmp_path: Path) -> None:
    report = Report()
    for level in ("note", "warning", "error"):
        report.add(level, level, 1)
    report.add("error", "nothing", 0)
    assert [line.split(":")[0] for line in report.lines()] == ["error", "warning", "note"]


def test_options_reach_the_readers(tmp_path: Path) -> None:
    options: dict[str, Any] = {"text_column": 1, "label_column": 0}
    (tmp_path / "a.tsv").write_text("".join(f"{label}:fine\t{text}\n" for text, label in CLEAN_TRAIN))
    assert examine(train=tmp_path / "a.tsv", coarse=":", **options).figures["train"]["labels_by_count"] == {"a": 20, "b": 20}

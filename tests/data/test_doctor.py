"""The doctor finds what was planted, and nothing in clean data."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from carryover.data.doctor import Case, Report, examine
from carryover.data.overlap import RawScan, words_of
from carryover.data.schemes import Scheme
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
    assert "no problems found" in report.lines()
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
    assert one(report, "test: texts that also occur in train") == 2


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
    assert one(report, "test: texts that occur in the raw text") == 3
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
    assert one(report, "label never occurs in train: 'new', 'newer'") == 3
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
    assert one(report, "test: word occurrences (62.5%) that are not in the raw text") == 5
    low = write_table(tmp_path / "t.tsv", [("some raw text", "a"), ("words of", "b")])
    assert counts(examine(tmp_path / "raw.txt", test=low), "(0.0% if capitals are ignored)")


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
    assert one(report, "label never occurs in train: 'PER'") == 1
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


def cases(report: Report, part: str) -> list[tuple[int, str, str]]:
    found = [finding for finding in report.findings if part in finding.message]
    assert len(found) == 1, f"{part!r} among {report.findings}"
    return [(case.line, case.text, case.note) for case in found[0].cases]


def test_every_case_is_named_with_its_line(tmp_path: Path) -> None:
    rows = [*CLEAN_TRAIN, (sentence(0).upper(), "a"), (sentence(1), "a"), ("bell \x07 x", "b"), (sentence(51), "rare")]
    train = write_table(tmp_path / "a.tsv", rows)
    train.write_text(train.read_text() + "no label\n")
    test = write_table(
        tmp_path / "b.tsv", [*CLEAN_TEST, ("  " + sentence(4), "a"), (sentence(99), "B"), (sentence(98), "new")]
    )
    (tmp_path / "raw.txt").write_text(f"first\n\n{sentence(101)}\nFirst\nx\nfirst\n")
    report = examine(tmp_path / "raw.txt", train, test=test)
    assert cases(report, "train: duplicate texts") == [
        (42, sentence(0).upper(), "repeats line 2"),
        (43, sentence(1), "repeats line 3"),
    ]
    assert cases(report, "different labels") == [(3, sentence(1), "b in line 3, a in line 43")]
    assert cases(report, "control characters") == [(44, "bell \x07 x", "")]
    assert cases(report, "fewer than 5") == [(45, "rare", "once")]
    assert cases(report, "faulty rows") == [(46, "no label", "1 columns where the header has 2; remove or add separators")]
    assert cases(report, "test: texts that also occur in train") == [(12, "  " + sentence(4), "line 6 of train")]
    assert cases(report, "never occurs in train") == [(13, "B", "train has 'b'"), (14, "new", "")]
    assert cases(report, "raw: duplicate lines") == [(4, "", "repeats line 1"), (6, "", "repeats line 1")]
    assert cases(report, "test: texts that occur in the raw text") == [(3, sentence(101), "line 3 of raw")]
    assert cases(report, "train: word occurrences")[0] == (0, "w28x", "3 times")
    document = json.loads(json.dumps(report.to_json()))
    assert {"line": 42, "text": sentence(0).upper(), "note": "repeats line 2"} in [
        case for finding in document["findings"] for case in finding["cases"]
    ]
    shown = "\n".join(report.lines())
    assert f"    line 42: {sentence(0).upper()} · repeats line 2" in shown
    assert "    line 44: bell \\x07 x" in shown and "\x07" not in shown, "a terminal obeys none of it"


def test_only_the_first_cases_are_shown() -> None:
    report = Report()
    report.add_cases("warning", "much", [Case(line, "x" * 500) for line in range(1, 2000)])
    first, *shown, more = report.lines()
    assert first == "warning: much (1,999)" and len(shown) == 3 and more == "    and 1,996 more, all with --json"
    assert all(len(row) < 120 for row in shown) and len(report.to_json()["findings"][0]["cases"]) == 1999


def test_labels_that_look_the_same(tmp_path: Path) -> None:
    marked = [
        "\ufeffa",
        "a\u200b",
        "Caf\u00e9",
        "Cafe\u0301",
        "A",
        "\u202bb",
        "x\u200dy",
        "\u0646\u0645\u06cc\u200c\u0634",
        "\U0001f468\u200d\U0001f469",
    ]
    rows = [*CLEAN_TRAIN, *((sentence(60 + n), label) for n, label in enumerate(marked))]
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    report = examine(train=path)
    same = cases(report, "labels that look the same but are different classes")
    assert {(line, label) for line, label, _ in same} == {
        (42, "\ufeffa"), (43, "a\u200b"), (45, "Cafe\u0301"), (47, "\u202bb"),
    } and (42, "\ufeffa", "once, 'a' 20 times") in same  # fmt: skip
    assert cases(report, "differ only in case") == [(46, "A", "once, 'a' 20 times")]
    unseen = {label: note for _, label, note in cases(report, "labels with invisible characters")}
    assert set(unseen) == {"\ufeffa", "a\u200b", "\u202bb", "x\u200dy"}, "joiners belong into Persian words and emoji"
    assert unseen["a\u200b"] == "U+200B as character 2" and report.errors == 1


def test_unseen_characters_in_texts(tmp_path: Path) -> None:
    texts = [
        "a word\ufeff here",
        "one\u200btwo",
        "\u202eright",
        "\u0646\u0645\u06cc\u200c\u0634\u0648\u062f",
        "fine \U0001f468\u200d\U0001f469",
        "soft\u00adhyphen",
    ]
    report = examine(train=write_table(tmp_path / "a.tsv", [(text, "ab"[n % 2]) for n, text in enumerate(texts)]))
    assert [(line, note) for line, _, note in cases(report, "texts with invisible characters")] == [
        (2, "U+FEFF as character 7"),
        (3, "U+200B as character 4"),
        (4, "U+202E as character 1"),
    ]


def test_quotes_in_a_table_without_quoting(tmp_path: Path) -> None:
    rows = [*CLEAN_TRAIN, ('"He said ""good"""', "a"), ('say "yes"', "b"), ('"', "a"), ("plain", '"b"')]
    report = examine(train=write_table(tmp_path / "a.tsv", rows))
    assert [case[:2] for case in cases(report, "begin and end with a quote")] == [(42, '"He said ""good"""'), (45, '"b"')]
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"a, b",x\n"""c""",y\n')
    assert not counts(examine(train=path), "quote"), "CSV has a quoting of its own"


def test_what_the_majority_scores(tmp_path: Path) -> None:
    train = [(text, "ham" if n % 8 else "spam") for n, (text, _) in enumerate(CLEAN_TRAIN)]
    test = [(text, "ham" if n % 5 else "spam") for n, (text, _) in enumerate(CLEAN_TEST)]
    report = examine(train=write_table(tmp_path / "a.tsv", train), test=write_table(tmp_path / "b.tsv", test))
    assert report.figures["test"]["majority"] == {
        "answer": "ham", "accuracy": 0.8, "macro_f1": pytest.approx(0.8 / 1.8), "span_f1": None, "counted_in": "train",
    }  # fmt: skip
    assert "test majority: always 'ham' scores accuracy 80.0%, macro-F1 44.4%, counted in train" in report.lines()
    assert one(report, "train: the label 'ham' makes 88% of all; accuracy hides the others") == 35
    assert one(report, "test: the label 'ham' makes 80% of all") == 8
    assert "majority" not in report.figures["train"]


def test_spans(tmp_path: Path) -> None:
    def write(name: str, scheme: Scheme, more: str = "") -> Path:
        rows = [(["Ann", "Lee", "sees", "Oslo"], ("B-PER", "I-PER", "O", "B-LOC")), (["in", "Rio"], ("O", "B-LOC"))] * 6
        text = ["".join(f"{w}\t{t}\n" for w, t in zip(words, scheme.from_iob2(tags), strict=True)) for words, tags in rows]
        (tmp_path / name).write_text("\n".join(text) + more)
        return tmp_path / name

    report = examine(train=write("a.conll", Scheme("BILOU")), test=write("b.conll", Scheme(), "\nRio\tO\n"))
    assert report.figures["train"]["scheme"] == "BILOU" and report.figures["train"]["span_types"] == 2
    assert report.figures["train"]["labels_by_count"] == {"LOC": 12, "PER": 6}
    assert "train spans: LOC 12 (67%), PER 6 (33%)" in report.lines()
    majority = report.figures["test"]["majority"]
    assert majority["accuracy"] == 36 / 37 and majority["span_f1"] == pytest.approx(2 * 18 / (18 + 19))
    assert "each word its most frequent tag" in "\n".join(report.lines())
    again = examine(train=write("a.conll", Scheme(), "\nin\tO\nRio\tO\n"))
    assert cases(again, "different labels") == [(6, "in Rio", "'Rio': B-LOC in line 6, O in line 49")]
    other_words = tmp_path / "a.jsonl"
    rows = [
        {"tokens": ["New York"], "tags": ["B-P"]},
        {"tokens": ["New", "York"], "tags": ["B-P", "I-P"]},
        {"tokens": ["New York"]},
    ]
    other_words.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cases(examine(train=other_words, task="tag"), "sentences without tags") == [(3, "New York", "")]
    notes = [case[2] for case in cases(examine(train=other_words, task="tag"), "different labels")]
    assert notes == ["B-P in line 1, B-P+I-P in line 2, no label in line 3"]
    typo = examine(train=write("a.conll", Scheme(), "\nRio\tBLOC\n"))
    assert cases(typo, "faulty rows") == [
        (49, "Rio\tBLOC", "4 of 5 tags look like IOB2, 'BLOC' does not; correct it, or give --scheme plain")
    ]
    assert typo.errors == 1 and examine(train=tmp_path / "a.conll", scheme="plain").errors == 0
    bare = examine(train=write("a.conll", Scheme(separator="")))
    assert bare.figures["train"]["labels_by_count"] == {"span": 18} and bare.figures["train"]["scheme"] == "IOB2 (B, I, O)"


def test_time_is_linear_in_texts_and_lines(tmp_path: Path) -> None:
    """Processor time for eight times as much may be eight times as long, not sixty-four."""

    def seconds(count: int) -> float:
        rows = [(f"{sentence(n)} n{n} " + "x." * 40 + "\u0301\u200d" * 20, "ab"[n % 2]) for n in range(count)]
        train = write_table(tmp_path / "a.tsv", rows)
        (tmp_path / "raw.txt").write_text("".join(f"{text}\n" for text, _ in rows) + "a" * 50 * count, encoding="utf-8")
        began = time.process_time()
        examine(tmp_path / "raw.txt", train, test=train)
        return time.process_time() - began

    seconds(50)
    assert seconds(2400) < 25 * max(seconds(300), 0.05)

"""Words of which only the beginning is read are told by every command that reads them, in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

from carryover.data.long_words import count_cut, count_cut_occurrences, cut_sentence
from command_line import Material, Shell

THAI = "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน"  # a sentence without spaces, three bytes a letter
TOLD = re.compile(r"words longer than 48 bytes, of which only the first 48 were read: (\d+) of (\d+) \(")


def told(text: str) -> tuple[int, int]:
    found = TOLD.search(text)
    assert found is not None, text
    return int(found[1]), int(found[2])


def test_counted_by_bytes() -> None:
    words = ["a" * 48, "a" * 49, "é" * 24, "é" * 25, THAI]
    assert count_cut(words) == 3
    assert count_cut_occurrences(dict.fromkeys(words, 2)) == 6
    assert "3 of 12 (25.00%)" in cut_sentence(3, 12)


def test_every_command_tells(shell: Shell, material: Material) -> None:
    Path("raw.txt").write_text(f"{THAI} one\n" * 3 + "".join(f"line {n} of it\n" for n in range(30)), encoding="utf-8")
    rows = [f"{THAI} good\tpos\n", "bad film\tneg\n"] * 4
    Path("rows.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    done = shell("pretrain", "--raw", "raw.txt", "--valid", "raw.txt", "--size", "tiny", "--epochs", 1, "--out", "lm", "-q")
    assert done.code == 0 and told(done.err) == (3, 126)
    assert told(shell("evaluate", "lm", "--test", "raw.txt").err) == (3, 126)
    report = shell("doctor", "--raw", "raw.txt", "--train", "rows.tsv").out
    assert told(report) == (4, 16) and "raw: words longer than 48 bytes" in report
    train = ["train", "--task", "classify", "--train", "rows.tsv", "--dev", "rows.tsv", "--epochs", 1, "-q", "--out"]
    assert told(shell(*train, "scratch", "--hidden", 4).err) == (4, 16)
    assert told(shell(*train, "frozen", "--encoder", "lm", "--hidden", 4).err) == (4, 16)
    for model in ("scratch", "frozen"):
        assert told(shell("predict", model, "rows.tsv").err) == (4, 16)
        assert told(shell("evaluate", model, "--test", "rows.tsv").err) == (4, 16)
    assert told(shell("embed", "lm", "raw.txt").err) == (3, 126)
    assert "longer than" not in shell("predict", "scratch", stdin="short words\n").err
    compare = ["compare", "--task", "classify", "--train", "rows.tsv", "--test", "rows.tsv", "--rungs", "features"]
    done = shell(*compare, "--budgets", "all", "--seeds", 1, "--jobs", 1, "--out", "cmp", "--json")
    assert any(TOLD.search(remark) for remark in done.document["remarks"]), done.document.keys()

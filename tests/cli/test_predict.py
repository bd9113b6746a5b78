"""The options of `predict` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Shell

DATA = "builtin:grammar/train?labelled=80&raw=50"


@pytest.fixture
def model(shell: Shell) -> str:
    assert shell("train", "--task", "classify", "--train", DATA, "--mode", "features", "--out", "model", "-q").code == 0
    return "model"


def test_out_and_keep_rows(shell: Shell, model: str) -> None:
    (shell.folder / "new.csv").write_text("id,text\n1,they see the house\n2,the boat\n", encoding="utf-8")
    done = shell("predict", model, "new.csv", "--out", "answers.csv", "--probabilities")
    assert done.code == 0 and done.out == "" and "answers.csv: 2 rows with their answers" in done.err
    lines = (shell.folder / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("id,text,prediction,probability_") and lines[1].startswith("1,they see the house,")
    kept = shell("predict", model, "new.csv", "--keep-rows", "--answer-column", "topic")
    assert kept.out.splitlines()[0] == "id,text,topic" and len(kept.out.splitlines()) == 3
    document = shell("predict", model, "new.csv", "--out", "answers.jsonl", "--json").document
    assert document == {"schema": "carryover.predict-file/1", "out": "answers.jsonl", "rows": 2}
    assert json.loads((shell.folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()[1])["id"] == "2"


def test_texts_on_the_line(shell: Shell, model: str) -> None:
    done = shell("predict", model, "--text", "they see the house", "--text", "the boat")
    assert done.code == 0 and [line.split("\t")[1] for line in done.out.splitlines()] == ["they see the house", "the boat"]
    assert "next:" not in done.err, "there is nothing that must follow"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("new.csv", "--text", "x"), "--text and FILE are both given"),
        (("new.csv", "--keep-rows", "--out", "a.csv"), "--keep-rows prints the file, and --out is given"),
        (("new.csv", "--keep-rows", "--json"), "--keep-rows prints the file, and --json is given"),
        (("new.csv", "--out", "new.csv"), "is the file that is asked about"),
        (("new.csv", "--out", "answers.doc"), "does not say what to write"),
    ],
)
def test_what_cannot_be(shell: Shell, words: tuple[str, ...], says: str) -> None:
    (shell.folder / "new.csv").write_text("text\nhello\n", encoding="utf-8")
    before = Path(shell.folder / "new.csv").read_bytes()
    done = shell("predict", "no-model", *words)
    assert done.code == 2 and says in done.err
    assert (shell.folder / "new.csv").read_bytes() == before and len(list(shell.folder.iterdir())) == 1


def test_bad_rows_stop_or_are_set_aside(shell: Shell, model: str) -> None:
    (shell.folder / "new.csv").write_text("id,text\n1,they\n2\n3,boat\n", encoding="utf-8")
    assert shell("predict", model, "new.csv", "--out", "a.csv").code == 65
    assert not (shell.folder / "a.csv").exists()
    done = shell("predict", model, "new.csv", "--out", "a.csv", "--on-error", "skip")
    assert done.code == 0 and "2 used + 1 rejected" in done.err
    assert len((shell.folder / "a.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert (shell.folder / "new.csv.rejected.jsonl").exists()

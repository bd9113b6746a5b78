"""The options of `evaluate` on the command line."""

from __future__ import annotations

import csv

import pytest

from command_line import Shell

TRAIN, TEST = (f"builtin:grammar/{part}?labelled=200&raw=50" for part in ("train", "test"))


@pytest.fixture
def model(shell: Shell) -> str:
    assert shell("train", "--task", "tag", "--train", TRAIN, "--mode", "majority", "--out", "model", "-q").code == 0
    return "model"


def test_errors_report_and_document(shell: Shell, model: str) -> None:
    done = shell("evaluate", model, "--test", TEST)
    assert done.code == 0 and "precision  recall" in done.out and "expected calibration error" in done.out
    assert f"next: carryover evaluate {model} --test" in done.err and "--errors errors.csv" in done.err
    done = shell("evaluate", model, "--test", TEST, "--errors", "errors.csv", "--report", "page.html", "--json")
    document = done.document
    assert document["schema"] == "carryover.evaluate/1" and document["calibration"]["answers"] == document["scores"]["words"]
    with (shell.folder / "errors.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == document["mistakes"] > 0
    assert "What it got right and wrong" in (shell.folder / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--errors", "errors.doc"), "does not say what to write"),
        (("--report", "page.pdf"), "end the name in .html"),
        (("--report", "no/such/page.html"), "in a folder that does not exist"),
        (("--errors", "test.csv"), "--errors is the test file"),
    ],
)
def test_places_are_checked_before_anything_is_loaded(shell: Shell, words: tuple[str, ...], says: str) -> None:
    (shell.folder / "test.csv").write_text("text,label\na,b\n", encoding="utf-8")
    done = shell("evaluate", "no-model", "--test", "test.csv", *words)
    assert done.code == 2 and says in done.err

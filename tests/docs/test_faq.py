"""The errors of the FAQ are the errors that the commands give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_line import Shell, shell

__all__ = ["shell"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faq.md"
ERRORS = dict(re.findall(r"^### (.*)\n\n```text\n(.*)\n```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))

GOOD = b"text,label\nhello there,ham\nfree money,spam\nwin now,spam\nsee you,ham\n"
TRAIN = "train --task classify --train train.csv --mode scratch --out runs/ham"
COMPARE = "compare --task classify --train train.csv --test test.csv --out runs/compare --seeds 1"

# By heading: the training file, the test file, and the command.
CASES: dict[str, tuple[bytes, bytes, str]] = {
    "The columns have other names": (b"message,class\nhello,ham\nmoney,spam\n", b"", TRAIN),
    "A label of the test file is not in the training file": (
        GOOD,
        b"text,label\nhello there,ham\nfree money,Spam\n",
        f"{COMPARE} --rungs features --budgets all",
    ),
    "There is only one label": (b"text,label\nhello there,ham\nsee you,ham\n", b"", TRAIN),
    "A quote is never closed": (b'text,label\n"hello there,ham\nfree money,spam\n', b"", TRAIN),
    "The file is not UTF-8": ("text,label\ncafé open,ham\nfree money,spam\n".encode("cp1252"), b"", TRAIN),
    "A rung or mode needs a pretrained model": (GOOD, GOOD, f"{COMPARE} --rungs frozen"),
    "The budget is larger than the data": (GOOD, GOOD, f"{COMPARE} --rungs features --budgets 50"),
    "The folder is no model": (
        GOOD,
        b"",
        "train --task classify --train train.csv --encoder runs/lm --mode frozen --out runs/x",
    ),
    "The folder holds another run": (GOOD, b"", f"{TRAIN} --epochs 2"),
    "The file does not exist": (GOOD, GOOD, "doctor --train missing.csv"),
}


def test_ten_errors_are_shown() -> None:
    assert len(ERRORS) == 10 and set(ERRORS) == set(CASES)


@pytest.mark.parametrize("heading", CASES)
def test_an_error_reads_as_the_page_has_it(shell: Shell, heading: str) -> None:
    train, test, command = CASES[heading]
    (shell.folder / "train.csv").write_bytes(train)
    (shell.folder / "test.csv").write_bytes(test)
    (shell.folder / "runs" / "lm").mkdir(parents=True)
    if heading == "The folder holds another run":
        assert shell(*f"{TRAIN} --epochs 1".split()).code == 0
    message = shell(*command.split()).err.strip().splitlines()[-1]
    assert message.replace(str(shell.folder) + "/", "") == ERRORS[heading]

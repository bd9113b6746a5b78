"""Pairs of texts on the command line: every verb, and what is said of wrong input."""

from __future__ import annotations

from pathlib import Path

import pytest

import carryover
from command_line import Material, Shell
from pair_material import pairs, write_pairs

COLUMNS = ("--text-column", "one,two")
TRAIN = ("train", "--task", "pair", "--train", "train.tsv", *COLUMNS, "--epochs", 1, "--hidden", 6, "-q")


def tables(*, numbers: bool = False) -> None:
    write_pairs(Path("train.tsv"), pairs(24, numbers=numbers))
    write_pairs(Path("test.tsv"), pairs(12, seed=1, numbers=numbers))


@pytest.mark.parametrize("mode", ["scratch", "frozen"])
@pytest.mark.parametrize("numbers", [False, True])
def test_train_evaluate_predict(shell: Shell, material: Material, numbers: bool, mode: str) -> None:
    tables(numbers=numbers)
    encoder = () if mode == "scratch" else ("--encoder", material.encoder)
    done = shell(*TRAIN, *encoder, "--out", "model")
    assert done.code == 0, done.err
    assert ("Pearson's r" if numbers else "accuracy") in done.out or "macro-F1" in done.out
    card = Path("model/README.md").read_text()
    assert card.startswith("# Compares two texts" + ("\n" if numbers else ": other, same\n"))
    assert ("cannot answer labels" in card) is not numbers

    scores = shell("evaluate", "model", "--test", "test.tsv", "--json").document["scores"]
    assert scores["examples"] == 12 and scores["unscored"] == 0
    assert {"pearson", "spearman", "mean_squared_error"} <= set(scores) if numbers else "confusion" in scores
    told = shell("evaluate", "model", "--test", "test.tsv").out
    assert ("mean squared error" if numbers else "label  precision") in told

    first, second = pairs(1, seed=1)[0].input.first, pairs(1, seed=1)[0].input.second
    rows = shell("predict", "model", "test.tsv", "--json").document["predictions"]
    assert len(rows) == 12 and (rows[0]["first"], rows[0]["second"]) == (first, second)
    lines = shell("predict", "model", "-", stdin=f"{first}\t{second}\n").out.splitlines()
    if numbers:
        assert type(rows[0]["number"]) is float
        label, *texts = lines[0].split("\t")
        assert float(label) == pytest.approx(rows[0]["number"], rel=1e-4) and texts == [first, second]
    else:
        assert lines == [f"{rows[0]['labels'][0]}\t{first}\t{second}"] and len(rows[0]["probabilities"]) == 1
    with pytest.raises(TypeError, match="give TextPair"):
        carryover.load("model").predict([(first, second)])
    again = shell(*TRAIN, *encoder, "--out", "model", "--json")
    assert again.code == 0 and again.document["record"]["task"] == "pair", "the same command ends at once"


def test_compare(shell: Shell) -> None:
    tables(numbers=True)
    line = ("compare", "--task", "pair", "--train", "train.tsv", "--test", "test.tsv", *COLUMNS, "--rungs", "features",
            "--budgets", "12,all", "--seeds", 2, "--jobs", 1, "--out", "cmp")  # fmt: skip
    done = shell(*line, "--json")
    assert done.code == 0, done.err
    assert done.document["schema"] == "carryover.compare/1" and done.document["verdict"]
    dry = shell(*line[:-1], "new", "--dry-run")
    assert dry.code == 0 and "features: about" in dry.out and "one,two" in dry.err


def test_numbers_in_columns_of_a_file_without_a_header(shell: Shell) -> None:
    Path("train.tsv").write_text(
        "".join(f"{one.input.first}\t{(one.gold or ('',))[0]}\t{one.input.second}\n" for one in pairs(20))
    )
    line = ("train", "--task", "pair", "--train", "train.tsv", "--text-column", "0,2", "--label-column", 1, "--epochs", 1,
            "--hidden", 4, "-q", "--out", "model")  # fmt: skip
    assert shell(*line).code == 0
    assert shell("evaluate", "model", "--test", "train.tsv").code == 0


def said(shell: Shell, *line: object) -> str:
    """What a command that is refused says, in one line."""
    done = shell(*line)
    assert done.code not in (0, 1) and done.out == "", (done.code, done.out)
    return done.err.splitlines()[-1]


def test_what_is_wrong_is_said_with_its_repair(shell: Shell, material: Material) -> None:
    tables()
    line = [word for word in TRAIN if word not in COLUMNS]
    assert said(shell, *line, "--out", "m") == (
        "carryover: --text-column 'text' does not name two columns, but a pair has two texts; "
        "name both with a comma between them, as in --text-column sentence_A,sentence_B"
    )
    assert said(shell, *line, "--text-column", "one,too", "--out", "m") == (
        "carryover: train.tsv:1: no column 'too'; did you mean 'two'? the columns are: one, two, label; "
        "for a file without a header give numbers from 0 instead of names"
    )
    assert said(shell, *TRAIN, "--multi-label", ",", "--out", "m") == (
        "carryover: --multi-label is for single texts, and a pair has one label; leave it out"
    )
    assert said(shell, *TRAIN, "--metric", "pearson", "--out", "m") == (
        "carryover: train.tsv:2: label 'same' is not a number, and this model answers numbers; "
        "correct the label, or name the right column with --label-column"
    )
    with Path("train.tsv").open("a") as file:
        file.write("a\tb\t4.5\n")
    assert said(shell, *TRAIN, "--out", "m") == (
        "carryover: train.tsv:26: label '4.5' is a number, and other labels are words: 'other'; "
        "correct it, or name the right column with --label-column"
    )
    tables(numbers=True)
    with Path("train.tsv").open("a") as file:
        file.write("a\tb\tmuch\n")
    assert said(shell, *TRAIN, "--out", "m") == (
        "carryover: train.tsv:26: label 'much' is not a number, and other labels are: '0.5'; "
        "correct it, or name the right column with --label-column"
    )
    assert not Path("m").exists(), "nothing is half-written"
    tables()
    assert shell(*TRAIN, "--out", "model").code == 0
    with Path("test.tsv").open("a") as file:
        file.write("a\tb\tneither\n")
    assert said(shell, "evaluate", "model", "--test", "test.tsv") == (
        "carryover: test.tsv:14: label 'neither' was not among the 2 labels of the training data (other, same); "
        "correct the label, or train on examples that have it"
    )
    done = shell("predict", "model", "-", stdin="only one text\n")
    assert done.code != 0 and done.err.splitlines()[-1] == (
        "carryover: -:1: the line holds 1 text separated by tabs, but a pair has 2; write the first text, a tab, the second text"
    )

"""`--metric` and `--class-weights`: one vocabulary on every command, and what was decided by is what is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import Shell


@pytest.fixture
def skewed(shell: Shell) -> Path:
    """Forty messages, one in ten of them spam."""
    rows = [f"message {i} {'prize' if i % 10 == 0 else 'hello'}\t{'spam' if i % 10 == 0 else 'ham'}" for i in range(40)]
    path = shell.folder / "skewed.tsv"
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_train_keeps_what_scores_best_by_the_metric(shell: Shell, skewed: Path) -> None:
    line = ["train", "--task", "classify", "--train", skewed, "--epochs", 1, "--hidden", 8]
    usual = shell(*line, "--out", "usual", "--json").document["record"]
    assert usual["dev_score"]["main_name"] == "macro_f1", "nine in ten are ham"
    done = shell(*line, "--metric", "Accuracy", "--class-weights", "balanced", "--out", "asked", "--json")
    asked = done.document["record"]
    assert asked["dev_score"]["main_name"] == asked["settings"]["metric"] == "accuracy"
    assert asked["settings"]["class_weights"] == "balanced"
    told = shell("evaluate", "usual", "--test", skewed)
    assert told.out.startswith("macro-F1 ") and "\naccuracy " in told.out
    assert shell(*line, "--metric", "macro-f1", "--out", "third").code == 0
    again = shell(*line, "--metric", "macro_f1", "--out", "third")
    assert again.code == 0 and "finished before" in again.err, "two spellings are one metric"


@pytest.mark.parametrize("command", ["train", "compare"])
def test_wrong_words_are_refused_alike(shell: Shell, skewed: Path, command: str) -> None:
    line = [command, "--task", "classify", "--train", skewed, "--out", "new"]
    done = shell(*line, "--metric", "macrof1")
    assert done.code == 2 and "metric 'macrof1' is unknown; did you mean 'macro_f1'?" in done.err
    done = shell(*line, "--class-weights", "yes")
    assert done.code == 2 and "class weights 'yes' is unknown" in done.err
    assert not (shell.folder / "new").exists()


def test_a_skewed_comparison_on_the_command_line(shell: Shell, skewed: Path) -> None:
    line = [
        "compare",
        "--task",
        "classify",
        "--train",
        skewed,
        "--rungs",
        "features",
        "--budgets",
        16,
        "--seeds",
        2,
        "--jobs",
        1,
    ]
    done = shell(*line, "--out", "cmp")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].split()[0] == "majority" and "macro-F1" in done.out and "\naccuracy" in done.out
    document = shell(*line, "--out", "cmp", "--json").document
    assert document["metric"] == "macro_f1" and document["other_metrics"][0]["metric"] == "accuracy"
    spelled = shell(*line, "--out", "cmp", "--metric", "macro-f1")
    assert spelled.code == 0, "the same question in other words"

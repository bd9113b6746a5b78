"""Span schemes from end to end: read, learned as spans, answered in the letters of the training data, and `--scheme`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import carryover
from carryover.data.schemes import Scheme
from command_line import Shell

QUICK = ("train", "--task", "tag", "--epochs", 50, "--learning-rate", 0.02, "--hidden", 8, "-q")
BARE = Scheme("BMES", separator="")


def sentences(seed: int) -> list[tuple[list[str], list[str]]]:
    """Sentences with names of one to three words, and their IOB2 tags."""
    draw = random.Random(seed)
    found = []
    for _ in range(24):
        name = draw.choice(["Ann", "Bo Lee", "Cy Dee Moss"]).split()
        other = draw.choice(["Ed", "Fay Gill"]).split()
        verb = draw.choice(["sees", "hears"])
        tags = ["B-per", *["I-per"] * (len(name) - 1), "O", "O", "B-per", *["I-per"] * (len(other) - 1)]
        found.append(([*name, verb, "only", *other], tags))
    return found


def write(path: str, scheme: Scheme, seed: int = 0) -> Path:
    rows = []
    for words, tags in sentences(seed):
        own = scheme.from_iob2(tags)
        rows.append("".join(f"{word}\t{tag}\n" for word, tag in zip(words, own, strict=True)))
    Path(path).write_text("\n".join(rows))
    return Path(path)


@pytest.mark.parametrize("scheme", [Scheme("IOB1"), Scheme("BMES"), Scheme("BMEWO"), BARE, Scheme(separator="")], ids=str)
def test_every_scheme_is_learned_as_spans_and_answered_in_its_letters(shell: Shell, scheme: Scheme) -> None:
    write("train.conll", scheme)
    test = write("test.conll", scheme, seed=1)
    done = shell(*QUICK, "--train", "train.conll", "--out", "model")
    assert done.code == 0 and "span f1" in done.out.lower(), done.err
    task = json.loads(Path("model/config.json").read_text())["config"]["task"]
    assert task["scheme"] == scheme.spelling and task["output"] == "crf"
    scores = shell("evaluate", "model", "--test", test, "--json").document["scores"]
    assert scores["main_name"] == "span_f1" and list(scores["per_label"]) == ["per" if scheme.typed else "span"]
    document = shell("predict", "model", test, "--json").document
    kinds = ["per" if scheme.typed else "span"]
    assert set(document["labels"]) <= set(scheme.tags(kinds)), "IOB2 as learned, other schemes whole"
    assert scheme.name == "IOB2" or len(document["labels"]) == len(scheme.tags(kinds))
    rows = [tuple(row["tags"]) for row in document["predictions"]]
    assert any(scheme.outside not in row[:1] for row in rows), "it has learned something"
    assert all(scheme.first_fault(row) is None for row in rows)
    assert carryover.load("model").predict([words for words, _ in sentences(1)]) == rows
    written = shell("predict", "model", test, "--scheme", "bilou").out
    again = shell("predict", "model", test).out
    as_rows = [[line.split("\t")[1] for line in block.split("\n")] for block in written.strip().split("\n\n")]
    assert [scheme.to_iob2(row) for row in rows] == [
        Scheme("BILOU", separator=scheme.separator).to_iob2(row) for row in as_rows
    ]
    assert [line.split("\t")[1] for line in again.splitlines() if line] == [tag for row in rows for tag in row]


def test_a_test_file_of_another_scheme_is_converted_or_refused(shell: Shell) -> None:
    write("train.conll", Scheme("BMES"))
    assert shell(*QUICK, "--train", "train.conll", "--out", "model").code == 0
    same = shell("evaluate", "model", "--test", write("same.conll", Scheme("BMES"), seed=1), "--json")
    other = shell("evaluate", "model", "--test", write("other.conll", Scheme(), seed=1), "--json")
    assert other.document["scores"] == same.document["scores"] and "converted" not in same.err
    assert "other.conll: its tags are IOB2 and were converted; the training data has BMES" in other.err
    named = shell("evaluate", "model", "--test", "other.conll", "--scheme", "bmes")
    assert named.code == 65 and "5 tags" not in named.err and len(named.err.splitlines()) == 1
    bare = shell("evaluate", "model", "--test", write("bare.conll", Scheme(separator="")))
    assert bare.code == 65 and "its tags are B, I, O, those of the training data are BMES" in bare.err
    plain = shell(
        "evaluate", "model", "--test", "plain.conll" if Path("plain.conll").write_text("a\tNOUN\nb\tVERB\n") else ""
    )
    assert plain.code == 65 and "its tags are NOUN, VERB, those of the training data are BMES" in plain.err
    mixed = shell(*QUICK, "--train", "train.conll", "--dev", "other.conll", "--out", "mixed")
    assert mixed.code == 0 and "were converted" in mixed.err


def test_plain_by_choice(shell: Shell) -> None:
    write("train.conll", Scheme())
    done = shell(*QUICK, "--train", "train.conll", "--scheme", "plain", "--out", "model")
    assert done.code == 0 and "accuracy" in done.out
    scores = shell("evaluate", "model", "--test", "train.conll", "--json").document["scores"]
    assert scores["main_name"] == "accuracy" and set(scores["per_label"]) == {"B-per", "I-per", "O"}
    line = [
        "compare",
        "--task",
        "tag",
        "--train",
        "train.conll",
        "--rungs",
        "features,scratch",
        "--budgets",
        12,
        "--seeds",
        1,
    ]
    line += ["--jobs", 1, "-q"]
    done = shell(*line, "--scheme", "plain", "--out", "a", "--json")
    assert done.code == 0, done.err
    assert done.document["metric"] == "accuracy"
    assert shell(*line, "--out", "b", "--json").document["metric"] == "span_f1"


def test_compare_reads_every_scheme_alike(shell: Shell) -> None:
    scores = []
    for scheme in (Scheme(), Scheme("BMES"), BARE):
        write("train.conll", scheme)
        line = ["compare", "--task", "tag", "--train", "train.conll", "--test", write("test.conll", scheme, seed=1)]
        done = shell(
            *line,
            "--rungs",
            "features",
            "--budgets",
            16,
            "--seeds",
            1,
            "--jobs",
            1,
            "-q",
            "--out",
            str(len(scores)),
            "--json",
        )
        assert done.code == 0, done.err
        assert done.document["metric"] == "span_f1"
        scores.append([cell["score"] for cell in done.document["cells"] if cell["rung"] == "features"])
    assert scores[0] == scores[1] == scores[2] and scores[0][0] > 0


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict", "compare", "doctor"])
def test_a_scheme_is_for_tags(shell: Shell, verb: str, material: object) -> None:
    write("train.conll", Scheme())
    given = material.train
    line = {
        "train": ["train", "--task", "classify", "--train", given, "--out", "x"],
        "compare": ["compare", "--task", "classify", "--train", given, "--out", "x"],
        "evaluate": ["evaluate", material.encoder, "--test", given],
        "predict": ["predict", material.classifier, "new.txt"],
        "doctor": ["doctor", "--train", given],
    }[verb]
    done = shell(*line, "--scheme", "bmes")
    assert done.code == 2 and "scheme" in done.err and len(done.err.splitlines()) == 1, done.err
    assert not Path("x").exists()
    wrong = shell(*line, "--scheme", "bmse")
    assert wrong.code == 2 and len(wrong.err.splitlines()) == 1


def test_a_mistyped_tag_stops_every_command(shell: Shell) -> None:
    write("train.conll", Scheme())
    text = Path("train.conll").read_text()
    Path("typo.conll").write_text(text + "\nx\tBPER\n")
    number = len(text.splitlines()) + 2
    message = f"typo.conll:{number}: 3 of 4 tags look like IOB2, 'BPER' does not; correct it, or give --scheme plain"
    assert shell(*QUICK, "--train", "train.conll", "--out", "model").code == 0
    for line in (
        [*QUICK, "--train", "typo.conll", "--out", "x"],
        [*QUICK, "--train", "train.conll", "--dev", "typo.conll", "--out", "x"],
        ["evaluate", "model", "--test", "typo.conll"],
        ["compare", "--task", "tag", "--train", "typo.conll", "--rungs", "features", "--out", "x"],
        ["compare", "--task", "tag", "--train", "train.conll", "--test", "typo.conll", "--rungs", "features", "--out", "x"],
    ):
        done = shell(*line)
        assert done.code == 65 and message in done.err, done.err
    assert shell("predict", "model", "typo.conll").code == 0, "tags are passed over"

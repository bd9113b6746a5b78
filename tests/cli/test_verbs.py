"""Every verb from end to end on tiny data: what it prints, what it writes, and what it says comes next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import carryover
from command_line import FEW_STEPS, Done, Material, Shell, snapshot

SCRATCH = ("train", "--task", "classify", "--epochs", 1, "--hidden", 8)


def next_line(done: Done) -> list[str]:
    """The words of the command that is suggested last on standard error."""
    last = done.err.splitlines()[-1]
    assert last.startswith("next: "), done.err
    return shlex.split(last.removeprefix("next: "))


# Pretraining and training -------------------------------------------------------------------------------------------


def test_pretrain(shell: Shell, material: Material) -> None:
    line = ["pretrain", "--raw", material.raw, "--out", "lm", *FEW_STEPS]
    done = shell(*line)
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first.startswith(f"{shell.folder / 'lm'}: ") and first.endswith("seed 0")
    assert second.startswith("held-out perplexity ")
    assert next_line(done)[:2] == ["carryover", "train"] and "lm" in next_line(done)
    made = snapshot(shell.folder / "lm")
    assert {"config.json", "model.safetensors", "tokenizer.json", "labels.json", "record.json", "README.md"} <= set(made)
    assert made["model.safetensors"] == snapshot(material.encoder)["model.safetensors"], "the same seed gives the same bytes"
    resolved = json.loads(made["run/settings.json"])["settings"]
    assert resolved["size"] == "tiny" and resolved["learning_rate"] == 2e-3 and resolved["device"] == "cpu"
    again = shell(*line, "--json")
    assert again.code == 0 and again.document["steps"] == again.document["resumed_from"]
    assert snapshot(shell.folder / "lm")["model.safetensors"] == made["model.safetensors"]


def test_pretrain_says_what_it_does(shell: Shell, material: Material) -> None:
    line = [word for word in ("pretrain", "--raw", material.raw, "--out", "lm", *FEW_STEPS) if word != "-q"]
    done = shell(*line, "--time-limit", "0.01s")
    assert done.code == 0 and "reading text" in done.err and "ended by time limit" in done.err
    longer = shell(*line)
    assert longer.code == 0 and "step" in longer.err and "continu" in longer.err, "resuming is said aloud"
    assert shell(*line).err.count("finished before") == 1


def test_pretrain_goes_on_with_a_model(shell: Shell, material: Material) -> None:
    Path("new.txt").write_text("the crew mends the boat\nthe boat sails\na gull sees the crew\nthe gull sails\n" * 5)
    Path("held,out.txt").write_text("the gull mends a boat\n")
    line = ["pretrain", "--begin-with", material.encoder, "--raw", "new.txt", "--epochs", 1, "--out", "lm"]
    done = shell(*line, "--valid", f"{material.raw},new.txt")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[1].startswith("held-out perplexity ") and lines[2].startswith(f"  {material.raw}: perplexity ")
    assert lines[4].startswith("before the first step ") and "output layer kept, 60 words" in lines[4]
    assert "tensors with" in done.err and "measured again after loading" in done.err
    assert shell(*line[:-1], "other", "--valid", "held,out.txt", "-q").code == 0, "a comma in the name of a file"
    for more, message in (
        (["--size", "small"], "size small has character_size = 16, but the model to begin with has 8; leave --size out"),
        (["--input", "words"], 'input is "characters" in the model to begin with, "words" was asked for'),
        (["--objective", "lm"], 'objective is "bilm" in the model to begin with'),
        (["--objective", "lm", "--stack", "gru"], "--stack gru is fixed by the model to begin with"),
    ):
        wrong = shell(*line[:-1], "wrong", *more)
        assert wrong.code == 2 and message in wrong.err and not Path("wrong").exists()
    assert shell(*line[:-1], "dry", "--dry-run", "--json").document["parameters"] > 0
    task = shell("pretrain", "--begin-with", material.tagger, "--raw", "new.txt", "--out", "wrong")
    assert task.code == 2 and "is a task model, but pretraining can only begin with a pretrained one" in task.err


@pytest.mark.parametrize("kind", ["pretrain", "classify", "tag"])
def test_dry_run_estimates_and_writes_nothing(shell: Shell, material: Material, kind: str) -> None:
    line = {
        "pretrain": ["pretrain", "--raw", material.raw, "--out", "new", *FEW_STEPS[:-1]],
        "classify": [*SCRATCH, "--train", material.train, "--out", "new"],
        "tag": ["train", "--task", "tag", "--train", material.tagged, "--encoder", material.encoder, "--out", "new"],
    }[kind]
    done = shell(*line, "--dry-run")
    assert done.code == 0 and "GiB of memory" in done.out
    assert next_line(done) == ["carryover", *(str(word) for word in line)]
    document = shell(*line, "--dry-run", "--json").document
    assert document["schema"].endswith("-estimate/1") and document["seconds"] > 0 and document["parameters"] > 0
    assert list(shell.folder.iterdir()) == []


def test_dry_run_of_compare(shell: Shell, material: Material) -> None:
    line = ["compare", "--task", "classify", "--train", material.train, "--rungs", "features", "--out", "new"]
    document = shell(*line, "--dry-run", "--json").document
    assert document["schema"].startswith("carryover.") and document["cells"] == 10
    assert list(shell.folder.iterdir()) == []


def test_train_a_classifier(shell: Shell, material: Material) -> None:
    line = [*SCRATCH, "--train", material.train, "--dev", material.test, "--out", "cls", "--seed", 3]
    done = shell(*line)
    assert done.code == 0 and "carried over: nothing" in done.err
    assert done.out.startswith(f"{shell.folder / 'cls'}: accuracy ") and done.out.endswith("seed 3\n")
    assert next_line(done) == ["carryover", "evaluate", "cls", "--test", "TEST.tsv"]
    made = snapshot(shell.folder)
    resolved = json.loads(made["cls/run/settings.json"])["settings"]
    assert resolved["seed"] == 3 and resolved["plan.mode"] == "scratch" and resolved["columns.text_column"] == "text"
    again = shell(*line, "--json")
    assert again.document["schema"] == "carryover.train/1" and "finished before" in again.err
    assert snapshot(shell.folder) == made
    assert carryover.load("cls").predict(["ba da"])


def test_train_prints_and_stores_the_proof(shell: Shell, material: Material) -> None:
    line = ["train", "--task", "tag", "--train", material.tagged, "--encoder", material.encoder, "--mode", "head"]
    done = shell(*line, "--epochs", 1, "--out", "tagger", "--quiet")
    assert done.code == 0
    assert "tensors with" in done.out and ", measured again after loading" in done.out
    record = json.loads((shell.folder / "tagger" / "record.json").read_text())
    proof = record["proof"]
    assert proof["stored_perplexity"] == pytest.approx(proof["measured_perplexity"], rel=1e-4)
    assert record["plan"]["mode"] == "head" and proof["moved"]
    loud = shell(*line, "--epochs", 1, "--out", "other")
    assert "tensors with" in loud.err and "tensors with" not in loud.out, "said once, not twice"


def test_columns_by_number_and_several_labels(shell: Shell, material: Material) -> None:
    rows = [line.split("\t") for line in material.train.read_text().splitlines()[1:]]
    Path("plain.tsv").write_text("".join(f"{label}\t{text}\n" for text, label in rows))
    done = shell(*SCRATCH, "--train", "plain.tsv", "--text-column", 1, "--label-column", 0, "--out", "a", "-q")
    assert done.code == 0, done.err
    Path("more.jsonl").write_text(
        "".join(json.dumps({"body": text, "topics": f"{label}|{text.split()[0]}"}) + "\n" for text, label in rows)
    )
    line = [*SCRATCH, "--train", "more.jsonl", "--text-column", "body", "--label-column", "topics", "--multi-label", "|"]
    assert shell(*line, "--out", "b", "-q").code == 0
    document = shell("evaluate", "b", "--test", "more.jsonl", "--json").document
    assert document["scores"]["main_name"] == "macro_f1", "columns and separator are those of training"
    assert shell("evaluate", "a", "--test", "plain.tsv").code == 0


def test_coarse_labels(shell: Shell, material: Material) -> None:
    head, *rows = material.train.read_text().splitlines()
    fine = [f"{line}:{i % 3}" for i, line in enumerate(rows)]
    Path("fine.tsv").write_text("\n".join([head, *fine]) + "\n")
    kinds = {line.split("\t")[1] for line in rows}
    compared = ("compare", "--task", "classify", "--rungs", "scratch", "--budgets", "all", "--seeds", 3, "--jobs", 1)
    for command, out in ((SCRATCH, "a"), (compared, "b")):
        done = shell(*command, "--train", "fine.tsv", "--coarse", ":", "--out", out, "-q")
        assert done.code == 0, done.err
    assert set(json.loads(Path("a/labels.json").read_text())["labels"]) == kinds
    assert "--coarse :" in done.err.splitlines()[-1], "the next command reads the same labels"
    scores = shell("evaluate", "a", "--test", "fine.tsv", "--json").document
    assert set(scores["scores"]["per_label"]) == kinds, "as in training"
    labels = shell("doctor", "--train", "fine.tsv", "--coarse", ":", "--json").document["files"]["train"]["labels_by_count"]
    assert set(labels) == kinds


def test_static_vectors_are_carried_over(shell: Shell, material: Material) -> None:
    from carryover.embeddings.vectors import WordVectors
    from task_material import word_vectors

    WordVectors(*word_vectors()).save(Path("vectors"))
    line = [*SCRATCH, "--train", material.train, "--mode", "static", "--encoder", "vectors", "--out", "a", "--json"]
    done = shell(*line)
    assert done.code == 0 and done.document["record"]["plan"]["mode"] == "static"


def test_the_same_folder_refuses_another_run(shell: Shell, material: Material) -> None:
    line = [*SCRATCH, "--train", material.train, "--out", "cls", "-q"]
    assert shell(*line).code == 0
    before = snapshot(shell.folder)
    for change in (["--seed", 5], ["--hidden", 9], ["--epochs", 2]):
        other = shell(*line, *change)
        assert other.code == 2 and f"this run was started with {str(change[0])[2:]} = " in other.err
    Path("other.tsv").write_text(material.train.read_text() + "another text\tharbour\n")
    assert "train_content" in shell(*SCRATCH, "--train", "other.tsv", "--out", "cls").err
    assert snapshot(shell.folder / "cls") == {k.removeprefix("cls/"): v for k, v in before.items()}
    Path("moved.tsv").write_bytes(material.train.read_bytes())
    assert shell(*SCRATCH, "--train", "moved.tsv", "--out", "cls").code == 0, "a file may move"


# Using what was trained -----------------------------------------------------------------------------------------------


def test_evaluate(shell: Shell, material: Material) -> None:
    done = shell("evaluate", material.classifier, "--test", material.test)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("accuracy 0.") and lines[0].endswith(" examples")
    assert any(line.split()[:1] == ["harbour"] and len(line.split()) == 6 for line in lines), "scores of each label"
    following = next_line(done)
    assert following[:3] == ["carryover", "evaluate", str(material.classifier)] and "--errors" in following
    document = shell("evaluate", material.classifier, "--test", material.test, "--json").document
    assert next(iter(document)) == "schema" and document["schema"] == "carryover.evaluate/1"
    rows = material.test.read_text().splitlines()[1:]
    assert document["examples"] == len(rows) and document["scores"]["main_name"] == "accuracy"
    # The figure can be recounted from what `predict` says.
    answers = shell("predict", material.classifier, material.test).out.splitlines()
    right = sum(answer.split("\t")[0] == row.split("\t")[1] for answer, row in zip(answers, rows, strict=True))
    assert document["scores"]["accuracy"] == right / len(rows)


def test_evaluate_a_tagger(shell: Shell, material: Material) -> None:
    document = shell("evaluate", material.tagger, "--test", material.tagged_test, "--json").document
    words = [line for line in material.tagged_test.read_text().splitlines() if line]
    answers = shell("predict", material.tagger, material.tagged_test).out.splitlines()
    given = [line for line in answers if line]
    assert [line.split("\t")[0] for line in given] == [line.split("\t")[0] for line in words]
    right = sum(one == other for one, other in zip(given, words, strict=True))
    assert document["scores"]["accuracy"] == right / len(words)


def test_evaluate_a_language_model(shell: Shell, material: Material) -> None:
    Path("one.txt").write_text("the crew mends the boat\nthe boat sails\n")
    line = ["evaluate", material.encoder, "--test"]
    done = shell(*line, f"one.txt,{material.raw}")
    first, second, third = done.out.splitlines()
    assert done.code == 0 and next_line(done)[:2] == ["carryover", "embed"]
    assert first.startswith("one.txt: perplexity ") and second.startswith(f"{material.raw}: ") and "together: " in third
    document = shell(*line, "one.txt", "--json").document
    assert document["schema"] == "carryover.evaluate-language-model/1"
    figures = document["files"][0]
    assert figures["lines"] == 2 and figures["forward_perplexity"] > 1 < figures["backward_perplexity"]
    assert f"forward {figures['forward_perplexity']:.2f}, backward {figures['backward_perplexity']:.2f}" in first
    failed = shell(*line, "one.txt", "--require", 1.5)
    assert failed.code == 4 and "is above the required 1.5" in failed.err and failed.out
    assert shell(*line, "one.txt", "--require", 1e6).code == 0
    for more, message in (
        (["one.txt", "--require", 0.5], "--require is 0.5"), (["one.txt", "--label-column", 1], "--label-column is for a"),
        (["one.txt,"], "has an empty file name at one of its commas"),
    ):  # fmt: skip
        wrong = shell(*line, *more)
        assert wrong.code == 2 and message in wrong.err


def test_the_quality_gate(shell: Shell, material: Material) -> None:
    line = ["evaluate", material.classifier, "--test", material.test, "--json", "--require"]
    assert shell(*line, 0).code == 0
    failed = shell(*line, 1)
    assert failed.code == 4 and failed.document["scores"], "the scores are printed all the same"
    assert "is below the required 1" in failed.err


def test_skipped_rows_are_counted_and_kept(shell: Shell, material: Material) -> None:
    Path("bad.tsv").write_text(material.test.read_text() + "one cell\n" + "a text\tno-such-label\n")
    stopped = shell("evaluate", material.classifier, "--test", "bad.tsv")
    assert stopped.code == 65 and "bad.tsv:" in stopped.err
    done = shell("evaluate", material.classifier, "--test", "bad.tsv", "--on-error", "skip", "--json")
    assert done.code == 0
    count = len(material.test.read_text().splitlines()) - 1
    assert f"{count + 2} rows = {count + 1} used + 1 rejected, written to bad.tsv.rejected.jsonl" in done.err
    rejected = [json.loads(line) for line in Path("bad.tsv.rejected.jsonl").read_text().splitlines()]
    assert [(row["line"], row["text"]) for row in rejected] == [(count + 2, "one cell")]
    assert done.document["scores"]["per_label"]["no-such-label"]["recall"] == 0, "an unknown label is an error, not dropped"
    train = shell(*SCRATCH, "--train", "bad.tsv", "--on-error", "skip", "--out", "a")
    assert train.code == 0 and f"{shell.folder}/a/run/rejected-train.jsonl" in train.err
    assert len(Path("a/run/rejected-train.jsonl").read_text().splitlines()) == 1


def test_predict(shell: Shell, material: Material) -> None:
    texts = ["second\tcell", "", "the first one", "and again the first one"]
    Path("new.txt").write_text("".join(text + "\n" for text in texts))
    done = shell("predict", material.classifier, "new.txt")
    assert done.code == 0
    told = [line.split("\t", 1)[1] for line in done.out.splitlines()]
    assert told == [text.replace("\t", "\\t") for text in texts], "a line each, in order, also for an empty one"
    labels = [line.split("\t")[0] for line in done.out.splitlines()]
    document = shell("predict", material.classifier, "new.txt", "--json").document
    assert document["schema"] == "carryover.predict/1" and len(document["labels"]) == 4
    rows = document["predictions"]
    assert [(row["labels"], row["text"]) for row in rows] == [
        ([label], text) for label, text in zip(labels, texts, strict=True)
    ]
    assert all(0.25 <= row["probabilities"][0] <= 1 for row in rows)
    with_chances = shell("predict", material.classifier, "new.txt", "--probabilities").out.splitlines()
    assert [line.split("\t")[1] for line in with_chances] == [f"{row['probabilities'][0]:.6f}" for row in rows]


def test_predict_over_tables_reads_the_text_column(shell: Shell, material: Material) -> None:
    rows = [line.split("\t") for line in material.test.read_text().splitlines()[1:]]
    by_line = "".join(text + "\n" for text, _ in rows)
    expected = shell("predict", material.classifier, "-", stdin=by_line).out
    assert shell("predict", material.classifier, material.test).out == expected
    Path("new.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in rows))
    assert shell("predict", material.classifier, "new.jsonl").out == expected, "labels may be absent"
    Path("other.csv").write_text("".join(f'"{text}"\n' for text, _ in [("body", ""), *rows]))
    assert shell("predict", material.classifier, "other.csv", "--text-column", "body").out == expected
    renamed = Path("new.data")
    renamed.write_bytes(material.test.read_bytes())
    assert shell("predict", material.classifier, renamed, "--format", "tsv").out == expected


def test_embed(shell: Shell, material: Material) -> None:
    lines = ["the house", "", "they see the house , and a zeppelin"]
    Path("new.txt").write_text("".join(line + "\n" for line in lines))
    done = shell("embed", material.encoder, "new.txt", "--layers", "all", "--out", "all.safetensors")
    assert done.code == 0 and "10 words of 3 lines" in done.out
    stored = load_file("all.safetensors")
    assert stored["lengths"].tolist() == [2, 0, 8] and stored["vectors"].shape[:2] == (10, 3)
    assert json.loads(stored["words"].tobytes()) == [line.split() for line in lines]
    with safe_open("all.safetensors", "numpy") as file:
        metadata = file.metadata()
        assert metadata.pop("made_from"), "by which a finished file is known again"
        assert metadata == {"schema": "carryover.vectors/1", "layers": "all", "precision": "float32"}
    shell("embed", material.encoder, "new.txt", "--layers", "top", "--out", "top.safetensors")
    assert (load_file("top.safetensors")["vectors"] == stored["vectors"][:, -1]).all()
    shell("embed", material.encoder, "new.txt", "--out", "mix.safetensors")
    mixed = load_file("mix.safetensors")["vectors"]
    assert mixed == pytest.approx(stored["vectors"].mean(1), abs=1e-6)
    # On standard output: a line of JSON for each line of text, and alone as among others.
    rows = [json.loads(row) for row in shell("embed", material.encoder, "new.txt").out.splitlines()]
    assert [row["words"] for row in rows] == [line.split() for line in lines]
    assert rows[0]["vectors"] == mixed[:2].tolist() and rows[1]["vectors"] == []
    alone = shell("embed", material.encoder, "-", "--json", stdin=lines[2] + "\n").document
    assert alone["schema"] == "carryover.embed/1" and alone["lines"] == [rows[2]]


# Looking at data, comparing -------------------------------------------------------------------------------------------


def test_doctor(shell: Shell, material: Material) -> None:
    Path("test.tsv").write_text(material.test.read_text() + material.train.read_text().splitlines()[1] + "\n")
    line = ["doctor", "--raw", material.raw, "--train", material.train, "--test", "test.tsv"]
    done = shell(*line)
    assert done.code == 0 and "test: texts that also occur in train" in done.out
    assert f"line {len(Path('test.tsv').read_text().splitlines())}: " in done.out and "line 2 of train" in done.out
    document = shell(*line, "--json").document
    assert document["schema"] == "carryover.doctor/1" and set(document["files"]) == {"raw", "train", "test"}
    tagged = shell("doctor", "--train", material.tagged, "--json").document
    assert "NOUN" in tagged["files"]["train"]["labels_by_count"]


def test_the_doctor_says_the_next_command_in_full(shell: Shell, material: Material) -> None:
    """Raw text and examples are compared, examples alone trained on, with the same columns; the command is right as it is."""
    rows = [row.split("\t") for row in material.train.read_text().splitlines()[1:]]
    Path("t.tsv").write_text("body\ttopic\n" + "".join(f"{text}\t{label}:x\n" for text, label in rows))
    columns = ["--text-column", "body", "--label-column", "topic", "--coarse", ":"]
    assert next_line(shell("doctor", "--raw", material.raw)) == [
        "carryover", "pretrain", "--raw", str(material.raw), "--objective", "bilm", "--size", "small", "--out", "runs/lm",
    ]  # fmt: skip
    alone = next_line(shell("doctor", "--train", "t.tsv", "--dev", "t.tsv", *columns))
    task = ["--task", "classify", "--train", "t.tsv"]
    assert alone == ["carryover", "train", *task, "--dev", "t.tsv", *columns, "--out", "runs/task"]
    both = next_line(shell("doctor", "--train", "t.tsv", "--test", "t.tsv", "--raw", material.raw, *columns))
    compared = [*task, "--test", "t.tsv", "--raw", str(material.raw), *columns]
    assert both == ["carryover", "compare", *compared, "--out", "runs/compare"]
    assert shell(*both[1:], "--dry-run").code == shell(*alone[1:], "--dry-run").code == 0
    tagged = next_line(shell("doctor", "--train", material.tagged, "--scheme", "plain", "--label-column", 1))
    assert tagged[2:] == [
        "--task", "tag", "--train", str(material.tagged), "--label-column", "1", "--scheme", "plain", "--out", "runs/task",
    ]  # fmt: skip


def test_the_doctor_suggests_nothing_after_an_error(shell: Shell, material: Material) -> None:
    Path("bad.tsv").write_text(material.train.read_text() + "one column\n")
    Path("new.tsv").write_text(material.test.read_text() + "a text\tnever seen\n")
    for more, message in (
        (["--train", "bad.tsv"], "1 finding is an error; correct the errors first"),
        (["--train", "bad.tsv", "--test", "new.tsv"], "2 findings are errors; correct"),
    ):
        done = shell("doctor", *more)
        assert (
            done.code == 65 and message in done.err and "next:" not in done.err and "error: train: faulty rows" in done.out
        )
        assert shell("doctor", *more, "--json").document["findings"]
    few = "".join(f"{row}\n" for row in material.train.read_text().splitlines()[:5])
    Path("few.tsv").write_text(few)
    assert "next:" not in shell("doctor", "--train", "few.tsv").err, "too few to train on"


def test_compare(shell: Shell, material: Material) -> None:
    line = ["compare", "--task", "classify", "--train", material.train, "--test", material.test, "--rungs", "features"]
    line += ["--seeds", 2, "--out", "cmp", "--jobs", 1]
    done = shell(*line, "--budgets", 8)
    assert done.code == 0, done.err
    assert "features" in done.out and str(Path("cmp", "report.html")) in done.out
    assert next_line(done)
    longer = shell(*line, "--budgets", "8,12", "--json")
    document = longer.document
    assert document["schema"] == "carryover.compare/1" and document["verdict"]
    assert document["looks_at_test"] == len(document["cells"]) == 4
    assert {"rung", "budget", "seed", "score", "interval", "seconds", "parameters"} <= set(document["cells"][0])
    assert "2 of 4" in longer.err or "2 cells" in longer.err, "the finished cells are not done again"
    assert (shell.folder / "cmp" / "report.html").stat().st_size > 10_000

"""Published ELMo through the command line: imported, it embeds, is trained on and compared; exported, it comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import carryover
from command_line import Material, Shell, snapshot
from interop.elmo_files import OPTIONS, write_files
from interop.test_published_elmo import made

pytest.importorskip("h5py", reason="published ELMo files need h5py: pip install carryover[published]")


@pytest.fixture
def elmo(shell: Shell) -> Path:
    """An imported model in the working folder."""
    options, weights = write_files(Path("files"))
    done = shell("import", "elmo", "--options", options, "--weights", weights, "--out", "runs/elmo")
    assert done.code == 0, done.err
    return Path("runs/elmo")


def test_import(shell: Shell, elmo: Path) -> None:
    before = snapshot(elmo)
    line = ["import", "elmo", "--options", "files/options.json", "--weights", "files/weights.hdf5", "--out", elmo]
    done = shell(*line)
    assert done.code == 0 and done.out == "runs/elmo: 4,186 parameters read, all of them placed\n"
    assert "no output layer" in done.err and "next: carryover embed runs/elmo" in done.err
    assert {**snapshot(elmo), "record.json": b"", "manifest.json": b"", "README.md": b""} == {
        **before, "record.json": b"", "manifest.json": b"", "README.md": b"",
    }  # fmt: skip
    document = shell(*line, "--json", "-q").document
    assert document["schema"] == "carryover.import/1" and document["format"] == "elmo" and document["ignored"] == []
    assert set(document["files"]) == {"options", "weights"} and document["parameters"] == 4186


def test_what_is_imported_gives_the_vectors_of_the_files(shell: Shell, elmo: Path) -> None:
    encoder, _ = made(OPTIONS)
    lines = [["the", "cow", "sees"], ["Ann", "likes", "it", "."]]
    Path("x.txt").write_text("".join(" ".join(line) + "\n" for line in lines))
    done = shell("embed", elmo, "x.txt", "--layers", "all", "--out", "v.safetensors", "--json", "-q")
    assert done.code == 0 and done.document["cut_words"] == 0
    expected = np.concatenate([vectors.numpy() for vectors in encoder.embed(lines)])
    assert np.abs(load_file("v.safetensors")["vectors"] - expected).max() < 1e-6


def test_embed_with_the_state_carried(shell: Shell, elmo: Path) -> None:
    Path("x.txt").write_text("the cow sees\n\nthe cow sees\nthe cow sees\n")

    def rows(*more: object) -> list[list[list[float]]]:
        done = shell("embed", elmo, "x.txt", *more)
        assert done.code == 0, done.err
        return [json.loads(row)["vectors"] for row in done.out.splitlines()]

    plain, carried, in_threes = rows(), rows("--carry-state"), rows("--carry-state", "--batch-size", 3)
    assert [len(row) for row in carried] == [3, 0, 3, 3]
    assert plain[2] == pytest.approx(np.array(plain[0]), abs=1e-6)
    assert plain[3] == pytest.approx(np.array(plain[0]), abs=1e-6)
    assert carried[0] == pytest.approx(np.array(plain[0]), abs=1e-6)
    assert np.abs(np.array(carried[2]) - np.array(plain[2])).max() > 1e-3
    assert in_threes[2] == pytest.approx(np.array(plain[0]), abs=1e-6), "the third row began with zeros"
    assert np.abs(np.array(in_threes[3]) - np.array(plain[3])).max() > 1e-3, "the fourth line went on from the first"
    refused = shell("embed", elmo, "x.txt", "--batch-size", 3)
    assert refused.code == 2 and "--batch-size is 3 without --carry-state; leave it out" in refused.err
    assert shell("embed", elmo, "x.txt", "--carry-state", "--batch-size", 0).code == 2


def test_a_task_is_trained_on_it_and_the_proof_says_what_is_not_stored(shell: Shell, elmo: Path, material: Material) -> None:
    few = ["--epochs", 1, "--hidden", 8, "--out"]
    for mode in ("frozen", "full"):
        line = ["train", "--task", "classify", "--train", material.train, "--encoder", elmo, "--mode", mode, *few, mode]
        done = shell(*line)
        assert done.code == 0, done.err
        assert "held-out figures: none is stored with the model to compare with" in done.err
        proof = json.loads(Path(mode, "record.json").read_text())["proof"]
        assert proof["stored_perplexity"] is None and proof["tensors_loaded"] == 33
        assert proof["vocabulary_rows_matched"] == proof["vocabulary_rows"] > 0
        assert shell("evaluate", mode, "--test", material.test).code == 0


def test_it_is_compared(shell: Shell, elmo: Path, material: Material) -> None:
    line = ["compare", "--task", "classify", "--train", material.train, "--test", material.test, "--encoder", elmo]
    more = ["--rungs", "frozen", "--budgets", "20", "--seeds", 1, "--out", "cmp", "--json", "-q"]
    done = shell(*line, *more)
    assert done.code == 0, done.err
    assert [cell["rung"] for cell in done.document["cells"]] == ["frozen"]


def test_export_and_import_again(shell: Shell, material: Material) -> None:
    done = shell("export", "elmo", material.encoder, "--out", "files")
    assert done.code == 0 and "options.json, weights.hdf5" in done.out and "the output layer" in done.err
    assert sorted(path.name for path in Path("files").iterdir()) == ["manifest.json", "options.json", "weights.hdf5"]
    line = ["import", "elmo", "--options", "files/options.json", "--weights", "files/weights.hdf5", "--out", "back"]
    assert shell(*line, "-q").code == 0
    assert shell("export", "elmo", "back", "--out", "again", "--json", "-q").document["largest_difference"] == 0
    assert snapshot(Path("files")) == snapshot(Path("again"))
    texts = "they see the house\nthe zeppelin\n"
    both = [shell("embed", model, stdin=texts).out for model in (material.encoder, "back")]
    assert both[0] == both[1] != ""


def test_words_cut_short_are_counted(shell: Shell, elmo: Path) -> None:
    text = "a " + "x" * 48 + " " + "x" * 49 + " " + "日" * 16 + " " + "日" * 17 + "\n"
    # By rule every Chinese character is a word of its own, so the words are given as they are.
    line = ["import", "elmo", "--options", "files/options.json", "--weights", "files/weights.hdf5", "--out", "plain"]
    assert shell(*line, "--tokenizer", "whitespace", "-q").code == 0
    done = shell("embed", "plain", stdin=text)
    assert "words longer than 48 bytes, of which only the first 48 were read: 2 of " in done.err
    vectors = json.loads(done.out)["vectors"]
    assert len(vectors) == 5 and shell("embed", "plain", "--json", stdin=text).document["cut_words"] == 2
    assert "longer than" not in shell("embed", "plain", stdin="a b\n").err


def test_any_text_has_vectors(shell: Shell, elmo: Path) -> None:
    """Empty lines, control characters, right-to-left text, emoji: a vector a word, and the same alone."""
    lines = [
        "",
        "   ",
        "a\x01b \x7f c",
        "שלום עולם",
        "مرحبا بالعالم",
        "👩‍👩‍👧 👍🏽 🇫🇷",
        "e\u0301 \u202eabc\u202c",
        "x \ufeff \u200b",
        "<s> </s> <unk>",
    ]
    done = shell("embed", elmo, stdin="".join(line + "\n" for line in lines))
    rows = [json.loads(row) for row in done.out.splitlines()]
    assert done.code == 0 and len(rows) == len(lines)
    for line, row in zip(lines, rows, strict=True):
        assert len(row["words"]) == len(row["vectors"]) and np.isfinite(row["vectors"]).all()
        alone = json.loads(shell("embed", elmo, stdin=line + "\n").out)
        assert alone["words"] == row["words"]
        assert np.abs(np.array(alone["vectors"]) - np.array(row["vectors"])).max(initial=0) < 1e-6
    assert rows[0]["words"] == rows[1]["words"] == [] and len(rows[3]["words"]) == 2


def test_a_whole_book_as_one_line(shell: Shell, elmo: Path) -> None:
    """Read in pieces, which is said; every word has its vector, and it is that of the whole."""
    words = [f"w{number % 700}" for number in range(9000)]
    Path("book.txt").write_text("a b\n" + " ".join(words) + "\nc\n")
    done = shell("embed", elmo, "book.txt", "--out", "book.npz", "--layers", "top", "--json")
    assert done.document["long_lines"] == 1 and done.document["words"] == 9003
    assert "lines longer than 4,096 words, read in pieces that carry their state on, so nothing is lost: 1\n" in done.err
    stored = np.load("book.npz")
    assert stored["lengths"].tolist() == [2, 9000, 1]
    model = carryover.load(elmo).model
    with torch.inference_mode():
        batch = carryover.load(elmo).coder.batch([words], borders=True)
        whole = model.representations(batch).values[0, :, -1]
    assert np.abs(stored["vectors"][2:-1] - whole.numpy()).max() < 1e-6
    printed = shell("embed", elmo, "book.txt")
    assert "read in pieces" in printed.err
    assert [len(json.loads(row)["vectors"]) for row in printed.out.splitlines()] == [2, 9000, 1]
    assert "in pieces" not in shell("embed", elmo, stdin="a b\n").err

"""`carryover neighbours`: in context, by static vectors, both, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carryover.data.vocabulary import Vocabulary
from carryover.embeddings.vectors import WordVectors
from command_line import Material, Shell
from encoders.material import ENCODERS, stored


def vectors(folder: Path) -> Path:
    vocabulary = Vocabulary(["the", "boat", "gull", "a"])
    array = np.array([[0, 0]] * 4 + [[1, 0], [0, 1], [0.1, 1], [1, 0.1]], np.float32)
    WordVectors(vocabulary, array).save(folder)
    return folder


def test_in_context(shell: Shell, material: Material) -> None:
    Path("raw.txt").write_text("the boat\na boat\nthe gull\nsee the boat\n")
    line = ["neighbours", "boat", "--in-context", "--encoder", material.encoder, "--raw", "raw.txt", "--contexts", 2]
    document = shell(*line, "--vectors", vectors(shell.folder / "v"), "--top", 1, "--json").document
    assert document["schema"] == "carryover.neighbours/1" and document["occurrences"] == document["compared"] == 3
    assert [row["word"] for row in document["static"]] == ["gull"]
    first = document["contexts"][0]
    assert len(document["contexts"]) == 2 and len(first["neighbours"]) == 1
    assert first["sentence"].split()[first["position"]] == "boat" and first["line"] in (1, 2, 4)
    assert first["neighbours"][0]["line"] != first["line"] and -1 <= first["neighbours"][0]["cosine"] <= 1.001
    done = shell(*line)
    assert done.code == 0 and "3 occurrences, 3 compared by top" in done.out and "[boat]" in done.out
    assert done.err.splitlines()[-1].startswith("next: carryover embed ")


def test_builtin_text_and_static_alone(shell: Shell, material: Material) -> None:
    line = ("neighbours", "the", "--in-context", "--encoder", material.encoder, "--raw", "builtin:grammar?raw=50")
    assert shell(*line, "--json").document["occurrences"] > 10
    done = shell("neighbours", "boat", "--vectors", vectors(shell.folder / "v"), "--top", 2)
    assert done.out == "static, the same everywhere: gull 0.995, a 0.100\n"


def test_another_case_is_taken_where_the_word_does_not_stand_so(shell: Shell, material: Material) -> None:
    Path("raw.txt").write_text("the boat\nBOAT sinks\na boat\n")
    line = ["--in-context", "--encoder", material.encoder, "--raw", "raw.txt", "--vectors", vectors(shell.folder / "v")]
    done = shell("neighbours", "Boat", *line)
    assert done.code == 0 and "3 occurrences" in done.out
    assert "'Boat' does not occur; found in another case: 'BOAT' (1), 'boat' (2)" in done.err
    assert "'Boat' has no vector; these are the neighbours of 'boat'" in done.err
    document = shell("neighbours", "Boat", *line, "--json").document
    assert document["spellings"] == {"boat": 2, "BOAT": 1} and document["static_word"] == "boat"
    exact = shell("neighbours", "boat", *line)
    assert "2 occurrences" in exact.out and "another case" not in exact.err and "has no vector" not in exact.err


def test_refusals(shell: Shell, material: Material) -> None:
    Path("raw.txt").write_text("the boat\n")
    context = ["--in-context", "--encoder", material.encoder, "--raw", "raw.txt"]
    for line, code, message in (
        (["boat"], 2, "nothing to compare with; give --in-context"),
        (["boat", "--in-context", "--raw", "raw.txt"], 2, "--in-context needs --encoder"),
        (["boat", "--in-context", "--encoder", material.encoder], 2, "--in-context needs --raw"),
        (["ship", *context], 65, "raw.txt: the word 'ship' does not occur in the text, in upper or lower case"),
        (["boat", *context, "--layers", "all"], 2, "is not one vector a word"),
        (["boat", *context, "--top", 0], 2, "--top is 0"),
        (["boat", *context[:3], "--raw", "nowhere.txt"], 66, "nowhere.txt: no such file"),
        (["boat", "--in-context", "--encoder", material.tagger, "--raw", "raw.txt"], 2, "is a task model"),
        (["yacht", "--vectors", vectors(shell.folder / "v")], 65, "'yacht' has no vector, in upper or lower case"),
    ):
        done = shell("neighbours", *line)
        assert done.code == code and message in done.err and done.out == "", (line, done)


@pytest.mark.parametrize("name", ["transformer-subwords", "gru-characters", "static"])
def test_in_context_by_any_encoder(shell: Shell, name: str) -> None:
    """A causal model tells occurrences apart by what stands before them, static vectors do not tell them apart at all."""
    folder = stored(shell.folder / "model", ENCODERS[name](0))
    Path("raw.txt").write_text("the boat sees the gull\nthe boat is here\na gull sees a boat\n")
    line = ["neighbours", "boat", "--in-context", "--encoder", folder, "--raw", "raw.txt", "--contexts", 3, "--json"]
    document = shell(*line).document
    assert document["occurrences"] == document["compared"] == 3
    near = {(one["line"], other["line"]): other["cosine"] for one in document["contexts"] for other in one["neighbours"]}
    assert near[1, 2] == pytest.approx(1, abs=1e-5) and near[2, 1] == pytest.approx(1, abs=1e-5)
    assert (near[1, 3] > 0.9999) == (name == "static")

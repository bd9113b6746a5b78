"""`carryover embed` beyond lines of text: other inputs, single layers, pooled vectors, every kind of file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors import safe_open

from command_line import Material, Shell
from encoders.material import ENCODERS, stored


def test_columns_and_rows_keep_their_words(shell: Shell, material: Material) -> None:
    Path("a.conll").write_text("don't X\nstop. Y\n\n# Z\n")
    rows = [json.loads(row) for row in shell("embed", material.encoder, "a.conll").out.splitlines()]
    assert [row["words"] for row in rows] == [["don't", "stop."], ["#"]]
    Path("a.jsonl").write_text('{"tokens": ["don\'t", "stop."]}\n{"text": "don\'t stop."}\n')
    first, second = (json.loads(row) for row in shell("embed", material.encoder, "a.jsonl").out.splitlines())
    assert first == rows[0] and len(second["words"]) == 4
    by_name = shell("embed", material.encoder, "-", "--format", "jsonl", stdin=Path("a.jsonl").read_text())
    assert json.loads(by_name.out.splitlines()[0]) == first
    wrong = shell("embed", material.encoder, "a.conll", "--format", "conl")
    assert wrong.code == 2 and "did you mean 'conll'?" in wrong.err


def test_one_layer_and_pooled(shell: Shell, material: Material) -> None:
    Path("a.txt").write_text("the house\n\n")
    every = json.loads(shell("embed", material.encoder, "a.txt", "--layers", "all").out.splitlines()[0])
    line = ("embed", material.encoder, "a.txt", "--layers", 1)
    one = json.loads(shell(*line).out.splitlines()[0])
    assert one["vectors"] == [layers[1] for layers in every["vectors"]]
    pooled = [json.loads(row) for row in shell(*line, "--pool", "mean").out.splitlines()]
    assert pooled[0]["vector"] == pytest.approx(np.mean(one["vectors"], axis=0), abs=1e-6)
    assert pooled[1]["words"] == [] and not any(pooled[1]["vector"])
    assert "there is no layer 7; the model has 0" in shell("embed", material.encoder, "a.txt", "--layers", 7).err


@pytest.mark.parametrize("suffix", ["npz", "hdf5", "parquet"])
def test_other_files(shell: Shell, material: Material, suffix: str) -> None:
    Path("a.txt").write_text("the house\n\n")
    done = shell("embed", material.encoder, "a.txt", "--pool", "max", "--out", f"v.{suffix}", "--json")
    assert done.code == 0 and done.document["lines"] == 2 and done.document["words"] == 2
    assert sorted(place.name for place in shell.folder.iterdir()) == ["a.txt", f"v.{suffix}"]


def test_train_prints_and_stores_the_mixture(shell: Shell, material: Material) -> None:
    line = ["train", "--task", "tag", "--train", material.tagged, "--encoder", material.encoder, "--mode", "frozen"]
    done = shell(*line, "--epochs", 1, "--hidden", 8, "--elmo-placement", "both", "--mix-l2", 0.01, "--out", "t", "-q")
    assert done.code == 0, done.err
    assert [text.split(":")[0] for text in done.out.splitlines() if text.startswith("shares")] == [
        "shares of the pretrained model's layers at the input of the task",
        "shares of the pretrained model's layers at the output of the task",
    ]
    record = json.loads(Path("t/record.json").read_text())
    assert record["plan"]["placement"] == "both" and record["plan"]["mix_l2"] == 0.01
    assert all(sum(mix["shares"]) == pytest.approx(1) for mix in record["mix"].values())
    assert re.search(r"^drawn in .*t/mix\.svg$", done.out, re.MULTILINE)
    drawn = Path("t/mix.svg").read_text()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    for place, mix in record["mix"].items():
        assert f"{place}, × {mix['scale']:.2f}" in drawn
        assert all(f"{share:.2f}" in drawn for share in mix["shares"] if share >= 0.06)
    assert "How tagging mixes the layers" in drawn and "(mix.svg)" in Path("t/README.md").read_text()
    assert "mix.svg" in json.loads(Path("t/manifest.json").read_text())["files"]
    assert shell("predict", "t", "-", stdin="the house\n").code == 0
    normed = shell(*line, "--epochs", 1, "--hidden", 8, "--mix-layer-norm", "--dropout", 0.25, "--out", "n", "-q", "--json")
    assert normed.document["record"]["plan"]["mix_layer_norm"] is True
    assert json.loads(Path("n/record.json").read_text())["settings"]["dropout"] == 0.25
    assert json.loads(Path("n/config.json").read_text())["config"]["encoder"]["layer_norm"] is True
    line = [*line[:-4], "--mode", "scratch", "--epochs", 1, "--hidden", 8, "--out", "s"]
    refused = shell(*line, "--mix-l2", 0.1)
    assert refused.code == 2 and "mix_l2 is for a mixture of a pretrained model's layers, and mode scratch" in refused.err
    plain = shell(*line)
    assert plain.code == 0 and "mix.svg" not in plain.out and not Path("s/mix.svg").exists()


def test_sentences_without_words_keep_their_place(shell: Shell, material: Material) -> None:
    """Given as words, as text, as columns: an empty one is a line with nothing in it."""
    Path("rows.jsonl").write_text('{"tokens": []}\n{"tokens": ["the", "house"]}\n{"text": ""}\n{"text": " \\t"}\n')
    rows = [json.loads(row) for row in shell("embed", material.encoder, "rows.jsonl").out.splitlines()]
    assert [row["words"] for row in rows] == [[], ["the", "house"], [], []]
    assert [len(row["vectors"]) for row in rows] == [0, 2, 0, 0]
    done = shell("embed", material.encoder, "rows.jsonl", "--pool", "mean", "--out", "v.npz", "--json")
    assert done.document["lines"] == 4 and not np.load("v.npz")["vectors"][[0, 2, 3]].any()


@pytest.mark.parametrize("carried", [(), ("--carry-state",)])
def test_lower_precision_is_near_and_written_down(shell: Shell, material: Material, carried: tuple[str, ...]) -> None:
    Path("a.txt").write_text("the house\nthey see the house\n")
    found = {}
    for precision in ("float32", "bfloat16"):
        line = ("embed", material.encoder, "a.txt", "--precision", precision, "--json", *carried)
        streamed, written = shell(*line), shell(*line, "--out", f"{precision}.safetensors")
        assert streamed.document["precision"] == written.document["precision"] == precision, streamed.err + written.err
        vectors = [vector for row in streamed.document["lines"] for vector in row["vectors"]]
        with safe_open(f"{precision}.safetensors", "numpy") as file:
            assert file.metadata()["precision"] == precision and file.get_tensor("vectors").dtype == np.float32
            assert file.get_tensor("vectors").tolist() == vectors
        found[precision] = np.array(vectors)
    exact, near = found["float32"], found["bfloat16"]
    cosines = (exact * near).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(near, axis=1)
    assert cosines.min() > 0.999 and not np.array_equal(exact, near)
    wrong = shell("embed", material.encoder, "a.txt", "--precision", "half")
    assert wrong.code == 2 and "auto, float32, bfloat16" in wrong.err


@pytest.mark.parametrize("name", ["transformer-characters", "lstm-subwords", "static"])
def test_any_encoder_gives_a_vector_a_word(shell: Shell, name: str) -> None:
    folder = stored(shell.folder / "model", ENCODERS[name](0))
    Path("a.txt").write_text("the boat sees\nthe gull sees the boat\n")
    rows = [json.loads(row) for row in shell("embed", folder, "a.txt", "--layers", "all").out.splitlines()]
    assert [row["words"] for row in rows] == [["the", "boat", "sees"], ["the", "gull", "sees", "the", "boat"]]
    assert [len(row["vectors"]) for row in rows] == [3, 5]
    carried = shell("embed", folder, "a.txt", "--layers", "all", "--carry-state")
    if name == "static":
        assert rows[1]["vectors"][0] == rows[1]["vectors"][3], "a word has one vector"
        assert carried.code == 2 and "has no state to carry" in carried.err
        return
    # What follows does not reach a word; with the state carried, what stands before does.
    both = [json.loads(row)["vectors"] for row in carried.out.splitlines()]
    np.testing.assert_allclose(rows[0]["vectors"][0], rows[1]["vectors"][0], atol=1e-6)
    np.testing.assert_allclose(both[0], rows[0]["vectors"], atol=1e-6)
    assert not np.allclose(both[1], rows[1]["vectors"], atol=1e-4)

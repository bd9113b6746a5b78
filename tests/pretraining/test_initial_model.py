"""Pretraining that begins with a model: what is carried over, what it scores before and after, what contradicts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import carryover
from carryover import storage
from carryover.errors import BadData, InputMissing, UsageError
from carryover.interop.elmo.published import export_elmo, import_elmo
from carryover.objectives.bilm import lines_perplexity
from carryover.pretraining.calibration import estimate
from carryover.pretraining.initial_model import InitialModel, continued, read_initial_model
from carryover.pretraining.pretrain import pretrain
from faults.outcome import outcome
from pretraining.tiny_text import WORDS, tiny, write_text

PERPLEXITIES = ("forward_perplexity", "backward_perplexity", "perplexity")
FEW: dict[str, Any] = {
    "batch_size": 4, "steps": 7, "block_tokens": 60, "epochs": 1, "log_steps": 5, "learning_rate": 0.01, "seed": 5,
    "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, a model of it, that model as published files and imported again, a generating model, and a new text."""
    place = tmp_path_factory.mktemp("continuing")
    text = write_text(place / "text.txt")
    pretrain(tiny(text), place / "lm", quiet=True)
    pretrain(tiny(text, objective="lm", input="words", model={"size": 8, "cells": 8}), place / "writer", quiet=True)
    export_elmo(place / "lm", place / "files")
    import_elmo(place / "files" / "options.json", place / "files" / "weights.hdf5", place / "elmo", tokenizer="whitespace")
    other = " ".join(reversed(WORDS))
    lines = write_text(place / "new.txt", seed=9).read_text().splitlines()
    (place / "new.txt").write_text("".join(f"{line} {other}\n" for line in lines).replace("boat", "skiff"))
    return place


def run(folder: Path, start: str, out: Path, **asked: Any) -> dict[str, Any]:
    return pretrain(continued(folder / start, folder / "new.txt", **{**FEW, **asked}), out, quiet=True).record


def test_our_own_model_goes_on_with_its_vocabulary_and_output_layer(tmp_path: Path, folder: Path) -> None:
    record = run(folder, "lm", tmp_path / "new")
    begun, start = record["begun_with"], carryover.load(folder / "lm")
    assert begun["output_layer"] == "output layer kept, 15 words"
    assert begun["proof"]["tensors_new"] == 0 and begun["proof"]["vocabulary_rows_matched"] == 15
    assert begun["proof"]["stored_perplexity"] == pytest.approx(begun["proof"]["measured_perplexity"])
    assert record["held_out"]["perplexity"] < begun["before"]["perplexity"], "the new text is learned"
    new = carryover.load(tmp_path / "new")
    assert new.coder.vocabulary == start.coder.vocabulary and new.model.config == start.model.config
    assert set(begun["proof"]["moved"]) == {
        "token_encoder", "forward_layers.0", "forward_layers.1", "backward_layers.0", "backward_layers.1",
    }  # fmt: skip
    assert all(distance > 0 for distance in begun["proof"]["moved"].values())


def test_before_is_what_the_model_scores_on_the_new_held_out_text(tmp_path: Path, folder: Path) -> None:
    """One lane and one block a line make both ways of measuring the same."""
    valid = tmp_path / "valid.txt"
    valid.write_text("the boat sinks slowly .\n")
    begun = run(folder, "lm", tmp_path / "new", valid=valid)["begun_with"]
    start = carryover.load(folder / "lm")
    expected = lines_perplexity(start.model, start.coder, ["the boat sinks slowly ."])
    scores = {name: value for name, value in begun["before"].items() if not name.endswith("clipped_share")}
    assert scores == pytest.approx({name: expected[name] for name in scores})
    earlier = begun["earlier_text"]
    assert earlier["before"] == start.record["heldout_check"]
    new = carryover.load(tmp_path / "new")
    assert earlier["after"] == pytest.approx(lines_perplexity(new.model, new.coder, start.heldout))


def test_published_weights_get_an_output_layer_for_the_new_text(tmp_path: Path, folder: Path) -> None:
    record = run(folder, "elmo", tmp_path / "new")
    begun, new = record["begun_with"], carryover.load(tmp_path / "new")
    assert begun["output_layer"].startswith("it had no output layer; carryover made a new one for ")
    assert begun["imported"]["format"] == "elmo" and "earlier_text" not in begun
    assert "skiff" in new.coder.vocabulary and new.coder.tokenizer.kind == "whitespace"
    assert begun["proof"]["tensors_new"] == 2 and begun["proof"]["vocabulary_rows_matched"] == 0
    assert record["held_out"]["perplexity"] < begun["before"]["perplexity"]


def test_the_run_really_begins_with_these_weights(tmp_path: Path, folder: Path) -> None:
    """With a learning rate of next to nothing the encoder is the one that was given."""
    run(folder, "elmo", tmp_path / "new", learning_rate=1e-12)
    given, new = carryover.load(folder / "elmo").model, carryover.load(tmp_path / "new").model
    for name, tensor in given.state_dict().items():
        torch.testing.assert_close(new.state_dict()[name], tensor, rtol=0, atol=1e-7)


def test_a_new_vocabulary_keeps_the_rows_of_known_words(tmp_path: Path, folder: Path) -> None:
    record = run(folder, "lm", tmp_path / "new", vocabulary_size=17, learning_rate=1e-12)
    old, new = carryover.load(folder / "lm"), carryover.load(tmp_path / "new")
    both = [word for word in new.coder.vocabulary if word in old.coder.vocabulary]
    assert 4 < len(both) < 17 and "skiff" in new.coder.vocabulary
    assert record["begun_with"]["proof"]["vocabulary_rows_matched"] == len(both)
    for word in both:
        rows = [model.model.output.weight[model.coder.vocabulary.id(word)] for model in (old, new)]
        torch.testing.assert_close(rows[0], rows[1], rtol=0, atol=1e-7)


def test_a_generating_model_goes_on(tmp_path: Path, folder: Path) -> None:
    record = run(folder, "writer", tmp_path / "new")
    assert record["objective"] == "lm" and record["begun_with"]["proof"]["tensors_new"] == 0
    assert record["held_out"]["perplexity"] < record["begun_with"]["before"]["perplexity"]
    assert all(distance > 0 for distance in record["begun_with"]["proof"]["moved"].values())


def test_the_lineage_stands_in_record_and_card(tmp_path: Path, folder: Path) -> None:
    run(folder, "lm", tmp_path / "second")
    third = pretrain(continued(tmp_path / "second", folder / "text.txt", **FEW), tmp_path / "third", quiet=True).record
    fingerprint = read_initial_model(folder / "lm").fingerprint
    assert third["begun_with"]["begun_with"]["fingerprint"] == fingerprint
    assert third["begun_with"]["corpus"]["fingerprint"] == storage.file_digest(folder / "new.txt")
    card = (tmp_path / "third" / "README.md").read_text()
    assert "## Initial model" in card and third["begun_with"]["fingerprint"] in card
    assert f"before: {third['begun_with']['before']['perplexity']:.2f}" in card


def test_two_runs_are_the_same_and_a_finished_one_is_left_alone(tmp_path: Path, folder: Path) -> None:
    run(folder, "elmo", tmp_path / "one")
    run(folder, "elmo", tmp_path / "two")
    assert outcome(tmp_path / "one") == outcome(tmp_path / "two")
    before = (tmp_path / "one" / "record.json").read_bytes()
    run(folder, "elmo", tmp_path / "one")
    assert (tmp_path / "one" / "record.json").read_bytes() == before


def test_another_model_to_begin_with_is_another_run(tmp_path: Path, folder: Path) -> None:
    """The folder may have moved, the model may not have changed."""
    (tmp_path / "begin").symlink_to(folder / "lm")
    run(folder, "lm", tmp_path / "new")
    pretrain(continued(tmp_path / "begin", folder / "new.txt", **FEW), tmp_path / "new", quiet=True)
    pretrain(tiny(folder / "text.txt", seed=2), tmp_path / "other", quiet=True)
    with pytest.raises(UsageError, match="started with begun_with = "):
        pretrain(continued(tmp_path / "other", folder / "new.txt", **FEW), tmp_path / "new", quiet=True)


def test_adaptive_softmax(tmp_path: Path, folder: Path) -> None:
    record = run(folder, "elmo", tmp_path / "new", softmax="adaptive")
    again = pretrain(continued(tmp_path / "new", folder / "text.txt", **FEW), tmp_path / "again", quiet=True).record
    assert record["settings"]["softmax"] == "adaptive" and again["begun_with"]["proof"]["tensors_new"] == 0
    with pytest.raises(UsageError, match="'full' needs another output layer than the 'adaptive' one"):
        run(tmp_path, "new", tmp_path / "third", softmax="full")


@pytest.mark.parametrize(
    ("start", "asked", "message"),
    [
        ("lm", {"size": "small"}, r"size small has character_size = 16, but the model to begin with has 4"),
        ("lm", {"size": "smal"}, r"unknown size 'smal'"),
        ("lm", {"input": "words"}, r'input is "characters" in the model to begin with, "words" was asked for'),
        ("lm", {"objective": "lm"}, r'objective is "bilm" in the model to begin with, "lm" was asked for'),
        ("lm", {"model": {"cells": 9}}, r"cells is 8 in the model to begin with, 9 was asked for"),
        ("lm", {"softmax": "adaptive"}, r"softmax 'adaptive' needs another output layer"),
        ("writer", {"vocabulary_size": 30}, r"reads words with objective lm: its vocabulary defines its input"),
        ("elmo", {"new_vocabulary": False}, r"has no output layer and therefore no vocabulary to keep"),
    ],
)
def test_contradictions_are_one_line_with_both_values(
    tmp_path: Path, folder: Path, start: str, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        run(folder, start, tmp_path / "new", **asked)
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


def test_other_things_to_begin_with(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputMissing, match="does not exist"):
        run(folder, "gone", tmp_path / "new")
    with pytest.raises(UsageError, match="is the model to begin with"):
        run(folder, "lm", folder / "lm")
    with pytest.raises(UsageError, match="cells is 8 in the model to begin with, 96 was asked for"):
        pretrain(
            tiny(folder / "new.txt", begin_with=folder / "lm", model=_tiny_without_cells()), tmp_path / "new", quiet=True
        )
    with pytest.raises(UsageError, match="new_vocabulary is for a run that begins with a model"):
        tiny(folder / "new.txt", new_vocabulary=True)
    monkeypatch.setattr(InitialModel, "measure_earlier", lambda *_: dict.fromkeys(PERPLEXITIES, 3.0))
    with pytest.raises(BadData, match="what was loaded is not what was trained"):
        run(folder, "lm", tmp_path / "new")


def _tiny_without_cells() -> dict[str, Any]:
    return {**tiny("x").model, "cells": 96}


def test_an_estimate_knows_the_model(folder: Path) -> None:
    kept = estimate(continued(folder / "lm", folder / "new.txt", **FEW))
    assert kept["parameters"] == carryover.load(folder / "lm").record["parameters"]
    assert estimate(continued(folder / "elmo", folder / "new.txt", **FEW))["parameters"] > kept["parameters"]

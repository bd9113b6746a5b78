"""The perplexity of a language model on texts: file by file and together, the same as in pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import carryover
from carryover.errors import BadData, InputMissing, UsageError
from carryover.interop.elmo.published import export_elmo, import_elmo
from carryover.objectives.bilm import lines_perplexity
from carryover.pretraining.evaluation import evaluate_pretrained, figure_lines
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.settings import PretrainSettings
from pretraining.tiny_text import tiny, write_text

FIGURES = ("perplexity", "forward_perplexity", "backward_perplexity", "tokens", "unknown_share", "lines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bidirectional and a generating model with two held-out files each."""
    place = tmp_path_factory.mktemp("measuring")
    text, near, far = (write_text(place / f"{name}.txt", seed=seed) for name, seed in (("text", 1), ("near", 2), ("far", 3)))
    far.write_text(far.read_text().replace("boat", "skiff").replace("the", "bridges"))
    valid = (near, far)
    pretrain(tiny(text, valid=valid, epochs=1), place / "lm", quiet=True)
    writer = {"objective": "lm", "model": {"size": 8, "cells": 8}, "epochs": 1}
    pretrain(tiny(text, valid=valid, **writer), place / "writer", quiet=True)
    return place


@pytest.mark.parametrize("name", ["lm", "writer"])
def test_the_figures_are_those_of_the_record(folder: Path, name: str) -> None:
    """In all, and file by file: the same chunks in the same lanes."""
    found = carryover.load(folder / name)
    held_out = found.record["held_out"]
    document = evaluate_pretrained(found, folder / name, [folder / "near.txt", folder / "far.txt"])
    assert len(document["files"]) == 2
    for here, there in zip(document["files"], held_out["files"], strict=True):
        assert here.keys() == there.keys() and here["fingerprint"] == there["fingerprint"]
        for figure, value in there.items():
            assert here[figure] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-6))
    for figure in FIGURES if name == "lm" else ("perplexity", "bits_per_character", "tokens", "lines"):
        assert document["together"][figure] == pytest.approx(held_out[figure], rel=1e-6)
    near, far = document["files"]
    assert near["perplexity"] != far["perplexity"] and near["unknown_share"] != far["unknown_share"]
    assert near["tokens"] + far["tokens"] == document["together"]["tokens"]


def test_one_file_is_the_whole(folder: Path) -> None:
    found = carryover.load(folder / "lm")
    document = evaluate_pretrained(found, folder / "lm", [folder / "far.txt"])
    (row,) = document["files"]
    assert {name: row[name] for name in FIGURES} == {name: document["together"][name] for name in FIGURES}
    assert 0.05 < row["unknown_share"] < 0.5
    assert figure_lines(document) == [
        f"{folder / 'far.txt'}: perplexity {row['perplexity']:.2f} (forward {row['forward_perplexity']:.2f}, backward "
        f"{row['backward_perplexity']:.2f}; {row['tokens']:,} targets in 120 lines, {row['unknown_share']:.2%} of the tokens "
        "unknown)"
    ]


def test_a_line_that_is_read_alone_has_the_exact_perplexity(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "line.txt").write_text("\nthe boat sinks slowly .\n")
    found = carryover.load(folder / "lm")
    row = evaluate_pretrained(found, folder / "lm", [tmp_path / "line.txt"])["files"][0]
    expected = lines_perplexity(found.model, found.coder, ["the boat sinks slowly ."])
    assert {name: row[name] for name in expected} == pytest.approx(expected) and row["blank_lines"] == 1


def test_one_held_out_file_needs_no_rows_of_its_own(folder: Path, tmp_path: Path) -> None:
    record = pretrain(tiny(folder / "text.txt", valid=folder / "near.txt", epochs=1), tmp_path / "lm", quiet=True).record
    assert "files" not in record["held_out"] and record["settings"]["valid"] == str(folder / "near.txt")
    found = carryover.load(tmp_path / "lm")
    row = evaluate_pretrained(found, tmp_path / "lm", [folder / "near.txt"])["together"]
    assert row["perplexity"] == record["held_out"]["perplexity"]


def test_the_same_files_in_other_places_continue_and_others_are_refused(folder: Path, tmp_path: Path) -> None:
    def again(*valid: Path) -> Any:
        settings = tiny(folder / "text.txt", valid=valid, epochs=1)
        return pretrain(settings, tmp_path / "lm", quiet=True)

    first = again(folder / "near.txt", folder / "far.txt")
    moved = tmp_path / "moved.txt"
    moved.write_bytes((folder / "far.txt").read_bytes())
    second = again(folder / "near.txt", moved)
    assert second.resumed_from == second.steps and second.held_out == first.held_out
    assert second.record["held_out"]["files"][1]["text"] == str(moved)
    with pytest.raises(UsageError, match="started with held_out_text"):
        again(moved, folder / "near.txt")


def test_wrong_input_is_one_line(folder: Path, tmp_path: Path) -> None:
    found = carryover.load(folder / "lm")
    (tmp_path / "blank.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes(b"good line\nb\xf6se Zeile\n")
    cases: list[tuple[str, type[Exception], str]] = [
        ("gone.txt", InputMissing, "gone.txt"), ("blank.txt", BadData, "blank.txt: the file holds no text"),
        ("latin.txt", BadData, "latin.txt:2: "),
    ]  # fmt: skip
    for name, kind, message in cases:
        with pytest.raises(kind, match=message):
            evaluate_pretrained(found, folder / "lm", [folder / "near.txt", tmp_path / name])
    with pytest.raises(UsageError, match="valid is an empty list"):
        PretrainSettings(raw="text.txt", valid=())
    export_elmo(folder / "lm", tmp_path / "files")
    import_elmo(tmp_path / "files" / "options.json", tmp_path / "files" / "weights.hdf5", tmp_path / "elmo")
    with pytest.raises(UsageError, match=r"has no output layer .* cannot be scored"):
        evaluate_pretrained(carryover.load(tmp_path / "elmo"), tmp_path / "elmo", [folder / "near.txt"])

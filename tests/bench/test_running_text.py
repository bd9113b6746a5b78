"""Text as one long row: what is predicted from what, with windows and with a carried state."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F

from carryover.bench.model import build_model
from carryover.bench.published import find_entry
from carryover.bench.treebank import RunningText, treebank_files
from carryover.bench.workload import Part
from carryover.errors import BadData, InputMissing
from carryover.models.sequence_model import SequenceModel
from carryover.sequence import Sequence

TEXT = " a b c \n b a \n c c a b \n"


def write(folder: Path, **texts: str) -> dict[Part, Path]:
    for part in ("train", "valid", "test"):
        (folder / f"ptb.{part}.txt").write_text(texts.get(part, TEXT))
    return treebank_files(folder)


def model_for(problem: RunningText, kind: str) -> SequenceModel:
    recipe = replace(find_entry("ptb-words", None).recipes[kind], size=5, embedding=None, layers=2, dropout=0.0)
    model = build_model(recipe, problem.in_size, problem.out_size, reads="ids", readout="every", seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def test_words_and_characters_are_the_published_ones(tmp_path: Path) -> None:
    files = write(tmp_path)
    words = RunningText(files, characters=False, lanes=1, steps=3, history=0)
    assert words.lanes["train"].tolist() == [[0, 1, 2, 3, 1, 0, 3, 2, 2, 0, 1, 3]]  # <eos> after each line
    characters = RunningText(files, characters=True, lanes=1, steps=3, history=0)
    symbols = "a b c \nb a \nc c a b \n"  # the blank before each line is no character of it
    assert characters.lanes["train"].shape == (1, len(symbols)) and characters.out_size == len(set(symbols))


def test_lanes_lie_side_by_side_and_windows_continue(tmp_path: Path) -> None:
    text = " ".join(f"w{number}" for number in range(22)) + "\n"  # 23 tokens with the end of the line
    problem = RunningText(write(tmp_path, train=text), characters=False, lanes=2, steps=3, history=0)
    assert problem.lanes["train"].tolist() == [list(range(11)), list(range(11, 22))]
    assert problem.steps_per_epoch() == 3 and problem.items() == 18
    seen = [problem.batch(0, 0, step) for step in range(3)]
    assert [batch.begins for batch in seen] == [True, False, False]
    assert seen[1].inputs.values.tolist() == [[3, 4, 5], [14, 15, 16]]
    assert seen[1].targets.tolist() == [[4, 5, 6], [15, 16, 17]]


def test_windows_with_history_score_each_token_once(tmp_path: Path) -> None:
    text = " ".join(f"w{number}" for number in range(22)) + "\n"
    problem = RunningText(write(tmp_path, train=text), characters=False, lanes=2, steps=3, history=2)
    seen = [problem.batch(0, 0, step) for step in range(problem.steps_per_epoch())]
    assert [batch.inputs.values[0].tolist() for batch in seen] == [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]]
    assert [batch.targets[0].tolist() for batch in seen] == [[3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize("kind", ["lstm", "elman"])
def test_carrying_the_state_equals_reading_on(kind: str, tmp_path: Path) -> None:
    problem = RunningText(write(tmp_path, train=TEXT * 5), characters=False, lanes=2, steps=4, history=0)
    model = model_for(problem, kind).eval()
    carried = problem.initial_state(model, "cpu")
    losses = []
    for step in range(3):
        loss, carried, count = problem.loss(model, problem.batch(0, 0, step), carried)
        losses.append(float(loss.detach()))
        assert count == 8
    lanes = problem.lanes["train"][:, :13]
    scores = cast(Sequence, model(Sequence.of(lanes[:, :-1]))).values
    each = F.cross_entropy(scores.flatten(0, 1), lanes[:, 1:].flatten(), reduction="none").view(2, 3, 4)
    assert losses == pytest.approx(each.mean((0, 2)).tolist(), rel=1e-5)
    again, _, _ = problem.loss(model, problem.batch(0, 1, 0), carried)
    assert float(again.detach()) == losses[0], "an epoch begins without what the last one ended with"


def test_a_window_scores_what_follows_its_last_steps(tmp_path: Path) -> None:
    problem = RunningText(write(tmp_path, train=TEXT * 5), characters=False, lanes=2, steps=4, history=3)
    model = model_for(problem, "tcn").eval()
    batch = problem.batch(0, 0, 1)
    loss, carried, _ = problem.loss(model, batch, ())
    scores = cast(Sequence, model(batch.inputs)).values[:, 3:]
    expected = F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten())
    assert carried == () and float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize("kind", ["lstm", "tcn"])
@pytest.mark.parametrize("characters", [True, False])
def test_a_measurement_scores_all_but_the_first_token_of_each_lane(kind: str, characters: bool, tmp_path: Path) -> None:
    problem = RunningText(
        write(tmp_path, train=TEXT * 9, test=TEXT * 70), characters=characters, lanes=2, steps=4, history=0
    )
    model = model_for(problem, kind).eval()
    found = problem.measure(model, "test", "cpu")
    lanes = problem.lanes["test"]
    assert len(lanes) == 10 and int((lanes >= 0).sum()) == 70 * (21 if characters else 12)
    scores = cast(Sequence, model(Sequence.of(lanes[:, :-1].clamp(min=0)))).values
    each = F.cross_entropy(scores.flatten(0, 1), lanes[:, 1:].flatten(), ignore_index=-1)
    assert found["loss"] == pytest.approx(float(each.detach()), rel=1e-5)
    assert problem.result(found) == (found["loss"] / math.log(2) if characters else math.exp(found["loss"]))


def test_a_model_that_knows_nothing_pays_the_vocabulary(tmp_path: Path) -> None:
    problem = RunningText(write(tmp_path, train=TEXT * 9), characters=False, lanes=2, steps=4, history=0)
    model = model_for(problem, "gru")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert problem.result(problem.measure(model, "valid", "cpu")) == pytest.approx(problem.out_size, rel=1e-5)


def test_too_little_text_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"ptb\.train\.txt: holds 12 words, too few"):
        RunningText(write(tmp_path), characters=False, lanes=4, steps=3, history=0)
    with pytest.raises(BadData, match=r"ptb\.valid\.txt"):
        RunningText(write(tmp_path, valid=""), characters=False, lanes=1, steps=3, history=0)
    (tmp_path / "ptb.test.txt").unlink()
    with pytest.raises(InputMissing, match=r"ptb\.test\.txt"):
        treebank_files(tmp_path)

"""Parameters foretold are parameters made, in every command that foretells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.bench.model import build_model, count_parameters
from carryover.bench.run import choose_cells, load_workload, sized_recipe
from carryover.bench.run import estimate as estimate_bench
from carryover.data.vocabulary import Vocabulary
from carryover.objectives import text as text_objective
from carryover.pretraining.calibration import estimate
from carryover.pretraining.initial_model import continued
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.settings import PretrainSettings
from carryover.transfer import calibration as task_calibration
from carryover.transfer.calibration import estimate_task
from carryover.transfer.train import TaskRun, train_task
from pretraining.tiny_text import tiny, write_text
from task_material import classified, tagged

SHORT: dict[str, Any] = {"epochs": 1, "time_limit": 1e-3, "batch_size": 8, "steps": 20, "block_tokens": 200}
"""A model is made after one step, too."""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rarest words stand in the last lines only."""
    path = write_text(tmp_path_factory.mktemp("text") / "text.txt", lines=60)
    path.write_text(path.read_text() + "".join(f"rare{chr(97 + number)} the the\n" for number in range(20)))
    return path


def foretold_and_made(wanted: PretrainSettings, out: Path) -> tuple[int, int]:
    return estimate(wanted)["parameters"], pretrain(wanted, out, quiet=True).record["parameters"]


@pytest.mark.parametrize("softmax", ["full", "sampled", "adaptive"])
@pytest.mark.parametrize("input", ["characters", "words", "subwords"])
@pytest.mark.parametrize("objective", ["bilm", "lm"])
def test_of_pretrain(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, input: str, softmax: str
) -> None:
    monkeypatch.setattr(text_objective, "SAMPLE_LINES", 20)  # the text is longer than the sample
    monkeypatch.setattr(text_objective, "SAMPLE_CHARACTERS", 500)
    size = 270 if input == "subwords" else 5000
    model = tiny(text).model if objective == "bilm" else {"size": 8, "cells": 16}
    how = {"objective": objective, "input": input, "softmax": softmax, "vocabulary_size": size, "model": model}
    foretold, made = foretold_and_made(tiny(text, **SHORT, **how), tmp_path / "lm")
    assert foretold == made


def test_of_pretrain_by_the_counts_of_words(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_objective, "SAMPLE_LINES", 20)
    made = []
    for number, (size, minimum) in enumerate([(5000, 1), (5000, 2), (9, 1)]):
        wanted = tiny(text, **SHORT, input="words", vocabulary_size=size, minimum_count=minimum)
        made.append(foretold_and_made(wanted, tmp_path / f"lm{number}"))
        assert made[-1][0] == made[-1][1]
    assert made[0] > made[1] > made[2]


@pytest.mark.parametrize("objective", ["bilm", "lm"])
def test_of_pretraining_that_begins_with_a_model(text: Path, tmp_path: Path, objective: str) -> None:
    pretrain(
        tiny(text, **SHORT, objective=objective, model={} if objective == "lm" else tiny(text).model),
        tmp_path / "lm",
        quiet=True,
    )
    new = write_text(tmp_path / "new.txt", lines=60)
    new.write_text(new.read_text() + "new words here\n" * 9)
    for number, more in enumerate([{}, {"vocabulary_size": 5000}] if objective == "bilm" else [{}]):
        wanted = continued(tmp_path / "lm", new, device="cpu", **SHORT, **more)
        foretold, made = foretold_and_made(wanted, tmp_path / f"on{number}")
        assert foretold == made


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_of_train_in_every_mode(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    """The model knows the words and labels of all examples, the calibration sees a few."""
    monkeypatch.setattr(task_calibration, "CALIBRATION_EXAMPLES", 8)
    pretrain(tiny(text, **SHORT), tmp_path / "lm", quiet=True)
    if task == "classify":
        rows = [f"{example.input.text} word{number % 7}\t{example.gold[0]}" for number, example in enumerate(classified(40))]
        train = tmp_path / "train.tsv"
        train.write_text("\n".join(["text\tlabel", *rows, "the last\tthird", "the very last\tthird"]) + "\n")
    else:
        blocks = ["\n".join(f"{w} {t}" for w, t in zip(s.input.tokens, s.gold, strict=True)) for s in tagged(40, spans=True)]
        train = tmp_path / "train.conll"
        train.write_text("\n\n".join([*blocks, "last B-LAST"] * 2) + "\n")
    fitting = {"hidden": 8, "word_size": 8, "filters": ((2, 4),), "epochs": 1, "evaluations": 1}
    vectors = (Vocabulary(("the", "of")), np.zeros((6, 5), dtype=np.float32))
    for mode in ("scratch", "static", "frozen", "head", "top-k", "full"):
        carried = tmp_path / "lm" if mode not in ("scratch", "static") else None
        for plan in ({}, {"tune_vectors": True}) if mode == "static" else ({},):
            wanted = TaskRun(task=task, train=str(train), encoder=carried, mode=mode, fitting=fitting, plan=plan)
            given = vectors if mode == "static" else None
            found = estimate_task(wanted, given)
            record = train_task(wanted, tmp_path / f"{mode}{len(plan)}", vectors=given, quiet=True).record
            assert (found["parameters"], found["trainable"]) == (record["parameters"], record["trainable"]), mode


def test_of_bench(tmp_path: Path) -> None:
    cells = choose_cells(["adding"], [200], ["all"], [1])
    for cell, row in zip(cells, estimate_bench(cells, data=None, epochs=1, device="cpu"), strict=True):
        problem = load_workload(cell, cell.recipe, [])
        recipe = sized_recipe(cell, problem)
        how = {"reads": problem.reads, "readout": problem.readout, "seed": cell.seed}
        assert row["parameters"] == count_parameters(build_model(recipe, problem.in_size, problem.out_size, **how))

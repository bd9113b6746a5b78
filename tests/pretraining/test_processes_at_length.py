"""Runs that processes share: every kind of model and softmax, kills at many steps, torchrun and its signals."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from faults.outcome import leftovers, outcome
from pretraining.same_training import SMALL, agree, settings
from pretraining.shared_run import Plan, run
from pretraining.tiny_text import write_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

NEXT = {"objective": "lm", "input": "words", "learning_rate": 1e-3}
MODELS: dict[str, dict[str, Any]] = {
    "full": {"model": {**SMALL, "softmax": "full"}},
    "adaptive": {"model": {**SMALL, "softmax": "adaptive", "cutoffs": (6, 12)}},
    "words": {"input": "words", "model": {**SMALL, "softmax": "full"}},
    "subwords": {"input": "subwords", "vocabulary_size": 300, "model": {**SMALL, "softmax": "full"}},
    "gru": {**NEXT, "model": {"stack": "gru", "size": 8, "cells": 8, "dropout": 0.2}},
    "tcn": {**NEXT, "model": {"stack": "tcn", "size": 8, "dropout": 0.2}},
    "transformer": {
        **NEXT,
        "model": {"stack": "transformer", "size": 8, "heads": 2, "cells": 16, "horizon": 9, "dropout": 0.2},
    },
    "one lane each": {"batch_size": 4, "model": {**SMALL, "softmax": "full"}},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_by_1_2_and_4(tmp_path: Path, name: str) -> None:
    asked = settings(write_text(tmp_path / "text.txt"), **MODELS[name])
    run([Plan(size, tmp_path / f"by{size}", asked) for size in (4, 2, 1)])
    for size in (2, 4):
        agree(tmp_path / "by1", tmp_path / f"by{size}")


def test_the_size_tiny_as_it_is(tmp_path: Path) -> None:
    asked = settings(write_text(tmp_path / "text.txt", lines=400), batch_size=7, steps=20, epochs=4)
    del asked["model"]
    run([Plan(size, tmp_path / f"by{size}", asked) for size in (4, 2, 1)])
    for size in (2, 4):
        agree(tmp_path / "by1", tmp_path / f"by{size}")


def test_by_two_then_one_then_two(tmp_path: Path) -> None:
    asked = settings(write_text(tmp_path / "text.txt"), epochs=3)
    mixed = tmp_path / "mixed"
    plans = [Plan(size, mixed, {**asked, "epochs": epochs}) for epochs, size in ((1, 2), (2, 1), (3, 2))]
    run([*plans, Plan(1, tmp_path / "by1", asked)])
    agree(tmp_path / "by1", mixed)


def test_killed_at_many_steps_the_same_number_goes_on_exactly(tmp_path: Path) -> None:
    asked = settings(write_text(tmp_path / "text.txt"))
    run([Plan(3, tmp_path / "whole", asked)])
    draw = random.Random(1)
    for number in range(6):
        out = tmp_path / f"killed{number}"
        run([Plan(3, out, asked, kill=(number % 3, draw.randrange(5, 50)))])
        run([Plan(3, out, asked)])
        whole, continued = outcome(tmp_path / "whole"), outcome(out)
        for name in ("tensors", "metrics", "best", "model.safetensors"):
            assert continued[name] == whole[name], (number, name)
        assert leftovers(out) == []


def torchrun(out: Path, text: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "carryover", "pretrain"]
    command += ["--raw", str(text), "--out", str(out), "--size", "tiny", "--device", "cpu", "--steps", "10", *more]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "words"), [(signal.SIGINT, "and saved"), (signal.SIGTERM, "and saved")])
def test_a_signal_to_torchrun_saves_and_the_same_command_goes_on(tmp_path: Path, number: int, words: str) -> None:
    text = write_text(tmp_path / "text.txt", lines=3000)
    out = tmp_path / "lm"
    process = torchrun(out, text, "--epochs", "20")
    times = out / "run" / "times.jsonl"
    while process.poll() is None and not (times.exists() and '"start"' in times.read_text()):
        time.sleep(0.2)
    time.sleep(3)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode != 0 and words in errors, errors
    assert leftovers(out) == []
    kept = sorted((out / "run" / "checkpoints").iterdir())
    assert kept, errors
    process = torchrun(out, text, "--epochs", "20", "--time-limit", "1s", "--json")
    told, errors = process.communicate()
    assert process.returncode == 0, errors
    assert json.loads(told)["resumed_from"] == int(kept[-1].name.partition("-")[2]), "one document, by the leader alone"


def test_other_verbs_are_not_for_torchrun(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "carryover", "version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "version runs in one process" in done.stderr


def test_a_dry_run_is_of_one_process(tmp_path: Path) -> None:
    process = torchrun(tmp_path / "lm", write_text(tmp_path / "text.txt"), "--dry-run")
    _, errors = process.communicate()
    assert process.returncode != 0 and "--dry-run measures one process" in errors

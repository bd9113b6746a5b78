"""What it means that runs by different numbers of processes are the same training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carryover import storage

SMALL = {"character_size": 4, "filters": ((1, 4), (2, 4)), "cells": 8, "projection": 4, "dropout": 0.3}
CLOSE = 1e-5  # the promise: of the loss of every update, relative
FAR = 1e-3  # how far final weights may be apart, as a share of their norm


def settings(text: Path, **changes: Any) -> dict[str, Any]:
    """More than 50 updates of five lanes; with a constant rate an epoch more is the same as having asked for it at once."""
    small = {
        "raw": text,
        "size": "tiny",
        "model": SMALL,
        "vocabulary_size": 40,
        "batch_size": 5,
        "steps": 6,
        "block_tokens": 60,
        "epochs": 2,
        "evaluations": 1,  # where an epoch ends, so that a run of one epoch measures nowhere else
        "log_steps": 1,
        "schedule": "constant",
        "warm_up": 0.0,
        "checkpoint_steps": 10,
        "seed": 3,
        "device": "cpu",
    }
    return {**small, **changes}


def logged(out: Path, name: str) -> list[Any]:
    lines = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def agree(one: Path, other: Path) -> None:
    """Same batches, and losses, held-out figures and final weights that differ by the order of sums at most."""
    assert logged(one, "read") == logged(other, "read")
    assert len(set(logged(one, "read"))) == len(logged(one, "read")) >= 50, "every update reads something else"
    losses, others = logged(one, "loss"), logged(other, "loss")
    assert others[:50] == pytest.approx(losses[:50], rel=CLOSE, abs=0) and others == pytest.approx(losses, rel=1e-4)
    for figures, of_other in zip(logged(one, "held_out"), logged(other, "held_out"), strict=True):
        assert of_other == pytest.approx(figures, rel=CLOSE)
    mine, theirs = (storage.load_tensors(out / "model.safetensors") for out in (one, other))
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        # As a whole: where gradients are all but zero Adam makes updates of their rounding, and single numbers part by 1e-3
        # between two processors, too, at losses that are equal to 2e-7.
        moved = float((theirs[name] - tensor).norm())
        assert moved <= FAR * float(tensor.norm()) + 1e-6, f"{name} differs by {moved:.2g} of {float(tensor.norm()):.2g}"

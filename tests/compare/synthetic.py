"""Cells with known answers: rungs whose chance of being right follows a curve, on shared test examples."""

from __future__ import annotations

import numpy as np

from carryover.compare.analysis import Analysis
from carryover.compare.cells import Cell, CellResult
from example_material import figure

LABELS = {50: 50, 100: 100, 200: 200, "all": 400}
RUNGS = ("features", "static", "scratch", "frozen", "full")
_START = {"features": 0.30, "static": 0.48, "scratch": 0.22, "frozen": 0.62, "full": 0.55}
_SLOPE = {"features": 0.115, "static": 0.10, "scratch": 0.16, "frozen": 0.055, "full": 0.09}


def counts(*, rungs=RUNGS, labels=None, seeds=5, examples=800, seed=0, spread=0.01) -> dict[Cell, np.ndarray]:
    """Counts [N, 2] of correct / total of every cell; examples differ in difficulty, seeds in luck."""
    labels = labels or LABELS
    random = np.random.default_rng(seed)
    hardness = random.random(examples)
    found = {}
    for rung in rungs:
        for budget, number in labels.items():
            for s in range(seeds):
                chance = _START[rung] + _SLOPE[rung] * np.log2(number / 50) + spread * random.standard_normal()
                noise = 0.06 * random.standard_normal(examples)
                correct = (hardness + noise < chance).astype(np.float64)
                found[Cell(rung, budget, s)] = np.stack([correct, np.ones(examples)], axis=1)
    return found


def analysis(**options) -> Analysis:
    found = counts(**options)
    return Analysis(found, options.get("labels") or LABELS, figure("accuracy"), replicates=1000)


def results(found: dict[Cell, np.ndarray], labels=None) -> list[CellResult]:
    """Stored rows to go with `counts`."""
    labels = labels or LABELS
    seconds = {"features": 0.4, "static": 14.0, "scratch": 11.0, "frozen": 9.0, "full": 240.0}
    speed = {"features": 0.05, "static": 0.7, "scratch": 0.6, "frozen": 6.5, "full": 6.4}
    size = {"features": 21_000, "static": 1_200_000, "scratch": 900_000, "frozen": 180_000, "full": 4_800_000}
    return [
        CellResult(
            rung=cell.rung,
            budget=cell.budget,
            labels=labels[cell.budget],
            seed=cell.seed,
            score=float(rows[:, 0].mean()),
            seconds=seconds[cell.rung] * labels[cell.budget] / 100,
            prediction_milliseconds=speed[cell.rung],
            parameters=size[cell.rung],
            trainable=size[cell.rung],
            peak_memory_mib=400.0,
            test_examples=len(rows),
            versions={"carryover": "0.1.0"},
        )
        for cell, rows in found.items()
    ]


def result(folder, *, missing=(), failures=(), **options):
    """A whole comparison without any training."""
    from carryover.compare.plan import ComparePlan
    from carryover.compare.result import CompareResult

    found = counts(**options)
    labels = options.get("labels") or LABELS
    plan = ComparePlan(
        task="classify",
        train="train.tsv",
        test="test.tsv",
        raw="corpus.txt.gz",
        rungs=options.get("rungs", RUNGS),
        budgets=tuple(labels),
        seeds=options.get("seeds", 5),
    )
    return CompareResult(
        plan=plan,
        folder=folder,
        analysis=Analysis(found, labels, figure("accuracy"), replicates=1000),
        results=results(found, labels),
        missing=missing,
        failures=failures,
        pretraining={"language model": 312.0, "word vectors": 22.0},
        data={
            "train_name": "train.tsv",
            "test_name": "test.tsv",
            "raw_name": "corpus.txt.gz",
            "encoder_name": None,
            "train_examples": 400,
            "test_examples": 800,
            "labels": 6,
        },
        remarks=["3 test texts also occur in the training data."],
    )

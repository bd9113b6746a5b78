"""Stored cells: what goes in comes out, a changed byte is noticed, nothing half-written is taken for a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from carryover.compare.cells import Cell, CellFailure, CellResult
from carryover.compare.store import PredictionStore
from carryover.data.examples import Words
from carryover.errors import BadData
from carryover.tasks import Classify, Tag, Task

CELL = Cell("features", "all", 3)
TEXTS, TAGS = Classify("abc"), Tag(("B-x", "I-x", "O"))


def sentences(*lengths: int) -> list[Words]:
    return [Words(("w",) * length) for length in lengths]


def result(examples: int) -> CellResult:
    return CellResult(
        rung="features", budget="all", labels=90, seed=3, score=0.5, seconds=1.25, prediction_milliseconds=0.5,
        parameters=10, trainable=9, peak_memory_mib=123.5, test_examples=examples, versions={"carryover": "0.1.0"},
        notes={"chosen": "words"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "inputs", "predictions"),
    [
        (TEXTS, [], [("b",), ("a",), ("b",)]),
        (TAGS, sentences(2, 0, 1), [("B-x", "I-x"), (), ("O",)]),
        (Classify("ab", multi_label=True), [], [("a", "b"), (), ("ü",)]),
    ],
)
def test_round_trip(tmp_path: Path, task: Task, inputs: list, predictions: list) -> None:
    store = PredictionStore(tmp_path, task, inputs)
    assert not store.finished(CELL)
    store.write(result(3), predictions)
    assert store.finished(CELL)
    assert PredictionStore(tmp_path, task, inputs).read(CELL) == (result(3), predictions)


def test_every_changed_byte_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = PredictionStore(tmp_path, TEXTS, [])
    store.write(result(3), [("b",), ("a",), ("b",)])
    flips = 0
    for file in sorted(store.path(CELL).iterdir()):
        whole = file.read_bytes()
        for place in range(0, len(whole), 7):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert not store.finished(CELL) or store.read(CELL)[1] == [("b",), ("a",), ("b",)]
            flips += not store.finished(CELL)
        file.write_bytes(whole)
        if file.name != "manifest.json":
            file.write_bytes(whole[:-1])
            assert not store.finished(CELL)
            file.write_bytes(whole)
    assert flips > 50
    assert "; running " in capsys.readouterr().err
    assert store.finished(CELL)


def test_a_cell_under_another_name_is_refused(tmp_path: Path) -> None:
    store = PredictionStore(tmp_path, TEXTS, [])
    store.write(result(3), [("b",), ("a",), ("b",)])
    other = Cell("features", "all", 4)
    store.path(CELL).rename(store.path(other))
    with pytest.raises(BadData, match="seed 3"):
        store.read(other)


def test_predictions_must_fit_the_test_sentences(tmp_path: Path) -> None:
    PredictionStore(tmp_path, TAGS, sentences(2, 1)).write(result(2), [("O", "O"), ("O",)])
    with pytest.raises(BadData, match="3 tags for 5 test tokens"):
        PredictionStore(tmp_path, TAGS, sentences(2, 3)).read(CELL)


def test_a_failure_is_kept_until_the_cell_succeeds(tmp_path: Path) -> None:
    store = PredictionStore(tmp_path, TEXTS, [])
    failure = CellFailure("features", "all", 3, "BadData", "no", 65, "trace")
    store.write_failure(failure)
    assert store.failures([CELL]) == [failure]
    assert not store.finished(CELL)
    store.write(result(1), [("a",)])
    assert store.failures([CELL]) == []


def test_writing_twice_replaces_the_whole(tmp_path: Path) -> None:
    store = PredictionStore(tmp_path, TEXTS, [])
    store.write(result(1), [("a",)])
    store.write(result(2), [("a",), ("c",)])
    assert store.read(CELL)[1] == [("a",), ("c",)]
    assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == [CELL.name]

"""The machine of cells with an experiment that only this test knows: stored, continued, damaged, failed, averaged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from carryover.errors import BadData
from carryover.experiments.schedule import run_side_by_side
from carryover.experiments.seeds import mean, seeds_by_point, spread
from carryover.experiments.store import CELL_FILE, CellStore
from carryover.storage import atomic_write


class Throw(NamedTuple):
    """A die with so many sides."""

    sides: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.sides}-{self.seed}"

    @property
    def point(self) -> int:
        return self.sides


class Throws(CellStore[Throw, int]):
    schema = "test.throw/1"
    failure_schema = "test.lost/1"

    def failure_path(self, cell: Throw) -> Path:
        return self.folder / "lost" / f"{cell.name}.json"

    def holds(self, cell: Throw) -> bool:
        return self.path(cell).is_dir()

    def read(self, cell: Throw) -> int:
        return int(self.document(self.path(cell))["shows"])

    def write(self, cell: Throw) -> None:
        shows = (7 * cell.seed + 3) % cell.sides + 1
        atomic_write(self.path(cell) / CELL_FILE, json.dumps({"schema": self.schema, "shows": shows}))


CELLS = [Throw(sides, seed) for seed in (0, 1) for sides in (6, 20)]


def test_what_is_finished_is_kept_and_the_rest_is_left_to_do(tmp_path: Path) -> None:
    store = Throws(tmp_path)
    run_side_by_side(store.write, CELLS[:3], jobs=1)
    assert store.unfinished(CELLS) == CELLS[3:]
    assert [store.read(cell) for cell in CELLS[:3]] == [4, 4, 5]


def test_a_damaged_cell_is_said_aloud_and_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Throws(tmp_path)
    store.write(CELLS[0])
    (store.path(CELLS[0]) / CELL_FILE).write_text('{"schema": "other/1"}')
    assert store.unfinished(CELLS[:1]) == CELLS[:1]
    assert "is not a cell of format test.throw/1" in capsys.readouterr().err
    with pytest.raises(BadData, match="remove the cell's folder to run it again"):
        store.read(CELLS[0])


def test_a_failure_stands_until_it_is_forgotten(tmp_path: Path) -> None:
    store = Throws(tmp_path)
    store.note_failure(CELLS[1], {"message": "under the table"})
    assert [store.failure(cell) for cell in CELLS[:2]] == [None, {"message": "under the table"}]
    assert json.loads(store.failure_path(CELLS[1]).read_text())["schema"] == "test.lost/1"
    store.forget_failure(CELLS[1])
    assert store.failure(CELLS[1]) is None


def test_after_the_deadline_no_cell_starts(tmp_path: Path) -> None:
    store, told = Throws(tmp_path), []
    run_side_by_side(store.write, CELLS, jobs=1, deadline=time.monotonic() - 1, done=lambda: told.append(1))
    assert not told and store.unfinished(CELLS) == CELLS
    run_side_by_side(store.write, CELLS, jobs=1, done=lambda: told.append(1))
    assert len(told) == 4 and store.unfinished(CELLS) == []


def test_seeds_are_grouped_and_averaged() -> None:
    assert seeds_by_point([*reversed(CELLS), Throw(6, 5)]) == {20: (0, 1), 6: (0, 1, 5)}
    assert mean([1.0, 2.0, 6.0]) == 3.0 and spread([1.0, 3.0]) == pytest.approx(2**0.5) and spread([4.0]) is None
    with pytest.raises(ValueError, match="no score"):
        mean([])

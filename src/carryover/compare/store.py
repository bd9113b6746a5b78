"""Where finished cells live: one folder a cell, whole or absent, each checked against its manifest when it is read.

    OUT/plan.json                       what is compared (see `plan.check_same_question`)
    OUT/cells/RUNG-BUDGET-SEED/         cell.json, predictions.npy, manifest.json
    OUT/failures/RUNG-BUDGET-SEED.json  the error a cell ended in, until it succeeds

Predictions are whole numbers, as the task encodes them: see `Task.encode_answers`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from carryover.compare.cells import Cell, CellFailure, CellResult
from carryover.errors import BadData, CannotWrite
from carryover.experiments.store import AGAIN, CELL_FILE, CellStore
from carryover.storage import atomic_folder, save_array, to_bytes, verify_manifest, write_file
from carryover.tasks import Task

PLAN_FILE = "plan.json"
Predictions = list[Any]


def check_present(folder: Path) -> None:
    """Raise CannotWrite when the folder of a comparison was removed: what is written there now would be no comparison."""
    if not (folder / PLAN_FILE).is_file():
        raise CannotWrite(
            "was removed while the comparison ran",
            path=folder,
            repair="run the same command again and leave the folder in place",
        )


class PredictionStore(CellStore[Cell, tuple[CellResult, Predictions]]):
    """Cells of one comparison under `folder`: answers of `task` to the `inputs` of the test examples."""

    schema = "carryover.compare-cell/1"
    failure_schema = "carryover.compare-failure/1"

    def __init__(self, folder: Path, task: Task, inputs: Sequence[Any]) -> None:
        super().__init__(folder)
        self.task, self.inputs = task, inputs

    def holds(self, cell: Cell) -> bool:
        return self.path(cell).is_dir()

    def failure_path(self, cell: Cell) -> Path:
        return self.folder / "failures" / f"{cell.name}.json"

    def write(self, result: CellResult, predictions: Predictions) -> None:
        """Store a finished cell, whole or not at all; an older failure of it is forgotten. Raises CannotWrite, DiskFault."""
        numbers, labels = self.task.encode_answers(predictions)
        document = {"schema": self.schema, **result.to_json(), "predicted_labels": labels}
        with atomic_folder(self.path(result.cell)) as folder:
            save_array(folder / "predictions.npy", numbers)
            write_file(folder / CELL_FILE, [to_bytes(json.dumps(document, ensure_ascii=False, indent=1))])
        self.forget_failure(result.cell)

    def read(self, cell: Cell) -> tuple[CellResult, Predictions]:
        folder = self.path(cell)
        verify_manifest(folder)
        document = self.document(folder)
        labels = document.pop("predicted_labels")
        try:
            result = CellResult(**document)
            numbers = np.load(folder / "predictions.npy", allow_pickle=False)
            predictions = self.task.decode_answers(numbers, labels, self.inputs)
        except (TypeError, ValueError, IndexError) as error:
            raise BadData(f"does not match its format: {error}", path=folder, repair=AGAIN) from error
        if result.cell != cell or len(predictions) != result.test_examples:
            found = f"{result.cell} with {len(predictions)} predictions"
            raise BadData(f"holds {found}, not {cell} with {result.test_examples}", path=folder, repair=AGAIN)
        return result, predictions

    def write_failure(self, failure: CellFailure) -> None:
        self.note_failure(failure.cell, failure.to_json())

    def failures(self, cells: Sequence[Cell]) -> list[CellFailure]:
        """Recorded failures of these cells, in their order."""
        return [CellFailure(**found) for cell in cells if (found := self.failure(cell)) is not None]

"""Where finished cells live: one folder a cell, whole or absent, each checked against its manifest when it is read.

    OUT/plan.json                       what is compared (see `plan.check_same_question`)
    OUT/cells/RUNG-BUDGET-SEED/         cell.json, predictions.npy, manifest.json
    OUT/failures/RUNG-BUDGET-SEED.json  the error a cell ended in, until it succeeds

Predictions are whole numbers: places in the list of labels for texts and tokens (tokens of all sentences one after the
other), or a table [N, K] of 0 and 1 where a text may have several labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from carryover.compare.cells import Cell, CellFailure, CellResult
from carryover.errors import BadData, CannotWrite
from carryover.experiments.store import AGAIN, CELL_FILE, CellStore
from carryover.storage import atomic_folder, save_array, to_bytes, verify_manifest, write_file

PLAN_FILE = "plan.json"
Predictions = list[tuple[str, ...]]


def check_present(folder: Path) -> None:
    """Raise CannotWrite when the folder of a comparison was removed: what is written there now would be no comparison."""
    if not (folder / PLAN_FILE).is_file():
        raise CannotWrite(
            "was removed while the comparison ran", path=folder, repair="run the same command again, and leave it there"
        )


class PredictionStore(CellStore[Cell, tuple[CellResult, Predictions]]):
    """Cells of one comparison under `folder`. `lengths` are the numbers of tokens of the test sentences when tagging."""

    schema = "carryover.compare-cell/1"
    failure_schema = "carryover.compare-failure/1"

    def __init__(self, folder: Path, *, lengths: Sequence[int] | None = None, multi_label: bool = False) -> None:
        super().__init__(folder)
        self.lengths = None if lengths is None else list(lengths)
        self.multi_label = multi_label

    def holds(self, cell: Cell) -> bool:
        return self.path(cell).is_dir()

    def failure_path(self, cell: Cell) -> Path:
        return self.folder / "failures" / f"{cell.name}.json"

    def write(self, result: CellResult, predictions: Predictions) -> None:
        """Store a finished cell, whole or not at all; an older failure of it is forgotten. Raises CannotWrite, DiskFault."""
        labels = sorted({label for row in predictions for label in row})
        document = {"schema": self.schema, **result.to_json(), "predicted_labels": labels}
        with atomic_folder(self.path(result.cell)) as folder:
            save_array(folder / "predictions.npy", self._encode(predictions, labels))
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
            predictions = self._decode(numbers, labels)
        except (TypeError, ValueError, IndexError) as error:
            raise BadData(f"does not hold what its format promises: {error}", path=folder, repair=AGAIN) from error
        if result.cell != cell or len(predictions) != result.test_examples:
            found = f"{result.cell} with {len(predictions)} predictions"
            raise BadData(f"holds {found}, not {cell} with {result.test_examples}", path=folder, repair=AGAIN)
        return result, predictions

    def write_failure(self, failure: CellFailure) -> None:
        self.note_failure(failure.cell, failure.to_json())

    def failures(self, cells: Sequence[Cell]) -> list[CellFailure]:
        """Recorded failures of these cells, in their order."""
        return [CellFailure(**found) for cell in cells if (found := self.failure(cell)) is not None]

    def _encode(self, predictions: Predictions, labels: list[str]) -> np.ndarray:
        place = {label: i for i, label in enumerate(labels)}
        if self.multi_label:
            table = np.zeros((len(predictions), len(labels)), dtype=np.uint8)
            for row, predicted in enumerate(predictions):
                table[row, [place[label] for label in predicted]] = 1
            return table
        return np.array([place[label] for row in predictions for label in row], dtype=np.int32)

    def _decode(self, numbers: np.ndarray, labels: list[str]) -> Predictions:
        if self.multi_label:
            return [tuple(labels[i] for i in np.flatnonzero(row)) for row in numbers]
        flat = [labels[i] for i in numbers]
        if self.lengths is None:
            return [(label,) for label in flat]
        if len(flat) != sum(self.lengths):
            raise ValueError(f"{len(flat)} tags for {sum(self.lengths)} test tokens")
        ends = np.cumsum(self.lengths).tolist()
        return [tuple(flat[end - length : end]) for end, length in zip(ends, self.lengths, strict=True)]

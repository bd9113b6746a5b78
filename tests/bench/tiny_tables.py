"""Files of each kind the table reads, small enough for seconds, and problems of a few rows."""

from __future__ import annotations

import gzip
import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from carryover.bench.published import Recipe
from carryover.bench.replication import Replication, ReplicationResult, run_cell
from carryover.bench.run import data_files, load_workload, sized_recipe
from carryover.bench.stress_tests import AddingProblem
from carryover.bench.workload import Workload

KEYS = 12
WORDS = ("the", "old", "boat", "runs", "under", "a", "bridge", "slowly", "<unk>", "N")


def piano_rolls(pieces: int = 3, keys: int = KEYS, *, compressed: bool = True) -> bytes:
    """A `.mat` file as SciPy writes it."""
    chosen = np.random.default_rng(1)
    variables = {}
    for name in ("traindata", "validdata", "testdata"):
        cells = np.empty((1, pieces), dtype=object)
        for number in range(pieces):
            cells[0, number] = (chosen.random((5 + 3 * number, keys)) < 0.3).astype(np.uint8)
        variables[name] = cells
    written = io.BytesIO()
    scipy.io.savemat(written, {**variables, "comment": "a text"}, do_compression=compressed)
    return written.getvalue()


def idx(array: np.ndarray) -> bytes:
    """An idx file of bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_data(folder: Path) -> Path:
    """Every file that `--data` may hold."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "JSB_Chorales.mat").write_bytes(piano_rolls())
    (folder / "music").mkdir()
    (folder / "music" / "Nottingham.mat").write_bytes(piano_rolls(compressed=False))
    chosen = np.random.default_rng(2)
    for part, counts in (("train-part0", 5), ("train-part1", 4), ("t10k", 3)):
        images = idx(chosen.integers(0, 256, (counts, 4, 4)))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(chosen.integers(0, 10, counts)))
    for part, lines in (("train", 120), ("valid", 12), ("test", 11)):
        text = "".join(" " + " ".join(chosen.choice(WORDS, 7)) + " \n" for _ in range(lines))
        (folder / f"ptb.{part}.txt").write_text(text)
    return folder


def small(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with everything that takes time cut down."""
    return replace(recipe, **{"epochs": 3, "batch": min(recipe.batch, 4), "size": 6, "layers": 2, **changes})


def small_adding(model: str, seed: int = 1, rows: int = 24) -> tuple[Replication, Recipe, Workload]:
    """A real cell of the adding problem over 12 steps and a few rows."""
    cell = Replication("adding", 200, model, seed)
    recipe = small(cell.recipe, kernel=2 if model == "tcn" else 0, dropout=0.2)
    return cell, recipe, AddingProblem(12, recipe.batch, seed, rows=rows, held_out=10)


def run_small(out: Path, model: str = "tcn", seed: int = 1, **options: Any) -> ReplicationResult | None:
    cell, recipe, problem = small_adding(model, seed)
    return run_cell(cell, recipe, problem, out, quiet=True, **{"checkpoint_steps": 4, **options})


def read_problem(cell: Replication, data: Path) -> Workload:
    """The problem of a cell, with the batches that small files can fill."""
    return load_workload(cell, replace(cell.recipe, batch=min(cell.recipe.batch, 2)), data_files(cell.task, data))


def of_one_size(cell: Replication, problem: Workload) -> Recipe:
    return sized_recipe(cell, problem)

"""Several processes that write to one place again and again: `write_together.py KIND PLACE PROCESSES TIMES`.

It forks the processes, so that torch is imported once, and prints one JSON line a process: how often each outcome came.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from carryover.data.vocabulary import Vocabulary
from carryover.embeddings.vectors import WordVectors
from carryover.errors import CarryoverError
from carryover.storage.artefact import save_artefact
from carryover.training.run_folder import open_run


def artefact(place: Path, number: int) -> None:
    save_artefact(
        place,
        kind="tiny",
        config={"number": number},
        tensors={"weights": torch.full((50,), float(number))},
        tokenizer={},
        labels=None,
        record={"number": number},
        card="# Tiny\n",
    )


def vectors(place: Path, number: int) -> None:
    vocabulary = Vocabulary.from_counts(Counter({"house": 2, "garden": 1}), 10, 1)
    WordVectors(vocabulary, np.full((len(vocabulary), 4), number, np.float32)).save(place)


def run(place: Path, number: int) -> None:
    with open_run(place) as folder:
        folder.check_settings({"seed": 1})
        artefact(place, number)


KINDS: dict[str, Callable[[Path, int], None]] = {"artefact": artefact, "vectors": vectors, "run": run}


def main(kind: str, place: Path, processes: int, times: int) -> None:
    torch.set_num_threads(1)
    children = []
    for number in range(processes):
        child = os.fork()
        if child:
            children.append(child)
            continue
        found: Counter[str] = Counter()
        for _ in range(times):
            try:
                KINDS[kind](place, number)
                found["written"] += 1
            except CarryoverError as error:
                found[f"{type(error).__name__}: {error}" if error.exit_code != 75 else "busy"] += 1
        os.write(1, (json.dumps(found) + "\n").encode())
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

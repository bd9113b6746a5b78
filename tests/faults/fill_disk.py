"""Every writer of a file, with less and less room: `fill_disk.py KIND FOLDER MATERIAL HOW`.

HOW is "limit" (a limit on the size of files) or "disk" (FOLDER is a small file system of its own, filled up before each
attempt). Prints a JSON list: room, exit code and message of each attempt, and what was left in FOLDER.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from carryover import storage
from carryover.data.vocabulary import Vocabulary
from carryover.embeddings.vectors import WordVectors
from carryover.encoders.vector_files import _writer
from carryover.encoders.vector_parts import Choice, Parts
from carryover.errors import CarryoverError
from carryover.storage.artefact import save_artefact

LINES, WORDS, SIZE = 60, 5, 64
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def computed(folder: Path) -> Parts:
    """Vectors of a corpus as `embed` has them before it writes its file."""
    file = folder / "part.safetensors"
    spelled = json.dumps([[f"word{n}" for n in range(WORDS)]] * LINES).encode()
    vectors = torch.randn(LINES * WORDS, SIZE, generator=torch.Generator().manual_seed(1))
    lengths, characters = torch.full((LINES,), WORDS), torch.frombuffer(bytearray(spelled), dtype=torch.uint8)
    storage.save_tensors(file, {"vectors": vectors, "lengths": lengths, "words": characters})
    return Parts((SIZE,), Choice(), [file], lines=LINES, words=LINES * WORDS, spelled_bytes=len(spelled))


def embedded(suffix: str, folder: Path) -> Callable[[Path], None]:
    parts = computed(folder)
    return lambda place: _writer(place / f"out{suffix}")(place / f"out{suffix}", parts)


def array(place: Path) -> None:
    with storage.atomic_folder(place / "out") as folder:
        storage.save_array(folder / "numbers.npy", np.arange(20_000))


def document(place: Path) -> None:
    """As pages, pictures, cards and JSON documents are written."""
    storage.atomic_write(place / "out.html", "<p>text</p>\n" * 6000)


def artefact(place: Path) -> None:
    tensors = {"weights": torch.zeros(30_000)}
    save_artefact(
        place / "out",
        kind="t",
        config={},
        tensors=tensors,
        tokenizer={},
        labels=None,
        record={},
        card="#",
        files={"a.svg": b"s"},
    )


def vectors(place: Path) -> None:
    vocabulary = Vocabulary.from_counts(Counter({f"w{n}": 9 for n in range(500)}), 600, 1)
    WordVectors(vocabulary, np.zeros((len(vocabulary), 50), np.float32)).save(place / "out")


KINDS = (".hdf5", ".npz", ".parquet", ".safetensors", "array", "document", "artefact", "vectors")


def main(kind: str, place: Path, material: Path, how: str) -> None:
    write = {"array": array, "document": document, "artefact": artefact, "vectors": vectors}.get(kind) or embedded(
        kind, material
    )
    write(place)
    sizes = [file.stat().st_size for file in place.rglob("*") if file.is_file()]
    largest = max(sizes)
    clear(place)
    told = []
    for room in (0, 1, 700, 4096, largest // 4, largest // 2, largest * 3 // 4, largest - 1):
        if how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        else:
            free = shutil.disk_usage(place).free
            (place / "filler").write_bytes(bytes(max(0, free - room // 4096 * 4096)))
        try:
            write(place)
            outcome = (0, "")
        except CarryoverError as error:
            outcome = (error.exit_code, str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
        (place / "filler").unlink(missing_ok=True)
        told.append([room, *outcome, sorted(file.name for file in place.rglob("*") if file.is_file())])
        clear(place)
    os.write(1, json.dumps(told).encode())


def clear(place: Path) -> None:
    for one in place.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])

"""Checkpoints: folders of safetensors and JSON that are whole or absent, two of them kept.

A checkpoint is written under its own name, `step-000000120`, so nothing older is touched until it has been read back and
its manifest verified; only then are older ones pruned. The newest by name is where a run continues, and if a byte of it has
changed, the one before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover import storage
from carryover.errors import BadData, InputMissing
from carryover.progress import say

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = "carryover.checkpoint/1"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What was stored after `step` steps: tensors by name and a JSON object."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Store a checkpoint below `folder`, verify it, and prune all but the newest two. Returns its own folder.

    Raises CannotWrite or DiskFault; the earlier checkpoints are then as they were.
    """
    place = checkpoint_folder(folder, step)
    with storage.atomic_folder(place) as temporary:
        storage.save_tensors(temporary / "state.safetensors", tensors)
        content = {"schema": SCHEMA, "step": step, **state}
        storage.atomic_write(temporary / "state.json", json.dumps(content, indent=1, sort_keys=True))
    storage.verify_manifest(place)
    for old in checkpoint_folders(folder)[:-KEPT]:
        storage.crash_point("prune")
        storage.remove_folder(old)
    return place


def load_newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest sound checkpoint, or None where there is none at all.

    A damaged one is named on standard error and removed, and the one before it taken. Raises BadData when all are damaged.
    """
    storage.sweep(folder)
    damaged: list[tuple[Path, BadData | InputMissing]] = []
    for place in reversed(checkpoint_folders(folder)):
        try:
            found = load_checkpoint(place)
        except (BadData, InputMissing) as error:
            damaged.append((place, error))
            continue
        for old, reason in damaged:
            say(f"the checkpoint {old.name} is damaged ({reason}); going back to {place.name}")
            storage.remove_folder(old)
        return found
    if damaged:
        raise BadData(
            f"no checkpoint can be read; the newest says: {damaged[0][1]}",
            path=folder,
            repair="remove the run's folder to start again",
        )
    return None


def load_checkpoint(place: Path) -> Checkpoint:
    """One checkpoint, every byte verified. Raises BadData or InputMissing."""
    storage.verify_manifest(place)
    state = storage.read_json(place / "state.json")
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        found = state.get("schema") if isinstance(state, dict) else type(state).__name__
        raise BadData(
            f"schema is {found!r}, expected {SCHEMA!r}", path=place / "state.json", repair="choose another output folder"
        )
    return Checkpoint(int(state["step"]), storage.load_tensors(place / "state.safetensors"), state)


def checkpoint_folder(folder: Path, step: int) -> Path:
    """The path of the checkpoint of a step below `folder`."""
    return folder / f"step-{step:09d}"


def checkpoint_folders(folder: Path) -> list[Path]:
    """All checkpoints below `folder`, oldest first."""
    return sorted(place for place in folder.glob("step-*") if place.is_dir()) if folder.is_dir() else []

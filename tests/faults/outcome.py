"""What a run left, without the times: two runs that did the same leave the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from carryover import storage
from carryover.training.checkpoint import checkpoint_folders, load_checkpoint

TIMES = ("seconds", "sessions")


def outcome(out: Path) -> dict[str, Any]:
    """Fingerprints of weights, moments, carried state, metrics log, counts, best models, artefact."""
    run = out / "run"
    places = checkpoint_folders(run / "checkpoints")
    newest = load_checkpoint(places[-1])
    found: dict[str, Any] = {
        "step": newest.step,
        "tensors": {name: storage.fingerprint(tensor) for name, tensor in sorted(newest.tensors.items())},
        "loop": {name: value for name, value in newest.state["loop"].items() if name not in TIMES},
        "metrics": (run / "metrics.jsonl").read_bytes(),
        "best": sorted(
            (place.name, storage.file_digest(place / "model.safetensors")) for place in checkpoint_folders(run / "best")[-1:]
        ),
    }
    if (out / storage.MANIFEST).exists():
        for name in ("model.safetensors", "config.json", "tokenizer.json", "heldout.txt"):
            found[name] = storage.file_digest(out / name)
        record = json.loads((out / "record.json").read_text())
        found["record"] = {name: value for name, value in record.items() if name not in TIMES}
    return found


def leftovers(out: Path) -> list[str]:
    """Temporary files and folders anywhere below or beside `out`, and a lock that nobody holds."""
    places = [*out.rglob("*"), *out.parent.glob("*")]
    return sorted(str(place) for place in places if storage.is_temporary(place) or place.name == storage.LOCK)

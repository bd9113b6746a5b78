"""What a pretrained model scores on raw data: each file separately, and all of them one after another."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from pathlib import Path
from typing import Any

from carryover.data.batch_size import lanes_for
from carryover.data.shards import content_fingerprint
from carryover.errors import UsageError
from carryover.objectives.objective import Objective, Source
from carryover.pretraining.recipes import build_objective, objective_name
from carryover.pretraining.settings import PretrainSettings
from carryover.pretraining.soundness import clip_notes, doubts_of_figures, doubts_of_record


def measure_files(
    files: ListOf[Source], model: Any, coder: Any, objective: Objective[Any], **how: Any
) -> list[dict[str, Any]]:
    """`Objective.measure` of each file separately, with its `fingerprint`."""
    return [{**objective.measure(model, coder, [file], **how), "fingerprint": content_fingerprint(file)} for file in files]


def measured_as_in_training(record: Mapping[str, Any]) -> dict[str, int]:
    """Lanes, chunks and blocks of the run that a record is of, so that the same text has the same figures."""
    stored = record.get("settings", {})
    usual = {name: int(stored.get(name) or getattr(PretrainSettings, name)) for name in ("steps", "block_tokens")}
    tokens = int(record.get("corpus", {}).get("tokens", 0))
    return {"lanes": int(stored.get("batch_size") or lanes_for(tokens, usual["steps"])), **usual}


def objective_of(found: Any, folder: Path) -> Objective[Any]:
    """What the model that was loaded from `folder` has learned. Raises UsageError where that is none of our objectives."""
    name = objective_name(found.kind, found.record)
    if name is None:
        raise UsageError("is not a pretrained model that can be evaluated", path=folder, repair="give a pretrained one")
    return build_objective(name)


def evaluate_pretrained(
    found: Any,
    folder: Path,
    files: ListOf[Source],
    *,
    device: str = "cpu",
    raw_column: str | int | None = None,
    raw_format: str | None = None,
) -> dict[str, Any]:
    """Figures of the pretrained model `found`, which was loaded from `folder`, as the JSON document of the command.

    Each file separately, and `together`. On its own held-out file a model has the figures of its record. `doubts` are
    sentences about figures that do not fit together, there or here, `notes` about clipped states beside figures that do. Raises
    UsageError for weights that came without an output layer.
    """
    objective = objective_of(found, folder)
    if not objective.predicts(found.model.config):
        raise UsageError(
            "has no output layer (its weights were published without one), so it cannot be scored as a language model",
            path=folder,
            repair="make it one on your text with `carryover pretrain --begin-with`",
        )
    how: dict[str, Any] = {**measured_as_in_training(found.record), "device": device, "raw_format": raw_format}
    if raw_column is not None:
        how["raw_column"] = raw_column
    each = measure_files(files, found.model, found.coder, objective, **how)
    whole = each[0] if len(files) == 1 else objective.measure(found.model, found.coder, files, **how)
    return {
        "schema": "carryover.evaluate-language-model/1",
        "folder": str(folder),
        "objective": objective_name(found.kind, found.record),
        "files": each,
        "together": {name: value for name, value in whole.items() if name not in ("text", "fingerprint")},
        "doubts": [
            *(f"{folder / 'record.json'}: {doubt}" for doubt in doubts_of_record(found.record)),
            *(f"{figures['text']}: {doubt}" for figures in each for doubt in doubts_of_figures(figures)),
        ],
        "notes": [
            f"{figures['text']}: {note}"
            for figures in each
            if not doubts_of_figures(figures)
            for note in clip_notes(figures)
        ],
    }


def figure_lines(document: Mapping[str, Any]) -> list[str]:
    """The figures of `evaluate_pretrained` as a person reads them, a line a file."""
    objective = build_objective(document["objective"])
    rows = [(file["text"], file) for file in document["files"]]
    if len(rows) > 1:
        rows.append(("together", document["together"]))
    return [f"{name}: {line_of_figures(objective, figures)}" for name, figures in rows]


def line_of_figures(objective: Objective[Any], figures: Mapping[str, Any]) -> str:
    """One set of figures in a line."""
    return f"{objective.deciding(figures)} ({objective.details(figures)}; {objective.counted(figures)})"

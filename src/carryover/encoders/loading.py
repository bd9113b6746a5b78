"""From a folder to a model: the kind named in the artefact decides what is built. Nothing stored is ever executed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from carryover.ambient import settled
from carryover.encoders.pretrained import check_record
from carryover.errors import BadData
from carryover.storage.artefact import load_artefact

KINDS = {
    "bilm": "carryover.encoders.language_model:LanguageModel",
    "lm": "carryover.encoders.text_generator:TextGenerator",
    "task": "carryover.transfer.predictor:TaskPredictor",
}
"""Kind of artefact → the class whose `from_artefact` builds it, imported when it is needed."""


@settled()
def load(folder: Path | str, *, device: str = "cpu") -> Any:
    """The model in a folder: a `LanguageModel`, a `TextGenerator`, or the `TaskPredictor` of a task.

    Raises InputMissing when there is none, BadData when it is damaged, of another format version, of an unknown kind, or
    its parts do not fit together; the message shows both values. Draws no random numbers, and what the caller has set for all
    of PyTorch changes nothing (see `carryover.ambient`).
    """
    stored = load_artefact(Path(folder))
    check_record(stored.record, stored.folder)
    if stored.kind not in KINDS:
        raise BadData(
            f"the artefact is of kind {stored.kind[:80]!r}, this version knows {', '.join(KINDS)}",
            path=folder,
            repair="upgrade carryover",
        )
    module, _, name = KINDS[stored.kind].partition(":")
    return getattr(import_module(module), name).from_artefact(stored, device=device)

"""From a folder to a model: the kind named in the artefact decides what is built. Nothing stored is ever executed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from carryover.ambient import default_torch_state
from carryover.encoders.artefact_parts import check_record
from carryover.errors import BadData, UsageError
from carryover.storage.artefact import load_artefact

if TYPE_CHECKING:
    from carryover.encoders.encoder import Encoder

Model = TypeVar("Model")

KINDS = {
    "bilm": "carryover.encoders.bilm:BidirectionalEncoder",
    "lm": "carryover.encoders.text_generator:TextGenerator",
    "words": "carryover.encoders.words:WordsEncoder",
    "series": "carryover.encoders.series:SeriesEncoder",
    "task": "carryover.transfer.predictor:TaskPredictor",
    "hand-made": "carryover.classical.predictor:FeaturePredictor",
}
"""Kind of artefact → the class whose `from_artefact` builds it, imported when it is needed."""
KINDS_IN_TASKS = {
    "language-model": "bilm", "causal-language-model": "lm", "series-model": "series", "word-encoder": "words",
}  # fmt: skip
"""How the artefact of a task names the encoder that was carried over into it → the kind of that encoder's own artefacts."""


@default_torch_state()
def load(folder: Path | str, *, device: str = "cpu") -> Any:
    """The model in a folder: a `BidirectionalEncoder`, a `TextGenerator`, or the `TaskPredictor` of a task.

    Raises InputMissing when there is none, BadData when it is damaged, of another format version, of an unknown kind, or
    its parts do not fit together; the message shows both values. Draws no random numbers, and what the caller has set for all
    of PyTorch changes nothing (see `carryover.ambient`).
    """
    stored = load_artefact(Path(folder))
    check_record(stored.record, stored.folder)
    return class_of(stored.kind, stored.folder).from_artefact(stored, device=device)


def class_of(kind: str, folder: Path | None = None) -> Any:
    """The class of an artefact of this kind. Raises BadData, naming the folder, for a kind that this version does not know."""
    if kind not in KINDS:
        raise BadData(
            f"the artefact is of kind {kind[:80]!r}, this version knows {', '.join(KINDS)}",
            path=folder,
            repair="upgrade carryover",
        )
    module, _, name = KINDS[kind].partition(":")
    return getattr(import_module(module), name)


def encoder_class(kind: str, folder: Path | None = None) -> type[Encoder]:
    """The class of the encoders in artefacts of this kind.

    Raises BadData for an unknown kind and UsageError where such an artefact is no encoder, both naming the folder it is in.
    """
    from carryover.encoders.encoder import Encoder

    found = class_of(kind, folder)
    if not issubclass(found, Encoder):
        raise UsageError(
            f"is an artefact of kind {kind!r}, not a language model", path=folder, repair="give a folder made by pretrain"
        )
    return found


def encoder_in_task(name: str) -> type[Encoder]:
    """The class of an encoder as the artefact of a task names it, one of `KINDS_IN_TASKS`."""
    return encoder_class(KINDS_IN_TASKS[name])


def load_encoder(folder: Path | str, *, device: str = "cpu") -> Encoder:
    """The encoder in a folder. Raises UsageError where there is a model of another kind, and what `load` raises."""
    from carryover.encoders.encoder import Encoder

    loaded = load(folder, device=device)
    return require(loaded, Encoder, folder, but="not a pretrained encoder", repair="give the folder of a pretrained one")  # type: ignore[type-abstract]


def require(loaded: Any, wanted: type[Model], folder: Path | str, *, but: str, repair: str) -> Model:
    """The model that was loaded from `folder`, if it is of the class that is `wanted`.

    Raises UsageError naming what it is, with `but`, what was needed, and the repair.
    """
    if not isinstance(loaded, wanted):
        raise UsageError(f"is {loaded.description}, {but}", path=folder, repair=repair)
    return loaded

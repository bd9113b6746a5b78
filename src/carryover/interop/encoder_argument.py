"""A language model for those who come with scikit-learn or a model of their own: given, in a folder, or learned from texts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from pathlib import Path
from typing import Any

from carryover.devices import choose_device
from carryover.encoders.language_model import LanguageModel
from carryover.encoders.loading import load
from carryover.errors import BadData, UsageError, check_fields
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.settings import PretrainSettings
from carryover.storage import atomic_write


def language_model(encoder: LanguageModel | Path | str, *, device: str = "auto") -> LanguageModel:
    """The language model itself, or the one in a folder. Raises UsageError for another kind of model, InputMissing."""
    if isinstance(encoder, LanguageModel):
        return encoder
    loaded = load(Path(encoder), device=choose_device(device))
    if not isinstance(loaded, LanguageModel):
        raise UsageError(
            f"is {loaded.description}, not a pretrained language model for vectors",
            path=encoder,
            repair="give the folder of one",
        )
    return loaded


def learn_from(
    texts: ListOf[str], settings: Mapping[str, Any], *, device: str = "auto", quiet: bool = True
) -> LanguageModel:
    """A language model pretrained on `texts`; `settings` are fields of `PretrainSettings`. Raises BadData, UsageError."""
    check_fields("pretraining", settings, PretrainSettings)
    with tempfile.TemporaryDirectory() as work:
        raw = Path(work) / "raw.txt"
        atomic_write(raw, "".join(" ".join(text.split()) + "\n" for text in texts))
        try:
            pretrain(PretrainSettings(raw=raw, **{"device": device, **settings}), Path(work) / "lm", quiet=quiet)
        except BadData as error:  # it names a file that the caller never saw
            raise BadData(f"X cannot be learned from: {error.message}", repair="give more different texts") from error
        return language_model(Path(work) / "lm", device=device)

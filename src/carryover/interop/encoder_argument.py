"""A language model for users of scikit-learn or of another PyTorch model: given, in a folder, or learned from texts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from pathlib import Path
from typing import Any

from carryover.devices import choose_device
from carryover.encoders.encoder import Encoder
from carryover.encoders.loading import load_encoder
from carryover.errors import BadData, check_fields
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.settings import PretrainSettings
from carryover.storage import atomic_write


def given_encoder(encoder: Encoder | Path | str, *, device: str = "auto") -> Encoder:
    """The encoder itself, or the one in a folder. Raises UsageError for another kind of model, InputMissing."""
    if isinstance(encoder, Path | str):
        return load_encoder(Path(encoder), device=choose_device(device))
    return encoder


def learn_from(texts: ListOf[str], settings: Mapping[str, Any], *, device: str = "auto", quiet: bool = True) -> Encoder:
    """A language model pretrained on `texts`; `settings` are fields of `PretrainSettings`. Raises BadData, UsageError."""
    check_fields("pretraining", settings, PretrainSettings)
    with tempfile.TemporaryDirectory() as work:
        raw = Path(work) / "raw.txt"
        atomic_write(raw, "".join(" ".join(text.split()) + "\n" for text in texts))
        try:
            pretrain(PretrainSettings(raw=raw, **{"device": device, **settings}), Path(work) / "lm", quiet=quiet)
        except BadData as error:  # it names a file that the caller never saw
            raise BadData(f"X cannot be learned from: {error.message}", repair="give more different texts") from error
        return given_encoder(Path(work) / "lm", device=device)

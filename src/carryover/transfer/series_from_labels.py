"""The encoder of series that is learned from labels alone: convolutions, a TCN or recurrent layers over standardised values."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as ListOf
from typing import Any, final

from carryover.data.examples import Series
from carryover.data.series_scaler import SeriesScaler
from carryover.encoders.series import FIT_DEFAULTS, SeriesEncoder
from carryover.models.series import SeriesModel
from carryover.transfer.from_labels import FromLabels
from carryover.transfer.settings import FitSettings
from carryover.transfer.trainable_encoders import MixedEncoder, TaskEncoder

FROM_LABELS = {**FIT_DEFAULTS, "epochs": 20, "least_updates": 300, "learning_rate": 3e-3, "dropout": 0.2}
"""Of `FitSettings`: series are few, and a batch of them is cheap."""
STACKS: dict[str, dict[str, Any]] = {
    "cnn": {"size": 64, "layers": 4, "kernel": 5},
    "tcn": {"size": 64, "layers": 5, "kernel": 5},
    "lstm": {"size": 128, "layers": 1},
    "gru": {"size": 128, "layers": 1},
}
"""Fields of `SeriesModel.Config` for each stack; all of them read both ways."""


@final
class SeriesFromLabels(FromLabels):
    """A stack of layers over standardised values, mixed as those of a pretrained model are."""

    fit_defaults = FROM_LABELS
    reads_words = False

    def build(self, settings: FitSettings, sentences: ListOf[Series]) -> TaskEncoder:
        return build_series_encoder(settings, sentences)

    def say_cut(self, where: str, sentences: Iterable[Series]) -> None:
        """Nothing of a series is cut."""


def build_series_encoder(settings: FitSettings, series: ListOf[Series]) -> MixedEncoder:
    """For training on these series; their scale is that of the model. Raises BadData where they differ in channels."""
    scaler = SeriesScaler.learn(series)
    config = SeriesModel.Config(
        in_size=scaler.channels,
        stack=settings.stack,
        causal=False,
        dropout=settings.dropout or 0.0,
        **STACKS[settings.stack],
    )
    encoder = SeriesEncoder(SeriesModel(config), scaler, {})
    return MixedEncoder(encoder, fixed=False, dropout=settings.dropout or 0.0)

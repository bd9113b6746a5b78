"""Fields of a language model's configuration that one asks for by name, over its named size."""

from __future__ import annotations

from dataclasses import dataclass, field

from carryover.setting import MODEL, TRAINING, option


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What to change of the configuration that the size of a model names; None is as the size says.

    `PretrainSettings.model` takes the fields that are given, under the names of the model's own configuration.
    """

    stack: str | None = field(
        default=None,
        metadata=option(
            "With next-value: tcn (the default there), lstm or gru; with lm: lstm, gru, tcn or transformer. Default: lstm.",
            MODEL,
        ),
    )
    layers: int | None = field(
        default=None, metadata=option("Number of layers (levels of a TCN). Default: from --size.", MODEL)
    )
    width: int | None = field(
        default=None,
        metadata=option("Features of a token and of the input of the output layer. Default: from --size.", MODEL),
    )
    cells: int | None = field(
        default=None,
        metadata=option(
            "Cells of an LSTM (bilm: before its projection) or GRU, or features of a Transformer's feed-forward layer. "
            "Default: from --size.",
            MODEL,
        ),
    )
    heads: int | None = field(
        default=None, metadata=option("With --stack transformer: attention heads. Default: from --size.", MODEL)
    )
    horizon: int | None = field(
        default=None,
        metadata=option(
            "With --stack transformer: how many tokens a layer attends to, itself included. Default: from --size.",
            MODEL,
        ),
    )
    kernel: int | None = field(
        default=None, metadata=option("With --stack tcn: width of the convolutions. Default: 3.", MODEL)
    )
    tied: bool | None = field(
        default=None,
        metadata=option(
            "With --objective lm: whether the output layer shares the weights of the embedding. Default: tied.",
            MODEL,
            "--tied/--untied",
        ),
    )
    samples: int | None = field(
        default=None,
        metadata=option("With the sampled softmax: number of words that a step is scored against. Default: 8192.", MODEL),
    )
    dropout: float | None = field(default=None, metadata=option("Dropout probability. Default: from --size.", TRAINING))

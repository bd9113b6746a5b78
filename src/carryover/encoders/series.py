"""A model of series as an encoder: the vectors of a step are what the layers say after it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence as ListOf
from typing import Any, Self, final

import numpy as np
import torch
from torch import Tensor

from carryover.data.examples import Series
from carryover.data.series_scaler import SeriesScaler
from carryover.encoders.artefact_parts import fill, parsed, read_heldout
from carryover.encoders.encoder import Choose, Encoder, LayerGroup, every_layer
from carryover.errors import BadData
from carryover.layers.base import State
from carryover.models.series import SeriesModel
from carryover.objectives.next_value import lines_next_value
from carryover.sequence import Sequence
from carryover.storage.artefact import Artefact

_FEWEST_ROWS = 4
FIT_DEFAULTS = {"token_budget": 4096}
"""Of `FitSettings`: a step is less than a word, and there are more of them."""


@final
class SeriesEncoder(Encoder):
    """A model of series, ready to turn series [T, C] into vectors of their steps. `coder` is the scale of the channels."""

    kind = "series"
    description = "a model of series"
    kind_in_task = "series-model"
    proved_figures = ("mse",)
    reads = (Series,)
    reads_words = False
    fit_defaults = FIT_DEFAULTS
    model: SeriesModel
    coder: SeriesScaler

    def __init__(self, model: SeriesModel, *parts: Any) -> None:
        super().__init__(model, *parts)
        self.carries_state = model.config.causal

    @classmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> Self:
        config = parsed(SeriesModel.Config.from_json, stored.config, stored.folder / "config.json")
        scaler = parsed(cls.read_coder, stored.tokenizer, stored.folder / "tokenizer.json")
        parsed(lambda scaler: _check_channels(scaler, config), scaler, stored.folder)
        model = fill(lambda: SeriesModel(config), stored.tensors, stored.folder)
        return cls(model.to(device), scaler, stored.record, read_heldout(stored), stored.folder)

    @classmethod
    def build(cls, config: dict[str, Any], coder: Any) -> Self:
        known = SeriesModel.Config.from_json(config)
        _check_channels(coder, known)
        return cls(SeriesModel(known), coder, {})

    @classmethod
    def read_coder(cls, content: Any) -> SeriesScaler:
        return SeriesScaler.from_json(content)

    @property
    def out_size(self) -> int:
        return self.model.config.size

    @property
    def layer_count(self) -> int:
        return self.model.mixed_layers

    def batch(self, sentences: ListOf[Any]) -> Sequence:
        return Sequence.pad([torch.from_numpy(self.coder.scale(one)) for one in sentences])

    def steady_batch(self, sentences: ListOf[Any]) -> Sequence:
        filling = Series(np.zeros((2, self.coder.channels)))
        return self.batch([*sentences, *[filling] * (_FEWEST_ROWS - len(sentences))])

    def states(self, batch: Sequence) -> Sequence:
        return self.model.representations(batch)

    def initial_state(self, rows: int) -> State:
        if not self.carries_state:
            return ()
        weight = next(self.model.parameters())
        return self.model.initial_state(rows, device=weight.device, dtype=weight.dtype)

    def advance(
        self, batch: Sequence, state: State, *, steps: int | None = None, choose: Choose = every_layer
    ) -> tuple[list[Tensor], State]:
        """As every encoder's: a row reads on as if it were the next part of the series before. One that reads both ways
        reads each row whole."""
        if not self.carries_state:
            return [choose(row) for row in self.states(batch).rows()], ()
        found: list[list[Tensor]] = [[] for _ in range(batch.batch_size)]
        size = max(1, batch.time if steps is None else steps)
        for start in range(0, max(1, batch.time), size):
            with torch.set_grad_enabled(torch.is_grad_enabled() and steps is None):
                vectors, state = self.model.continue_representations(batch.slice(start, start + size), state)
            for parts, row in zip(found, vectors.rows(), strict=True):
                parts.append(choose(row))
        return [torch.cat(parts) for parts in found], state

    def groups(self) -> list[LayerGroup]:
        count = len(self.model.layers)
        groups = [
            LayerGroup(f"layer {number}", count - number + 1, dict(self.model.layers[number - 1].named_parameters()))
            for number in range(count, 0, -1)
        ]
        return [*groups, LayerGroup("values", count + 1, dict(self.model.input_layer.named_parameters()))]

    def score(self, lines: ListOf[str]) -> dict[str, float]:
        return lines_next_value(self.model, self.coder, lines)

    def drop_output_layer(self) -> None:
        self.model.drop_output_layer()

    def knows(self, word: str) -> bool:
        return False

    # ------------------------------------------------------------------ steps in place of words

    def tokenize(self, text: str) -> list[str]:
        raise TypeError("this model reads series, not text: give Example(Series(values))")

    def check_sentence(self, sentence: Any) -> None:
        if not isinstance(sentence, Series):
            raise TypeError(
                f"this model reads series [T, C], got {type(sentence).__name__}: wrap the values, Series(values)"
            )

    def key(self, sentence: Any) -> bytes:
        content = repr((sentence.values.shape, str(sentence.values.dtype))).encode() + sentence.values.tobytes()
        return hashlib.sha256(content).hexdigest()[:32].encode()

    def count_words(self, sentences: Iterable[Any]) -> Counter[str]:
        return Counter()

    def say_cut(self, where: str, sentences: Iterable[Any]) -> None:
        """Nothing of a series is cut."""


def _check_channels(scaler: SeriesScaler, config: SeriesModel.Config) -> None:
    """Raise BadData where the scale is of other channels than the model reads."""
    if scaler.channels != config.in_size:
        raise BadData(
            f"tokenizer.json has the scale of {scaler.channels} channels, config.json asks for {config.in_size}",
            repair="restore the folder from a copy",
        )

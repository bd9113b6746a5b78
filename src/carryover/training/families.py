"""What differs between the language models that `pretrain` makes: the network, its objective, its measures, its card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import torch
from torch import nn

from carryover.data.stream import LanguageModelStream
from carryover.errors import UsageError
from carryover.layers.base import State
from carryover.models.bilm import BiLanguageModel
from carryover.models.language_model import LanguageModel
from carryover.objectives.bilm import BiLanguageModelObjective, evaluate, lines_perplexity
from carryover.objectives.next_token import NextTokenObjective, evaluate_next_token, lines_next_token
from carryover.training.corpus import Corpus
from carryover.training.loop import Objective
from carryover.training.model_card import generator_card, language_model_card
from carryover.training.settings import PretrainSettings, check_samples

Total = Callable[[list[float]], list[float]]


class Family(ABC):
    """One objective's part of a pretraining run. `kind` is that of its artefacts, `both_ways` whether it reads backward too."""

    kind: str
    both_ways: bool

    @abstractmethod
    def config(self, wanted: PretrainSettings, vocabulary_size: int) -> Any:
        """The configuration asked for. Raises UsageError for an unknown size or field, or one that does not go here."""

    @abstractmethod
    def build(self, config: Any) -> nn.Module:
        """The network."""

    @abstractmethod
    def objective(self, logits_dtype: torch.dtype | None) -> Objective:
        """What training asks of it."""

    @abstractmethod
    def initial_state(self, model: Any, lanes: int, device: str) -> State:
        """The state before the first step."""

    @abstractmethod
    def evaluate(
        self, model: Any, stream: LanguageModelStream, corpus: Corpus, device: str, total: Total = list
    ) -> dict[str, float]:
        """Held-out figures, `perplexity` among them; `total` adds up sums over the processes that share the stream."""

    @abstractmethod
    def check(self, model: Any, corpus: Corpus) -> dict[str, float]:
        """Figures of the sample of held-out lines that goes with the model, to be measured again after loading."""

    @abstractmethod
    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        """The artefact's README."""


@final
class Bidirectional(Family):
    """A forward and a backward model with one softmax: the language model of ELMo."""

    kind = "bilm"
    both_ways = True

    def config(self, wanted: PretrainSettings, vocabulary_size: int) -> BiLanguageModel.Config:
        given: dict[str, Any] = {"vocabulary_size": vocabulary_size, "input": wanted.input}
        if wanted.begin_with is None:
            given = BiLanguageModel.Config.of_size(wanted.size, **given).to_json()
        softmax = {} if wanted.softmax is None else {"softmax": wanted.softmax}
        config = BiLanguageModel.Config.from_json({**given, **wanted.model, **softmax})
        if wanted.begin_with is None:
            check_samples(wanted.model, config.softmax)
        return config

    def build(self, config: BiLanguageModel.Config) -> BiLanguageModel:
        return BiLanguageModel(config)

    def objective(self, logits_dtype: torch.dtype | None) -> Objective:
        return BiLanguageModelObjective(logits_dtype=logits_dtype)

    def initial_state(self, model: BiLanguageModel, lanes: int, device: str) -> State:
        return model.initial_state(lanes, device=device)

    def evaluate(
        self, model: BiLanguageModel, stream: LanguageModelStream, corpus: Corpus, device: str, total: Total = list
    ) -> dict[str, float]:
        return evaluate(model, stream, device=device, total=total)

    def check(self, model: BiLanguageModel, corpus: Corpus) -> dict[str, float]:
        return lines_perplexity(model, corpus.coder, corpus.sample)

    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        return language_model_card(config, record)


@final
class NextToken(Family):
    """A model that predicts the next token from all before it, and so can write."""

    kind = "lm"
    both_ways = False

    def config(self, wanted: PretrainSettings, vocabulary_size: int) -> LanguageModel.Config:
        given: dict[str, Any] = {"vocabulary_size": vocabulary_size, "input": wanted.input}
        if wanted.begin_with is None:
            given = LanguageModel.Config.of_size(wanted.size, **given).to_json()
        if wanted.softmax is not None:
            given["softmax"] = wanted.softmax
            given["tied"] = wanted.softmax != "adaptive"
        config = LanguageModel.Config.from_json({**given, **wanted.model})
        if wanted.begin_with is None:
            check_samples(wanted.model, config.softmax)
        if config.stack == "transformer" and config.horizon is None:
            raise UsageError(
                "a Transformer without horizon carries a state that grows with the text",
                repair="give a horizon in the model's configuration",
            )
        return config

    def build(self, config: LanguageModel.Config) -> LanguageModel:
        return LanguageModel(config)

    def objective(self, logits_dtype: torch.dtype | None) -> Objective:
        return NextTokenObjective(logits_dtype=logits_dtype)

    def initial_state(self, model: LanguageModel, lanes: int, device: str) -> State:
        return model.initial_state(lanes, device=device)

    def evaluate(
        self, model: LanguageModel, stream: LanguageModelStream, corpus: Corpus, device: str, total: Total = list
    ) -> dict[str, float]:
        return evaluate_next_token(model, stream, characters=corpus.valid_characters, device=device, total=total)

    def check(self, model: LanguageModel, corpus: Corpus) -> dict[str, float]:
        return lines_next_token(model, corpus.coder, corpus.sample)

    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        return generator_card(config, record)


def family_of(objective: str) -> Family:
    """The family that an objective of `settings.OBJECTIVES` trains."""
    return NextToken() if objective == "lm" else Bidirectional()

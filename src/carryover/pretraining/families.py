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
from carryover.pretraining.corpus import Corpus
from carryover.pretraining.model_card import generator_card, language_model_card
from carryover.pretraining.settings import PretrainSettings, check_samples
from carryover.training.job import Objective
from carryover.training.optimisers import build_optimiser, takes_sparse_gradients

AllReduce = Callable[[list[float]], list[float]]


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
    def samples_output_rows(self, config: Any) -> bool:
        """Whether a step of such a model looks up some rows of its output layer and can do without the gradient of others."""

    @abstractmethod
    def objective(self, logits_dtype: torch.dtype | None, *, sparse_gradient: bool = False) -> Objective:
        """What training asks of it; `sparse_gradient` only where it draws rows."""

    @abstractmethod
    def initial_state(self, model: Any, lanes: int, device: str) -> State:
        """The state before the first step."""

    @abstractmethod
    def evaluate(
        self, model: Any, stream: LanguageModelStream, corpus: Corpus, device: str, all_reduce: AllReduce = list
    ) -> dict[str, float]:
        """Held-out figures, `perplexity` among them; `all_reduce` adds up sums over the processes that share the stream."""

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

    def samples_output_rows(self, config: BiLanguageModel.Config) -> bool:
        return config.softmax == "sampled"

    def objective(self, logits_dtype: torch.dtype | None, *, sparse_gradient: bool = False) -> Objective:
        return BiLanguageModelObjective(logits_dtype=logits_dtype, sparse_gradient=sparse_gradient)

    def initial_state(self, model: BiLanguageModel, lanes: int, device: str) -> State:
        return model.initial_state(lanes, device=device)

    def evaluate(
        self, model: BiLanguageModel, stream: LanguageModelStream, corpus: Corpus, device: str, all_reduce: AllReduce = list
    ) -> dict[str, float]:
        return evaluate(model, stream, device=device, all_reduce=all_reduce)

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

    def samples_output_rows(self, config: LanguageModel.Config) -> bool:
        return False  # its output layer is, as a rule, the table of its input too

    def objective(self, logits_dtype: torch.dtype | None, *, sparse_gradient: bool = False) -> Objective:
        return NextTokenObjective(logits_dtype=logits_dtype)

    def initial_state(self, model: LanguageModel, lanes: int, device: str) -> State:
        return model.initial_state(lanes, device=device)

    def evaluate(
        self, model: LanguageModel, stream: LanguageModelStream, corpus: Corpus, device: str, all_reduce: AllReduce = list
    ) -> dict[str, float]:
        return evaluate_next_token(model, stream, characters=corpus.valid_characters, device=device, all_reduce=all_reduce)

    def check(self, model: LanguageModel, corpus: Corpus) -> dict[str, float]:
        return lines_next_token(model, corpus.coder, corpus.sample)

    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        return generator_card(config, record)


def objective_and_optimiser(
    family: Family, model: Any, wanted: PretrainSettings, *, learning_rate: float, logits_dtype: torch.dtype | None
) -> tuple[Objective, torch.optim.Optimizer]:
    """What the settings train by, with sparse gradients of the output layer where both can do with them."""
    kind = optimiser_of(family, model.config, wanted)
    sparse = family.samples_output_rows(model.config) and takes_sparse_gradients(kind, wanted.weight_decay)
    optimiser = build_optimiser(model, kind, learning_rate=learning_rate, weight_decay=wanted.weight_decay)
    return family.objective(logits_dtype, sparse_gradient=sparse), optimiser


def optimiser_of(family: Family, config: Any, wanted: PretrainSettings) -> str:
    """The optimiser asked for; where none is, one whose step does not cost more for a larger vocabulary, if there can be."""
    if wanted.optimiser is not None:
        return wanted.optimiser
    return "lazy-adam" if family.samples_output_rows(config) and not wanted.weight_decay else "adam"


def family_of(objective: str) -> Family:
    """The family that an objective of `settings.OBJECTIVES` trains."""
    return NextToken() if objective == "lm" else Bidirectional()

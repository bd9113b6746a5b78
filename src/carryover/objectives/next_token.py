"""The objective of an autoregressive language model: guess the next token from all before it.

    loss = − Σ_k log p(t_{k+1} | t_1 … t_k) / number of targets

with the state carried from chunk to chunk and gradients cut at the chunk's border. Perplexity is the exponential of the mean
in nats; bits per character spread the same sum over the characters of the text, line ends included, so that models over
characters, pieces and words compare, as far as no word is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from carryover.data.coding import TokenCoder
from carryover.data.stream import LanguageModelBatch, LanguageModelStream
from carryover.data.text_corpus import TextCorpus
from carryover.errors import UsageError
from carryover.layers.base import State, choose_rows, detach_state
from carryover.models.language_model import LanguageModel
from carryover.objectives.bilm import softmax_of
from carryover.objectives.model_card import generator_card
from carryover.objectives.objective import AllReduce, Request, Source
from carryover.objectives.scoring import batches_of, evaluation_mode, next_targets, perplexity
from carryover.objectives.text import TextObjective, check_samples
from carryover.sequence import Sequence


@final
class NextTokenObjective(TextObjective):
    """A model that predicts the next token from all before it, and so can write.

    Batch and carried state in, mean loss and new state out; only what goes forward in the batch is looked at. The softmax is
    the one of the model's configuration. No gradient is sparse: the output layer is, as a rule, the table of the input too.
    """

    kind = "lm"
    both_ways = False
    exact = True
    set_aside = "passages of the same text"
    model_options: ClassVar[Mapping[str, str]] = {
        "stack": "stack",
        "layers": "layers",
        "width": "size",
        "cells": "cells",
        "heads": "heads",
        "horizon": "horizon",
        "kernel": "kernel",
        "dropout": "dropout",
        "samples": "samples",
        "tied": "tied",
    }

    def usual_steps(self, input: str) -> int:
        """100 where single characters are predicted, which say less each; else 20."""
        return 100 if input == "characters" else 20

    def config(self, wanted: Request, in_size: int | None) -> LanguageModel.Config:
        entries = wanted.vocabulary_size if in_size is None else in_size
        given: dict[str, Any] = {"vocabulary_size": entries, "input": wanted.input}
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

    def __call__(
        self, model: LanguageModel, batch: LanguageModelBatch, state: State, *, step_seed: int
    ) -> tuple[Tensor, State, dict[str, float]]:
        """The loss of one chunk.

        Rows marked fresh start anew. Returns the mean loss in nats over the targets (a scalar with gradient; 0 when the
        chunk has none), the state after the chunk without its history, and the figures `nll` (the sum in nats) and
        `tokens` and `targets` (both the number of targets). `step_seed` decides the words a sampled softmax draws.
        """
        hidden, state = _advance(model, batch, state)
        targets = batch.forward_targets.flatten()
        softmax = softmax_of(model, chunk_rows=self.chunk_rows, logits_dtype=self.logits_dtype)
        total, parts = softmax.loss(hidden, targets, seed=step_seed)
        tokens = int((targets >= 0).sum())
        return total / max(1, tokens), state, {"nll": float(parts.sum()), "tokens": tokens, "targets": tokens}

    def evaluate(
        self,
        model: LanguageModel,
        held_out: LanguageModelStream,
        corpus: TextCorpus,
        device: str,
        all_reduce: AllReduce = list,
    ) -> dict[str, float]:
        return evaluate_next_token(model, held_out, characters=corpus.valid_characters, device=device, all_reduce=all_reduce)

    def check_figures(
        self, model: LanguageModel, corpus: TextCorpus, examples: SequenceOf[str] | None = None
    ) -> dict[str, float]:
        return lines_next_token(model, corpus.coder, corpus.sample if examples is None else examples)

    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        return generator_card(config, record)

    def details(self, figures: Mapping[str, Any]) -> str:
        return f"{figures['bits_per_character']:.3f} bits per character"

    def held_out_line(self, figures: Mapping[str, Any]) -> str:
        unknown = f"; {figures['unknown_share']:.2%} of the tokens are unknown" if figures["unknown_share"] else ""
        return f"held-out perplexity {figures['perplexity']:.2f} ({self.details(figures)}{unknown})"

    def after_training(self, out: Path, wanted: Request) -> list[Any]:
        across = ["--across-lines"] if wanted.input == "characters" else []
        return ["generate", out, "--prompt", "The", "--temperature", 0.8, *across]

    def after_evaluation(self, folder: Path, file: Source) -> list[Any]:
        return ["generate", folder, "--prompt", "The"]


def _advance(model: LanguageModel, batch: LanguageModelBatch, state: State) -> tuple[Tensor, State]:
    """Hidden states, one row below the other [B·T, size], and the detached state."""
    if batch.begins:  # here or in another process: whatever the new state draws at random is drawn by all or none
        like = next(model.parameters())
        state = choose_rows(batch.fresh, model.initial_state(len(batch.fresh), device=like.device, dtype=like.dtype), state)
    hidden, state = model.advance(batch.forward.index, state)
    return hidden.values.flatten(0, 1), detach_state(state)


@torch.no_grad()
def evaluate_next_token(
    model: LanguageModel,
    stream: LanguageModelStream | Iterable[LanguageModelBatch],
    *,
    characters: int,
    device: torch.device | str | None = None,
    all_reduce: Callable[[list[float]], list[float]] = list,
) -> dict[str, float]:
    """Exact figures over one pass of a stream (epoch 0 of seed 0) or over given batches in order.

    Keys: `perplexity`, `bits_per_character` (of a text of `characters` characters) and `tokens` (targets). The model is put
    into evaluation mode meanwhile. `all_reduce` adds up sums over the processes that share the stream's lanes. Raises
    ValueError when there is nothing to score.
    """
    batches = batches_of(stream) if isinstance(stream, LanguageModelStream) else stream
    nats, tokens = 0.0, 0
    state: State | None = None
    with evaluation_mode(model):
        for batch in batches:
            if device is not None:
                batch = batch.to(device)
            if state is None:
                like = next(model.parameters())
                state = model.initial_state(len(batch.fresh), device=like.device, dtype=like.dtype)
            hidden, state = _advance(model, batch, state)
            targets = batch.forward_targets.flatten()
            nats += float(softmax_of(model).negative_log_likelihood(hidden, targets).double().sum())
            tokens += int((targets >= 0).sum())
    nats, targets_scored = all_reduce([nats, tokens])
    return _figures(nats, int(targets_scored), characters)


@torch.no_grad()
def lines_next_token(
    model: LanguageModel, coder: TokenCoder, lines: SequenceOf[str], *, batch_size: int = 32
) -> dict[str, float]:
    """The same figures for lines of text, each read separately from its beginning, and `lines`, how many were scored.

    Every token and the end of the line are predicted. Empty lines are left out. The result does not depend on
    `batch_size` beyond rounding.
    """
    sentences = [(coder.tokenize(line), len(line) + 1) for line in lines]
    sentences = sorted((one for one in sentences if one[0]), key=lambda one: len(one[0]))
    nats, tokens = 0.0, 0
    device = next(model.parameters()).device
    with evaluation_mode(model):
        for start in range(0, len(sentences), batch_size):
            chosen = [words for words, _ in sentences[start : start + batch_size]]
            ids: Sequence = coder.softmax_ids(chosen, borders=True).to(device)
            targets = next_targets(ids).flatten()
            hidden = model.stack(model.embedding(ids)).values.flatten(0, 1)
            nats += float(softmax_of(model).negative_log_likelihood(hidden, targets).double().sum())
            tokens += int((targets >= 0).sum())
    return {**_figures(nats, tokens, sum(length for _, length in sentences)), "lines": len(sentences)}


def _figures(nats: float, tokens: int, characters: int) -> dict[str, float]:
    if not tokens:
        raise ValueError("there is no token to score: give held-out text of at least one line")
    return {
        "perplexity": perplexity(nats / tokens),
        "bits_per_character": nats / math.log(2) / characters,
        "tokens": tokens,
    }

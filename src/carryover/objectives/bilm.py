"""The objective of a bidirectional language model: guess the next word from the left and the one before from the right.

    loss = − (Σ_k log p(t_{k+1} | t_1 … t_k) + Σ_k log p(t_{k−1} | t_k … t_n)) / number of targets

(Peters et al. 2018, section 3.1), with the state carried from chunk to chunk and gradients cut at the chunk's border.
Perplexity is the exponential of the mean negative log-likelihood in nats, of each direction and of both together, and is
always computed with the exact softmax, whatever the model was trained with.

What is cut at a clip has no derivative, and a state that is mostly cut and stays so predicts nothing. So both training and
evaluation count how often a state is at its clip, once a chunk, at the last word that each lane has read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from carryover.data.coding import TokenBatch, TokenCoder
from carryover.data.stream import LanguageModelBatch, LanguageModelStream
from carryover.data.text_corpus import TextCorpus
from carryover.errors import UsageError
from carryover.layers.base import choose_rows, detach_state
from carryover.models.bilm import BiLanguageModel, BiLanguageModelState
from carryover.models.language_model import LanguageModel
from carryover.models.output import AdaptiveOutputLayer, NoOutputLayer
from carryover.objectives.adaptive import AdaptiveSoftmax
from carryover.objectives.model_card import language_model_card
from carryover.objectives.objective import AllReduce, Request, Source
from carryover.objectives.sampled import SampledSoftmax
from carryover.objectives.scoring import batches_of, evaluation_mode, next_targets, perplexity
from carryover.objectives.softmax import FullSoftmax, Softmax
from carryover.objectives.text import TextObjective, check_samples

CLIPPED_CELLS = 1 / 3
"""Of the cells of a layer, those at the clip in a state that counts as clipped. Of the models of `benchmarks/stuck_state.py` the
states that predicted something had 12 % there in the middle and 19 % in one of a thousand, the others 50 % and more."""

GATHERED_ROWS = 1024
"""Rows whose exact likelihoods are computed together: each pass reads the whole output layer, however few the rows."""


@final
class BiLanguageModelObjective(TextObjective):
    """A forward and a backward model with one softmax: the language model of ELMo.

    Batch and carried state in, mean loss and new state out. The softmax is the one of the model's configuration;
    `sparse_gradient` is read by a sampled one.
    """

    kind = "bilm"
    both_ways = True
    exact = False
    set_aside = "lines of the same text, chosen by hash"
    model_options: ClassVar[Mapping[str, str]] = {
        "layers": "layers",
        "width": "projection",
        "cells": "cells",
        "dropout": "dropout",
        "samples": "samples",
    }

    def config(self, wanted: Request, in_size: int | None) -> BiLanguageModel.Config:
        entries = wanted.vocabulary_size if in_size is None else in_size
        given: dict[str, Any] = {"vocabulary_size": entries, "input": wanted.input}
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

    def may_replace_vocabulary(self, config: Mapping[str, Any]) -> bool:
        return bool(config["input"] == "characters")

    def softmax(self, model: BiLanguageModel) -> Softmax:
        """The training softmax over the model's output layer."""
        return softmax_of(
            model, logits_dtype=self.logits_dtype, chunk_rows=self.chunk_rows, sparse_gradient=self.sparse_gradient
        )

    def __call__(
        self, model: BiLanguageModel, batch: LanguageModelBatch, state: BiLanguageModelState, *, step_seed: int
    ) -> tuple[Tensor, BiLanguageModelState, dict[str, float]]:
        """The loss of one chunk.

        Rows marked fresh start from zeros. Returns the mean loss in nats over the targets of both directions (a scalar
        with gradient; 0 when the chunk has no target), the state after the chunk without its history, and the figures
        `forward_nll` and `backward_nll` (sums in nats), `forward_tokens`, `backward_tokens`, `tokens` (the number of
        forward targets), `targets` (of both directions), `states` (how many were looked at) and `clipped_states` (how many
        of them were at the clip). `step_seed` decides the words a sampled softmax draws.
        """
        forward, backward, backward_targets, state = _advance(model, batch, state)
        clipped, lanes = clipped_states(model, batch, state)
        rows = torch.cat([forward, backward])  # both directions in one call share every chunk's weights
        targets = torch.cat([batch.forward_targets.flatten(), backward_targets.flatten()])
        total, parts = self.softmax(model).loss(rows, targets, seed=step_seed)
        counted = targets >= 0
        border = len(forward)
        forward_tokens, backward_tokens = int(counted[:border].sum()), int(counted[border:].sum())
        figures = {
            "forward_nll": float(parts[:border].sum()),
            "backward_nll": float(parts[border:].sum()),
            "forward_tokens": forward_tokens,
            "backward_tokens": backward_tokens,
            "tokens": forward_tokens,
            "targets": forward_tokens + backward_tokens,
            "states": 2 * lanes,
            "clipped_states": sum(clipped),
        }
        return total / max(1, forward_tokens + backward_tokens), state, figures

    def evaluate(
        self,
        model: BiLanguageModel,
        held_out: LanguageModelStream,
        corpus: TextCorpus,
        device: str,
        all_reduce: AllReduce = list,
    ) -> dict[str, float]:
        return evaluate(model, held_out, device=device, all_reduce=all_reduce)

    def check_figures(
        self, model: BiLanguageModel, corpus: TextCorpus, examples: SequenceOf[str] | None = None
    ) -> dict[str, float]:
        return lines_perplexity(model, corpus.coder, corpus.sample if examples is None else examples)

    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        return language_model_card(config, record)

    def details(self, figures: Mapping[str, Any]) -> str:
        return f"forward {figures['forward_perplexity']:.2f}, backward {figures['backward_perplexity']:.2f}"

    def after_training(self, out: Path, wanted: Request) -> list[Any]:
        arguments = ["--task", "tag", "--train", "TRAIN.conll", "--mode", "frozen", "--encoder"]
        return ["train", *arguments, out, "--out", out.parent / "tagger"]

    def after_evaluation(self, folder: Path, file: Source) -> list[Any]:
        return ["embed", folder, file, "--out", "vectors.safetensors"]


def softmax_of(
    model: BiLanguageModel | LanguageModel,
    *,
    logits_dtype: torch.dtype | None = None,
    chunk_rows: int | None = None,
    sparse_gradient: bool = False,
) -> Softmax:
    """The softmax that the model's configuration names, over the model's own output layer.

    Raises UsageError for a model whose weights came without an output layer.
    """
    output = model.output_layer() if isinstance(model, LanguageModel) else model.output
    if isinstance(output, NoOutputLayer):
        raise UsageError(
            "the language model has no output layer (its weights were published without one), so it gives vectors but "
            "cannot be scored",
            repair="use it with embed, train or compare, or make it an output layer with `carryover pretrain --begin-with`",
        )
    if isinstance(output, AdaptiveOutputLayer):
        return AdaptiveSoftmax(output, logits_dtype=logits_dtype, chunk_rows=chunk_rows)
    if model.config.softmax == "sampled":
        return SampledSoftmax(
            output,
            samples=model.config.samples,
            logits_dtype=logits_dtype,
            chunk_rows=chunk_rows,
            sparse_gradient=sparse_gradient,
        )
    return FullSoftmax(output, logits_dtype=logits_dtype, chunk_rows=chunk_rows)


def _advance(
    model: BiLanguageModel, batch: LanguageModelBatch, state: BiLanguageModelState
) -> tuple[Tensor, Tensor, Tensor, BiLanguageModelState]:
    """Hidden states of both directions, one row below the other [B·T, P] each, the backward targets, the detached state.

    Raises ValueError for a batch that goes forward only.
    """
    if batch.backward is None or batch.backward_targets is None:
        raise ValueError("the batch goes forward only and the model both ways: make the stream with both_ways=True")
    if batch.begins:
        hidden = state[0][0].hidden
        zeros = model.initial_state(len(batch.fresh), device=hidden.device, dtype=hidden.dtype)
        state = choose_rows(batch.fresh, zeros, state)
    forward, backward, state = model.advance(batch.forward, batch.backward, state)
    return forward.values.flatten(0, 1), backward.values.flatten(0, 1), batch.backward_targets, detach_state(state)


def clipped_states(model: BiLanguageModel, batch: LanguageModelBatch, state: BiLanguageModelState) -> tuple[list[int], int]:
    """In how many lanes the state after a batch is at its clip, [forward, backward], and how many lanes have read it.

    It is where more than `CLIPPED_CELLS` of the cells of any layer are, up to the rounding of bfloat16.
    """
    reading = batch.forward.index.lengths > 0
    limit = model.config.cell_clip
    if limit is None:
        return [0, 0], int(reading.sum())
    cells = torch.stack([torch.stack([side.cell for side in layer]) for layer in state])  # [L, 2, B, C]
    shares = (cells.abs() >= limit * (1 - 2**-8)).float().mean(-1).amax(0)  # [2, B]
    clipped = (shares > CLIPPED_CELLS) & reading
    forward, backward, lanes = torch.cat([clipped, reading.unsqueeze(0)]).sum(1).tolist()
    return [forward, backward], lanes


@torch.no_grad()
def evaluate(
    model: BiLanguageModel,
    stream: LanguageModelStream | Iterable[LanguageModelBatch],
    *,
    device: torch.device | str | None = None,
    all_reduce: Callable[[list[float]], list[float]] = list,
) -> dict[str, float]:
    """Exact perplexities over one pass of a stream (epoch 0 of seed 0) or over given batches in order.

    Keys: `forward_perplexity`, `backward_perplexity`, `perplexity` (of both together), `tokens` (forward targets), and
    `forward_clipped_share` and `backward_clipped_share`, how often a state was at its clip. The model is put into evaluation mode meanwhile. `all_reduce` adds up sums over the processes that share the stream's lanes.
    Raises ValueError when there is nothing to score.
    """
    batches = batches_of(stream) if isinstance(stream, LanguageModelStream) else stream
    state: BiLanguageModelState | None = None
    exact = _ExactSums(softmax_of(model))
    clipped, read = [0, 0], 0
    with evaluation_mode(model):
        for batch in batches:
            if device is not None:
                batch = batch.to(device)
            if state is None:
                parameter = next(model.parameters())
                state = model.initial_state(len(batch.fresh), device=parameter.device, dtype=parameter.dtype)
            forward, backward, backward_targets, state = _advance(model, batch, state)
            exact.add(0, forward, batch.forward_targets.flatten())
            exact.add(1, backward, backward_targets.flatten())
            sides, lanes = clipped_states(model, batch, state)
            clipped, read = [sum(pair) for pair in zip(clipped, sides, strict=True)], read + lanes
        exact.finish()
    of_forward, of_backward, forward_count, backward_count, *states = all_reduce(
        [*exact.sums, *exact.counts, *clipped, read]
    )
    return {
        **perplexities(of_forward, int(forward_count), of_backward, int(backward_count)),
        "forward_clipped_share": states[0] / max(1, states[2]),
        "backward_clipped_share": states[1] / max(1, states[2]),
    }


class _ExactSums:
    """Exact −log p, summed for each side, of rows that are gathered until a pass over all words of the output layer pays."""

    def __init__(self, softmax: Softmax) -> None:
        self.softmax = softmax
        self.sums, self.counts = [0.0, 0.0], [0, 0]
        self._waiting: list[tuple[int, Tensor, Tensor]] = []

    def add(self, side: int, hidden: Tensor, targets: Tensor) -> None:
        """Rows [N, P] and their targets [N]; −1 is none."""
        kept = targets >= 0
        self._waiting.append((side, hidden[kept], targets[kept]))
        if sum(len(ids) for _, _, ids in self._waiting) >= GATHERED_ROWS:
            self.finish()

    def finish(self) -> None:
        """Take in what is waiting."""
        if not self._waiting:
            return
        sides, hidden, targets = zip(*self._waiting, strict=True)
        nats = self.softmax.negative_log_likelihood(torch.cat(hidden), torch.cat(targets)).double()
        for side, part in zip(sides, nats.split([len(ids) for ids in targets]), strict=True):
            self.sums[side] += float(part.sum())
            self.counts[side] += len(part)
        self._waiting = []


def perplexities(forward_nats: float, forward_tokens: int, backward_nats: float, backward_tokens: int) -> dict[str, float]:
    """Perplexity of each direction and of both from summed nats. Raises ValueError when there is no target at all."""
    if not forward_tokens or not backward_tokens:
        raise ValueError("there is no word to score: give held-out text of at least one line with a word in it")
    both = (forward_nats + backward_nats) / (forward_tokens + backward_tokens)
    return {
        "forward_perplexity": perplexity(forward_nats / forward_tokens),
        "backward_perplexity": perplexity(backward_nats / backward_tokens),
        "perplexity": perplexity(both),
        "tokens": forward_tokens,
    }


@torch.no_grad()
def lines_perplexity(
    model: BiLanguageModel, coder: TokenCoder, lines: SequenceOf[str], *, batch_size: int = 32
) -> dict[str, float]:
    """Exact perplexities of lines of text, each read separately from the zero state; the measure of the carry-over proof.

    Words, the border before and the border behind are predicted as in pretraining: forward every word and the end of the
    line, backward every word and its beginning. Empty lines are left out. Besides the keys of `evaluate` it returns
    `lines`, the number of lines scored. The result does not depend on `batch_size` beyond rounding.
    """
    sentences = [words for words in (coder.tokenize(line) for line in lines) if words]
    order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
    exact = _ExactSums(softmax_of(model))
    parameter = next(model.parameters())
    with evaluation_mode(model):
        for start in range(0, len(order), batch_size):
            chosen = [sentences[number] for number in order[start : start + batch_size]]
            batch = coder.batch(chosen, borders=True).to(parameter.device)
            ids = coder.softmax_ids(chosen, borders=True).to(parameter.device)
            backward_ids = ids.reverse()
            state = model.initial_state(len(chosen), device=parameter.device, dtype=parameter.dtype)
            tops = model.advance(batch, _reversed(batch), state)
            for side, (top, side_ids) in enumerate(((tops[0], ids), (tops[1], backward_ids))):
                targets = next_targets(side_ids)
                exact.add(side, top.values.flatten(0, 1), targets.flatten())
        exact.finish()
    result = perplexities(exact.sums[0], exact.counts[0], exact.sums[1], exact.counts[1])
    return {**result, "lines": len(sentences)}


def _reversed(batch: TokenBatch) -> TokenBatch:
    """The same tokens from the last to the first, sharing the table of characters."""
    return TokenBatch(
        index=batch.index.reverse(),
        characters=batch.characters,
        word_of_unit=None if batch.word_of_unit is None else batch.index.with_values(batch.word_of_unit).reverse().values,
        word_lengths=batch.word_lengths,
    )

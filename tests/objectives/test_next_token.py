"""The next-token objective over real batches: chunks equal the whole, fresh rows begin anew, figures are exact."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from carryover.data.coding import TokenCoder
from carryover.data.shards import Shards, build_shards
from carryover.data.stream import LanguageModelStream
from carryover.data.tokenizers import CharacterTokenizer
from carryover.errors import UsageError
from carryover.layers.base import detach_state, state_tensors
from carryover.models.language_model import STACKS, LanguageModel
from carryover.objectives.next_token import NextTokenObjective, evaluate_next_token, lines_next_token
from carryover.sequence import Sequence

LINES = ["the old dog barks", "a dog sees rain", "Zoë, 1917!", "trees stand in the rain"]


def material(folder: Path, stack: str = "lstm", **others: object) -> tuple[LanguageModel, TokenCoder, Shards]:
    torch.manual_seed(0)
    tokenizer = CharacterTokenizer()
    shards = build_shards(enumerate(LINES), "words", folder, tokenize=tokenizer.words)
    coder = TokenCoder("words", shards.vocabulary, tokenizer=tokenizer)
    options = {"size": 8, "cells": 12, "heads": 2, "horizon": 9, "dropout": 0.0, **others}
    config = LanguageModel.Config(vocabulary_size=len(coder.vocabulary), stack=stack, **options)  # type: ignore[arg-type]
    return LanguageModel(config).double(), coder, shards


def whole_loss(model: LanguageModel, shards: Shards) -> tuple[float, int]:
    """Of the text as one row, without what follows the end of a line: (nats, targets)."""
    ids = torch.from_numpy(shards.ids.astype("int64"))
    scores = model(Sequence.of(ids[None, :-1])).values[0]
    scored = ids[:-1] != shards.vocabulary.id("</s>")
    return cross_entropy(scores[scored], ids[1:][scored], reduction="sum").item(), int(scored.sum())


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_chunks_with_carried_state_equal_the_whole(tmp_path: Path, stack: str, steps: int) -> None:
    model, _, shards = material(tmp_path / "s", stack)
    stream = LanguageModelStream(shards, batch_size=1, steps=steps, block_tokens=10_000, shuffle=False)
    objective, state, nats, tokens = NextTokenObjective(chunk_rows=5), model.initial_state(1, dtype=torch.float64), 0.0, 0
    for step in range(stream.steps_per_epoch()):
        loss, state, figures = objective(model, stream.batch(0, 0, step), state, step_seed=0)
        assert not any(tensor.requires_grad for tensor in state_tensors(state))
        assert loss.item() * max(1, figures["tokens"]) == pytest.approx(figures["nll"], abs=1e-9)
        nats, tokens = nats + figures["nll"], tokens + int(figures["tokens"])
    wanted, targets = whole_loss(model, shards)
    assert tokens == targets and nats == pytest.approx(wanted, abs=1e-6)
    found = evaluate_next_token(model, stream, characters=100)
    assert found["perplexity"] == pytest.approx(math.exp(wanted / targets), abs=1e-6)
    assert found["bits_per_character"] == pytest.approx(wanted / math.log(2) / 100)
    assert found["tokens"] == targets == sum(len(line) + 1 for line in LINES)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("horizon", [9, None])
def test_only_the_history_before_a_chunk_is_cut_from_the_gradient(tmp_path: Path, stack: str, horizon: int | None) -> None:
    """Truncated back-propagation: chunks whose states keep their history have the gradient of the whole text, those of the
    objective that of chunks begun from the same numbers without it; the losses are equal all the same."""
    model, _, shards = material(tmp_path / "s", stack, horizon=horizon)
    stream = LanguageModelStream(shards, batch_size=1, steps=7, block_tokens=10_000, shuffle=False)
    batches = [stream.batch(0, 0, step) for step in range(stream.steps_per_epoch())]

    def found(history: bool | None) -> tuple[float, list[torch.Tensor]]:
        """Loss and gradients with states that keep their history or not, or for None by the objective."""
        objective, state, total = NextTokenObjective(), model.initial_state(1, dtype=torch.float64), torch.zeros(())
        for batch in batches:
            targets = batch.forward_targets.flatten()
            if history is None:
                loss, state, figures = objective(model, batch, state, step_seed=0)
                total = total + loss * max(1, figures["tokens"])
                continue
            scores, state = model.step(batch.forward.index, state)
            total = total + cross_entropy(scores.values.flatten(0, 1), targets, ignore_index=-1, reduction="sum")
            state = state if history else detach_state(state)
        return total.item(), list(torch.autograd.grad(total, list(model.parameters())))

    ids = torch.from_numpy(shards.ids.astype("int64"))
    scored = ids[:-1] != shards.vocabulary.id("</s>")
    loss = cross_entropy(model(Sequence.of(ids[None, :-1])).values[0][scored], ids[1:][scored], reduction="sum")
    whole = list(torch.autograd.grad(loss, list(model.parameters())))
    (full, kept), (cut, dropped), (ours, truncated) = found(True), found(False), found(None)
    assert full == pytest.approx(loss.item(), abs=1e-9)
    assert cut == pytest.approx(full, abs=1e-9) and ours == pytest.approx(full, abs=1e-9)
    torch.testing.assert_close(kept, whole)
    torch.testing.assert_close(truncated, dropped)
    assert max(float((one - other).abs().max()) for one, other in zip(whole, truncated, strict=True)) > 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_is_that_of_plain_cross_entropy(tmp_path: Path, tied: bool) -> None:
    model, _, shards = material(tmp_path / "s", tied=tied)
    stream = LanguageModelStream(shards, batch_size=2, steps=30, block_tokens=40, shuffle=False)
    batch = stream.batch(0, 0, 0)
    loss, _, _ = NextTokenObjective()(model, batch, model.initial_state(2, dtype=torch.float64), step_seed=0)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    scores = model(batch.forward.index).values.flatten(0, 1)
    cross_entropy(scores, batch.forward_targets.flatten(), ignore_index=-1).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


@pytest.mark.parametrize("stack", STACKS)
def test_fresh_rows_begin_anew(tmp_path: Path, stack: str) -> None:
    model, _, shards = material(tmp_path / "s", stack)
    stream = LanguageModelStream(shards, batch_size=2, steps=6, block_tokens=20, shuffle=False)
    objective, first = NextTokenObjective(), stream.batch(0, 0, 0)
    _, used, _ = objective(model, stream.batch(0, 0, 1), model.initial_state(2, dtype=torch.float64), step_seed=0)
    again, _, _ = objective(model, first, used, step_seed=0)
    anew, _, _ = objective(model, first, model.initial_state(2, dtype=torch.float64), step_seed=0)
    assert bool(first.fresh.all()) and again.item() == pytest.approx(anew.item(), abs=1e-12)


def test_lines_are_scored_one_by_one(tmp_path: Path) -> None:
    model, coder, _ = material(tmp_path / "s")
    model.train()
    found = lines_next_token(model, coder, ["dog", "", "the rain"], batch_size=1)
    assert model.training and found["lines"] == 2 and found["tokens"] == 4 + 9
    together = lines_next_token(model, coder, ["the rain", "dog"])
    assert together == pytest.approx(found)
    nats = 0.0
    for line in ("dog", "the rain"):
        ids = torch.tensor([[2, *coder.vocabulary.ids(line).tolist(), 3]])
        nats += cross_entropy(model(Sequence.of(ids[:, :-1])).values[0], ids[0, 1:], reduction="sum").item()
    assert found["perplexity"] == pytest.approx(math.exp(nats / 13))
    assert found["bits_per_character"] == pytest.approx(nats / math.log(2) / 13)
    with pytest.raises(ValueError, match="no token to score"):
        lines_next_token(model, coder, [""])


@pytest.mark.parametrize("softmax", ["adaptive", "sampled"])
@pytest.mark.parametrize("tied", [True, False])
def test_other_softmaxes_are_scored_exactly(tmp_path: Path, softmax: str, tied: bool) -> None:
    if tied and softmax == "adaptive":
        with pytest.raises(UsageError, match="make tied false"):
            material(tmp_path / "s", softmax=softmax, tied=tied)
        return
    model, _, shards = material(tmp_path / "s", softmax=softmax, tied=tied, samples=9)
    stream = LanguageModelStream(shards, batch_size=1, steps=1000, block_tokens=10_000, shuffle=False)
    wanted, targets = whole_loss(model, shards)
    found = evaluate_next_token(model, stream, characters=100)
    assert found["perplexity"] == pytest.approx(math.exp(wanted / targets), abs=1e-6)
    objective, state = NextTokenObjective(), model.initial_state(1, dtype=torch.float64)
    losses = [objective(model, stream.batch(0, 0, 0), state, step_seed=seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1]) and torch.equal(losses[0], losses[2]) == (softmax == "adaptive")
    if softmax == "adaptive":
        assert losses[0].item() == pytest.approx(wanted / targets)
    losses[0].backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())

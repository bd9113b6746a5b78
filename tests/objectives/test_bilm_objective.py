"""The objective of the bidirectional language model over real batches: loss, state, perplexities, the proof's measure."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from carryover.data.coding import TokenBatch, TokenCoder
from carryover.data.shards import build_shards
from carryover.data.stream import LanguageModelBatch, LanguageModelStream
from carryover.data.subwords import SubwordTokenizer
from carryover.data.vocabulary import Vocabulary
from carryover.layers.base import state_tensors
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.bilm import BiLanguageModelObjective, evaluate, lines_perplexity, softmax_of
from carryover.sequence import Sequence

LINES = [
    "the old dog barks at the old tree",
    "a dog sees the rain and barks",
    "the rain falls on the old tree and the dog",
    "trees stand in the rain",
    "a tree sees a dog",
] * 4
SOFTMAXES = ("full", "sampled", "adaptive")


@pytest.fixture(params=["characters", "words", "subwords"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def make(
    folder: Path, kind: str = "characters", dtype: torch.dtype = torch.float64, lanes: int = 3, **others: object
) -> tuple[BiLanguageModel, TokenCoder, LanguageModelStream]:
    torch.manual_seed(0)
    if kind == "subwords":
        subwords = SubwordTokenizer.train(LINES, size=280)
        coder = TokenCoder(kind, subwords=subwords)
        shards = build_shards(enumerate(LINES), kind, folder, tokenize=coder.units, vocabulary=coder.vocabulary)
    else:
        coder = TokenCoder(kind)
        shards = build_shards(enumerate(LINES), kind, folder, tokenize=coder.tokenize, vocabulary_size=16)
        coder = TokenCoder(kind, shards.vocabulary)
    options = {"cells": 16, "projection": 8, "filters": ((1, 8), (3, 8)), "dropout": 0.0, "samples": 10, **others}
    model = BiLanguageModel(
        BiLanguageModel.Config(vocabulary_size=len(coder.vocabulary), input=kind, **options)  # type: ignore[arg-type]
    )
    return model.to(dtype), coder, LanguageModelStream(shards, batch_size=lanes, steps=7, block_tokens=24)


def nats(model: BiLanguageModel, hidden: Tensor, targets: Tensor) -> Tensor:
    table = softmax_of(model).log_probabilities(hidden)
    return -table.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)[targets >= 0].sum()


@pytest.mark.parametrize("softmax", ["full", "adaptive"])
def test_loss_is_the_mean_over_both_directions(kind: str, softmax: str, tmp_path: Path) -> None:
    model, _, stream = make(tmp_path / "shards", kind, softmax=softmax)
    objective, state = BiLanguageModelObjective(), model.initial_state(3)
    batch = stream.batch(0, 0, 0)
    loss, after, figures = objective(model, batch, state, step_seed=0)
    forward, backward, expected_state = model.advance(batch.forward, batch.backward, state)
    one = nats(model, forward.values, batch.forward_targets)
    two = nats(model, backward.values, batch.backward_targets)
    counts = [int((targets >= 0).sum()) for targets in (batch.forward_targets, batch.backward_targets)]
    assert torch.allclose(loss, (one + two) / sum(counts))
    assert figures["forward_nll"] == pytest.approx(one.item()) and figures["backward_nll"] == pytest.approx(two.item())
    assert [figures["forward_tokens"], figures["backward_tokens"]] == counts
    assert figures["tokens"] == batch.tokens
    for got, want in zip(state_tensors(after), state_tensors(expected_state), strict=True):
        assert torch.equal(got, want) and not got.requires_grad


@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_every_parameter_receives_a_gradient(kind: str, softmax: str, tmp_path: Path) -> None:
    model, _, stream = make(tmp_path / "shards", kind, softmax=softmax)
    loss, _, _ = BiLanguageModelObjective()(model, stream.batch(0, 0, 0), model.initial_state(3), step_seed=0)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_batch_of_one_direction_is_refused(tmp_path: Path) -> None:
    model, _, stream = make(tmp_path / "s")
    stream.both_ways = False
    with pytest.raises(ValueError, match="goes forward only and the model both ways"):
        BiLanguageModelObjective()(model, stream.batch(0, 0, 0), model.initial_state(3), step_seed=0)
    with pytest.raises(ValueError, match="goes forward only and the model both ways"):
        evaluate(model, stream)


def test_fresh_rows_begin_from_zeros_and_the_others_carry_on(tmp_path: Path) -> None:
    model, _, stream = make(tmp_path / "shards")
    objective = BiLanguageModelObjective()
    state = model.initial_state(3)
    seen = set()
    for step in range(stream.steps_per_epoch()):
        batch = stream.batch(0, 0, step)
        loss, after, _ = objective(model, batch, state, step_seed=0)
        forgotten, _, _ = objective(model, batch, model.initial_state(3), step_seed=0)
        carried = bool((~batch.fresh & (batch.forward.index.lengths > 0)).any())
        assert torch.equal(loss, forgotten) != carried
        seen.add(carried)
        state = after
    assert seen == {False, True}


def test_no_gradient_crosses_the_border_of_a_chunk(tmp_path: Path) -> None:
    model, _, stream = make(tmp_path / "shards", "words")
    state = tuple(
        tuple(type(one)(*(tensor.requires_grad_() for tensor in one)) for one in pair) for pair in model.initial_state(3)
    )
    _, after, _ = BiLanguageModelObjective()(model, stream.batch(0, 0, 0), state, step_seed=0)  # type: ignore[arg-type]
    assert all(tensor.grad_fn is None for tensor in state_tensors(after))


def test_a_chunk_without_targets_costs_nothing(tmp_path: Path) -> None:
    model, _, stream = make(tmp_path / "shards")
    batch = stream.batch(0, 0, 0)
    silent = LanguageModelBatch(
        batch.forward,
        torch.full_like(batch.forward_targets, -1),
        batch.backward,
        torch.full_like(batch.backward_targets, -1),
        batch.fresh,
        0,
    )
    loss, _, figures = BiLanguageModelObjective()(model, silent, model.initial_state(3), step_seed=0)
    loss.backward()
    assert loss.item() == 0 and figures["tokens"] == 0


def test_the_seed_of_a_step_decides_what_is_sampled(tmp_path: Path) -> None:
    model, _, stream = make(tmp_path / "shards", softmax="sampled", samples=6)
    batch, objective = stream.batch(0, 0, 0), BiLanguageModelObjective()
    losses = [objective(model, batch, model.initial_state(3), step_seed=seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize("gathered", [1, 30, 1024])
@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_evaluation_is_exact_over_the_whole_stream(
    softmax: str, gathered: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carryover.objectives.bilm.GATHERED_ROWS", gathered)
    model, _, stream = make(tmp_path / "shards", softmax=softmax)
    sums, counts, state = [0.0, 0.0], [0, 0], model.initial_state(3)
    with torch.no_grad():
        for step in range(stream.steps_per_epoch()):
            batch = stream.batch(0, 0, step)
            keep = ~batch.fresh
            state = tuple(
                tuple(type(one)(*(tensor * keep.unsqueeze(1) for tensor in one)) for one in pair) for pair in state
            )
            forward, backward, state = model.advance(batch.forward, batch.backward, state)
            for side, (hidden, targets) in enumerate(((forward, batch.forward_targets), (backward, batch.backward_targets))):
                sums[side] += nats(model, hidden.values, targets).item()
                counts[side] += int((targets >= 0).sum())
    model.train()
    random_state = torch.random.get_rng_state()
    found = evaluate(model, stream)
    assert model.training and torch.equal(random_state, torch.random.get_rng_state())
    assert found["forward_perplexity"] == pytest.approx(math.exp(sums[0] / counts[0]))
    assert found["backward_perplexity"] == pytest.approx(math.exp(sums[1] / counts[1]))
    assert found["perplexity"] == pytest.approx(math.exp(sum(sums) / sum(counts)))
    assert found["tokens"] == counts[0] == stream.shards.tokens - stream.shards.lines


def test_evaluation_does_not_drop_out(tmp_path: Path) -> None:
    model, _, stream = make(tmp_path / "shards", dropout=0.5)
    assert evaluate(model.train(), stream) == evaluate(model.eval(), stream)


def test_nothing_to_score_teaches(tmp_path: Path) -> None:
    model, coder, _ = make(tmp_path / "shards")
    with pytest.raises(ValueError, match="no word to score"):
        evaluate(model, [])
    with pytest.raises(ValueError, match="no word to score"):
        lines_perplexity(model, coder, ["", "  "])


def test_lines_are_scored_each_by_itself(kind: str, tmp_path: Path) -> None:
    model, coder, _ = make(tmp_path / "shards", kind)
    lines = ["the old dog barks", "", "zebras see the rain", "dog"]
    found = lines_perplexity(model, coder, lines)
    sums, counts = [0.0, 0.0], 0
    model.eval()
    for line in (lines[0], lines[2], lines[3]):
        batch = coder.batch([coder.tokenize(line)], borders=True)
        ids = coder.softmax_ids([coder.tokenize(line)], borders=True).values[0]
        flipped = TokenBatch(Sequence.of(batch.index.values.flip(1)), batch.characters, None, batch.word_lengths)
        forward, backward, _ = model.advance(batch, flipped, model.initial_state(1))
        sums[0] += nats(model, forward.values[0, :-1], ids[1:]).item()
        sums[1] += nats(model, backward.values[0, :-1], ids.flip(0)[1:]).item()
        counts += len(ids) - 1
    assert found["lines"] == 3 and found["tokens"] == counts
    assert found["forward_perplexity"] == pytest.approx(math.exp(sums[0] / counts))
    assert found["backward_perplexity"] == pytest.approx(math.exp(sums[1] / counts))


def test_lines_do_not_depend_on_their_batch(kind: str, tmp_path: Path) -> None:
    model, coder, _ = make(tmp_path / "shards", kind, torch.float32, dropout=0.3)
    whole = lines_perplexity(model, coder, LINES)
    for size in (1, 7):
        again = lines_perplexity(model, coder, LINES[::-1], batch_size=size)
        assert again["perplexity"] == pytest.approx(whole["perplexity"], rel=1e-6)
    assert lines_perplexity(model, coder, LINES) == whole


@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_learning_lowers_the_perplexity_of_both_directions(softmax: str, tmp_path: Path) -> None:
    model, coder, stream = make(tmp_path / "shards", dtype=torch.float32, softmax=softmax)
    before = evaluate(model, stream)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    objective = BiLanguageModelObjective()
    for epoch in range(6):
        state = model.initial_state(3)
        for step in range(stream.steps_per_epoch()):
            loss, state, _ = objective(model, stream.batch(0, epoch, step), state, step_seed=100 * epoch + step)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    after = evaluate(model, stream)
    for name in ("forward_perplexity", "backward_perplexity"):
        assert after[name] < 0.7 * before[name]
    assert lines_perplexity(model, coder, LINES)["perplexity"] < 0.6 * before["perplexity"]


def test_words_of_the_vocabulary_are_ranked_for_the_samplers(tmp_path: Path) -> None:
    """The sampled and the adaptive softmax rely on ids that are ranks; the corpus must give such."""
    _, _, stream = make(tmp_path / "shards")
    counts = stream.shards.counts
    real = counts[len(Vocabulary().tokens) : len(stream.shards.vocabulary)]
    assert (real[:-1] >= real[1:]).all()

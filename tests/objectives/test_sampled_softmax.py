"""The sampled softmax: equal to the full one when all words are drawn, close in expectation, the same for one seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from carryover.models.output import OutputLayer
from carryover.objectives.sampled import SampledSoftmax, _draws, _inclusion, draw_candidates
from carryover.objectives.softmax import FullSoftmax

WORDS, ROWS, SIZE = 200, 40, 5


def make() -> tuple[OutputLayer, Tensor, Tensor]:
    torch.manual_seed(0)
    output = OutputLayer(SIZE, WORDS).double()
    # a bias that falls with the rank, as a trained model has
    output.bias.data = -torch.log(torch.arange(1, WORDS + 1, dtype=torch.float64))
    hidden = torch.randn(ROWS, SIZE, dtype=torch.float64, requires_grad=True)
    targets = draw_ranks(ROWS)
    targets[::7] = -1
    return output, hidden, targets


def draw_ranks(count: int) -> Tensor:
    return (torch.rand(count) ** 3 * WORDS).long()


def gradients(total: Tensor, output: OutputLayer, hidden: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(total, [hidden, output.weight, output.bias]))


@pytest.mark.parametrize("chunk_rows", [None, 9])
def test_all_words_sampled_is_the_full_softmax(chunk_rows: int | None) -> None:
    output, hidden, targets = make()
    sampled = SampledSoftmax(output, samples=WORDS, chunk_rows=chunk_rows).loss(hidden, targets, seed=3)
    full = FullSoftmax(output).loss(hidden, targets)
    assert torch.allclose(sampled.total, full.total, rtol=1e-12)
    assert torch.allclose(sampled.rows, full.rows)
    for got, want in zip(gradients(sampled.total, output, hidden), gradients(full.total, output, hidden), strict=True):
        assert torch.allclose(got, want, atol=1e-12)


def test_equals_the_definition() -> None:
    """Against a plain loop over rows, of the equation: drawn words corrected, the target once and as it is."""
    output, hidden, targets = make()
    softmax = SampledSoftmax(output, samples=30, chunk_rows=8)
    ours = softmax.loss(hidden, targets, seed=11)
    candidates = draw_candidates(WORDS, 30, 11)
    log_chance = _inclusion(torch.arange(WORDS, dtype=torch.float64), WORDS, _draws(WORDS, 30)).log()
    scores = linear(hidden, output.weight, output.bias)
    losses = []
    for row, target in zip(scores, targets.tolist(), strict=True):
        if target >= 0:
            others = candidates[candidates != target]
            kept = torch.cat([row[target : target + 1], (row - log_chance)[others]])
            losses.append(cross_entropy(kept[None], torch.tensor([0])))
    expected = torch.stack(losses).sum()
    assert torch.allclose(ours.total, expected, rtol=1e-12)
    for got, want in zip(gradients(ours.total, output, hidden), gradients(expected, output, hidden), strict=True):
        assert torch.allclose(got, want, atol=1e-12)


def test_gradcheck() -> None:
    _, hidden, targets = make()
    output = OutputLayer(SIZE, 30).double()
    softmax, targets = SampledSoftmax(output, samples=8, chunk_rows=5), targets[:12].clamp(max=29)
    parameters = (hidden.detach()[:12].requires_grad_(), output.weight, output.bias)
    assert torch.autograd.gradcheck(lambda h, *_: softmax.loss(h, targets, seed=1).total, parameters)


def test_expectation_over_seeds_is_close_to_the_full_softmax() -> None:
    output, hidden, targets = make()
    full = FullSoftmax(output).loss(hidden, targets)
    want = gradients(full.total, output, hidden)
    softmax = SampledSoftmax(output, samples=100)
    losses, sums = [], [torch.zeros_like(gradient) for gradient in want]
    for seed in range(200):
        loss = softmax.loss(hidden, targets, seed=seed)
        losses.append(loss.total.detach())
        sums = [total + gradient / 200 for total, gradient in zip(sums, gradients(loss.total, output, hidden), strict=True)]
    assert torch.allclose(torch.stack(losses).mean(), full.total, rtol=0.01)
    for got, expected in zip(sums, want, strict=True):
        assert (got - expected).norm() < 0.05 * expected.norm()


def test_the_correction_matters() -> None:
    """The test above would not pass by luck: leaving log E out moves the expectation far away."""
    output, hidden, targets = make()
    softmax = SampledSoftmax(output, samples=100)
    softmax._log_chance = lambda ids, like: torch.zeros(len(ids), dtype=like.dtype)  # type: ignore[method-assign]
    full = FullSoftmax(output).loss(hidden, targets).total
    mean = torch.stack([softmax.loss(hidden, targets, seed=seed).total.detach() for seed in range(50)]).mean()
    assert not torch.allclose(mean, full, rtol=0.01)


def test_candidates() -> None:
    first = draw_candidates(10_000, 500, seed=5)
    assert torch.equal(first, draw_candidates(10_000, 500, seed=5))
    assert not torch.equal(first, draw_candidates(10_000, 500, seed=6))
    assert torch.equal(first, first.unique()) and int(first.max()) < 10_000
    sizes = [len(draw_candidates(10_000, 500, seed)) for seed in range(50)]
    assert abs(sum(sizes) / 50 - 500) < 10
    assert torch.equal(draw_candidates(10, 10, seed=0), torch.arange(10))


def test_inclusion_chance_is_measured() -> None:
    draws = torch.zeros(100)
    for seed in range(2000):
        draws[draw_candidates(100, 20, seed)] += 1
    expected = _inclusion(torch.arange(100, dtype=torch.float64), 100, _draws(100, 20))
    assert (draws / 2000 - expected).abs().max() < 0.05


def test_global_random_state_is_left_alone() -> None:
    output, hidden, targets = make()
    before = torch.random.get_rng_state()
    SampledSoftmax(output, samples=30).loss(hidden, targets, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_evaluation_is_exact() -> None:
    output, hidden, targets = make()
    sampled, full = SampledSoftmax(output, samples=20), FullSoftmax(output)
    assert torch.equal(sampled.negative_log_likelihood(hidden, targets), full.negative_log_likelihood(hidden, targets))
    assert torch.equal(sampled.log_probabilities(hidden), full.log_probabilities(hidden))


def test_bfloat16_logits_stay_close() -> None:
    output, hidden, targets = make()
    output, hidden = output.float(), hidden.detach().float().requires_grad_()
    exact = SampledSoftmax(output, samples=50).loss(hidden, targets, seed=2).total
    half = SampledSoftmax(output, samples=50, logits_dtype=torch.bfloat16).loss(hidden, targets, seed=2).total
    assert torch.allclose(exact, half, rtol=1e-2)
    for got, want in zip(gradients(half, output, hidden), gradients(exact, output, hidden), strict=True):
        assert (got - want).norm() < 0.02 * want.norm()


@pytest.mark.parametrize("samples", [20, WORDS])
def test_sparse_gradients_are_the_dense_ones(samples: int) -> None:
    """To the last bit, and with no other row than those of targets and drawn words, each once."""
    output, hidden, targets = make()
    dense = SampledSoftmax(output, samples=samples).loss(hidden, targets, seed=4)
    sparse = SampledSoftmax(output, samples=samples, sparse_gradient=True).loss(hidden, targets, seed=4)
    assert torch.equal(dense.rows, sparse.rows)
    found, wanted = gradients(sparse.total, output, hidden), gradients(dense.total, output, hidden)
    assert torch.equal(found[0], wanted[0])
    rows = torch.cat([targets[targets >= 0], draw_candidates(WORDS, samples, 4), torch.tensor([0])]).unique()
    for got, want in zip(found[1:], wanted[1:], strict=True):
        assert got.is_sparse and torch.equal(got.to_dense(), want)
        assert torch.equal(got.coalesce().indices()[0], rows) and got._nnz() == len(rows)


def test_no_target_at_all() -> None:
    output, hidden, targets = make()
    loss = SampledSoftmax(output, samples=20).loss(hidden, torch.full_like(targets, -1))
    loss.total.backward()
    assert float(loss.total.detach()) == 0 and (loss.rows == 0).all()

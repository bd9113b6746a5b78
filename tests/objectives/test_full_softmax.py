"""The chunked full softmax equals plain cross entropy: value, gradients, and never all logits at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from carryover.models.output import OutputLayer
from carryover.objectives import softmax
from carryover.objectives.softmax import FullSoftmax, chunked_cross_entropy

WORDS, ROWS, SIZE = 53, 37, 6


def make(dtype: torch.dtype = torch.float64) -> tuple[OutputLayer, Tensor, Tensor]:
    torch.manual_seed(0)
    output = OutputLayer(SIZE, WORDS).to(dtype)
    torch.nn.init.normal_(output.bias)
    hidden = torch.randn(ROWS, SIZE, dtype=dtype, requires_grad=True)
    return output, hidden, torch.randint(-1, WORDS, (ROWS,))


def plain(output: OutputLayer, hidden: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(linear(hidden, output.weight, output.bias), targets, ignore_index=-1, reduction="sum")


@pytest.mark.parametrize("chunk_rows", [None, 1, 5, 36, 1000])
@pytest.mark.parametrize("upstream", [1.0, -2.5])
def test_equals_plain_cross_entropy(chunk_rows: int | None, upstream: float) -> None:
    output, hidden, targets = make()
    inputs = [hidden, output.weight, output.bias]
    ours = FullSoftmax(output, chunk_rows=chunk_rows).loss(hidden, targets)
    expected = plain(output, hidden, targets)
    assert torch.allclose(ours.total, expected, rtol=1e-13)
    for got, want in zip(
        torch.autograd.grad(upstream * ours.total, inputs), torch.autograd.grad(upstream * expected, inputs), strict=True
    ):
        assert torch.allclose(got, want, rtol=1e-11, atol=1e-13)


def test_rows_are_the_parts_of_the_total() -> None:
    output, hidden, targets = make()
    ours = FullSoftmax(output).loss(hidden, targets)
    assert not ours.rows.requires_grad
    assert torch.allclose(ours.rows.sum(), ours.total)
    assert (ours.rows[targets < 0] == 0).all() and (ours.rows[targets >= 0] > 0).all()


def test_gradcheck() -> None:
    output, hidden, targets = make()
    parameters = (hidden, output.weight, output.bias)
    assert torch.autograd.gradcheck(lambda h, w, b: chunked_cross_entropy(h, w, b, targets, chunk_rows=8).total, parameters)


def test_only_wanted_gradients_are_computed() -> None:
    output, hidden, targets = make()
    output.requires_grad_(False)
    total = FullSoftmax(output).loss(hidden, targets).total
    (got,) = torch.autograd.grad(total, [hidden])
    (want,) = torch.autograd.grad(plain(output, hidden, targets), [hidden])
    assert torch.allclose(got, want)
    output.requires_grad_(True)
    FullSoftmax(output).loss(hidden.detach(), targets).total.backward()
    assert output.weight.grad is not None


def test_ignored_rows_may_hold_anything() -> None:
    output, hidden, targets = make()
    poisoned = hidden.detach().clone()
    poisoned[targets < 0] = float("nan")
    poisoned.requires_grad_()
    loss = FullSoftmax(output, chunk_rows=4).loss(poisoned, targets)
    loss.total.backward()
    assert torch.isfinite(loss.rows).all()
    assert poisoned.grad is not None and (poisoned.grad[targets < 0] == 0).all()
    assert output.weight.grad is not None and torch.isfinite(output.weight.grad).all()


def test_improbable_targets_keep_a_finite_loss() -> None:
    """A probability that underflows to zero must not turn the loss into infinity."""
    output, hidden, _ = make(torch.float32)
    with torch.no_grad():
        output.bias[3] = -400.0
    targets = torch.full((ROWS,), 3)
    loss = FullSoftmax(output).loss(hidden, targets)
    assert torch.allclose(loss.total, plain(output, hidden, targets), rtol=1e-6)


def test_no_target_at_all() -> None:
    output, hidden, targets = make()
    loss = FullSoftmax(output).loss(hidden, torch.full_like(targets, -1))
    loss.total.backward()
    assert float(loss.total.detach()) == 0
    assert hidden.grad is not None and (hidden.grad == 0).all()
    empty = FullSoftmax(output).loss(hidden[:0], targets[:0])
    assert float(empty.total.detach()) == 0


def test_bfloat16_logits_stay_close() -> None:
    output, hidden, targets = make(torch.float32)
    inputs = [hidden, output.weight, output.bias]
    ours = FullSoftmax(output, logits_dtype=torch.bfloat16, chunk_rows=16).loss(hidden, targets).total
    expected = plain(output, hidden, targets)
    assert ours.dtype == torch.float32
    assert torch.allclose(ours, expected, rtol=5e-3)
    for got, want in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(expected, inputs), strict=True):
        assert got.dtype == torch.float32
        assert (got - want).norm() < 0.01 * want.norm()


def test_memory_is_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of the size of all logits is made, forward or backward."""
    output, hidden, targets = make()
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        FullSoftmax(output, chunk_rows=4).loss(hidden, targets).total.backward()
    assert largest == WORDS * SIZE < ROWS * WORDS  # the gradient of the weights is the largest


def test_any_number_of_targets_is_multiplied_in_a_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    output, hidden, _ = make()
    hidden = hidden.detach().repeat(-(-70 // len(hidden)), 1)
    shapes = set()
    plain_prepare = softmax.prepare

    def watched(weight: Tensor, rows: int) -> Any:
        multiply = plain_prepare(weight, rows)

        def record(x: Tensor) -> Tensor:
            shapes.add(tuple(x.shape))
            return multiply(x)

        return record

    monkeypatch.setattr(softmax, "prepare", watched)
    for count in range(1, 70):
        targets = torch.arange(count) % WORDS
        states = hidden[:count].clone().requires_grad_()
        loss = FullSoftmax(output).loss(states, targets)
        loss.total.backward()
        expected = cross_entropy(linear(states, output.weight, output.bias), targets, reduction="none")
        torch.testing.assert_close(loss.rows, expected.detach())
    assert {rows for rows, _ in shapes} == {32, 64, 96}


def test_exact_likelihoods() -> None:
    output, hidden, targets = make()
    softmax = FullSoftmax(output, chunk_rows=7)
    nats = softmax.negative_log_likelihood(hidden, targets)
    table = softmax.log_probabilities(hidden)
    assert not nats.requires_grad
    kept = targets >= 0
    assert torch.allclose(nats[kept], -table[kept].gather(1, targets[kept, None]).squeeze(1))
    assert torch.allclose(table.exp().sum(dim=1), torch.ones(ROWS, dtype=torch.float64))


@pytest.mark.parametrize(
    ("hidden", "targets", "message"),
    [
        (torch.zeros(3, SIZE + 1), torch.zeros(3, dtype=torch.int64), r"\[N, 6\] and got shape \(3, 7\)"),
        (torch.zeros(3, SIZE), torch.zeros(4, dtype=torch.int64), r"3 hidden states but targets of shape \(4,\)"),
        (torch.zeros(2, SIZE), torch.tensor([0, WORDS]), "a target is 53 but the vocabulary has 53 words"),
        (torch.zeros(2, SIZE), torch.tensor([0, -100]), "a target is -100"),
    ],
)
def test_wrong_shapes_teach(hidden: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FullSoftmax(OutputLayer(SIZE, WORDS)).loss(hidden, targets)


@pytest.mark.parametrize("chunk_rows", [None, 7])
@pytest.mark.parametrize("elements", [16, 200, 1000, 10_000])
def test_likelihoods_by_blocks_of_words_are_exact(
    monkeypatch: pytest.MonkeyPatch, elements: int, chunk_rows: int | None
) -> None:
    """Where all words of a few rows have no room, log Σ exp is added up over blocks of words."""
    monkeypatch.setattr(softmax, "CHUNK_ELEMENTS", elements)
    monkeypatch.setattr(softmax, "BLOCK_ROWS", 16)
    largest = 0

    def watch(scores: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, scores.numel())
        return normalise(scores)

    normalise = softmax.normalise_in_place
    monkeypatch.setattr(softmax, "normalise_in_place", watch)
    output, hidden, targets = make()
    found = FullSoftmax(output, chunk_rows=chunk_rows).negative_log_likelihood(hidden, targets)
    expected = cross_entropy(linear(hidden, output.weight, output.bias), targets, ignore_index=-1, reduction="none")
    assert not found.requires_grad and torch.allclose(found, expected, rtol=1e-12)
    assert largest <= max(elements, 32 if chunk_rows is None else chunk_rows)

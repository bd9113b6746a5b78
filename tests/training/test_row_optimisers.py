"""Optimisers of touched rows: equal to the library's where leaving a row alone is exact, and what they say they are elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from carryover.errors import UsageError
from carryover.training.optimisers import (
    build_optimiser,
    clip_gradients,
    optimiser_tensors,
    restore_optimiser,
    takes_sparse_gradients,
)

ROWS, SIZE, RATE = 30, 3, 0.1
KINDS = ("lazy-adam", "adagrad", "sgd")


class Table(nn.Module):
    """A table with a bias, of which a step reads some rows, and a layer that all steps read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.bias = nn.Parameter(torch.randn(ROWS, SIZE)), nn.Parameter(torch.randn(ROWS))
        self.rest = nn.Linear(SIZE, 2)


def touched(number: int, share: float = 0.3) -> Tensor:
    rows = (torch.rand(ROWS, generator=torch.Generator().manual_seed(number)) < share).nonzero().squeeze(1)
    return rows if len(rows) else torch.tensor([number % ROWS])


def gradients(module: Table, number: int, rows: Tensor, *, sparse: bool) -> None:
    """Random gradients of the rows and of the rest, the same sparse and dense."""
    draw = torch.Generator().manual_seed(1000 + number)
    for parameter in (module.weight, module.bias):
        values = torch.randn(len(rows), *parameter.shape[1:], generator=draw)
        gradient = torch.sparse_coo_tensor(rows.unsqueeze(0), values, parameter.shape, check_invariants=True)
        parameter.grad = gradient if sparse else gradient.to_dense()
    for parameter in module.rest.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)


def train(module: Table, optimiser: torch.optim.Optimizer, steps: range, *, sparse: bool, share: float = 0.3) -> None:
    for number in steps:
        gradients(module, number, touched(number, share), sparse=sparse)
        optimiser.step()


def adagrad(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(parameters, lr=RATE, initial_accumulator_value=1.0, foreach=False)


def sgd(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=RATE, foreach=False)


@pytest.mark.parametrize(("kind", "plain"), [("adagrad", adagrad), ("sgd", sgd)])
def test_touched_rows_are_the_whole_of_it(kind: str, plain: Callable[[list[Tensor]], torch.optim.Optimizer]) -> None:
    """Against the library's dense step, since there a zero gradient moves nothing."""
    ours, theirs = Table(), Table()
    train(ours, build_optimiser(ours, kind, learning_rate=RATE), range(20), sparse=True)
    train(theirs, plain(list(theirs.parameters())), range(20), sparse=False)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_lazy_adam_is_adam_where_all_rows_are_touched() -> None:
    ours, theirs = Table(), Table()
    train(ours, build_optimiser(ours, "lazy-adam", learning_rate=RATE), range(20), sparse=True, share=2)
    train(theirs, torch.optim.Adam(theirs.parameters(), lr=RATE), range(20), sparse=False, share=2)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_lazy_adam_is_sparse_adam() -> None:
    ours, theirs = Table(), Table()
    train(ours, build_optimiser(ours, "lazy-adam", learning_rate=RATE), range(20), sparse=True)
    train(theirs, torch.optim.SparseAdam([theirs.weight, theirs.bias], lr=RATE), range(20), sparse=True)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-5, atol=1e-5)


def test_lazy_adam_leaves_other_rows_alone_and_adam_does_not() -> None:
    lazy, eager = Table(), Table()
    optimisers = build_optimiser(lazy, "lazy-adam", learning_rate=RATE), build_optimiser(eager, "adam", learning_rate=RATE)
    for module, optimiser in zip((lazy, eager), optimisers, strict=True):
        gradients(module, 0, torch.arange(ROWS), sparse=module is lazy)
        optimiser.step()
    rows, others = torch.tensor([2, 7]), torch.tensor([n for n in range(ROWS) if n not in (2, 7)])
    kept = {name: tensor.clone() for name, tensor in optimisers[0].state[lazy.weight].items()}
    before = lazy.weight.detach().clone(), eager.weight.detach().clone()
    for module, optimiser in zip((lazy, eager), optimisers, strict=True):
        gradients(module, 1, rows, sparse=module is lazy)
        optimiser.step()
    assert torch.equal(lazy.weight[others], before[0][others])
    assert not (lazy.weight[rows] == before[0][rows]).any()
    assert not (eager.weight[others] == before[1][others]).any()
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(optimisers[0].state[lazy.weight][name][others], kept[name][others])


@pytest.mark.parametrize("kind", KINDS)
def test_continuing_from_stored_tensors_is_exact(kind: str) -> None:
    one = Table()
    optimiser = build_optimiser(one, kind, learning_rate=RATE)
    train(one, optimiser, range(5), sparse=True)
    names = {parameter: name for name, parameter in one.named_parameters()}
    stored = {name: tensor.clone() for name, tensor in optimiser_tensors(optimiser, names).items()}
    other = copy.deepcopy(one)
    again = build_optimiser(other, kind, learning_rate=RATE)
    restore_optimiser(again, stored, other.named_parameters())
    train(one, optimiser, range(5, 10), sparse=True)
    train(other, again, range(5, 10), sparse=True)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_gradients_stay_where_they_were() -> None:
    module = Table()
    optimiser = build_optimiser(module, "lazy-adam", learning_rate=RATE)
    gradients(module, 0, touched(0), sparse=True)
    optimiser.step()
    assert module.weight.grad is not None and module.weight.grad.is_sparse and module.rest.weight.grad is not None


def test_clipping_counts_sparse_gradients() -> None:
    """One row stands twice in the gradient: its two parts are added up before the norm is taken."""
    sparse, dense = Table(), Table()
    rows = torch.tensor([[4, 1, 4]])
    for module in (sparse, dense):
        gradients(module, 0, touched(0), sparse=False)
        gradient = torch.sparse_coo_tensor(rows, torch.arange(9.0).view(3, 3), module.weight.shape, check_invariants=True)
        module.weight.grad = gradient if module is sparse else gradient.to_dense()
    norms = clip_gradients(sparse, 0.5), clip_gradients(dense, 0.5)
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert sparse.weight.grad is not None and dense.weight.grad is not None
    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)
    torch.testing.assert_close(sparse.bias.grad, dense.bias.grad)


def test_decay_touches_all_rows() -> None:
    assert all(takes_sparse_gradients(kind) for kind in KINDS)
    assert not any(takes_sparse_gradients(kind, 0.01) for kind in KINDS)
    assert not any(takes_sparse_gradients(kind) for kind in ("adam", "adamw", "rmsprop"))
    with pytest.raises(UsageError, match="weight decay is 0"):
        build_optimiser(Table(), "lazy-adam", learning_rate=RATE, weight_decay=0.01)

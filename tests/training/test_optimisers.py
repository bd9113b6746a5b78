"""Optimisers: their state survives as plain tensors, clipping is exact, decay spares vectors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from carryover.errors import BadData, UsageError
from carryover.training.optimisers import (
    KINDS,
    build_optimiser,
    clip_gradients,
    optimiser_tensors,
    restore_optimiser,
    set_learning_rate,
)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def step(module: nn.Module, optimiser: torch.optim.Optimizer, number: int) -> None:
    torch.manual_seed(number)
    optimiser.zero_grad()
    module(torch.randn(5, 3)).square().sum().backward()
    optimiser.step()


def names(module: nn.Module) -> dict[nn.Parameter, str]:
    return {parameter: name for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_continuing_from_stored_tensors_is_exact(kind: str) -> None:
    one = model()
    optimiser = build_optimiser(one, kind, learning_rate=0.1)
    for number in range(3):
        step(one, optimiser, number)
    stored = {name: tensor.clone() for name, tensor in optimiser_tensors(optimiser, names(one)).items()}
    other = copy.deepcopy(one)
    again = build_optimiser(other, kind, learning_rate=0.1)
    restore_optimiser(again, stored, other.named_parameters())
    for number in range(3, 6):
        step(one, optimiser, number)
        step(other, again, number)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_forgetting_the_state_would_be_noticed() -> None:
    one = model()
    optimiser = build_optimiser(one, "adam", learning_rate=0.1)
    step(one, optimiser, 0)
    other = copy.deepcopy(one)
    again = build_optimiser(other, "adam", learning_rate=0.1)
    step(one, optimiser, 1)
    step(other, again, 1)
    assert not torch.equal(one[0].weight, other[0].weight)


@pytest.mark.parametrize("kind", ["adam", "adamw", "adagrad", "sgd"])
def test_the_fused_step_is_the_plain_one(kind: str) -> None:
    one, other = model(), model()
    fast = build_optimiser(one, kind, learning_rate=0.05)
    plain_class = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adagrad": torch.optim.Adagrad,
        "sgd": torch.optim.SGD,
    }
    more = {"initial_accumulator_value": 1.0} if kind == "adagrad" else {}
    more["weight_decay"] = 0.0  # which is not what PyTorch's AdamW takes when nothing is said
    plain = plain_class[kind](other.parameters(), lr=0.05, foreach=False, **more)
    for number in range(5):
        step(one, fast, number)
        step(other, plain, number)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_foreign_state_is_refused() -> None:
    module = model()
    optimiser = build_optimiser(module, "adam", learning_rate=0.1)
    with pytest.raises(BadData, match="does not have"):
        restore_optimiser(optimiser, {"9.weight/exp_avg": torch.zeros(1)}, module.named_parameters())
    with pytest.raises(BadData, match=r"\[2, 2\], the parameter \[4, 3\]"):
        restore_optimiser(optimiser, {"0.weight/exp_avg": torch.zeros(2, 2)}, module.named_parameters())


def test_decay_spares_vectors() -> None:
    groups = build_optimiser(model(), "adamw", learning_rate=0.1, weight_decay=0.01).param_groups
    assert [(group["weight_decay"], {parameter.dim() for parameter in group["params"]}) for group in groups] == [
        (0.01, {2}),
        (0.0, {1}),
    ]


def test_a_group_may_scale_the_rate() -> None:
    module = model()
    optimiser = torch.optim.SGD([{"params": [module[0].weight], "scale": 0.5}, {"params": [module[2].weight]}], lr=1.0)
    set_learning_rate(optimiser, 0.2)
    assert [group["lr"] for group in optimiser.param_groups] == [0.1, 0.2]


def test_clipping_is_to_the_joint_norm() -> None:
    module = model()
    module(torch.randn(5, 3)).square().sum().backward()
    other = copy.deepcopy(module)
    for parameter, twin in zip(module.parameters(), other.parameters(), strict=True):
        twin.grad = parameter.grad.clone()
    norm = clip_gradients(module, 0.5)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)))
    for parameter, twin in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad)
    assert clip_gradients(module, 10.0) == pytest.approx(0.5, rel=1e-4)


def test_gradients_that_are_not_finite_are_left_for_the_report() -> None:
    module = model()
    module(torch.randn(5, 3)).square().sum().backward()
    module[0].weight.grad[0, 0] = float("inf")
    before = module[2].weight.grad.clone()
    assert clip_gradients(module, 0.5) == float("inf")
    assert torch.equal(before, module[2].weight.grad)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown optimiser 'adan'"):
        build_optimiser(model(), "adan", learning_rate=0.1)
    with pytest.raises(UsageError, match="no trainable parameter"):
        build_optimiser(model().requires_grad_(False), "adam", learning_rate=0.1)

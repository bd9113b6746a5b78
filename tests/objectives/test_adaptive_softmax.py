"""The adaptive softmax equals torch's on the same weights, and is a proper distribution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from carryover.errors import UsageError
from carryover.models.output import AdaptiveOutputLayer, default_cutoffs
from carryover.objectives.adaptive import AdaptiveSoftmax

WORDS, ROWS, SIZE, CUTOFFS = 101, 64, 16, (20, 50)


def make() -> tuple[AdaptiveOutputLayer, nn.AdaptiveLogSoftmaxWithLoss, Tensor, Tensor]:
    torch.manual_seed(0)
    output = AdaptiveOutputLayer(SIZE, WORDS, CUTOFFS).double()
    nn.init.normal_(output.head_bias)
    torchs = nn.AdaptiveLogSoftmaxWithLoss(SIZE, WORDS, list(CUTOFFS), div_value=4.0, head_bias=True).double()
    with torch.no_grad():
        torchs.head.weight.copy_(output.head_weight)
        torchs.head.bias.copy_(output.head_bias)
        for pair, projection, tail in zip(torchs.tail, output.projections, output.tails, strict=True):
            pair[0].weight.copy_(projection)
            pair[1].weight.copy_(tail)
    hidden = torch.randn(ROWS, SIZE, dtype=torch.float64, requires_grad=True)
    return output, torchs, hidden, torch.randint(-1, WORDS, (ROWS,))


@pytest.mark.parametrize("chunk_rows", [None, 5])
def test_equals_torch(chunk_rows: int | None) -> None:
    output, torchs, hidden, targets = make()
    ours = AdaptiveSoftmax(output, chunk_rows=chunk_rows).loss(hidden, targets)
    kept = targets >= 0
    reference = torchs(hidden[kept], targets[kept])
    assert torch.allclose(ours.rows[kept], -reference.output)
    assert torch.allclose(ours.total, -reference.output.sum())
    pairs = [(hidden, hidden), (output.head_weight, torchs.head.weight), (output.head_bias, torchs.head.bias)]
    for index in range(2):
        pairs += [
            (output.projections[index], torchs.tail[index][0].weight),
            (output.tails[index], torchs.tail[index][1].weight),
        ]
    got = torch.autograd.grad(ours.total, [ours_parameter for ours_parameter, _ in pairs])
    want = torch.autograd.grad(-reference.output.sum(), [reference_parameter for _, reference_parameter in pairs])
    for one, other in zip(got, want, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_log_probabilities_equal_torch_and_sum_to_one() -> None:
    output, torchs, hidden, targets = make()
    softmax = AdaptiveSoftmax(output)
    table = softmax.log_probabilities(hidden)
    assert torch.allclose(table, torchs.log_prob(hidden))
    assert torch.allclose(table.exp().sum(dim=1), torch.ones(ROWS, dtype=torch.float64))
    kept = targets >= 0
    nats = softmax.negative_log_likelihood(hidden, targets)
    assert torch.allclose(nats[kept], -table[kept].gather(1, targets[kept, None]).squeeze(1))
    assert (nats[~kept] == 0).all() and not nats.requires_grad


def test_empty_clusters_and_no_target() -> None:
    output, _, hidden, targets = make()
    loss = AdaptiveSoftmax(output).loss(hidden, targets.clamp(max=CUTOFFS[0] - 1))
    loss.total.backward()
    assert all(tail.grad is not None and (tail.grad == 0).all() for tail in output.tails)
    assert float(AdaptiveSoftmax(output).loss(hidden, torch.full_like(targets, -1)).total.detach()) == 0


def test_every_parameter_receives_a_gradient() -> None:
    output, _, hidden, targets = make()
    AdaptiveSoftmax(output).loss(hidden, targets).total.backward()
    for name, parameter in output.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_bfloat16_logits_stay_close() -> None:
    output, _, hidden, targets = make()
    output, hidden = output.float(), hidden.detach().float().requires_grad_()
    exact = AdaptiveSoftmax(output).loss(hidden, targets).total
    half = AdaptiveSoftmax(output, logits_dtype=torch.bfloat16).loss(hidden, targets).total
    assert torch.allclose(exact, half, rtol=1e-2)


@pytest.mark.parametrize("cutoffs", [(), (5, 5), (50, 20), (0, 20), (20, WORDS)])
def test_wrong_cutoffs_teach(cutoffs: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="do not ascend between 1 and 100"):
        AdaptiveOutputLayer(SIZE, WORDS, cutoffs)


@pytest.mark.parametrize("size", [2, 8, 30, 1000, 20_000, 793_471])
def test_default_cutoffs_fit_every_vocabulary(size: int) -> None:
    cutoffs = default_cutoffs(size)
    assert cutoffs and list(cutoffs) == sorted(set(cutoffs)) and cutoffs[0] >= 1 and cutoffs[-1] < size


def test_wrong_targets_teach() -> None:
    output, _, hidden, _ = make()
    with pytest.raises(ValueError, match="a target is 101"):
        AdaptiveSoftmax(output).loss(hidden, torch.full((ROWS,), WORDS))

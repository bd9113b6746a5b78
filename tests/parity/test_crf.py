"""The conditional random field against all taggings counted one by one, against pytorch-crf, and against its own formula."""

from __future__ import annotations

import itertools

import pytest
import torch
import torchcrf
from torch import Tensor

from carryover.sequence import Sequence
from carryover.tasks.crf import LinearChainCRF
from carryover.tasks.spans import may_follow


def make(
    size: int, seed: int, spread: float = 1.0, dtype: torch.dtype = torch.float64, **constraints: Tensor
) -> LinearChainCRF:
    generator = torch.Generator().manual_seed(seed)
    field = LinearChainCRF(size, **constraints).to(dtype)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * spread)
    return field


def batch(size: int, lengths: list[int], seed: int, spread: float = 1.0, dtype: torch.dtype = torch.float64) -> Sequence:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths), size, generator=generator, dtype=torch.float64) * spread
    return Sequence.of(values.to(dtype), lengths)


@torch.no_grad()
def all_scores(field: LinearChainCRF, row: Tensor) -> dict[tuple[int, ...], float]:
    """Score of every allowed tagging of one sentence [T, K], term by term."""
    scores = {}
    for tags in itertools.product(range(field.size), repeat=len(row)):
        if not field.allowed_first[tags[0]] or not all(field.allowed[a, b] for a, b in itertools.pairwise(tags)):
            continue
        score = field.start[tags[0]] + field.end[tags[-1]] + sum(row[t, tag] for t, tag in enumerate(tags))
        scores[tags] = float(score + sum(field.transitions[a, b] for a, b in itertools.pairwise(tags)))
    return scores


IOB2 = ("B-x", "B-y", "I-x", "I-y", "O")
ALLOWED = torch.tensor([[may_follow(tag, previous) for tag in IOB2] for previous in IOB2])
ALLOWED_FIRST = torch.tensor([may_follow(tag, None) for tag in IOB2])


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_brute_force(constrained: bool, seed: int) -> None:
    field = make(5, seed, 2.0, **({"allowed": ALLOWED, "allowed_first": ALLOWED_FIRST} if constrained else {}))
    emissions = batch(5, [5, 1, 3, 4], seed + 100, 2.0)
    log_z = field.log_partition(emissions)
    marginals = field.marginals(emissions)
    best = field.decode(emissions)
    for number, row in enumerate(emissions.rows()):
        scores = all_scores(field, row)
        total = torch.logsumexp(torch.tensor(list(scores.values()), dtype=torch.float64), 0)
        torch.testing.assert_close(log_z[number], total)
        assert tuple(best[number]) == max(scores, key=scores.__getitem__)
        expected = torch.zeros(len(row), 5, dtype=torch.float64)
        for tags, score in scores.items():
            for step, tag in enumerate(tags):
                expected[step, tag] += torch.exp(torch.tensor(score, dtype=torch.float64) - total)
        torch.testing.assert_close(marginals[number, : len(row)], expected, check_dtype=False)
        assert (marginals[number, len(row) :] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_equals_pytorch_crf(seed: int) -> None:
    field, emissions = make(7, seed), batch(7, [9, 4, 1, 6], seed)
    tags = torch.randint(0, 7, (4, 9), generator=torch.Generator().manual_seed(seed))
    oracle = torchcrf.CRF(7, batch_first=True).double()
    with torch.no_grad():
        oracle.transitions.copy_(field.transitions)
        oracle.start_transitions.copy_(field.start)
        oracle.end_transitions.copy_(field.end)
    values, oracle_values = emissions.values.clone().requires_grad_(), emissions.values.clone().requires_grad_()
    ours = field.loss(emissions.with_values(values), tags)
    theirs = -oracle(oracle_values, tags, mask=emissions.mask, reduction="none")
    torch.testing.assert_close(ours, theirs)
    weights = torch.tensor([1.0, 2.0, -0.5, 3.0], dtype=torch.float64)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(values.grad, oracle_values.grad)
    torch.testing.assert_close(field.transitions.grad, oracle.transitions.grad)
    torch.testing.assert_close(field.start.grad, oracle.start_transitions.grad)
    torch.testing.assert_close(field.end.grad, oracle.end_transitions.grad)
    assert field.decode(emissions) == oracle.decode(emissions.values, mask=emissions.mask)


@pytest.mark.parametrize("constrained", [False, True])
def test_fast_path_equals_recursion_with_gradients(constrained: bool) -> None:
    constraints = {"allowed": ALLOWED, "allowed_first": ALLOWED_FIRST} if constrained else {}
    results = []
    for path in ("log_partition", "log_partition_by_recursion"):
        field = make(5, 3, 3.0, torch.float32, **constraints)
        values = batch(5, [30, 0, 7, 1], 5, 3.0, torch.float32).values.requires_grad_()
        log_z = getattr(field, path)(Sequence.of(values, [30, 0, 7, 1]))
        (log_z * torch.tensor([1.0, 5.0, 2.0, 3.0])).sum().backward()
        results.append((log_z.detach(), values.grad, field.transitions.grad, field.start.grad, field.end.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert results[0][0][1] == 0


@torch.no_grad()
def test_values_too_far_apart_for_the_fast_path() -> None:
    """Tag 1 falls 120 nats behind, more than float32 probabilities span, and must not be forgotten: it wins in the end."""
    field = LinearChainCRF(3, allowed=torch.eye(3, dtype=torch.bool))
    ahead, behind = [60.0, 0.0, 0.0], [0.0, 60.0, 0.0]
    emissions = Sequence.of(torch.tensor([[ahead, ahead, behind, behind, behind]]), [5])
    assert float(field.log_partition(emissions)) == pytest.approx(180)
    assert float(field.loss(emissions, torch.ones(1, 5, dtype=torch.int64))) == pytest.approx(0, abs=1e-3)
    assert field.decode(emissions) == [[1] * 5]
    assert float(field.marginals(emissions)[0, 2, 1]) == pytest.approx(1)


def test_gradient_by_differences() -> None:
    field = make(4, 1)
    values = batch(4, [5, 2, 0], 2).values.requires_grad_()
    inputs = (values, field.transitions, field.start, field.end)

    def log_z(values: Tensor, *_: Tensor) -> Tensor:
        return field.log_partition(Sequence.of(values, [5, 2, 0]))

    assert torch.autograd.gradcheck(log_z, inputs)


def test_padding_and_neighbours_change_nothing() -> None:
    field = make(5, 7, dtype=torch.float32, allowed=ALLOWED, allowed_first=ALLOWED_FIRST)
    alone = batch(5, [4], 8, dtype=torch.float32)
    values = torch.full((3, 9, 5), float("nan"))
    values[1, :4] = alone.values[0]
    values[2] = 1.0
    values.requires_grad_()
    together = Sequence.of(values, [0, 4, 9])
    tags = torch.tensor([[4] * 9, [0, 2, 4, 4, 99, 99, 99, 99, 99], [4] * 9])
    loss = field.loss(together, tags)
    torch.testing.assert_close(loss[1], field.loss(alone, tags[1:2, :4])[0])
    torch.testing.assert_close(field.marginals(together)[1, :4], field.marginals(alone)[0])
    assert field.decode(together)[1] == field.decode(alone)[0]
    assert field.decode(together)[0] == [] and loss[0] == 0
    loss.sum().backward()
    assert torch.isfinite(values.grad).all() and (values.grad[1, 4:] == 0).all() and (values.grad[0] == 0).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in field.parameters())


def test_forbidden_taggings_have_no_probability() -> None:
    field = make(5, 11, 0.1, allowed=ALLOWED, allowed_first=ALLOWED_FIRST)
    emissions = batch(5, [6] * 20, 12, 0.1)
    emissions.values[..., 2:4] += 5  # the model itself would answer I- everywhere
    marginals = field.marginals(emissions)
    assert float(marginals[:, 0, 2:4].max()) == 0
    assert field.loss(emissions, torch.full((20, 6), 2)).min() > 1e6
    for path in field.decode(emissions):
        assert all(ALLOWED[a, b] for a, b in itertools.pairwise(path)) and ALLOWED_FIRST[path[0]]


def test_empty_batches() -> None:
    field = LinearChainCRF(3)
    for shape, lengths in [((0, 4, 3), []), ((2, 0, 3), [0, 0]), ((2, 4, 3), [0, 0])]:
        emissions = Sequence.of(torch.zeros(*shape), torch.tensor(lengths, dtype=torch.int64))
        tags = torch.zeros(shape[:2], dtype=torch.int64)
        assert field.loss(emissions, tags).tolist() == [0.0] * shape[0]
        assert field.decode(emissions) == [[]] * shape[0]
        assert field.marginals(emissions).shape == shape


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="3 tags"):
        LinearChainCRF(3, allowed=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\[B, T, 3\]"):
        LinearChainCRF(3).decode(Sequence.of(torch.zeros(1, 2, 4)))

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from carryover.errors import UsageError
from carryover.models.esim import ESIM
from carryover.sequence import Sequence


def build(in_size: int = 5, cell_size: int = 3) -> ESIM:
    torch.manual_seed(0)
    return ESIM(ESIM.Config(in_size=in_size, cell_size=cell_size)).eval()


def batch(*lengths: int, seed: int, size: int = 5) -> Sequence:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths), size, generator=generator)
    whole = Sequence.of(values, list(lengths))
    return whole.with_values(values.masked_fill(~whole.expand_mask(), torch.nan))


def library_lstm(model: ESIM) -> nn.LSTM:
    """torch.nn.LSTM with the weights of `compose`."""
    found = nn.LSTM(3, 3, bidirectional=True, batch_first=True)
    ends = {"": model.compose.forward_layer, "_reverse": model.compose.backward_layer}
    with torch.no_grad():
        for end, layer in ends.items():
            for name, source in (("weight_ih", "input_weight"), ("weight_hh", "hidden_weight"), ("bias_ih", "bias")):
                getattr(found, f"{name}_l0{end}").copy_(getattr(layer, source))
            getattr(found, f"bias_hh_l0{end}").zero_()
    return found


def by_the_paper(model: ESIM, a: Tensor, b: Tensor) -> Tensor:
    """Equations 11 to 20 for one pair, [len_a, D] and [len_b, D], word by word."""
    lstm = library_lstm(model)
    pooled = []
    for own, other in ((a, b), (b, a)):
        rows = []
        for word in own:
            weights = torch.stack([word @ one for one in other]).softmax(0)
            aligned = sum((weight * one for weight, one in zip(weights, other, strict=True)), torch.zeros_like(word))
            rows.append(torch.cat([word, aligned, word - aligned, word * aligned]))
        compared = (torch.stack(rows) @ model.compare.weight.t() + model.compare.bias).clamp(min=0)
        composed = lstm(compared.unsqueeze(0))[0][0]
        pooled += [composed.mean(0), composed.amax(0)]
    return torch.cat(pooled)


def test_equals_the_equations_of_the_paper() -> None:
    model, first, second = build(), batch(4, 7, 2, seed=1), batch(6, 1, 3, seed=2)
    with torch.no_grad():
        found = model(first, second)
        expected = [by_the_paper(model, a, b) for a, b in zip(first.rows(), second.rows(), strict=True)]
    assert found.shape == (3, model.out_size) == (3, 24)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_a_row_does_not_depend_on_its_neighbours_or_padding() -> None:
    model, first, second = build(), batch(4, 9, seed=1), batch(6, 8, seed=2)
    alone = model(Sequence.of(first.values[:1, :4]), Sequence.of(second.values[:1, :6]))
    torch.testing.assert_close(model(first, second)[:1], alone, rtol=1e-5, atol=1e-6)


def test_gradients_reach_both_sides_and_no_padding() -> None:
    model, first, second = build(), batch(4, 2, seed=1), batch(3, 5, seed=2)
    for side in (first, second):
        side.values.requires_grad_()
    model(first, second).sum().backward()
    for side in (first, second):
        assert side.values.grad is not None and bool(side.values.grad.isfinite().all())
        assert bool((side.values.grad[side.mask] != 0).any(-1).all()), "every real word has a share in the answer"
        assert bool((side.values.grad[~side.mask] == 0).all())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_side_without_words_gives_zeros_there_and_numbers_elsewhere() -> None:
    model = build()
    found = model(Sequence.of(torch.randn(2, 3, 5), [3, 0]), Sequence.of(torch.randn(2, 2, 5), [0, 2]))
    assert bool(found.isfinite().all())
    assert bool((found[0, 12:] == 0).all()) and bool((found[1, :12] == 0).all())


def test_wrong_input_is_refused() -> None:
    model = build()
    with pytest.raises(ValueError, match="2 first and 3 second sentences"):
        model(batch(1, 2, seed=1), batch(1, 2, 3, seed=1))
    with pytest.raises(ValueError, match="expects 5 features and got 4"):
        model(batch(1, 2, seed=1, size=4), batch(1, 2, seed=1))
    with pytest.raises(TypeError, match="reads a Sequence"):
        model(torch.zeros(1, 2, 5), batch(1, seed=1))
    with pytest.raises(UsageError, match="cell_size is 0"):
        ESIM.Config(in_size=4, cell_size=0)

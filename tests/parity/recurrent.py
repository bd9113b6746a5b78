"""Ragged inputs, gradients and torch's own layers, for the tests of the recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from carryover.layers.base import Layer, map_state, state_tensors
from carryover.layers.recurrent.elman import Elman
from carryover.layers.recurrent.gru import GRU
from carryover.layers.recurrent.lstm import LSTM
from carryover.sequence import Sequence

LENGTHS = {"full": [6, 6, 6, 6, 6], "ragged": [3, 6, 0, 1, 6], "short": [4, 4, 4, 4, 4], "empty": [0, 0, 0, 0, 0]}
Step = Callable[[Sequence, Any], tuple[Sequence, Any]]


def ragged(layer: Layer, lengths: list[int], *, time: int = 6) -> Sequence:
    """Random values with NaN wherever there is padding; requires gradients."""
    like = next(layer.parameters())
    values = torch.randn(len(lengths), time, layer.in_size, dtype=like.dtype)
    x = Sequence.of(values, lengths)
    return Sequence(values.masked_fill(~x.expand_mask(), float("nan")).requires_grad_(), x.lengths)


def some_state(layer: Layer, batch_size: int) -> Any:
    return map_state(lambda t: (0.3 * torch.randn_like(t)).requires_grad_(), layer.initial_state(batch_size))


def run(step: Step, layer: nn.Module, x: Sequence, state: Any) -> dict[str, Tensor]:
    """Outputs, last states and the gradients of everything, for one random loss that is the same at every call."""
    y, last = step(x, state)
    results = {"outputs": y.values, **{f"state {k}": part for k, part in enumerate(state_tensors(last))}}
    generator = torch.Generator().manual_seed(3)
    terms = [(part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in results.values()]
    leaves = {"x": x.values, **dict(layer.named_parameters())}
    leaves |= {f"first state {k}": part for k, part in enumerate(state_tensors(state))}
    found = torch.autograd.grad(torch.stack([term.to(torch.float64) for term in terms]).sum(), list(leaves.values()))
    return results | {f"gradient of {name}": gradient for name, gradient in zip(leaves, found, strict=True)}


def require_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=tolerance, rtol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def torch_step(layer: LSTM | GRU | Elman) -> Step:
    """The same layer computed by torch.nn, one row at a time and without padding; gradients reach `layer`'s parameters."""
    size = layer.bias.shape[0]
    zeros = torch.zeros(size, dtype=layer.bias.dtype)
    if isinstance(layer, LSTM):
        oracle: nn.Module = nn.LSTM(layer.in_size, layer.cell_size, proj_size=layer.shape.projection or 0, batch_first=True)
    elif isinstance(layer, GRU):
        assert layer.candidate_bias is not None
        oracle = nn.GRU(layer.in_size, layer.out_size, batch_first=True)
        zeros = torch.cat([zeros[layer.out_size :], layer.candidate_bias])
    else:
        oracle = nn.RNN(layer.in_size, layer.out_size, nonlinearity=layer.nonlinearity, batch_first=True)
    weights = {"weight_ih_l0": layer.input_weight, "weight_hh_l0": layer.hidden_weight}
    weights |= {"bias_ih_l0": layer.bias, "bias_hh_l0": zeros}
    if isinstance(layer, LSTM) and layer.projection_weight is not None:
        weights["weight_hr_l0"] = layer.projection_weight

    def step(x: Sequence, state: Any) -> tuple[Sequence, Any]:
        outputs, lasts = [], []
        for b, row in enumerate(x.rows()):
            own = tuple(part[b : b + 1].unsqueeze(0) for part in state_tensors(state))
            if not len(row):
                outputs.append(x.values.new_zeros(0, layer.out_size))
                lasts.append([part[0] for part in own])
                continue
            y, last = torch.func.functional_call(oracle, weights, (row.unsqueeze(0), own if len(own) == 2 else own[0]))
            outputs.append(y[0])
            lasts.append([part[0] for part in (last if isinstance(last, tuple) else (last,))])
        y = Sequence.pad(outputs).values
        y = nn.functional.pad(y, (0, 0, 0, x.time - y.shape[1]))
        parts = [torch.cat(column) for column in zip(*lasts, strict=True)]
        return x.with_values(y), type(state)(*parts) if len(parts) == 2 else parts[0]

    return step

"""Laws about weights and truth: persistence, reference."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from carryover.layers.laws.case import (
    LONG,
    Case,
    Examined,
    gradients,
    leaf,
    loss_weights,
    one_step,
    require_equal_gradients,
)
from carryover.sequence import Sequence

Reference = Callable[[Any, Sequence], Sequence | Tensor]
"""Another way to compute the layer's outputs, from the layer (for its weights) and an input."""


def persistence(case: Case, rebuild: Callable[[], Examined] | None = None) -> None:
    """Everything the layer knows is in its state dictionary: saved and loaded elsewhere it gives the same output.

    Loaded into `rebuild()`, a newly made layer, where given; else into a copy whose weights were overwritten. A tensor
    kept as a plain attribute would be lost and breaks the law.
    """
    law = "persistence"
    for name in _unregistered(case.layer):
        raise case.broken(law, f"{name} is a tensor outside the state dictionary where a parameter or buffer was expected")
    x = case.make(LONG, 5, 0, 1, 2)
    with torch.no_grad():
        expected = case.run(x).values
        other = copy.deepcopy(case.layer) if rebuild is None else rebuild().to(case.like)
        if rebuild is None:
            for tensor in other.state_dict().values():
                tensor.copy_(torch.full_like(tensor, 3))
        saved = save({name: tensor.contiguous() for name, tensor in case.layer.state_dict().items()})
        try:
            other.load_state_dict(load(saved))
        except RuntimeError as error:
            raise case.broken(law, f"its saved tensors do not load: {error}") from error
        found = Case(other.eval(), case.inputs, case.seed).run(x).values
    case.require_equal(law, "output after saving and loading", found, expected)


def reference(case: Case, oracle: Reference) -> None:
    """Outputs and gradients equal those of an independent computation on the same weights."""
    law = "reference"
    x = leaf(case.make(LONG, 5, 0, 1, 2))
    y = case.run(x)
    weights = loss_weights(y)
    told = oracle(case.layer, x)
    expected = one_step(told) if isinstance(told, Tensor) else told.zero_padding()
    case.require_equal(law, "output", y.values, expected.values)
    require_equal_gradients(
        case,
        law,
        "",
        gradients(case, x, (y.values * weights).sum()),
        gradients(case, x, (expected.values * weights).sum()),
    )


def _unregistered(layer: nn.Module) -> Iterator[str]:
    """Names of tensors held in attributes, lists, tuples or dictionaries of any module inside."""
    internal = {"_parameters", "_buffers", "_modules"}
    for path, module in layer.named_modules():
        for name, value in vars(module).items():
            if name not in internal and _holds_tensor(value):
                yield f"{path}.{name}".lstrip(".")


def _holds_tensor(value: object) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, list | tuple):
        return any(_holds_tensor(part) for part in value)
    return isinstance(value, dict) and any(_holds_tensor(part) for part in value.values())

"""Optimisers whose step costs what the touched rows of a table cost, however many rows the table has.

A sampled softmax looks up some thousand rows of an output layer of hundreds of thousands; the gradient of the others is zero.
A parameter whose gradient is sparse (coalesced: ascending distinct rows) is updated here row by row, any other parameter as
the PyTorch optimiser of the same name does.

Leaving a row alone whose gradient is zero is what Adagrad and plain descent do anyway, so `RowAdagrad` and `RowSGD` equal
PyTorch's optimisers up to rounding. Adam does not: there a row keeps moving by its decaying moments. `LazyAdam` is a different
optimiser: the moments of a row decay when the row is touched, and the row moves only then.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor


class _RowWise(torch.optim.Optimizer):
    """Mixed in before a PyTorch optimiser: `step` gives it the parameters with other than sparse gradients."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure is not None else None
        held = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    gradient = parameter.grad.coalesce()
                    with torch.no_grad():
                        self.update_rows(group, parameter, gradient.indices()[0], gradient.values())
                    held.append((parameter, gradient))
                    parameter.grad = None
        super().step()
        for parameter, gradient in held:
            parameter.grad = gradient
        return loss

    @abstractmethod
    def update_rows(self, group: dict[str, Any], parameter: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """One step of `parameter` [V, ...] at the ascending distinct `rows` [R], where its gradient is [R, ...]."""


def _counted(state: dict[str, Any]) -> float:
    """The number of this step, from 1, which a tensor of the state counts."""
    state["step"] += 1
    return float(state["step"])


@final
class RowSGD(_RowWise, torch.optim.SGD):
    """w ← w − η g, without momentum."""

    def update_rows(self, group: dict[str, Any], parameter: Tensor, rows: Tensor, gradient: Tensor) -> None:
        parameter.index_add_(0, rows, gradient, alpha=-group["lr"])


@final
class RowAdagrad(_RowWise, torch.optim.Adagrad):
    """G ← G + g², w ← w − η g / (√G + ε) (Duchi et al. 2011, the diagonal form)."""

    def update_rows(self, group: dict[str, Any], parameter: Tensor, rows: Tensor, gradient: Tensor) -> None:
        state = self.state[parameter]
        rate = group["lr"] / (1 + (_counted(state) - 1) * group["lr_decay"])
        sums = state["sum"].index_select(0, rows).addcmul_(gradient, gradient)
        state["sum"].index_copy_(0, rows, sums)
        moved = parameter.index_select(0, rows).addcdiv_(gradient, sums.sqrt_().add_(group["eps"]), value=-rate)
        parameter.index_copy_(0, rows, moved)


@final
class LazyAdam(_RowWise, torch.optim.Adam):
    """Adam (Kingma and Ba 2015, algorithm 1) of the touched rows: m, v and w of all others stay as they are.

    The biases are corrected by the number of steps of the whole table, as `torch.optim.SparseAdam` does. Where a step touches
    all rows it is Adam.
    """

    def update_rows(self, group: dict[str, Any], parameter: Tensor, rows: Tensor, gradient: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        count, (first_decay, second_decay) = _counted(state), group["betas"]
        first = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - first_decay)
        second = state["exp_avg_sq"].index_select(0, rows).mul_(second_decay)
        second.addcmul_(gradient, gradient, value=1 - second_decay)
        state["exp_avg"].index_copy_(0, rows, first)
        state["exp_avg_sq"].index_copy_(0, rows, second)
        scale = second.div_(1 - second_decay**count).sqrt_().add_(group["eps"])
        rate = group["lr"] / (1 - first_decay**count)
        parameter.index_copy_(0, rows, parameter.index_select(0, rows).addcdiv_(first, scale, value=-rate))

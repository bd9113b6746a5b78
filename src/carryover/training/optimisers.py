"""Optimisers by name, and their state as plain named tensors so that it can be stored without pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from carryover.errors import BadData, UsageError
from carryover.training.row_optimisers import LazyAdam, RowAdagrad, RowSGD

KINDS = ("adam", "adamw", "lazy-adam", "adagrad", "rmsprop", "sgd")


def takes_sparse_gradients(kind: str, weight_decay: float = 0.0) -> bool:
    """Whether `build_optimiser` makes one that updates the rows of a sparse gradient only; decay would touch all."""
    return kind in ("lazy-adam", "adagrad", "sgd") and not weight_decay


def build_optimiser(
    model: nn.Module, kind: str = "adam", *, learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """An optimiser over the trainable parameters of `model`. Raises UsageError for an unknown kind.

    adam (Kingma and Ba 2015), adamw (Loshchilov and Hutter 2019, decoupled decay), lazy-adam (adam, but of a sparse gradient
    only the rows in it move), adagrad (Duchi et al. 2011, with the initial accumulator 1.0 that the published ELMo was trained
    with), rmsprop (Tieleman and Hinton 2012), sgd. Weight decay spares vectors (biases, peepholes, normalisation), which have
    no direction to shrink; lazy-adam has none.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown optimiser {kind!r}", repair=f"use one of {', '.join(KINDS)}")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trainable}]
    if weight_decay:
        groups = [
            {"params": [parameter for parameter in trainable if parameter.dim() > 1], "weight_decay": weight_decay},
            {"params": [parameter for parameter in trainable if parameter.dim() <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
    if weight_decay and kind == "lazy-adam":
        raise UsageError(
            f"lazy-adam updates only the rows that a step uses, and weight decay is {weight_decay}",
            repair="use adam or adamw, or a weight decay of 0",
        )
    if not trainable:
        raise UsageError("the model has no trainable parameter", repair="leave at least one layer unfrozen")
    # The fused kernels update all parameters in one pass: twelve times the default's speed on a CPU.
    places = {parameter.device.type for parameter in trainable}
    fused = places <= {"cpu"} or (places == {"cuda"} and kind != "adagrad")
    if kind == "adam":
        return torch.optim.Adam(groups, lr=learning_rate, weight_decay=0.0, fused=fused)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.0, fused=fused)
    if kind == "lazy-adam":
        return LazyAdam(groups, lr=learning_rate, fused=fused)
    if kind == "adagrad":
        return RowAdagrad(groups, lr=learning_rate, initial_accumulator_value=1.0, fused=fused)
    if kind == "rmsprop":
        return torch.optim.RMSprop(groups, lr=learning_rate, foreach=True)
    return RowSGD(groups, lr=learning_rate, fused=fused)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group; a group with a `scale` (layer-wise rates) gets its multiple."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: Mapping[Any, str]) -> dict[str, Tensor]:
    """The state as `{parameter name}/{entry}` → tensor; `names` tells what each parameter is called.

    Numbers become tensors of one element. Hyper-parameters are not state: they follow from the settings and the step.
    """
    tensors: dict[str, Tensor] = {}
    for parameter, entries in optimiser.state.items():
        for entry, value in entries.items():
            if value is None:
                continue
            tensors[f"{names[parameter]}/{entry}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return tensors


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], parameters: Iterable[tuple[str, Tensor]]
) -> None:
    """Inverse of `optimiser_tensors`. Raises BadData for state of an unknown parameter or of another shape."""
    by_name = dict(parameters)
    optimiser.state.clear()
    for name, tensor in tensors.items():
        owner, entry = name.rsplit("/", 1)
        if owner not in by_name:
            raise BadData(f"optimiser state of {owner!r}, which the model does not have", repair="use the same settings")
        parameter = by_name[owner]
        if tensor.dim() and tensor.shape != parameter.shape:
            raise BadData(
                f"optimiser state {name!r} has shape {list(tensor.shape)}, the parameter {list(parameter.shape)}",
                repair="use the same settings",
            )
        # Moments live beside their parameter, and so does the step count of a fused optimiser; others count on the CPU.
        beside = entry != "step" or optimiser.defaults.get("fused")
        optimiser.state[parameter][entry] = tensor.to(parameter.device) if beside else tensor


def clip_gradients(model: nn.Module, limit: float | None) -> float:
    """Scale all gradients down to a joint Euclidean norm of `limit` and return the norm before (not finite: untouched).

    Sparse gradients are coalesced where they are not.
    """
    gradients = []
    for parameter in model.parameters():
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
            gradients.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
    norm = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
    if limit is not None and limit < norm < float("inf"):
        torch._foreach_mul_(gradients, limit / norm)
    return norm

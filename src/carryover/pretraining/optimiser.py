"""The optimiser of a pretraining run, and the objective set up for it: sparse gradients where both can use them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from carryover.objectives.objective import Objective
from carryover.pretraining.settings import PretrainSettings
from carryover.training.optimisers import build_optimiser, takes_sparse_gradients


def optimiser_name(objective: Objective[Any], config: Any, wanted: PretrainSettings) -> str:
    """The optimiser asked for; else one whose step costs no more for a larger vocabulary, where the model allows one."""
    if wanted.optimiser is not None:
        return wanted.optimiser
    return "lazy-adam" if objective.samples_output_rows(config) and not wanted.weight_decay else "adam"


def objective_and_optimiser(
    objective: Objective[Any],
    config: Any,
    model: nn.Module,
    wanted: PretrainSettings,
    *,
    learning_rate: float,
    precision: str,
) -> tuple[Objective[Any], torch.optim.Optimizer]:
    """The objective as it trains `model` in a precision ("float32" or "bfloat16"), and the optimiser that the settings ask for."""
    kind = optimiser_name(objective, config, wanted)
    sparse = objective.samples_output_rows(config) and takes_sparse_gradients(kind, wanted.weight_decay)
    optimiser = build_optimiser(model, kind, learning_rate=learning_rate, weight_decay=wanted.weight_decay)
    logits = torch.bfloat16 if precision == "bfloat16" else None
    return type(objective)(logits_dtype=logits, sparse_gradient=sparse), optimiser

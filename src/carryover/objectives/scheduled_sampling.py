"""Scheduled sampling: a decoder learns while it reads some of its own words in place of the true ones.

Teacher forcing shows a decoder true beginnings only, and in use it must continue from its own. Bengio, Vinyals, Jaitly & Shazeer
2015, "Scheduled sampling for sequence prediction with recurrent neural networks", let it read before each step the true id
with probability ε, else one drawn from what it predicts itself, and lower ε in the course of training (section 2.4):

    linear             ε_i = max(floor, 1 − slope · i)
    exponential        ε_i = k^i,                    k < 1
    inverse sigmoid    ε_i = k / (k + exp(i / k)),   k ≥ 1

ε = 1 is teacher forcing, ε = 0 free running. No gradient passes through what was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from carryover.data.order import uniform
from carryover.errors import UsageError
from carryover.generation import Sampling
from carryover.generation.sampling import likeliest
from carryover.models.conditional import ConditionalLanguageModel
from carryover.sequence import Sequence

KINDS = ("linear", "exponential", "inverse-sigmoid")
_COIN, _DRAW = 1, 2  # keep the two numbers of a step apart


@dataclass(frozen=True, kw_only=True)
class TruthSchedule:
    """The share ε of true ids as a function of the update.

    kind : one of `KINDS`. updates : how many it takes until ε is 1/2, which decides slope or k. floor : ε never falls below.
    Raises UsageError naming the field that is wrong.
    """

    kind: str = "inverse-sigmoid"
    updates: float
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"kind is {self.kind!r}", repair=f"use one of {', '.join(KINDS)}")
        if not self.updates >= 1:
            raise UsageError(f"updates is {self.updates}", repair="give a number of at least 1")
        if not 0 <= self.floor <= 1:
            raise UsageError(f"floor is {self.floor}", repair="give a share from 0 to 1")

    def truth(self, update: int) -> float:
        """ε of an update, from 0."""
        passed = update / self.updates
        if self.kind == "linear":
            share = 1 - passed / 2
        elif self.kind == "exponential":
            share = 0.5**passed
        else:
            k = self.updates / _half_life(self.updates)
            exponent = update / k
            share = 0.0 if exponent > 700 else k / (k + math.exp(exponent))
        return max(self.floor, share)


def _half_life(updates: float) -> float:
    """x with x · exp(x) = updates: then k = updates / x has ε = 1/2 where exp(i / k) = k, at i = updates.

    By Newton's steps; the function is convex and rises, so they come down to it from the right.
    """
    x = math.log1p(updates)
    for _ in range(50):
        step = (x - updates * math.exp(-x)) / (1 + x)
        x -= step
        if abs(step) < 1e-15 * x:
            break
    return x


@torch.no_grad()
def draw_inputs(
    model: ConditionalLanguageModel,
    source: Any,
    inputs: Sequence,
    *,
    truth: float,
    seed: int,
    sampling: Sampling | None = None,
) -> Sequence:
    """`inputs`, ids [B, T], as a decoder reads them that trusts each true id after the first with probability `truth`.

    Elsewhere is the id drawn by `sampling` from what the model predicts there after the ids before, drawn ones among
    them; None takes the likeliest, which is always so where `truth` is 0 a free run. What is drawn for row b, step t depends
    on `seed`, b and t, and on the model. Steps are taken one by one, without gradients, in the mode the model is in. Raises
    UsageError for a share that is none.
    """
    if not 0 <= truth <= 1:
        raise UsageError(f"truth is {truth}", repair="give a share from 0 to 1")
    rows, steps = inputs.batch_size, inputs.time
    device = inputs.values.device
    trusted = torch.from_numpy(uniform(rows * steps, seed, _COIN)).view(rows, steps) < truth
    numbers = torch.from_numpy(uniform(rows * steps, seed, _DRAW)).view(rows, steps)
    read, state = inputs.values.clone(), model.remember(source)
    for t in range(1, steps):
        before = Sequence(read[:, t - 1 : t], (inputs.lengths - (t - 1)).clamp(0, 1))
        scores, state = model.step(before, state)
        found = scores.values[:, 0].to("cpu", torch.float64)  # [B, V]
        drawn = likeliest(found) if sampling is None else sampling.draw(found, numbers[:, t])
        chosen = torch.where(trusted[:, t].to(device), inputs.values[:, t], drawn.to(device))
        read[:, t] = torch.where(inputs.lengths > t, chosen, inputs.values[:, t])
    return inputs.with_values(read)

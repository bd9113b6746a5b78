"""A row of the inventory: one public layer or pooling, how it is built, fed and independently computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from carryover.layers import Layer, Pooling
from carryover.layers.laws import Case
from carryover.layers.laws.case import Inputs
from carryover.layers.laws.keeping import Reference


@dataclass(frozen=True)
class Row:
    """`build` makes the layer, `inputs` its inputs, `reference` computes the same outputs in another way.

    `stands_for` names the public layer where `build` wraps it to give it a second input.
    """

    name: str
    build: Callable[[], Layer | Pooling]
    reference: Reference
    inputs: Inputs | None = None
    stands_for: str | None = None

    def case(self, dtype: torch.dtype = torch.float32) -> Case:
        """The layer under examination, the same weights at every call."""
        return Case.of(self.make(0).to(dtype), self.inputs)

    def make(self, seed: int) -> Layer | Pooling:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build()


def stirred(layer: Layer) -> Layer:
    """The layer with every weight moved: biases of zero and scales of one would hide where they are left out."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return layer

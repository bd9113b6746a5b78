"""Laws about what an output may depend on: causality, receptive field, reversal."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import torch

from carryover.layers.base import Layer
from carryover.layers.laws.case import LONG, Case, influence
from carryover.sequence import Sequence


def causality(case: Case) -> None:
    """The gradient of an output with respect to later inputs is exactly zero if, and only if, the layer is causal.

    Output t stands for input ⌊t / ratio⌋: with two steps to an output, output 1 may use inputs 0, 1 and 2; with two
    outputs to a step, outputs 2 and 3 may both use inputs 0 and 1.
    """
    law = "causality"
    layer = case.layer
    assert isinstance(layer, Layer)
    seen = influence(case, _enough_steps(layer))
    future = torch.zeros_like(seen)
    for output in range(seen.shape[0]):
        future[output, _stands_for(output, layer.ratio) + 1 :] = True
    looks_ahead = (seen & future).nonzero()
    if layer.causal and len(looks_ahead):
        output, step = looks_ahead[0].tolist()
        raise case.broken(law, f"output {output} depends on the later input {step} though causal is True")
    if not layer.causal and not len(looks_ahead):
        raise case.broken(law, "no output depends on a later input though causal is False")


def receptive_field(case: Case) -> None:
    """The declared number of input steps that an output sees is the measured one.

    None, unbounded, requires that the last output sees the first of 17 steps, and the first output the last step
    unless the layer is causal.
    """
    law = "receptive field"
    layer = case.layer
    assert isinstance(layer, Layer)
    seen = influence(case, _enough_steps(layer))
    if layer.receptive_field is None:
        if not seen[-1, 0]:  # a rectifier may have been off somewhere between: give it more chances
            seen |= influence(case, LONG, draws=40)
        if not seen[-1, 0]:
            raise case.broken(law, f"the last of {seen.shape[0]} outputs does not see the first input; None was declared")
        if not layer.causal and not seen[0, -1]:
            raise case.broken(law, f"the first output does not see the last of {seen.shape[1]} inputs; None was declared")
        return
    steps = torch.arange(seen.shape[1], device=seen.device)
    widths = [int(steps[row].max() - steps[row].min()) + 1 if row.any() else 0 for row in seen]
    if max(widths) != layer.receptive_field:
        raise case.broken(law, f"an output sees {max(widths)} steps where {layer.receptive_field} were declared")


def reversal(case: Case) -> None:
    """A layer made of `forward_layer` and `backward_layer` reverses each row within the row's own length.

    Its outputs are those of the two layers on each unpadded row, the second one on the reversed row.
    """
    law = "reversal"
    forward_layer, backward_layer = case.layer.forward_layer, case.layer.backward_layer
    assert isinstance(forward_layer, Layer) and isinstance(backward_layer, Layer)
    x = case.make(LONG, 5, 0, 1, 2)
    y = case.run(x)
    for row, (real, found) in enumerate(zip(x.rows(), y.rows(), strict=True)):
        one = Sequence.of(real.unsqueeze(0))
        ahead = forward_layer(one).values[0]
        back = backward_layer(Sequence.of(real.flip(0).unsqueeze(0))).values[0].flip(0)
        case.require_equal(law, f"output of row {row}", found, torch.cat([ahead, back], dim=-1))


def _enough_steps(layer: Layer) -> int:
    """Steps enough that some output far from both ends has room for the declared field."""
    return LONG if layer.receptive_field is None else max(5, 2 * layer.receptive_field + 3)


def _stands_for(output: int, ratio: Fraction) -> int:
    """The input step with which this output is due: the last one it may depend on in a causal layer."""
    return floor(output / ratio)

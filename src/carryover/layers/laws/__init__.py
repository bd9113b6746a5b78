"""The laws of the layer contract, for the layers of carryover and for yours.

| law | what is checked |
|---|---|
| any length | the same weights run lengths 0, 1, 2, 17 and batches of one |
| padding | NaN in the padding changes no output and no gradient; padded outputs are zero |
| batch | neighbours full of NaN, permuted rows, a batch of one: same outputs |
| causality | the gradient with respect to the future is exactly zero if and only if `causal` |
| step = whole | chunks of 1, 3 and the rest: outputs, input gradients and parameter gradients agree |
| receptive field | declared equals measured |
| reversal | bidirectional layers reverse within each row's own length |
| reset | restarting one row of the state leaves the others alone |
| reference | equals an independent computation on the same weights |
| persistence | saved and loaded: same output |
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from carryover.ambient import default_torch_state
from carryover.layers.base import Layer
from carryover.layers.laws.case import Case, Examined, Inputs, LawBroken, ids, real_values
from carryover.layers.laws.keeping import Reference, persistence, reference
from carryover.layers.laws.reach import causality, receptive_field, reversal
from carryover.layers.laws.stepping import reset, step_equals_whole
from carryover.layers.laws.whole_pass import any_length, batch, padding
from carryover.layers.pooling import Pooling

__all__ = [
    "LAWS",
    "Case",
    "LawBroken",
    "any_length",
    "batch",
    "causality",
    "check",
    "ids",
    "padding",
    "persistence",
    "real_values",
    "receptive_field",
    "reference",
    "reset",
    "reversal",
    "step_equals_whole",
]

LAWS: dict[str, Callable[[Case], None]] = {
    "any length": any_length,
    "padding": padding,
    "batch": batch,
    "causality": causality,
    "step = whole": step_equals_whole,
    "receptive field": receptive_field,
    "reversal": reversal,
    "reset": reset,
    "persistence": persistence,
}
"""The laws that need nothing but the layer; `reference` needs something to compare with."""


def applicable(layer: Examined) -> list[str]:
    """Names of the laws in `LAWS` that say something about this layer."""
    names = ["any length", "padding", "batch", "persistence"]
    if isinstance(layer, Layer):
        names += ["causality", "step = whole", "receptive field"]
        if layer.causal:
            names.append("reset")
        if {"forward_layer", "backward_layer"} <= dict(layer.named_children()).keys():
            names.append("reversal")
    return [name for name in LAWS if name in names]


@default_torch_state(gradients=True)
def check(
    layer: Examined,
    inputs: Inputs | None = None,
    *,
    reference_outputs: Reference | None = None,
    rebuild: Callable[[], Examined] | None = None,
    seed: int = 0,
) -> list[str]:
    """Hold a layer (or a pooling) against the contract; the names of the laws it keeps, all that apply.

    The laws run on a private copy in evaluation mode, in the layer's own precision and on its device; neither the layer
    nor the global random state changes.

    Parameters
    ----------
    layer : the layer.
    inputs : makes inputs, by default `real_values(layer.in_size)`; use `ids(layer.in_size)` for a layer that reads ids.
    reference_outputs : `(layer, x) -> outputs`, another computation with the same weights; adds the law `reference`.
    rebuild : makes the same layer anew with other weights; makes the law `persistence` stricter.
    seed : of the random inputs.

    Raises `LawBroken`, an AssertionError, naming the first law that does not hold and the two values that disagree, and TypeError
    for what is no layer, such as a module of `torch.nn`.
    """
    if not isinstance(layer, Layer | Pooling):
        what = f"the class {layer.__name__}" if isinstance(layer, type) else type(layer).__name__
        raise TypeError(
            f"check examines a layer or a pooling of carryover and got {what}: give an object of a class derived from "
            "carryover.layers.Layer, which maps a Sequence to a Sequence"
        )
    case = Case.of(layer, inputs, seed=seed)
    names = applicable(case.layer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in names:
            if name == "persistence":
                persistence(case, rebuild)
            else:
                LAWS[name](case)
        if reference_outputs is not None:
            reference(case, reference_outputs)
            names.append("reference")
    return names

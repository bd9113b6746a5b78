"""Several LSTMs of equal shape over inputs of equal lengths, such as the two directions of a language model."""

from __future__ import annotations

from collections.abc import Sequence as Collection

import torch

from carryover.kernels.lstm_arguments import LSTMState
from carryover.kernels.lstm_scan import scan_side_by_side
from carryover.kernels.packed_steps import PackedSteps
from carryover.layers.recurrent.lstm import LSTM
from carryover.sequence import Sequence


def lstm_together(
    layers: Collection[LSTM], inputs: Collection[Sequence], states: Collection[LSTMState]
) -> tuple[list[Sequence], list[LSTMState]]:
    """`step` of several LSTMs of equal shape, such as the two directions of a language model.

    All inputs have the same lengths. On a CPU the layers run one after the other, because one weight in the cache at a
    time beats two taking turns; elsewhere they are one scan with batched products, half the kernels to start. Layers
    that a fused or compiled kernel can do use it, and all run by themselves where one's `fast` is False. Raises
    ValueError when the layers' shapes or the inputs' lengths differ.
    """
    first = inputs[0]
    for layer, x, state in zip(layers, inputs, states, strict=True):
        layer.check_input(x)
        layer.check_state(x, state)
        if layer.shape != layers[0].shape:
            raise ValueError(f"{layer.shape} and {layers[0].shape} differ: only LSTMs of equal shape run together")
        if x.values.shape[:2] != first.values.shape[:2] or (x is not first and not torch.equal(x.lengths, first.lengths)):
            raise ValueError(
                f"inputs of lengths {first.lengths.tolist()} and {x.lengths.tolist()} (of {first.time} and {x.time} steps) "
                f"cannot run together: give inputs of the same lengths, or run each layer alone"
            )
    alone = (layer.has_kernel(x) or layer.is_compiled(x, *s) for layer, x, s in zip(layers, inputs, states, strict=True))
    if not all(layer.fast for layer in layers) or all(alone):
        stepped = [layer.step(x, state) for layer, x, state in zip(layers, inputs, states, strict=True)]
        return [y for y, _ in stepped], [state for _, state in stepped]

    steps = PackedSteps(first.lengths, first.time)
    clips = (layers[0].cell_clip, layers[0].projection_clip)
    packed = [steps.pack(x.values) for x in inputs]
    weights = [layer.weights() for layer in layers]
    if len(layers) == 1 or first.device.type == "cpu":
        scanned = [layer.scan_packed(x, s, steps) for layer, x, s in zip(layers, packed, states, strict=True)]
    else:
        for layer in layers:
            layer.last_path = "scan"
        scanned = scan_side_by_side(packed, weights, states, steps, *clips)
    return [first.with_values(steps.unpack(outputs)) for outputs, _ in scanned], [state for _, state in scanned]

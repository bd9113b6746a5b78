"""LSTMs with projection, clipping and peepholes at full speed, one or several side by side.

The steps themselves are in `carryover.layers.recurrent.lstm_scan`; the plain loop that defines them is `lstm_loop` in
`carryover.layers.recurrent.lstm`.
"""

from __future__ import annotations

from collections.abc import Sequence as Collection
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from carryover.layers.prepared import forget, wants_gradients
from carryover.layers.products import product_type
from carryover.layers.recurrent import lstm_compiled
from carryover.layers.recurrent.lstm_scan import LSTMScan, Options, Weights, results, run
from carryover.layers.recurrent.packing import PackedSteps
from carryover.sequence import Sequence

if TYPE_CHECKING:
    from carryover.layers.recurrent.lstm import LSTM


class LSTMState(NamedTuple):
    """State of an LSTM: `hidden` [B, P] (what the next step reads, projected) and `cell` [B, C]."""

    hidden: Tensor
    cell: Tensor


def lstm_together(
    layers: Collection[LSTM], inputs: Collection[Sequence], states: Collection[LSTMState]
) -> tuple[list[Sequence], list[LSTMState]]:
    """`step` of several LSTMs of equal shape, such as the two directions of a language model.

    All inputs have the same lengths. On a CPU the layers run one after the other, because one weight in the cache at a
    time beats two taking turns; elsewhere they are one scan with batched products, half the kernels to start. Layers
    that the library's fused kernel can do use it, and all run by themselves where one's `fast` is False. Raises
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
                f"cannot run together: they must have the same lengths, or run by themselves"
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
        scanned = [run_layer(layer, x, s, steps) for layer, x, s in zip(layers, packed, states, strict=True)]
    else:
        for layer in layers:
            layer.last_path = "scan"
        scanned = scan_side_by_side(packed, weights, states, steps, *clips)
    return [first.with_values(steps.unpack(outputs)) for outputs, _ in scanned], [state for _, state in scanned]


def run_layer(layer: LSTM, x: Tensor, state: LSTMState, steps: PackedSteps) -> tuple[Tensor, LSTMState]:
    """`scan` of one layer, by the compiled kernel where there is one and nobody wants gradients."""
    weights, options = layer.weights(), Options(steps, layer.cell_clip, layer.projection_clip, product_type(x))
    if wants_gradients(x, *weights, *state):
        forget(layer)
    elif lstm_compiled.fits(layer, x, options.dtype):
        layer.last_path = "compiled"
        with torch.autocast("cpu", enabled=False):
            hidden, cell = steps.sort(state.hidden), steps.sort(state.cell)
            outputs, *last = lstm_compiled.run_compiled(layer, x, hidden, cell, options)
        return outputs, LSTMState(*last)
    layer.last_path = "scan"
    return scan(x, weights, state, steps, layer.cell_clip, layer.projection_clip)


def scan(
    x: Tensor,
    weights: Weights,
    state: LSTMState,
    steps: PackedSteps,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
) -> tuple[Tensor, LSTMState]:
    """Run packed rows x [total, in] from `state` (in the order of the batch) to packed outputs [total, P] and a state.

    A leading axis on every tensor, if any, counts scans side by side. Products run in autocast's type where autocast is
    on, else in that of x; the state keeps its own. Without gradients nothing is kept and the gates never exist whole.
    """
    device, dtype = x.device.type, product_type(x)
    options = Options(steps, cell_clip, projection_clip, dtype)
    hidden, cell = steps.sort(state.hidden), steps.sort(state.cell)
    x = x.to(dtype)
    with torch.autocast(device, enabled=False):
        if wants_gradients(x, *weights, hidden, cell):
            outputs, *last = LSTMScan.apply(x, *weights, hidden, cell, options)
        else:
            kept = run(x, weights, hidden, cell, options, keep=False)
            outputs, *last = results(kept, options, hidden.dtype, cell.dtype)
    return outputs, LSTMState(*last)


def scan_side_by_side(
    packed: list[Tensor],
    weights: list[Weights],
    states: Collection[LSTMState],
    steps: PackedSteps,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
) -> list[tuple[Tensor, LSTMState]]:
    """`scan` for each of several inputs, weights and states of equal shapes, in one scan with batched products."""
    stacked = Weights(*(None if column[0] is None else torch.stack(column) for column in zip(*weights, strict=True)))  # type: ignore[arg-type]
    state = LSTMState(*(torch.stack(column) for column in zip(*states, strict=True)))
    outputs, last = scan(torch.stack(packed), stacked, state, steps, cell_clip, projection_clip)
    return [(y, LSTMState(hidden, cell)) for y, hidden, cell in zip(outputs, last.hidden, last.cell, strict=True)]

"""Laws of the state: step = whole, reset."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from carryover.layers.base import Layer, State, choose_rows, map_state, same_width, state_tensors
from carryover.layers.laws.case import (
    LONG,
    Case,
    fill_padding,
    gradients,
    leaf,
    loss_weights,
    require_equal_gradients,
)
from carryover.sequence import Sequence

CHUNKS = (0, 1, 4, LONG)
"""Borders of the chunks: 1 step, 3 steps, the rest."""


def step_equals_whole(case: Case) -> None:
    """Chunks of 1, 3 and the remaining steps with the state carried on give what the whole pass gives.

    Outputs, gradients of the input and of every parameter, and the last state agree with one step over everything; a row
    moves its state by its own length, whatever padding follows. No state that was handed in is ever changed, so one may
    continue from it twice; both hold with and without gradients. A layer that is not causal refuses both methods with
    TypeError.
    """
    law = "step = whole"
    if case.causal_layer is None:
        return _require_refusal(case)
    layer = case.causal_layer
    x = leaf(fill_padding(case.make(LONG, 5, 0, 1, 2), torch.nan))
    y = case.run(x)
    weights = loss_weights(y)
    expected = gradients(case, x, (y.values * weights).sum())

    parts, state = _in_chunks(case, layer, x)
    lengths = torch.stack([part.lengths for part in parts]).sum(0)
    if not torch.equal(lengths, y.lengths):
        raise case.broken(law, f"chunks have {lengths.tolist()} outputs where the whole pass has {y.lengths.tolist()}")
    joined = _pad_to(Sequence.concatenate(parts), y.time)
    case.require_equal(law, "output in chunks", joined.values, y.values)
    require_equal_gradients(case, law, "in chunks", gradients(case, x, (joined.values * weights).sum()), expected)

    at_once, last = layer.step(x, _initial(case, law, layer, x))
    case.require_equal(law, "output of one step over everything", at_once.values, y.values)
    _require_same_state(case, "the last state", state, last)
    for row, length in enumerate(x.lengths.tolist()):
        one = Sequence(x.values.detach()[row : row + 1, :length], x.lengths[row : row + 1])
        _, alone = layer.step(one, _initial(case, law, layer, one))
        own = map_state(lambda tensor, row=row: tensor[row : row + 1], last)
        _require_same_state(case, f"the state after row {row} alone", alone, own)
    with torch.no_grad():
        _without_gradients(case, layer, case.make(LONG, LONG), case.make(3, 3, seed=2))
        _without_gradients(case, layer, x.detach(), case.make(3, 0, 3, 2, 1, seed=2))
    return None


def _without_gradients(case: Case, layer: Layer, x: Sequence, decoy: Sequence) -> None:
    law = "step = whole"
    y = case.run(x)
    parts, state = _in_chunks(case, layer, x, decoy)
    joined = _pad_to(Sequence.concatenate(parts), y.time)
    case.require_equal(law, "output in chunks without gradients", joined.values, y.values)
    _, last = layer.step(x, _initial(case, law, layer, x))
    _require_same_state(case, "the last state without gradients", state, last)


def _require_refusal(case: Case) -> None:
    law = "step = whole"
    layer = case.layer
    assert isinstance(layer, Layer)
    x = case.make(2)
    for name, call in (("initial_state", lambda: layer.initial_state(1)), ("step", lambda: layer.step(x, ()))):
        try:
            call()
        except TypeError:
            continue
        except Exception as error:
            raise case.broken(
                law, f"{name} raises {type(error).__name__} where TypeError was expected: not causal"
            ) from error
        raise case.broken(law, f"{name} works where TypeError was expected: the layer is not causal")


def _in_chunks(case: Case, layer: Layer, x: Sequence, decoy: Sequence | None = None) -> tuple[list[Sequence], State]:
    """Outputs and last state; after every chunk another input, if any, continues from the same state and is forgotten."""
    law = "step = whole"
    state = _initial(case, law, layer, x)
    parts, made = [], [(state, _copies(state))]
    for start, stop in pairwise(CHUNKS):
        part, after = layer.step(x.slice(start, stop), state)
        made.append((after, _copies(after)))
        if decoy is not None:
            layer.step(decoy, state)
        for before, copies in made:
            for number, (tensor, was) in enumerate(zip(state_tensors(before), copies, strict=True)):
                if not torch.equal(tensor.detach(), was):
                    raise case.broken(law, f"step changed tensor {number} of the state it was given; a new one was expected")
        _require_batch_first(case, law, after, x.batch_size)
        parts.append(part)
        state = after
    return parts, state


def _copies(state: State) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in state_tensors(state)]


def reset(case: Case) -> None:
    """Restarting one row's state leaves the other rows alone, and that row continues as if newly begun."""
    law = "reset"
    layer = case.causal_layer
    assert layer is not None
    first, second = case.make(4, 6, 5, 6), case.make(6, 6, 0, 3, seed=1)
    _, state = layer.step(first, _initial(case, law, layer, first))
    untouched, _ = layer.step(second, state)
    new, _ = layer.step(second, _initial(case, law, layer, second))

    restarted = torch.tensor([False, True, False, False], device=second.device)
    mixed = choose_rows(restarted, _initial(case, law, layer, second), state)
    found, _ = layer.step(second, mixed)
    case.require_equal(law, "output of the rows that continue", found.values[~restarted], untouched.values[~restarted])
    case.require_equal(law, "output of the restarted row", found.values[restarted], new.values[restarted])


def _initial(case: Case, law: str, layer: Layer, x: Sequence) -> State:
    state = layer.initial_state(x.batch_size, device=case.like.device, dtype=case.like.dtype)
    _require_batch_first(case, law, state, x.batch_size)
    return state


def _require_batch_first(case: Case, law: str, state: State, batch_size: int) -> None:
    for number, tensor in enumerate(state_tensors(state)):
        if tensor.dim() == 0 or tensor.shape[0] != batch_size:
            raise case.broken(
                law, f"tensor {number} of the state has shape {tuple(tensor.shape)} where [{batch_size}, ...] was expected"
            )


def _require_same_state(case: Case, what: str, found: State, expected: State) -> None:
    ours, theirs = state_tensors(found), state_tensors(expected)
    if len(ours) != len(theirs):
        raise case.broken("step = whole", f"{what} has {len(ours)} tensors where {len(theirs)} were expected")
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        # A cache that grows is as wide as the longest row beside it needs: what it has more must be zero.
        case.require_equal("step = whole", f"tensor {number} of {what}", *same_width(one, other))


def _pad_to(x: Sequence, time: int) -> Sequence:
    missing = time - x.time
    more: Tensor = x.values.new_zeros(x.batch_size, missing, *x.values.shape[2:])
    return x.with_values(torch.cat([x.values, more], dim=1))

"""What a caller has set for all of PyTorch, and why it changes no answer here.

A default type of numbers, a default device, autocast and inference mode reach into every computation of a process or a
thread. They are meant for the caller's own models: what carryover computes is the same whatever they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

Value = TypeVar("Value")


@contextmanager
def default_torch_state(*, gradients: bool = False) -> Iterator[None]:
    """While the block runs: float32, tensors on the CPU where nothing else is said, no autocast, no inference mode.

    With `gradients` they are computed, too, also for a caller who wants none. Costs next to nothing where all that is so
    anyway; afterwards everything is as the caller had it. As a decorator it does the same for every call of a function.
    """
    import torch

    with ExitStack() as stack:
        if (before := torch.get_default_dtype()) != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, before)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        wanted = gradients or torch.is_grad_enabled()
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.is_grad_enabled() != wanted:
            stack.enter_context(torch.set_grad_enabled(wanted))
        yield


def each_with_default_torch_state(values: Iterable[Value]) -> Iterator[Value]:
    """The same values, each computed while `default_torch_state`; what the caller does between two of them is left alone."""
    waiting = iter(values)
    while True:
        with default_torch_state():
            try:
                value = next(waiting)
            except StopIteration:
                return
        yield value

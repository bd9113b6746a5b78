"""Looking inside a layer while it runs: every inner activation by the name of the module that makes it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from carryover.sequence import Sequence

Activation = Sequence | Tensor
MISSING = object()


class Taps:
    """What was tapped, by module name. `taps[name]` is the latest value, `taps.all(name)` every one since the beginning."""

    def __init__(self, names: Iterable[str]) -> None:
        self._values: dict[str, list[Activation]] = {name: [] for name in names}

    def names(self) -> list[str]:
        return list(self._values)

    def all(self, name: str) -> list[Activation]:
        """Values of `name`, one for each time the module ran, in order. KeyError when it was not asked for."""
        if name not in self._values:
            raise KeyError(f"{name!r} is not tapped: the taps are {self.names()}")
        return self._values[name]

    def __getitem__(self, name: str) -> Activation:
        values = self.all(name)
        if not values:
            raise LookupError(f"{name!r} has not run since the tap was set: run the layer first, or tap a module it uses")
        return values[-1]

    def _add(self, name: str, result: Any) -> None:
        value = result[0] if isinstance(result, tuple) else result  # `step` answers (outputs, state)
        self._values[name].append(value)


@contextmanager
def taps(layer: nn.Module, names: str | Iterable[str]) -> Iterator[Taps]:
    """Record what the named modules of `layer` answer, in a whole pass or step by step, while the context lasts.

        with taps(encoder, ["blocks.0.attention.weights", "blocks.1"]) as seen:
            encoder(x)
        seen["blocks.0.attention.weights"]  # [B, heads, T, T]

    A name is one of `layer.named_modules()`, "" for the layer itself; attention weights are the module `weights` of each
    attention layer. A value is what the module answered, a Sequence or a tensor with its gradient history. Fused paths
    are off inside `layer` as long as the context lasts (`last_path` shows it) and come back at its end, also after an
    exception. It costs the speed of the plain paths, for recurrent layers a loop over the steps.

    Only modules that are called show: what a layer computes without calling a submodule has no name, and
    a module whose parameters another reads directly stays silent. LookupError when such a value is asked for. ValueError
    names a module that is not there, with the nearest that are.
    """
    names = [names] if isinstance(names, str) else list(names)
    modules = dict(layer.named_modules())
    for name in names:
        if name not in modules:
            near = difflib.get_close_matches(name, modules, n=3, cutoff=0.3) or [one for one in modules if one][:8]
            raise ValueError(f"{type(layer).__name__} has no module {name!r}: the nearest names are {near}")
    seen = Taps(names)
    before: list[tuple[nn.Module, str, Any]] = []

    def put(module: nn.Module, attribute: str, value: Any) -> None:
        before.append((module, attribute, vars(module).get(attribute, MISSING)))
        object.__setattr__(module, attribute, value)

    try:
        for module in modules.values():
            if hasattr(module, "fast"):
                put(module, "fast", False)
        for name in names:
            running = [False]  # one for a module, so that a `forward` that calls `step` is recorded once
            for method in ("forward", "step"):
                if hasattr(modules[name], method):
                    put(modules[name], method, _recorded(getattr(modules[name], method), seen, name, running))
        yield seen
    finally:
        for module, attribute, value in reversed(before):
            if value is MISSING:
                object.__delattr__(module, attribute)
            else:
                object.__setattr__(module, attribute, value)


def _recorded(method: Callable[..., Any], seen: Taps, name: str, running: list[bool]) -> Callable[..., Any]:
    def record(*arguments: Any, **options: Any) -> Any:
        if running[0]:
            return method(*arguments, **options)
        running[0] = True
        try:
            result = method(*arguments, **options)
        finally:
            running[0] = False
        seen._add(name, result)
        return result

    return record

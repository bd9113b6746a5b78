"""A process that was forked while other threads computed: their locks, and what they had half written, go with them.

A child of `fork` has one thread. A lock that another thread held is never given back there, and a cache that it was filling
stays half filled. So in the child every lock and every cache of carryover begins anew; nothing but speed depends on them.
PyTorch's own locks (oneDNN's, around what it has built for a convolution) cannot be renewed: a fork waits until no thread of
carryover's computes vectors or predictions.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar, overload
from weakref import WeakSet

Owner = TypeVar("Owner")
Value = TypeVar("Value")


class Renewed(Protocol):
    """Has a lock."""

    def renew(self) -> None:
        """A new lock, and whatever it guards as it was in the beginning."""


_renewed: WeakSet[Any] = WeakSet()


def renew_after_fork(owner: Renewed) -> None:
    """Call `owner.renew()` in every child that is forked as long as the owner lives."""
    _renewed.add(owner)


class computed_once(Generic[Value]):  # used as `property` is
    """An attribute that a method computes when it is first asked for; two threads may both do so.

    `functools.cached_property` holds one lock for all objects of a class meanwhile, up to Python 3.11.
    """

    def __init__(self, method: Callable[[Any], Value]) -> None:
        self.method, self.name, self.__doc__ = method, method.__name__, method.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> computed_once[Value]: ...
    @overload
    def __get__(self, owner: object, kind: type) -> Value: ...
    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self
        value = owner.__dict__[self.name] = self.method(owner)
        return value


PATIENCE = 5.0
"""Seconds that a fork waits for computing threads at most, and that they wait for a fork."""


class _Gate:
    """Closed while a process forks: computations that have begun end first, and others begin afterwards."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._changed = threading.Condition(threading.Lock())
        self._inside, self._closed = 0, False

    @contextmanager
    def computing(self) -> Iterator[None]:
        depth = getattr(self._mine, "depth", 0)
        if depth == 0:
            with self._changed:
                self._changed.wait_for(lambda: not self._closed, PATIENCE)
                self._inside += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            if depth == 0:
                with self._changed:
                    self._inside -= 1
                    self._changed.notify_all()

    def _own(self) -> int:
        return int(getattr(self._mine, "depth", 0) > 0)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside <= self._own(), PATIENCE)

    def open(self) -> None:
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    def renew(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside, self._closed = self._own(), False


_gate = _Gate()
computing = _gate.computing
"""A context in which PyTorch computes for carryover: a fork in another thread waits for its end, `PATIENCE` seconds at most."""


def _in_child() -> None:
    _gate.renew()
    for owner in list(_renewed):
        owner.renew()
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)  # the threads of OpenMP stayed with the parent, and PyTorch would wait for them for ever


if sys.platform != "win32":
    os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_in_child)

"""Weights in the form a kernel wants, made once and kept as long as the weights stay what they are.

For passes without gradients only. What is kept lives beside its owner and not in it, so it is neither copied, nor saved, nor
sent to another process, and it goes when the owner goes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from carryover.forking import renew_after_fork
from carryover.kernels import c_library

Prepared = TypeVar("Prepared")

_SAMPLES = 64


class _PreparedWeights:
    """What was prepared, by its owner and its form."""

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Nothing, and a new lock."""
        self.of: WeakKeyDictionary[nn.Module, dict[Hashable, tuple[Any, Any]]] = WeakKeyDictionary()
        self.lock = threading.RLock()  # what is built may be of parts that are prepared themselves


_ready = _PreparedWeights()


def prepared(
    owner: nn.Module, form: Hashable, weights: tuple[Tensor | None, ...], build: Callable[[], Prepared]
) -> Prepared:
    """What `build` makes of the `weights` of `owner`; made again when one of them has changed.

    A change is seen by the tensor's version, its place in memory and a sample of its values, because fused optimisers and
    writes through `.data` leave no version. Whoever computes gradients says `forget` as well. Inference tensors have no
    version: all their values are read each time, or where no compiled kernel can do that they are prepared each time.
    """
    marks = tuple(None if weight is None else _mark(weight) for weight in weights)
    if any(mark is not None and mark[1] is None for mark in marks):
        return build()
    with _ready.lock:
        forms = _ready.of.setdefault(owner, {})
        if form in forms and forms[form][0] == marks:
            return forms[form][1]
        forms.pop(form, None)  # its memory first
        made = build()
        forms[form] = (marks, made)
    return made


def forget(owner: nn.Module) -> None:
    """Drop what was prepared for `owner`, whose weights are about to be trained."""
    if owner in _ready.of:
        with _ready.lock:
            _ready.of.pop(owner, None)


def _mark(weight: Tensor) -> tuple[Any, ...]:
    flat = weight.detach().reshape(-1)
    sample = flat[:: max(1, flat.numel() // _SAMPLES)][: _SAMPLES + 1]
    version = c_library.fingerprint(weight) if weight.is_inference() else weight._version
    return weight.data_ptr(), version, weight.dtype, tuple(weight.shape), tuple(weight.stride()), sample.tolist()

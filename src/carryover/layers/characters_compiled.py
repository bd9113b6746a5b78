"""The character CNN in C (`kernels/inference.c`), for passes without gradients on a CPU; `CharacterCNN` itself beside it.

What a character adds to a filter at a place of its window is looked up instead of multiplied: 262 characters are few. Highway
layers and projection are products whose gates and sums are made in the registers. Vectors of words are kept for the batches
that follow, as long as the weights stay what they are.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from carryover.forking import renew_after_fork
from carryover.layers import compiled
from carryover.layers.compiled import COLUMNS, integers, panels, widened
from carryover.layers.highway import Highway
from carryover.layers.prepared import prepared, wants_gradients

if TYPE_CHECKING:
    from carryover.layers.characters import CharacterCNN

STEP = 16  # filters of a width are a multiple of this
KEPT_BYTES = 64 << 20  # of vectors of words; where there are more all are forgotten


class Dense(NamedTuple):
    """A product as the kernel reads it."""

    weight: Tensor  # panels
    bias: Tensor
    outputs: int
    highway: bool


class Ready(NamedTuple):
    tables: Tensor  # for each width [width, ids, filters], one after the other
    bias: Tensor  # [all filters]
    dense: list[Dense]
    known: KnownWords


class KnownWords:
    """Vectors of words that were computed before, by their character ids."""

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        with torch.inference_mode(False):  # to be written to in either mode
            self._vectors = torch.empty(KEPT_BYTES // (size * dtype.itemsize), size, dtype=dtype)
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """No word is known, and a new lock."""
        self._places: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def forget(self) -> None:
        with self._lock:
            self._places.clear()

    def look_up(self, characters: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Vectors [U, size] of words [U, characters a word]; `compute` gives those of words that are not known."""
        words = [row.tobytes() for row in characters.numpy()]
        with self._lock:
            if len(self._places) + len(words) > len(self._vectors):
                self._places.clear()
            if len(words) > len(self._vectors):
                return compute(characters)
            first, new = len(self._places), list[int]()
            for number, word in enumerate(words):
                if word not in self._places:
                    self._places[word] = first + len(new)
                    new.append(number)
            try:
                if new:
                    self._vectors[first : first + len(new)] = compute(characters[new])
            except BaseException:
                self._places.clear()
                raise
            return self._vectors[[self._places[word] for word in words]]


class _Words(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("words", "places", "ids", "widths", "features", "threads")),
        *((name, ctypes.c_void_p) for name in ("width", "count", "characters", "tables", "bias", "found")),
    )


class _Dense(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("rows", "words", "panels", "outputs", "highway", "low", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "weights", "bias", "y")),
    )


def fits(layer: CharacterCNN, characters: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel can encode the words. Compiles it when it is first needed."""
    if not layer.fast or wants_gradients(*layer.parameters()) or not characters.numel() or characters.dtype != torch.int64:
        return False
    if any(convolution.out_channels % STEP for convolution in _convolutions(layer)):
        return False
    if sum(convolution.out_channels for convolution in _convolutions(layer)) % (COLUMNS // 2):
        return False
    if any(highway.activation is not torch.relu for highway in _highways(layer)):
        return False
    if layer.characters.dtype != torch.float32 or not compiled.usable((*layer.parameters(), layer.characters), dtype):
        return False
    low, high = torch.aminmax(characters)
    return characters.device.type == "cpu" and bool(low >= 0) and bool(high < layer.in_size)


def encode(layer: CharacterCNN, characters: Tensor, dtype: torch.dtype) -> Tensor:
    """Vectors [U, out_size] in `dtype` of words given as character ids [U, characters a word]."""
    ready = _ready(layer, dtype)
    return ready.known.look_up(characters, lambda unknown: _encode(layer, ready, unknown.contiguous(), dtype))


def forget_words(layer: CharacterCNN) -> None:
    """Compute every word again, as if none had been seen."""
    for dtype in (torch.float32, torch.bfloat16):
        _ready(layer, dtype).known.forget()


def _ready(layer: CharacterCNN, dtype: torch.dtype) -> Ready:
    return prepared(layer, ("words", dtype), tuple(layer.parameters()), lambda: ready_of(layer, dtype))


def _encode(layer: CharacterCNN, ready: Ready, characters: Tensor, dtype: torch.dtype) -> Tensor:
    (words, places), features = characters.shape, len(ready.bias)
    widths = integers(convolution.kernel_size[0] for convolution in _convolutions(layer))
    counts = integers(convolution.out_channels for convolution in _convolutions(layer))
    found = torch.empty(words, features)
    tensors = (widths, counts, characters, ready.tables, ready.bias, found)
    threads = compiled.threads_for(words * features * 64)
    task = _Words(words, places, layer.in_size, len(widths), features, threads, *(t.data_ptr() for t in tensors))
    compiled.run("word_features", task)
    x = layer.activation(found).to(dtype)
    for dense in ready.dense:
        x = _run_dense(dense, x)
    return x


def _convolutions(layer: CharacterCNN) -> list[nn.Conv1d]:
    return cast("list[nn.Conv1d]", list(layer.convolutions))


def _highways(layer: CharacterCNN) -> list[Highway]:
    return cast(list[Highway], list(layer.highways))


def _run_dense(dense: Dense, x: Tensor) -> Tensor:
    low = int(x.dtype == torch.bfloat16)
    x, y = x.contiguous(), x.new_empty(len(x), dense.outputs)
    rows, words, count = len(x), x.shape[1] // (1 + low), len(dense.weight)
    threads = compiled.threads_for(rows * words * count * COLUMNS)
    tensors = (x, dense.weight, dense.bias, y)
    task = _Dense(rows, words, count, dense.outputs, int(dense.highway), low, threads, *(t.data_ptr() for t in tensors))
    compiled.run("dense", task)
    return y


def ready_of(layer: CharacterCNN, dtype: torch.dtype) -> Ready:
    tables = [
        torch.einsum("ic,ncj->jin", layer.characters.detach(), convolution.weight.detach()).flatten()
        for convolution in _convolutions(layer)
    ]
    bias = torch.cat([cast(Tensor, convolution.bias).detach() for convolution in _convolutions(layer)])
    dense = [_highway(highway, dtype) for highway in _highways(layer)]
    if layer.projection is not None:
        dense.append(_linear(layer.projection, dtype))
    return Ready(torch.cat(tables), bias, dense, KnownWords(layer.out_size, dtype))


def _highway(layer: Highway, dtype: torch.dtype) -> Dense:
    """Panels of 32 columns of the transform and the 32 of the gate that belong to them."""
    size, half = layer.in_size, COLUMNS // 2

    def side_by_side(transform: Tensor, gate: Tensor) -> Tensor:
        return torch.cat([part.detach().view(size // half, half, -1) for part in (transform, gate)], 1)

    weight = side_by_side(layer.transform.weight, layer.gate.weight).to(dtype)
    return Dense(panels(weight), side_by_side(layer.transform.bias, layer.gate.bias).flatten(), size, True)


def _linear(layer: nn.Linear, dtype: torch.dtype) -> Dense:
    outputs, missing = layer.out_features, -layer.out_features % COLUMNS
    weight = torch.nn.functional.pad(layer.weight.detach().to(dtype), (0, 0, 0, missing))
    bias = widened(layer.bias.detach(), outputs + missing)
    return Dense(panels(weight.view(-1, COLUMNS, layer.in_features)), bias, outputs, False)

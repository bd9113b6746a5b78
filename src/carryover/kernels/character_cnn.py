"""The character CNN in C (`c/inference.c`), for passes without gradients on a CPU.

What a character adds to a filter at a place of its window is looked up instead of multiplied: 262 characters are few. Highway
layers and projection are products whose gates and sums are made in the registers. Vectors of words are kept for the batches
that follow, as long as the weights stay what they are.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from carryover.forking import renew_after_fork
from carryover.kernels import c_library
from carryover.kernels.c_library import COLUMNS, int_array, pack_panels, pad_columns

STEP = 16  # filters of a width are a multiple of this
KEPT_BYTES = 64 << 20  # of vectors of words; where there are more all are forgotten


class BiasedWeight(NamedTuple):
    """The filters of one width, or a map x ↦ W x + b."""

    weight: Tensor  # [number, character size, width], or [out, in]
    bias: Tensor  # [number], or [out]


class HighwayWeights(NamedTuple):
    """A layer that mixes relu of one map of its input and the input itself as a gate, the other map, tells."""

    transform: BiasedWeight
    gate: BiasedWeight


class CharacterWeights(NamedTuple):
    """What the kernel reads besides the characters of the words."""

    characters: Tensor  # [ids, character size]
    filters: tuple[BiasedWeight, ...]  # of each width
    highways: tuple[HighwayWeights, ...]
    projection: BiasedWeight | None


class PackedProduct(NamedTuple):
    """A product as the kernel reads it."""

    weight: Tensor  # panels
    bias: Tensor
    outputs: int
    highway: bool


class CharacterTables(NamedTuple):
    """The weights as the kernel reads them, and the words it has met."""

    ids: int
    widths: tuple[int, ...]
    counts: tuple[int, ...]  # of filters, for each width
    tables: Tensor  # for each width [width, ids, filters], one after the other
    bias: Tensor  # [all filters]
    products: list[PackedProduct]
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


def fits(weights: CharacterWeights, characters: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel can encode words, int64 [U, characters a word], with products of type `dtype`. Compiles it when it is
    first needed."""
    if not characters.numel() or characters.dtype != torch.int64:
        return False
    counts = [len(one.bias) for one in weights.filters]
    if any(count % STEP for count in counts) or sum(counts) % (COLUMNS // 2):
        return False
    counted = (*_tensors(weights), weights.characters)  # twice: another sum would move small layers to the other path
    if weights.characters.dtype != torch.float32 or not c_library.supported(counted, dtype):
        return False
    low, high = torch.aminmax(characters)
    return characters.device.type == "cpu" and bool(low >= 0) and bool(high < len(weights.characters))


def _tensors(weights: CharacterWeights) -> list[Tensor]:
    parts = [*weights.filters, *(one for highway in weights.highways for one in highway)]
    parts += [] if weights.projection is None else [weights.projection]
    return [weights.characters, *(tensor for part in parts for tensor in part)]


def encode(ready: CharacterTables, characters: Tensor, dtype: torch.dtype, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Vectors [U, size] in `dtype` of words [U, characters a word]; `activation` follows the maximum of the filters."""
    return ready.known.look_up(characters, lambda unknown: _encode(ready, unknown.contiguous(), dtype, activation))


def _encode(
    ready: CharacterTables, characters: Tensor, dtype: torch.dtype, activation: Callable[[Tensor], Tensor]
) -> Tensor:
    (words, places), features = characters.shape, len(ready.bias)
    widths, counts = int_array(ready.widths), int_array(ready.counts)
    found = torch.empty(words, features)
    tensors = (widths, counts, characters, ready.tables, ready.bias, found)
    threads = c_library.threads_for(words * features * 64)
    task = _Words(words, places, ready.ids, len(widths), features, threads, *(t.data_ptr() for t in tensors))
    c_library.run("word_features", task)
    x = activation(found).to(dtype)
    for packed in ready.products:
        x = _multiply(packed, x)
    return x


def _multiply(packed: PackedProduct, x: Tensor) -> Tensor:
    low = int(x.dtype == torch.bfloat16)
    x, y = x.contiguous(), x.new_empty(len(x), packed.outputs)
    rows, words, count = len(x), x.shape[1] // (1 + low), len(packed.weight)
    threads = c_library.threads_for(rows * words * count * COLUMNS)
    tensors = (x, packed.weight, packed.bias, y)
    task = _Dense(rows, words, count, packed.outputs, int(packed.highway), low, threads, *(t.data_ptr() for t in tensors))
    c_library.run("dense", task)
    return y


def tables_of(weights: CharacterWeights, dtype: torch.dtype) -> CharacterTables:
    """The weights in the order in which the kernel reads them, for products of type `dtype`; no word is known."""
    characters = weights.characters.detach()
    tables = [torch.einsum("ic,ncj->jin", characters, one.weight.detach()).flatten() for one in weights.filters]
    products = [_highway(one, dtype) for one in weights.highways]
    if weights.projection is not None:
        products.append(_affine(weights.projection, dtype))
    bias = torch.cat([one.bias.detach() for one in weights.filters])
    size = products[-1].outputs if products else len(bias)
    return CharacterTables(
        len(characters),
        tuple(one.weight.shape[2] for one in weights.filters),
        tuple(len(one.bias) for one in weights.filters),
        torch.cat(tables),
        bias,
        products,
        KnownWords(size, dtype),
    )


def _highway(weights: HighwayWeights, dtype: torch.dtype) -> PackedProduct:
    """Panels of 32 columns of the transform and the 32 of the gate that belong to them."""
    size, half = len(weights.transform.bias), COLUMNS // 2

    def side_by_side(transform: Tensor, gate: Tensor) -> Tensor:
        return torch.cat([part.detach().view(size // half, half, -1) for part in (transform, gate)], 1)

    weight = side_by_side(weights.transform.weight, weights.gate.weight).to(dtype)
    bias = side_by_side(weights.transform.bias, weights.gate.bias).flatten()
    return PackedProduct(pack_panels(weight), bias, size, True)


def _affine(weights: BiasedWeight, dtype: torch.dtype) -> PackedProduct:
    outputs, inputs = weights.weight.shape
    missing = -outputs % COLUMNS
    weight = torch.nn.functional.pad(weights.weight.detach().to(dtype), (0, 0, 0, missing))
    bias = pad_columns(weights.bias.detach(), outputs + missing)
    return PackedProduct(pack_panels(weight.view(-1, COLUMNS, inputs)), bias, outputs, False)

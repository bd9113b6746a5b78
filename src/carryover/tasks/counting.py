"""Counts that add up over examples, and the ratios that are made of their sums: the only place where answers are counted.

Conventions are those of scikit-learn: a ratio 0/0 counts as 0, macro averages run over the labels that occur in gold or
predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Counts = Any
"""[N, K], a row of counts for each example: an array, or of many labels a sparse table of SciPy."""

RIGHT, ANSWERED, GOLD = range(3)
_ROWS_AT_ONCE = 256
_SPARSE_FROM = 16  # columns


def label_counts(places: Mapping[str, int], right: Iterable[str], answered: Iterable[str], gold: Iterable[str]) -> Numbers:
    """[3 · labels]: for each label in the order of `places` how often it was right, was answered, and is gold."""
    counts = np.zeros((len(places), 3))
    for column, labels in ((RIGHT, right), (ANSWERED, answered), (GOLD, gold)):
        for label in labels:
            counts[places[label], column] += 1
    return counts.ravel()


def stack_counts(rows: Iterable[Numbers], size: int) -> Counts:
    """The table [N, K] of rows [K = `size`]. Where nearly all of it is 0 it is sparse, so that a thousand labels fit."""
    from scipy.sparse import csr_array, vstack

    blocks: list[Any] = []
    some: list[Numbers] = []

    def close() -> None:
        block = np.array(some, dtype=np.float64).reshape(len(some), size)
        blocks.append(csr_array(block) if size >= _SPARSE_FROM else block)
        some.clear()

    for row in rows:
        some.append(row)
        if len(some) == _ROWS_AT_ONCE:
            close()
    if some or not blocks:
        close()
    if size < _SPARSE_FROM:
        return np.concatenate(blocks)
    table = vstack(blocks, format="csr")
    return table.toarray() if 4 * table.nnz > table.shape[0] * size else table


def ratio(above: Any, below: Any) -> Numbers:
    """above / below, and 0 where there is nothing to divide by."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below > 0)


def f1(counts: Numbers) -> Numbers:
    """[...] of right, answered and gold [..., 3]."""
    return ratio(2 * counts[..., RIGHT], counts[..., ANSWERED] + counts[..., GOLD])


def macro_f1(table: Numbers) -> Numbers:
    """[...]: mean F1 over labels [..., C, 3], each label that occurs counting once however rare; 0 when none does."""
    occurs = (table[..., ANSWERED] + table[..., GOLD]) > 0
    return ratio(f1(table).sum(axis=-1), occurs.sum(axis=-1).astype(np.float64))


def guessed_macro_f1(gold: Numbers, examples: int, *, several: bool) -> Numbers:
    """[...]: the macro-F1 to expect of the best blind guessing, of gold counts [..., C] among `examples`; see `Classify.guessing`."""
    occurring = (gold > 0).sum(axis=-1).astype(np.float64)
    each = 2 * gold / (examples + gold) if several else (gold > 0) / np.maximum(occurring[..., None], 1)
    return ratio(each.sum(axis=-1), occurring)


def unanswered(labels: Iterable[str], table: Numbers) -> tuple[str, ...]:
    """Labels with gold examples in `table` [C, 3] that were answered nowhere."""
    return tuple(label for label, row in zip(labels, table, strict=True) if row[GOLD] > 0 and row[ANSWERED] == 0)

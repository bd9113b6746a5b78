"""Tasks that only a long memory solves, made of random numbers: the adding problem and the copy memory task.

Every sequence is a pure function of its number and the seed, so nothing is stored and a run that resumes sees what it would
have seen.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from carryover.data.order import uniform_rows

DIGITS = 10  # remembered in the copy memory task
SYMBOLS = 8  # of which each is one, 1 … 8
RECALL = 9  # the symbol that asks for them


def adding_problem(numbers: Iterable[int], length: int, *keys: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sequences [B, length, 2] and targets [B], one for each of `numbers`; `keys` are the seed.

    Feature 0 is drawn uniformly from [0, 1), feature 1 is zero but for a 1 at two steps drawn without replacement; the
    target is the sum of feature 0 at those two (Hochreiter & Schmidhuber 1997, in the form of Martens & Sutskever 2011).
    Who always says 1 errs by the variance of that sum: a mean squared error of 1/6. ValueError below length 2.
    """
    if length < 2:
        raise ValueError(f"the length is {length}: two different steps are marked, so it must be at least 2")
    drawn = uniform_rows(length + 2, numbers, *keys)
    values = np.zeros((len(drawn), length, 2), dtype=np.float32)
    values[..., 0] = drawn[:, :length]
    first = (drawn[:, length] * length).astype(np.int64)
    second = (first + 1 + (drawn[:, length + 1] * (length - 1)).astype(np.int64)) % length
    rows = np.arange(len(drawn))
    values[rows, first, 1] = values[rows, second, 1] = 1
    return values, values[rows, first, 0] + values[rows, second, 0]


def copy_memory(numbers: Iterable[int], blank: int, *keys: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sequences [B, blank + 20, 1] and targets [B, blank + 20], one for each of `numbers`; `keys` are the seed.

    Ten symbols drawn from 1 … 8, blank − 1 zeros, eleven times 9; to be said: zeros, and at the last ten steps the ten
    symbols (Arjovsky, Shah & Bengio 2016, section 4.1, as Bai et al. 2018 lay it out). Who remembers nothing, says zero
    and then all eight with equal probability, has a cross entropy of 10 ln 8 / (blank + 20). ValueError below blank 1.
    """
    if blank < 1:
        raise ValueError(f"the blank is {blank} steps long: it must be at least 1")
    symbols = 1 + (uniform_rows(DIGITS, numbers, *keys) * SYMBOLS).astype(np.int64)
    values = np.zeros((len(symbols), blank + 2 * DIGITS, 1), dtype=np.float32)
    targets = np.zeros((len(symbols), blank + 2 * DIGITS), dtype=np.int64)
    values[:, :DIGITS, 0] = symbols
    values[:, -DIGITS - 1 :, 0] = RECALL
    targets[:, -DIGITS:] = symbols
    return values, targets

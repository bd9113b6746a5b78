"""From what a batch holds to vectors of its words: without the borders, and of several pieces their mean."""

from __future__ import annotations

import torch
from torch import Tensor

from carryover.data.coding import TokenBatch
from carryover.sequence import Sequence


def mean_over_pieces(pieces: Sequence, word_of_unit: Tensor, word_lengths: Tensor) -> Sequence:
    """[B, T, ...] of pieces → [B, W, ...] of words: the mean of each word's pieces, zero for a word without any.

    A product with a [B, W, T] matrix of shares rather than a scattered sum: deterministic on every device.
    """
    words = int(word_lengths.max()) if len(word_lengths) else 0
    numbers = torch.arange(words, device=word_of_unit.device)
    belongs = (word_of_unit.unsqueeze(1) == numbers.view(1, -1, 1)).to(pieces.values.dtype)  # [B, W, T]
    shares = belongs / belongs.sum(dim=2, keepdim=True).clamp(min=1)
    flat = pieces.values.flatten(2)  # [B, T, (L+1)·2P]
    means = torch.bmm(shares, flat).view(flat.shape[0], words, *pieces.values.shape[2:])
    return Sequence(means, word_lengths).zero_padding()


def means_of_row(pieces: Tensor, word_of_unit: Tensor, words: int) -> Tensor:
    """[T, …] of one sentence's pieces → [W, …]: the mean of each word's pieces, zero for a word without any."""
    inner = word_of_unit >= 0
    if words == 0:
        return pieces[:0]
    counts = torch.bincount(word_of_unit[inner], minlength=words)
    sums = torch.segment_reduce(pieces[inner].flatten(1), "sum", lengths=counts, axis=0)  # a word's pieces are neighbours
    return (sums / counts.clamp(min=1).unsqueeze(1)).view(words, *pieces.shape[1:])


def check_borders(batch: TokenBatch) -> None:
    """Raise ValueError for a batch that was coded without the borders of its sentences."""
    if batch.word_of_unit is not None:
        bordered = bool((batch.word_of_unit[:, :1] == -1).all())
    else:
        bordered = torch.equal((batch.index.lengths - 2).clamp(min=0), batch.word_lengths)
    if not bordered:
        raise ValueError(
            f"the batch has lengths {batch.index.lengths.tolist()} for {batch.word_lengths.tolist()} words, so it was "
            "coded without sentence borders: code it with borders=True"
        )

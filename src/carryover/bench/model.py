"""The models of the table, built of the package's layers."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import nn

from carryover.bench.published import Recipe
from carryover.data.order import random_bits
from carryover.layers import GRU, LSTM, TCN, Dropout, Elman, Embedding, Layer, Stacked, TemporalBlock
from carryover.models.sequence_model import SequenceModel

_EMBEDDING_RANGE = 0.1
_CELLS: dict[str, type[Elman | GRU | LSTM]] = {"elman": Elman, "gru": GRU, "lstm": LSTM}


def build_model(recipe: Recipe, in_size: int, out_size: int, *, reads: str, readout: str, seed: int) -> SequenceModel:
    """A new model with weights drawn by `seed`; `recipe.size` is a number (see `recipe_size`).

    Recurrent layers stand one above the other with dropout above each. A TCN whose output weights are tied to an embedding
    of another size gets a last level of that size. Tied embeddings are drawn uniformly from ±0.1, as the authors' are.
    """
    assert recipe.size is not None
    torch.manual_seed(int(random_bits(1, seed)[0] >> 1))
    below: Layer | None = None
    if reads == "ids":
        embedding = Embedding(in_size, recipe.embedding or recipe.size)
        below = Stacked(embedding, Dropout(embedding.out_size, recipe.input_dropout)) if recipe.input_dropout else embedding
        in_size = embedding.out_size
    layer = _tcn(recipe, in_size) if recipe.model == "tcn" else _recurrent(recipe, in_size)
    model = SequenceModel(layer, out_size, input_layer=below, readout=readout)
    if recipe.tied:
        if layer.out_size != embedding.out_size:
            raise ValueError(f"tied weights need one size, the embedding has {embedding.out_size}, the top {layer.out_size}")
        model.output.weight = embedding.weight
        with torch.no_grad():
            embedding.weight.uniform_(-_EMBEDDING_RANGE, _EMBEDDING_RANGE)
            nn.init.zeros_(model.output.bias)
    return model


def recipe_size(recipe: Recipe, in_size: int, out_size: int, *, reads: str, parameters: int) -> int:
    """The size of the recipe, or where it has none, the one that `matching_size` finds."""
    return recipe.size or matching_size(recipe, in_size, out_size, reads, parameters)


@cache
def matching_size(recipe: Recipe, in_size: int, out_size: int, reads: str, parameters: int) -> int:
    """The size of a recurrent layer with which the model has the number of parameters nearest to `parameters`."""
    low, high = 1, 2
    while _count(recipe, high, in_size, out_size, reads) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _count(recipe, middle, in_size, out_size, reads) >= parameters else (middle, high)
    return min((low, high), key=lambda size: abs(_count(recipe, size, in_size, out_size, reads) - parameters))


def count_parameters(model: nn.Module) -> int:
    """Numbers that are learned; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _count(recipe: Recipe, size: int, in_size: int, out_size: int, reads: str) -> int:
    from dataclasses import replace

    with torch.device("meta"):
        sized = replace(recipe, size=size)
        return count_parameters(build_model(sized, in_size, out_size, reads=reads, readout="every", seed=0))


def _recurrent(recipe: Recipe, in_size: int) -> Layer:
    assert recipe.size is not None
    parts: list[Layer] = []
    for _ in range(recipe.layers):
        cell = _CELLS[recipe.model](parts[-1].out_size if parts else in_size, recipe.size)
        if isinstance(cell, LSTM) and recipe.forget_bias is not None:
            with torch.no_grad():
                cell.bias[recipe.size : 2 * recipe.size] = recipe.forget_bias  # gates are in the order i, f, g, o
        parts.append(cell)
        if recipe.dropout:
            parts.append(Dropout(recipe.size, recipe.dropout))
    return parts[0] if len(parts) == 1 else Stacked(*parts)


def _tcn(recipe: Recipe, in_size: int) -> Layer:
    assert recipe.size is not None
    if not recipe.tied or recipe.embedding in (None, recipe.size):
        return TCN(in_size, recipe.size, levels=recipe.layers, kernel=recipe.kernel, dropout=recipe.dropout)
    assert recipe.embedding is not None
    sizes = [in_size, *[recipe.size] * (recipe.layers - 1), recipe.embedding]
    return Stacked(
        *(
            TemporalBlock(below, above, recipe.kernel, dilation=2**level, dropout=recipe.dropout)
            for level, (below, above) in enumerate(pairwise(sizes))
        )
    )

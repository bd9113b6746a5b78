"""The one inventory of all public layers and poolings: how each is built, fed and independently computed.

A test fails when something public in `carryover.layers` has no row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from carryover.layers import (
    AttentionPooling,
    Bidirectional,
    CharacterCNN,
    ConcatenatedPooling,
    Dropout,
    Embedding,
    Highway,
    LastPooling,
    Layer,
    MaxPooling,
    MeanPooling,
    Perceptron,
    Pooling,
    Residual,
    ScalarMix,
    Stacked,
    SumPooling,
    VariationalDropout,
    WeightDrop,
    embed_by_one_hot,
    ids,
    real_values,
)
from carryover.layers.laws import Case
from carryover.layers.laws.case import Inputs
from carryover.layers.laws.keeping import Reference
from carryover.sequence import Sequence
from laws.plain import LeakySum


@dataclass(frozen=True)
class Row:
    """`build` makes the layer, `inputs` its inputs, `reference` computes the same outputs in another way."""

    name: str
    build: Callable[[], Layer | Pooling]
    reference: Reference
    inputs: Inputs | None = None

    def case(self, dtype: torch.dtype = torch.float32) -> Case:
        """The layer under examination, the same weights at every call."""
        return Case.of(self.make(0).to(dtype), self.inputs)

    def make(self, seed: int) -> Layer | Pooling:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build()


def each_row(function: Callable[[Layer, Tensor], Tensor]) -> Reference:
    """A reference that sees one unpadded row [length, ...] at a time."""

    def compute(layer: Layer, x: Sequence) -> Sequence:
        return Sequence.pad([function(layer, row) for row in x.rows()])

    return compute


def pooled(function: Callable[[Pooling, Tensor], Tensor]) -> Reference:
    """A reference for poolings: one unpadded row at a time, zeros for an empty one."""

    def compute(pooling: Pooling, x: Sequence) -> Tensor:
        return torch.stack([function(pooling, row) if len(row) else row.new_zeros(pooling.out_size) for row in x.rows()])

    return compute


def loop_character_cnn(layer: CharacterCNN, row: Tensor) -> Tensor:
    """Every word, filter and place by itself."""
    words = []
    for word in row:
        letters = layer.characters[word] * (word != 0).unsqueeze(1)  # [characters, size]; 0 is no character
        features = []
        for convolution in layer.convolutions:
            width = convolution.weight.shape[2]
            windows = [letters[place : place + width].T for place in range(len(letters) - width + 1)]  # [size, width]
            found = [(convolution.weight * window).sum((1, 2)) + convolution.bias for window in windows]
            features.append(torch.stack([layer.activation(value) for value in found]).amax(0))
        y = torch.cat(features)
        for highway in layer.highways:
            y = loop_highway(highway, y)
        words.append(y if layer.projection is None else layer.projection.weight @ y + layer.projection.bias)
    return torch.stack(words) if words else layer.characters.new_zeros(0, layer.out_size)


def loop_highway(layer: Highway, row: Tensor) -> Tensor:
    gate = torch.sigmoid(row @ layer.gate.weight.T + layer.gate.bias)
    return gate * torch.relu(row @ layer.transform.weight.T + layer.transform.bias) + (1 - gate) * row


def torch_perceptron(layer: Perceptron, row: Tensor) -> Tensor:
    modules: list[torch.nn.Module] = []
    for affine in layer.maps:
        modules += [affine, torch.nn.Tanh()]
    return torch.nn.Sequential(*modules[:-1])(row)


def loop_scalar_mix(layer: ScalarMix, row: Tensor) -> Tensor:
    if layer.layer_norm:
        row = row - row.mean(-1, keepdim=True)
        row = row / (row.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    exponentials = layer.layer_weights.exp()
    return layer.scale * sum(row[:, j] * exponentials[j] / exponentials.sum() for j in range(layer.layers))


def loop_leaky_sum(layer: LeakySum, row: Tensor) -> Tensor:
    outputs = [row.new_zeros(layer.out_size)]
    for value in row:
        outputs.append(layer.hidden_weight * outputs[-1] + layer.input_weight @ value)
    return torch.stack(outputs)[1:]


def loop_bidirectional(layer: Bidirectional, row: Tensor) -> Tensor:
    back = loop_leaky_sum(layer.backward_layer, row.flip(0)).flip(0)
    return torch.cat([loop_leaky_sum(layer.forward_layer, row), back], dim=1)


def loop_attention(pooling: AttentionPooling, row: Tensor) -> Tensor:
    scores = torch.stack([torch.tanh(pooling.score_hidden(step)) @ pooling.question for step in row])
    return scores.exp() @ row / scores.exp().sum()


def both_ends(_: Pooling, row: Tensor) -> Tensor:
    return torch.cat([row[-1, :2], row[0, 2:]])


ROWS = [
    Row("Embedding", lambda: Embedding(11, 4), lambda e, x: x.with_values(embed_by_one_hot(x.values, e.weight)), ids(11)),
    Row(
        "Embedding, padding id",
        lambda: Embedding(11, 4, padding_id=2, sparse_gradient=True),
        lambda e, x: x.with_values(F.embedding(x.values, e.weight, padding_idx=2)),
        ids(11),
    ),
    Row(
        "CharacterCNN",
        lambda: CharacterCNN(((1, 3), (3, 4)), in_size=9, character_size=5, highway_layers=2, projection=6),
        each_row(loop_character_cnn),
        ids(9, 7),
    ),
    Row(
        "CharacterCNN, filters only",
        lambda: CharacterCNN(((2, 5),), in_size=9, character_size=4, highway_layers=0, activation=torch.tanh),
        each_row(loop_character_cnn),
        ids(9, 5),
    ),
    Row("Highway", lambda: Highway(4), each_row(loop_highway)),
    Row("Perceptron", lambda: Perceptron(3, (6, 5), 4, activation=torch.tanh, dropout=0.3), each_row(torch_perceptron)),
    Row("Perceptron, one map", lambda: Perceptron(3, (), 4), each_row(torch_perceptron)),
    Row("Dropout", lambda: Dropout(3, 0.5), lambda _, x: x),
    Row("VariationalDropout", lambda: VariationalDropout(3, 0.5), lambda _, x: x),
    Row("ScalarMix", lambda: ScalarMix(3, 4), each_row(loop_scalar_mix), real_values(3, 4)),
    Row("ScalarMix, layer norm", lambda: ScalarMix(2, 4, layer_norm=True), each_row(loop_scalar_mix), real_values(2, 4)),
    Row(
        "Residual",
        lambda: Residual(Perceptron(4, (5,), 4, activation=torch.tanh)),
        each_row(lambda residual, row: row + torch_perceptron(residual.layer, row)),
    ),
    Row(
        "Residual, with memory",
        lambda: Residual(LeakySum(4, 4)),
        each_row(lambda residual, row: row + loop_leaky_sum(residual.layer, row)),
    ),
    Row(
        "WeightDrop",
        lambda: WeightDrop(LeakySum(), 0.5),
        each_row(lambda wrapper, row: loop_leaky_sum(wrapper.layer, row)),
    ),
    Row(
        "Stacked",
        lambda: Stacked(LeakySum(3, 4), VariationalDropout(4, 0.5), LeakySum(4, 2)),
        each_row(lambda stack, row: loop_leaky_sum(stack.layers[2], loop_leaky_sum(stack.layers[0], row))),
    ),
    Row(
        "Stacked, from ids",
        lambda: Stacked(Embedding(11, 3), Bidirectional(LeakySum(), LeakySum())),
        each_row(lambda stack, row: loop_bidirectional(stack.layers[1], stack.layers[0].weight[row])),
        ids(11),
    ),
    Row("Bidirectional", lambda: Bidirectional(LeakySum(3, 4), LeakySum(3, 2)), each_row(loop_bidirectional)),
    Row("SumPooling", lambda: SumPooling(4), pooled(lambda _, row: row.sum(0))),
    Row("MeanPooling", lambda: MeanPooling(4), pooled(lambda _, row: row.mean(0))),
    Row("MaxPooling", lambda: MaxPooling(4), pooled(lambda _, row: row.amax(0))),
    Row("LastPooling", lambda: LastPooling(4), pooled(lambda _, row: row[-1])),
    Row("LastPooling, both ends", lambda: LastPooling(4, both_ends=True), pooled(both_ends)),
    Row("AttentionPooling", lambda: AttentionPooling(4, 3), pooled(loop_attention)),
    Row(
        "ConcatenatedPooling",
        lambda: ConcatenatedPooling(LastPooling(4), MaxPooling(4), MeanPooling(4)),
        pooled(lambda _, row: torch.cat([row[-1], row.amax(0), row.mean(0)])),
    ),
]

LAYER_ROWS = [row for row in ROWS if isinstance(row.make(0), Layer)]
CAUSAL_ROWS = [row for row in LAYER_ROWS if row.make(0).causal]  # type: ignore[union-attr]
BIDIRECTIONAL_ROWS = [row for row in LAYER_ROWS if hasattr(row.make(0), "forward_layer")]


def name(row: Row) -> str:
    """The identifier of a row in a test's name."""
    return row.name

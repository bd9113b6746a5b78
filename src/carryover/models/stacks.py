"""Layers by name, one above the other: what the configurations of models are built from."""

from __future__ import annotations

from dataclasses import dataclass

from carryover.errors import UsageError
from carryover.layers import GRU, LSTM, TCN, Bidirectional, Dropout, Elman, Layer, Perceptron, Stacked, Transformer
from carryover.models.configuration import ModelConfig

CELLS: dict[str, type[Elman | LSTM | GRU]] = {"elman": Elman, "lstm": LSTM, "gru": GRU}
LAYERS = (*CELLS, "tcn", "transformer")


@dataclass(frozen=True, kw_only=True)
class StackConfig(ModelConfig):
    """A stack of layers of one kind. Raises UsageError naming the field that is wrong.

    layer : one of `LAYERS`. size : features of every layer, of each direction where there are two.
    depth : layers; of a TCN its levels.
    dropout : of what a recurrent layer hands to the one above it (not above the top one, as in `torch.nn.LSTM`); inside
        the blocks of a TCN (whole channels) and of a Transformer.
    kernel : of a TCN, whose receptive field is 1 + 2 (kernel − 1)(2^depth − 1).
    heads, feed_forward, horizon : of a Transformer: 4 · size inside its feed-forward networks for None; it sees
        horizon − 1 steps back in each block, without limit for None. Its positions are rotary.
    bidirectional : every layer reads both ways: recurrent layers and a TCN as two that are set side by side, twice `size`
        features, a Transformer as one that is not causal.
    """

    layer: str = "lstm"
    size: int = 128
    depth: int = 1
    dropout: float = 0.0
    kernel: int = 3
    heads: int = 4
    feed_forward: int | None = None
    horizon: int | None = None
    bidirectional: bool = False

    def __post_init__(self) -> None:
        self.check_choice("layer", LAYERS)
        self.check_positive("size", "depth", "kernel", "heads", "feed_forward", "horizon")
        self.check_probability("dropout")
        if self.layer == "transformer" and self.size % (2 * self.heads):
            raise UsageError(
                f"size is {self.size} and heads {self.heads}", repair="make the size a multiple of twice the heads"
            )

    def build(self, in_size: int) -> Layer:
        """The layer, reading `in_size` features; a Transformer of another size gets a learned map below it."""
        if self.layer == "transformer":
            encoder = Transformer(
                self.size,
                self.heads,
                self.feed_forward or 4 * self.size,
                self.depth,
                causal=not self.bidirectional,
                horizon=self.horizon,
                positions="rotary",
                dropout=self.dropout,
            )
            return encoder if in_size == self.size else Stacked(Perceptron(in_size, (), self.size), encoder)
        if self.layer == "tcn":
            return self._directed(in_size)
        parts: list[Layer] = []
        for _ in range(self.depth):
            if parts and self.dropout:
                parts.append(Dropout(parts[-1].out_size, self.dropout))
            parts.append(self._directed(parts[-1].out_size if parts else in_size))
        return parts[0] if len(parts) == 1 else Stacked(*parts)

    def _directed(self, in_size: int) -> Layer:
        return Bidirectional(self._one(in_size), self._one(in_size)) if self.bidirectional else self._one(in_size)

    def _one(self, in_size: int) -> Layer:
        if self.layer == "tcn":
            return TCN(in_size, self.size, levels=self.depth, kernel=self.kernel, dropout=self.dropout)
        return CELLS[self.layer](in_size, self.size)

"""Any layer with an input below it and an output above: series or ids in, labels or numbers out, a row or a step.

    x_t → input (none, an affine map, an embedding) → layer → read-out → W h + b

The outputs are plain numbers: targets of a regression, or scores (logits) of classes for a softmax or for one sigmoid each.
Graves 2012, "Supervised sequence labelling with recurrent neural networks", chapter 2, sorts these tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from carryover.errors import UsageError
from carryover.layers import TCN, Embedding, Layer, Perceptron, Pooling, State, state_tensors
from carryover.layers.pooling import build_pooling
from carryover.models.stacks import StackConfig
from carryover.sequence import Sequence

INPUTS = ("values", "ids")
EVERY = "every"


class SequenceModel(nn.Module):
    """`layer` with an output for every step, `readout="every"`, or one a row.

    Every step: a `Sequence` [B, T, out_size]. With `delay` d the output for step t is what the layer says d steps later,
    so that a causal layer sees d steps ahead (the target delay of Graves & Schmidhuber 2005, "Framewise phoneme
    classification"); the row is followed by d steps of zeros, features of no input. One a row: [B, out_size] from any
    pooling of `carryover.layers.pooling.POOLINGS`, such as "last", "ends" (both ends of a bidirectional layer) or
    "mean+max"; a row of length 0 gets the bias. Of a TCN only what the last output needs is computed.

    A causal layer can be stepped, with `readout` "every" or "last"; with ids in and scores out the model is one for
    `carryover.generation`.

    Parameters: those of `input_layer`, `layer` and perhaps `pooling`, and `output.weight` [out_size, …], `output.bias`.
    Raises UsageError for sizes that do not fit, an unknown read-out, a delay of pooled outputs or of a layer that changes
    the number of steps.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(StackConfig):
        """A `SequenceModel` over a stack of layers by name. Raises UsageError naming the field that is wrong.

        in_size : features of a step, with `input` "ids" the number of ids. out_size : numbers that come out.
        input_size : features of the embedding or of an affine map of the values; None is `size` for ids, no map for values.
        readout, delay : see `SequenceModel`. The other fields are those of `StackConfig`.
        """

        in_size: int
        out_size: int
        input: str = "values"
        input_size: int | None = None
        readout: str = EVERY
        delay: int = 0

        def __post_init__(self) -> None:
            super().__post_init__()
            self.check_choice("input", INPUTS)
            self.check_positive("in_size", "out_size", "input_size")

    def __init__(
        self, layer: Layer, out_size: int, *, input_layer: Layer | None = None, readout: str = EVERY, delay: int = 0
    ) -> None:
        super().__init__()
        if input_layer is not None and input_layer.out_size != layer.in_size:
            raise UsageError(
                f"the input layer gives {input_layer.out_size} features and the layer reads {layer.in_size}",
                repair="make the sizes equal",
            )
        if out_size < 1:
            raise UsageError(f"out_size is {out_size}", repair="give how many numbers come out, at least 1")
        if delay < 0 or (delay and (readout != EVERY or not layer.keeps_length)):
            raise UsageError(
                f"delay is {delay} with readout {readout!r} and {type(layer).__name__}",
                repair="give 0, or a positive delay with readout 'every' and a layer of one output a step",
            )
        self.input_layer, self.layer = input_layer, layer
        self.readout, self.delay = readout, delay
        self.pooling: Pooling | None = None if readout == EVERY else build_pooling(readout, layer.out_size)
        self.output = nn.Linear(layer.out_size if self.pooling is None else self.pooling.out_size, out_size)

    @classmethod
    def of(cls, config: Config) -> SequenceModel:
        """A new model of this configuration, with fresh weights."""
        below: Layer | None = None
        if config.input == "ids":
            below = Embedding(config.in_size, config.input_size or config.size)
        elif config.input_size is not None:
            below = Perceptron(config.in_size, (), config.input_size)
        layer = config.build(config.in_size if below is None else below.out_size)
        return cls(layer, config.out_size, input_layer=below, readout=config.readout, delay=config.delay)

    def forward(self, x: Sequence) -> Sequence | Tensor:
        """Values [B, T, in_size] or ids [B, T] to outputs, a `Sequence` or [B, out_size] as the read-out says."""
        x = x if self.input_layer is None else self.input_layer(x)
        if self.pooling is not None:
            if self.readout == "last" and isinstance(self.layer, TCN):
                return self.output(self.layer.last_output(x))
            return self.output(self.pooling(self.layer(x)))
        if not self.delay:
            return self.layer(x).map(self.output)
        longer = nn.functional.pad(x.zero_padding().values, (0, 0, 0, self.delay))
        late = self.layer(Sequence(longer, x.lengths + self.delay))
        return Sequence(late.values[:, self.delay :], late.lengths - self.delay).map(self.output)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """State before the first step. Raises TypeError when the layer is not causal."""
        below = () if self.input_layer is None else self.input_layer.initial_state(batch_size, device=device, dtype=dtype)
        return below, self.layer.initial_state(batch_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        """The next outputs [B, T, out_size]; with a delay they stand for the inputs that many steps before.

        With `readout="last"` each is what the answer would be if the row ended there. Raises TypeError for another pooling.
        """
        self._require_steps()
        below, state = state
        if self.input_layer is not None:
            x, below = self.input_layer.step(x, below)
        y, state = self.layer.step(x, state)
        return y.map(self.output), (below, state)

    def finish(self, state: State) -> Sequence:
        """The outputs [B, delay, out_size] that are still owed for the last `delay` inputs."""
        self._require_steps()
        rows = state_tensors(state)[0].shape[0]
        blank = self.output.weight.new_zeros(rows, self.delay, self.layer.in_size)
        return self.layer.step(Sequence.of(blank), state[1])[0].map(self.output)

    def _require_steps(self) -> None:
        if self.readout not in (EVERY, "last"):
            raise TypeError(f"readout {self.readout!r} has no steps: run the whole pass, or use 'every' or 'last'")

"""The temporal convolutional network: dilated causal convolutions in residual blocks."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.kernels import tcn_passes
from carryover.kernels.step_buffer import StepBuffer, Window
from carryover.kernels.tcn_wavenet_steps import (
    ConvolutionWeights,
    LinearWeights,
    TemporalWeights,
    Unreadable,
    may_run,
    step_temporal,
)
from carryover.layers.base import Layer, State
from carryover.layers.convolutional.convolution import Convolution, check_sizes, convolution_plain, convolve
from carryover.layers.convolutional.step_weights import convolution_weights, optional_linear_weights
from carryover.layers.dropout import VariationalDropout, check_probability
from carryover.sequence import Sequence

Masks = tuple[Tensor, Tensor] | None


class TemporalState(NamedTuple):
    """State of a `TemporalBlock`: the last inputs of both convolutions, and the dropout masks of the rows [B, size]."""

    first: StepBuffer
    first_mask: Tensor
    second: StepBuffer
    second_mask: Tensor


@final
class TemporalBlock(Layer):
    """h = D(relu(W_1 ∗ x)), z = D(relu(W_2 ∗ h)), y = relu(z + V x); values [B, T, in_size] to [B, T, size].

    Bai, Kolter, Koltun 2018, "An empirical evaluation of generic convolutional and recurrent networks for sequence
    modeling", section 3.3. Both convolutions are causal, dilated and weight-normed; D drops whole channels, the same at
    all steps of a row; V is a learned map where the sizes differ and the identity where they do not. Sees
    1 + 2 (kernel−1) · dilation steps.

    Parameters learned: those of the `Convolution`s `first` and `second`, and `match.weight`, `match.bias` where the sizes
    differ. ValueError for a size that is not positive or a probability that is none.
    """

    causal = True
    state_type = TemporalState

    def __init__(self, in_size: int, size: int, kernel: int, *, dilation: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(self, in_size=in_size, size=size, kernel=kernel, dilation=dilation)
        self.in_size, self.out_size = in_size, size
        self.first = Convolution(in_size, size, kernel, dilation=dilation, weight_norm=True)
        self.second = Convolution(size, size, kernel, dilation=dilation, weight_norm=True)
        self.dropout = VariationalDropout(size, check_probability(dropout))
        self.match = nn.Linear(in_size, size) if in_size != size else None
        self.receptive_field = 1 + 2 * self.first.span

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        if self.fast:
            return x.with_values(self.run(x.zero_padding().values)).zero_padding()
        masks = self.draw_masks(x.values)
        between = x.with_values(_activate(self.first(x).values.clone(), masks, 0))
        hidden = _activate(self.second(between).values.clone(), masks, 1)
        return x.with_values(self._add(hidden, x.zero_padding().values)).zero_padding()

    def run(self, values: Tensor) -> Tensor:
        """The whole pass over [B, T, in_size] that is zero in the padding; what comes out of the padding is not."""
        masks = self.draw_masks(values)
        hidden = _activate(self.first.windows(self.first.pad(values)), masks, 0)
        hidden = _activate(self.second.windows(self.second.pad(hidden)), masks, 1)
        return self._add(hidden, values)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TemporalState:
        """Zeros, and masks drawn as `VariationalDropout` draws them: make the state in the mode in which it is used."""
        first = cast(StepBuffer, self.first.initial_state(batch_size, device=device, dtype=dtype))
        second = cast(StepBuffer, self.second.initial_state(batch_size, device=device, dtype=dtype))
        masks = [self.dropout.initial_state(batch_size, device=first[0].device, dtype=first[0].dtype) for _ in range(2)]
        return TemporalState(first, masks[0], second, masks[1])

    def step(self, x: Sequence, state: State) -> tuple[Sequence, TemporalState]:
        self.check_input(x)
        self.check_state(x, state)
        y, state = self.step_rows(x.zero_padding().values, None if x.full else x.lengths, state)
        return x.with_values(y).zero_padding(), state

    def step_rows(self, values: Tensor, lengths: Tensor | None, state: TemporalState) -> tuple[Tensor, TemporalState]:
        """`step` over values that are zero in the padding; `lengths` is None where all rows are full."""
        dropping = self.training and self.dropout.probability > 0
        masks = (state.first_mask, state.second_mask) if dropping else None
        hidden, first = self.first.step_rows(values, lengths, state.first)
        hidden = _activate(hidden, masks, 0)
        hidden, second = self.second.step_rows(hidden, lengths, state.second)
        y = self._add(_activate(hidden, masks, 1), values)
        return y, TemporalState(first, state.first_mask, second, state.second_mask)

    def run_thinned(self, values: Tensor, begun: Tensor | None, every: int) -> Tensor:
        """Outputs for every `every`-th of [B, n, in_size] counted back from the last, which is one of them.

        Neighbours in `values` stand `dilation` steps apart, so the convolutions over them are plain ones. `begun`, bool
        [B, n, 1] or None where it is true everywhere, tells where a row has begun; before that, all is zero.
        """
        masks = self.draw_masks(values)
        before, skipped = self.first.kernel - 1, (values.shape[1] - 1) % every
        hidden = convolve(F.pad(values, (0, 0, before, 0)), self.first.effective_weight(), self.first.bias)
        hidden = _zero_before(_activate(hidden, masks, 0), begun)
        windows = F.pad(hidden, (0, 0, before, 0))[:, skipped:]
        hidden = convolve(windows, self.second.effective_weight(), self.second.bias, stride=every)
        y = self._add(_activate(hidden, masks, 1), values[:, skipped::every])
        return _zero_before(y, None if begun is None else begun[:, skipped::every])

    def draw_masks(self, values: Tensor) -> Masks:
        """Multipliers [B, size] for both dropouts, None where nothing is dropped."""
        if not self.training or self.dropout.probability == 0:
            return None
        like = {"device": values.device, "dtype": values.dtype}
        first, second = (self.dropout.initial_state(values.shape[0], **like) for _ in range(2))  # type: ignore[arg-type]
        return first, second

    def is_as_built(self, in_size: int, size: int) -> bool:
        """Whether the parts are what the block was built of: others may have been put in their place."""
        for convolution, inputs in ((self.first, in_size), (self.second, size)):
            if type(convolution) is not Convolution or convolution.bias is None or convolution.padding != "causal":
                return False
            weight = convolution.weight_direction if convolution.weight_norm else convolution.weight
            if tuple(weight.shape) != (size, inputs, self.first.kernel) or tuple(convolution.bias.shape) != (size,):
                return False
            if (convolution.dilation, convolution.stride) != (self.first.dilation, 1):
                return False
        match = self.match
        if match is None:
            return in_size == size
        return type(match) is nn.Linear and match.bias is not None and tuple(match.weight.shape) == (size, in_size)

    def weights(self) -> list[Tensor]:
        """What the compiled pass reads: weight and bias of both convolutions and of the map that matches sizes."""
        found: list[Tensor] = []
        for convolution in (self.first, self.second):
            assert convolution.bias is not None
            found += [convolution.effective_weight(), convolution.bias]
        return found if self.match is None else [*found, *self.match.parameters()]

    def _add(self, hidden: Tensor, values: Tensor) -> Tensor:
        return torch.relu_(hidden + (values if self.match is None else self.match(values)))


@final
class TCN(Layer):
    """Temporal convolutional network: `levels` `TemporalBlock`s, the i-th (from 0) of dilation 2^i.

    Bai, Kolter, Koltun 2018. Values [B, T, in_size] to [B, T, size]. Sees 1 + 2 (kernel−1) (2^levels − 1) steps: choose
    levels and kernel so that this covers the dependencies in question. Warm-up: outputs earlier in a row than that see
    zeros where it has not begun. The state is the tuple of the blocks' states; a step costs the same whatever the
    receptive field. Three ways to the outputs:

        layer(x)              all of them.
        layer.last_output(x)  each row's last one only, for labelling or forecasting from whole sequences: a block
                              needs few of the outputs of the one below, so the work is about 3 instead of
                              2 · levels convolutions over all steps.
        layer.step(x, state)  the next ones.

    `last_path` says what the latest whole pass or step ran: "compiled" (in C, for float32 on a processor with AVX-512 where a
    compiler is present: `carryover.kernels.tcn_passes`, `tcn_wavenet_steps`) or "plain". `tcn_plain` is the plain path they are tested against.
    Parameters learned: `blocks.i.…`. ValueError for a size that is not positive or a probability that is none.
    """

    causal = True
    state_type = tuple
    last_path: str | None = None

    def __init__(self, in_size: int, size: int, *, levels: int, kernel: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(self, in_size=in_size, size=size, levels=levels, kernel=kernel)
        self.in_size, self.out_size = in_size, size
        self.blocks = nn.ModuleList(
            TemporalBlock(in_size if level == 0 else size, size, kernel, dilation=2**level, dropout=dropout)
            for level in range(levels)
        )
        self.receptive_field = 1 + 2 * (kernel - 1) * (2**levels - 1)
        self._weights = (in_size + (2 * levels - 1) * size) * size * kernel

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        self.last_path = "plain"
        if not self.fast:
            for block in self._each():
                x = block(x)
            return x
        blocks = list(self._each())
        shape = _shape_of(blocks, x.values.shape[2])
        if shape is not None and tcn_passes.fits(shape, x.values, [each for block in blocks for each in block.parameters()]):
            self.last_path = "compiled"
            masks = _join_masks([block.draw_masks(x.values) for block in blocks], x, self.out_size)
            weights = [weight for block in blocks for weight in block.weights()]
            return x.with_values(tcn_passes.run_blocks(shape, x, weights, masks))
        values = x.zero_padding().values
        for block in blocks:
            values = block.run(values)
        return x.with_values(values).zero_padding()

    def stages(self) -> list[list[Layer]]:
        """Its blocks."""
        return [[block] for block in self._each()]

    def last_output(self, x: Sequence) -> Tensor:
        """`layer(x).last()`, [B, size], without the outputs that this does not need; zeros for a row of length 0.

        The topmost block reads steps 2^(levels−1) apart, counted back from the row's end; the block below it has to give
        no others, and reads steps half as far apart, and so on down.
        """
        self.check_input(x)
        if x.time == 0:
            return x.values.new_zeros(x.batch_size, self.out_size)
        needed = [1]  # inputs of each block from the top, where the spacing doubles from block to block
        for block in reversed(list(self._each())):
            needed.insert(0, 2 * (needed[0] - 1) + 1 + 2 * (block.first.kernel - 1))
        values, begun = _align_ends(x, min(x.time, needed[0]))
        for block, inputs, outputs in zip(self._each(), needed, needed[1:], strict=False):
            values, begun = values[:, -inputs:], None if begun is None else begun[:, -inputs:]
            every = 2 if outputs > 1 else values.shape[1]
            values = block.run_thinned(values, begun, every)
            begun = None if begun is None else begun[:, (begun.shape[1] - 1) % every :: every]
        return values[:, -1]

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return tuple(block.initial_state(batch_size, device=device, dtype=dtype) for block in self._each())

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        self.check_input(x)
        self.check_state_type(x, state)
        self.check_batch_size(x, state[:1])  # one stands for all, and all would take a noticeable part of a short step
        if len(state) != len(self.blocks):
            raise ValueError(f"TCN was given {len(state)} states for {len(self.blocks)} blocks: make one with initial_state")
        full = x.full
        if full and self.fast and may_run(x.values, self._weights) and not (self.training and self._drops()):
            found = self._step_compiled(x.values, state)
            if found is not None:
                self.last_path = "compiled"
                return x.with_values(found[0]), found[1]
        self.last_path = "plain"
        values, lengths = (x.values, None) if full else (x.zero_padding().values, x.lengths)
        states = []
        for block, before in zip(self._each(), state, strict=True):
            values, after = block.step_rows(values, lengths, before)
            states.append(after)
        return (x.with_values(values) if full else x.with_values(values).zero_padding()), tuple(states)

    def _step_compiled(self, values: Tensor, state: State) -> tuple[Tensor, State] | None:
        """Outputs [B, 1, size] and the state after; None where the kernel cannot read a part."""
        convolutions: list[ConvolutionWeights] = []
        matches: list[LinearWeights | None] = []
        windows: list[Window] = []
        try:
            for block, before in zip(self.blocks._modules.values(), state, strict=True):
                parts = block._modules
                convolutions += (convolution_weights(parts["first"]), convolution_weights(parts["second"]))
                matches.append(optional_linear_weights(parts.get("match")))
                windows += (before[0], before[2])
            y, after = step_temporal(TemporalWeights(self.in_size, self.out_size, convolutions, matches), values, windows)
        except Unreadable:
            return None
        pairs = zip(state, after[::2], after[1::2], strict=True)
        return y, tuple(type(before)(first, before[1], second, before[3]) for before, first, second in pairs)

    def without_weight_norm(self) -> TCN:
        """A copy that computes the same from plain weights, for generation: a step need not take their norms again."""
        plain = copy.deepcopy(self)
        for block in plain._each():
            block.first, block.second = block.first.without_weight_norm(), block.second.without_weight_norm()
        return plain

    def _drops(self) -> bool:
        return any(block.dropout.probability > 0 for block in self._each())

    def _each(self) -> Iterable[TemporalBlock]:
        return cast("Iterable[TemporalBlock]", self.blocks)


def tcn_plain(layer: TCN, x: Sequence) -> Sequence:
    """The whole pass of `TCN` without dropout, every convolution by torch's own on padded input: for reading and as test."""
    for block in layer.blocks:
        assert isinstance(block, TemporalBlock)
        hidden = convolution_plain(block.first, x).map(torch.relu)
        hidden = convolution_plain(block.second, hidden).map(torch.relu)
        skipped = x.map(block.match) if block.match is not None else x.zero_padding()
        x = x.with_values(torch.relu(hidden.values + skipped.values))
    return x


def _shape_of(blocks: list[TemporalBlock], in_size: int) -> tcn_passes.Shape | None:
    """The shape of blocks that read `in_size` features; None where one is not as it was built."""
    size = blocks[0].out_size
    if not all(block.is_as_built(size if number else in_size, size) for number, block in enumerate(blocks)):
        return None
    return tcn_passes.Shape(
        blocks[0].in_size,
        size,
        tuple(block.first.kernel for block in blocks),
        tuple(block.first.dilation for block in blocks),
        tuple(block.match is not None for block in blocks),
    )


def _join_masks(drawn: list[Masks], x: Sequence, size: int) -> Tensor | None:
    """Multipliers [blocks, 2, B, size], None where no block drops anything."""
    if all(pair is None for pair in drawn):
        return None
    whole = x.values.new_ones(x.batch_size, size)
    return torch.stack([torch.stack(pair or (whole, whole)) for pair in drawn])


def _activate(values: Tensor, masks: Masks, number: int) -> Tensor:
    values = torch.relu_(values)
    return values if masks is None else values * masks[number].to(values.dtype).unsqueeze(1)


def _zero_before(values: Tensor, begun: Tensor | None) -> Tensor:
    return values if begun is None else values.masked_fill(~begun, 0)


def _align_ends(x: Sequence, steps: int) -> tuple[Tensor, Tensor | None]:
    """The last `steps` steps of every row [B, steps, in], zeros before a row begins, and where it has begun."""
    if x.full:
        return x.values[:, -steps:], None
    index = x.lengths.unsqueeze(1) - steps + torch.arange(steps, device=x.device)  # [B, steps]
    begun = (index >= 0).unsqueeze(2)
    values = x.values.gather(1, index.clamp(min=0).unsqueeze(2).expand(-1, -1, x.values.shape[2]))
    return values.masked_fill(~begun, 0), begun

"""WaveNet: gated dilated convolutions whose blocks all speak to the output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast, final

import torch
from torch import Tensor, nn

from carryover.kernels.step_buffer import StepBuffer
from carryover.kernels.tcn_wavenet_steps import GatedBlockWeights, GatedWeights, Unreadable, may_run, step_gated
from carryover.layers.base import Layer, State
from carryover.layers.convolutional.convolution import Convolution, check_sizes
from carryover.layers.convolutional.step_weights import convolution_weights, linear_weights, optional_linear_weights
from carryover.sequence import Sequence


@final
class WaveNetBlock(Layer):
    """z = tanh(W_f ∗ x + U_f c) ⊙ σ(W_g ∗ x + U_g c) gives [x + R z ; S z]: [B, T, size] to [B, T, size + skip_size].

    van den Oord et al. 2016, "WaveNet: a generative model for raw audio", equations 2–3 and figure 4. The first `size`
    features are what the next block reads, the rest is this block's word to the output. The convolution is causal and
    dilated; c is what the block is conditioned on, if anything: features at each step (local), or of the whole row
    (global). Sees 1 + (kernel−1) · dilation steps. The state is that of `convolution`.

    Parameters
    ----------
    size, skip_size : features of the residual stream and of the skip.
    kernel, dilation : of the convolution.
    local_size, global_size : features of the two conditions, 0 for none.
    residual : False leaves out x + R z, for the topmost block, which nobody reads: [B, T, skip_size] remain.

    Parameters learned: `convolution.weight` [2 size, size, kernel] and `.bias`, filter above gate, as in all that follow;
    `condition.weight` [2 size, local_size + global_size]; `skip.weight`, `.bias`; `mix.weight` (R), `.bias`.
    """

    causal = True
    state_type = StepBuffer

    def __init__(
        self,
        size: int,
        skip_size: int,
        *,
        kernel: int = 2,
        dilation: int = 1,
        local_size: int = 0,
        global_size: int = 0,
        residual: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(self, size=size, skip_size=skip_size, kernel=kernel, dilation=dilation)
        _check_condition_sizes(self, local_size, global_size)
        self.in_size, self.out_size = size, size + skip_size if residual else skip_size
        self.local_size, self.global_size = local_size, global_size
        self.convolution = Convolution(size, 2 * size, kernel, dilation=dilation)
        both = local_size + global_size
        self.condition = nn.Linear(both, 2 * size, bias=False) if both else None
        self.skip = nn.Linear(size, skip_size)
        self.mix = nn.Linear(size, size) if residual else None
        self.receptive_field = self.convolution.receptive_field

    def forward(self, x: Sequence, local: Sequence | None = None, context: Tensor | None = None) -> Sequence:
        """`local.values` is [B, T, local_size] under the lengths of `x`, `context` is [B, global_size]."""
        self.check_input(x)
        condition = join_conditions(self, x, local, context)
        values = x.zero_padding().values
        gates = self.convolution.windows(self.convolution.pad(values)) if self.fast else self.convolution(x).values
        onward, skip = self.respond(values, gates, condition)
        return x.with_values(skip if onward is None else torch.cat([onward, skip], dim=2)).zero_padding()

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.convolution.initial_state(batch_size, device=device, dtype=dtype)

    def step(
        self, x: Sequence, state: State, local: Sequence | None = None, context: Tensor | None = None
    ) -> tuple[Sequence, State]:
        self.check_input(x)
        self.check_state(x, state)
        condition = join_conditions(self, x, local, context)
        values = x.zero_padding().values
        gates, state = self.convolution.step_rows(values, None if x.full else x.lengths, state)
        onward, skip = self.respond(values, gates, condition)
        return x.with_values(skip if onward is None else torch.cat([onward, skip], dim=2)).zero_padding(), state

    def respond(self, values: Tensor, gates: Tensor, condition: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """x + R z [B, T, size] (None without residual) and S z [B, T, skip_size], from x and W ∗ x [B, T, 2 size]."""
        if self.condition is not None and condition is not None:
            gates = gates + self.condition(condition)
        filtered, gate = gates.chunk(2, dim=2)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        return (None if self.mix is None else values + self.mix(z)), self.skip(z)


@final
class WaveNet(Layer):
    """y = O relu(P relu(Σ_k skip_k)): a causal convolution, then `stacks` times `levels` blocks of dilation 1, 2, 4, …

    van den Oord et al. 2016. Values [B, T, in_size] to [B, T, out_size], such as one-hot samples to logits of the next
    sample. Sees 1 + (kernel−1) (1 + stacks (2^levels − 1)) steps; outputs earlier in a row than that see zeros where it
    has not begun. The state holds the last inputs of every convolution, so that a new sample costs the same at any
    receptive field. `last_path` says what the latest step ran: "compiled" (`tcn_wavenet_steps`) or "plain".

    Conditions go with the input: `layer(x, local=…, context=…)`, and the same for `step` (the chunk's part of `local`,
    the same `context` at every chunk). Local features must come at the rate of the input: repeat them, or learn to, with
    `TransposedConvolution`.

    Parameters
    ----------
    in_size, out_size : features in and out.
    size, skip_size : features of the residual stream and of the skips.
    levels, stacks, kernel : blocks of a stack, number of stacks, width of all convolutions.
    local_size, global_size : features of the two conditions, 0 for none.

    Parameters learned: `entry.…` (the first convolution), `blocks.k.…`, and the two maps `hidden.…` (P), `output.…` (O).
    ValueError for a size that is not positive, and for a condition that is missing, not wanted or of another shape.
    """

    causal = True
    state_type = tuple
    last_path: str | None = None

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        size: int,
        skip_size: int,
        levels: int,
        stacks: int = 1,
        kernel: int = 2,
        local_size: int = 0,
        global_size: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(self, in_size=in_size, out_size=out_size, size=size, skip_size=skip_size)
        check_sizes(self, levels=levels, stacks=stacks, kernel=kernel)
        _check_condition_sizes(self, local_size, global_size)
        self.in_size, self.out_size = in_size, out_size
        self.local_size, self.global_size = local_size, global_size
        self.entry = Convolution(in_size, size, kernel)
        dilations = [2**level for _ in range(stacks) for level in range(levels)]
        self.blocks = nn.ModuleList(
            WaveNetBlock(
                size,
                skip_size,
                kernel=kernel,
                dilation=dilation,
                local_size=local_size,
                global_size=global_size,
                residual=number < len(dilations),
            )
            for number, dilation in enumerate(dilations, start=1)
        )
        self.hidden = nn.Linear(skip_size, skip_size)
        self.output = nn.Linear(skip_size, out_size)
        self.receptive_field = 1 + (kernel - 1) * (1 + stacks * (2**levels - 1))
        self.size, self.skip_size = size, skip_size
        self._weights = (in_size * kernel + len(dilations) * (2 * kernel * size + size + skip_size)) * size

    def forward(self, x: Sequence, local: Sequence | None = None, context: Tensor | None = None) -> Sequence:
        self.check_input(x)
        condition = join_conditions(self, x, local, context)
        if not self.fast:
            return self._by_blocks(x, local, context)
        values = self.entry.windows(self.entry.pad(x.zero_padding().values))
        skips = []
        for block in self._each():
            gates = block.convolution.windows(block.convolution.pad(values))
            onward, skip = block.respond(values, gates, condition)
            skips.append(skip)
            values = values if onward is None else onward
        return x.with_values(self._speak(skips)).zero_padding()

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """`StepBuffer`s: the entry's and one a block."""
        layers = [self.entry, *(block.convolution for block in self._each())]
        return tuple(layer.initial_state(batch_size, device=device, dtype=dtype) for layer in layers)

    def step(
        self, x: Sequence, state: State, local: Sequence | None = None, context: Tensor | None = None
    ) -> tuple[Sequence, State]:
        self.check_input(x)
        self.check_state_type(x, state)
        self.check_batch_size(x, state[:1])  # one stands for all
        if len(state) != 1 + len(self.blocks):
            raise ValueError(
                f"WaveNet was given {len(state)} states for {1 + len(self.blocks)} convolutions: make one with initial_state"
            )
        condition = join_conditions(self, x, local, context)
        full = x.full
        if full and self.fast and may_run(x.values, self._weights):
            found = self._step_compiled(x.values, condition, state)
            if found is not None:
                self.last_path = "compiled"
                return x.with_values(found[0]), found[1]
        self.last_path = "plain"
        values, lengths = (x.values, None) if full else (x.zero_padding().values, x.lengths)
        values, after = self.entry.step_rows(values, lengths, state[0])
        states: list[StepBuffer] = [after]
        skips = []
        for block, before in zip(self._each(), state[1:], strict=True):
            gates, after = block.convolution.step_rows(values, lengths, before)
            onward, skip = block.respond(values, gates, condition)
            states.append(after)
            skips.append(skip)
            values = values if onward is None else onward
        y = x.with_values(self._speak(skips))
        return (y if full else y.zero_padding()), tuple(states)

    def _step_compiled(self, values: Tensor, condition: Tensor | None, state: State) -> tuple[Tensor, State] | None:
        """Outputs [B, 1, out_size] and the state after; None where the kernel cannot read a part."""
        modules = self._modules
        try:
            convolutions, blocks = [convolution_weights(modules["entry"])], []
            for block in self.blocks._modules.values():
                parts = block._modules
                convolutions.append(convolution_weights(parts["convolution"]))
                condition_map, mix = (optional_linear_weights(parts.get(name)) for name in ("condition", "mix"))
                blocks.append(GatedBlockWeights(condition_map, linear_weights(parts["skip"]), mix))
            hidden, output = linear_weights(modules["hidden"]), linear_weights(modules["output"])
            sizes = self.in_size, self.size, self.skip_size, self.local_size + self.global_size, self.out_size
            weights = GatedWeights(*sizes, convolutions, blocks, hidden, output)
            y, after = step_gated(weights, values, condition, list(state))
        except Unreadable:
            return None
        return y, tuple(after)

    def _by_blocks(self, x: Sequence, local: Sequence | None, context: Tensor | None) -> Sequence:
        """The same by calling every module, so that each shows its answer."""
        x, skips = self.entry(x), []
        for block in self._each():
            values = block(x, local, context).values
            skip_size = block.skip.out_features
            onward, skip = values.split([values.shape[2] - skip_size, skip_size], dim=2)
            skips.append(skip)
            x = x.with_values(onward) if onward.shape[2] else x
        return x.with_values(self._speak(skips)).zero_padding()

    def _speak(self, skips: list[Tensor]) -> Tensor:
        total = skips[0]
        for skip in skips[1:]:
            total = total + skip
        return self.output(torch.relu(self.hidden(torch.relu(total))))

    def _each(self) -> Iterable[WaveNetBlock]:
        return cast("Iterable[WaveNetBlock]", self.blocks)


def join_conditions(
    layer: WaveNet | WaveNetBlock, x: Sequence, local: Sequence | None, context: Tensor | None
) -> Tensor | None:
    """Local features beside global ones at every step, [B, T, local_size + global_size], zeros in the padding.

    ValueError, naming what was expected, when either is missing, not wanted or of another shape.
    """
    parts = []
    name = type(layer).__name__
    given: tuple[int, ...] | None = None if local is None else tuple(local.values.shape)
    wanted: tuple[int, ...] | None = (*x.values.shape[:2], layer.local_size) if layer.local_size else None
    if given != wanted:
        raise ValueError(
            f"{name} expects local conditions of shape {wanted} and got {given}: give `local` exactly when local_size, here "
            f"{layer.local_size}, is not 0, at every step of the input"
        )
    if local is not None:
        if not torch.equal(local.lengths, x.lengths):
            raise ValueError(
                f"{name} got an input of lengths {x.lengths.tolist()} and local conditions of lengths "
                f"{local.lengths.tolist()}: make them equal"
            )
        parts.append(local.zero_padding().values)
    given = None if context is None else tuple(context.shape)
    wanted = (x.batch_size, layer.global_size) if layer.global_size else None
    if given != wanted:
        raise ValueError(
            f"{name} expects a global condition of shape {wanted} and got {given}: give `context` exactly when global_size, "
            f"here {layer.global_size}, is not 0, one vector a row"
        )
    if context is not None:
        parts.append(context.unsqueeze(1).expand(-1, x.time, -1))
    return torch.cat(parts, dim=2) if parts else None


def _check_condition_sizes(layer: Layer, local_size: int, global_size: int) -> None:
    if local_size < 0 or global_size < 0:
        raise ValueError(
            f"{type(layer).__name__} was given local_size {local_size} and global_size {global_size}: neither may be negative"
        )

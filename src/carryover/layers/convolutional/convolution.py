"""Convolution over time: the products, and the layer."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal, NamedTuple, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.kernels.step_buffer import StepBuffer, advance
from carryover.layers.base import Layer, State
from carryover.sequence import Sequence

Padding = Literal["causal", "centred", "valid"]


def convolve(
    values: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> Tensor:
    """y_t = b + Σ_j W_j x_{t·stride + j·dilation} without any padding: values [B, T, in] to [B, T', out].

    `weight` is [out, in / groups, k] as torch's, and T' = ⌈(T − (k−1)·dilation) / stride⌉, or 0. The same as
    `convolve_plainly` by faster ways: on a CPU the values stay [time, features] in memory, which is oneDNN's own
    layout for two-dimensional convolutions and saves it reordering them there and back; a single output is one product.
    """
    kernel = weight.size(2)
    span = (kernel - 1) * dilation
    outputs = -((span - values.size(1)) // stride)
    if outputs <= 0 or values.size(0) == 0:
        return values.new_zeros(values.shape[0], max(0, outputs), weight.shape[0])
    if groups == 1 and outputs == 1:
        taps = values[:, : span + 1 : dilation].transpose(1, 2).flatten(1)  # [B, in · k]
        return F.linear(taps, weight.flatten(1), bias).unsqueeze(1)
    if groups == 1 and kernel == 1:
        return F.linear(values[:, ::stride], weight.squeeze(2), bias)
    if groups > 1 or values.device.type != "cpu":
        return convolve_plainly(values, weight, bias, stride=stride, dilation=dilation, groups=groups)
    image = values.contiguous().transpose(1, 2).unsqueeze(2)  # [B, in, 1, T], features side by side in memory
    flat = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return F.conv2d(image, flat, bias, (1, stride), 0, (1, dilation)).squeeze(2).transpose(1, 2)


def convolve_plainly(
    values: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> Tensor:
    """`convolve` by torch's own one-dimensional convolution, for values longer than the window."""
    return F.conv1d(values.transpose(1, 2), weight, bias, stride, 0, dilation, groups).transpose(1, 2)


class StridedState(NamedTuple):
    """State of a convolution with a stride: its last inputs, and how many were read since one gave an output, [B]."""

    window: StepBuffer
    phase: Tensor


@final
class Convolution(Layer):
    """y_t = b + Σ_j W_j x_{t·stride − before + j·dilation}, j = 0 … kernel−1; values [B, T, in_size] to [B, T', out_size].

    The window spans s = (kernel−1)·dilation + 1 steps. Its place depends on the padding, which always is that of
    each row's own length, never of the batch:

        "causal"     before = s−1: ends at step t·stride. ⌈l / stride⌉ outputs of l steps, zeros before the first.
        "centred"    before = (s−1)/2: as far ahead as back. ⌈l / stride⌉ outputs, zeros at both ends.
        "valid"      before = 0: starts there and never leaves the row. ⌈(l − s + 1) / stride⌉ outputs, no zeros.

    A causal layer has to warm up: its first s−1 outputs at stride 1 see zeros where the row has not begun, so they
    resemble later ones less the wider the window. Causal layers have `step`; the state is the last s−1 inputs, and with
    a stride also how many inputs were read since the last output, so chunks may end anywhere.

    Parameters
    ----------
    in_size, out_size, kernel : sizes; a kernel of 1 is causal whatever the padding.
    padding : see above. "centred" needs an even s−1: an odd kernel or an even dilation.
    dilation, stride : steps between the inputs of a window, and between windows; ratio = 1 / stride.
    groups : number of groups of inputs and outputs that do not see each other.
    weight_norm : learn direction and length of every output's weights apart, w = g v / ‖v‖ (Salimans, Kingma 2016).
    bias : whether b is learned or absent.

    Parameters learned: `weight` [out_size, in_size / groups, kernel], or with weight norm `weight_direction` of that
    shape and `weight_length` [out_size, 1, 1]; `bias` [out_size]. `weight` and `bias` are those of `torch.nn.Conv1d`.
    ValueError for a size that is not positive, an unknown padding, a window that has no centre, or groups that do not
    divide the sizes.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        kernel: int,
        *,
        padding: Padding = "causal",
        dilation: int = 1,
        stride: int = 1,
        groups: int = 1,
        weight_norm: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"in_size": in_size, "out_size": out_size, "kernel": kernel, "dilation": dilation, "stride": stride}
        check_sizes(self, **sizes, groups=groups)
        if padding not in get_args(Padding):
            raise ValueError(f"Convolution was given padding {padding!r}: choose from {', '.join(get_args(Padding))}")
        if in_size % groups or out_size % groups:
            raise ValueError(
                f"Convolution was given {groups} groups for {in_size} features in and {out_size} out: both must be multiples"
            )
        if padding == "centred" and (kernel - 1) * dilation % 2:
            raise ValueError(
                f"Convolution was given a kernel of {kernel} at dilation {dilation}, which has no middle step: "
                f"padding 'centred' needs an odd kernel, take {kernel - 1} or {kernel + 1}"
            )
        self.in_size, self.out_size, self.ratio = in_size, out_size, Fraction(1, stride)
        self.kernel, self.dilation, self.stride, self.groups = kernel, dilation, stride, groups
        self.padding: Padding = padding
        self.causal = padding == "causal" or kernel == 1
        self.state_type = StepBuffer if stride == 1 else StridedState
        self.span = (kernel - 1) * dilation
        self.receptive_field = self.span + 1
        weight = torch.empty(out_size, in_size // groups, kernel)
        self.weight_norm = weight_norm
        if weight_norm:
            self.weight_direction = nn.Parameter(weight)
            self.weight_length = nn.Parameter(torch.empty(out_size, 1, 1))
        else:
            self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(out_size)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√(inputs of a window), as `torch.nn.Conv1d`; with weight norm the lengths are those drawn."""
        limit = (self.in_size // self.groups * self.kernel) ** -0.5
        with torch.no_grad():
            weight = self.weight_direction if self.weight_norm else self.weight
            weight.uniform_(-limit, limit)
            if self.weight_norm:
                self.weight_length.copy_(torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True))
            if self.bias is not None:
                self.bias.uniform_(-limit, limit)

    def effective_weight(self) -> Tensor:
        """The weights [out_size, in_size / groups, kernel] that the products use."""
        if not self.weight_norm:
            return self.weight
        return torch._weight_norm(self.weight_direction, self.weight_length, 0)

    def without_weight_norm(self) -> Convolution:
        """A copy that computes the same from a plain `weight`: for inference, where the norm need not be taken each time."""
        copy = Convolution(
            self.in_size,
            self.out_size,
            self.kernel,
            padding=self.padding,
            dilation=self.dilation,
            stride=self.stride,
            groups=self.groups,
            bias=self.bias is not None,
        )
        with torch.no_grad():
            weight = self.effective_weight()
            copy.to(weight).weight.copy_(weight)
            if copy.bias is not None and self.bias is not None:
                copy.bias.copy_(self.bias)
        return copy.train(self.training)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        lost = self.span if self.padding == "valid" else 0
        return super().output_lengths((lengths - lost).clamp(min=0))

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        y = self.windows(self.pad(x.zero_padding().values))
        return self._under(y, self.output_lengths(x.lengths))

    def pad(self, values: Tensor) -> Tensor:
        """Values [B, T, in_size] of full rows (or zero in the padding) with the zeros that belong at their ends."""
        before = {"causal": self.span, "centred": self.span // 2, "valid": 0}[self.padding]
        after = self.span // 2 if self.padding == "centred" else 0
        return F.pad(values, (0, 0, before, after)) if before or after else values

    def windows(self, padded: Tensor) -> Tensor:
        """[B, T, in_size] to one output for every `stride`-th window that is wholly inside."""
        weight = self.effective_weight()
        return convolve(padded, weight, self.bias, stride=self.stride, dilation=self.dilation, groups=self.groups)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Zeros: `StepBuffer` [batch_size, s−1, in_size], with a stride `StridedState`; like the parameters by default."""
        if not self.causal:
            return super().initial_state(batch_size)
        like = self.weight_direction if self.weight_norm else self.weight
        device, dtype = device or like.device, dtype or like.dtype
        window = StepBuffer.zeros(batch_size, self.span, self.in_size, device=device, dtype=dtype)
        if self.stride == 1:
            return window
        return StridedState(window, torch.zeros(batch_size, device=device, dtype=torch.int64))

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        if not self.causal:
            return super().step(x, state)
        self.check_input(x)
        self.check_state(x, state)
        full = x.full
        values, lengths = (x.values, None) if full else (x.zero_padding().values, x.lengths)
        if self.stride > 1:
            return self._step_strided(x, values, lengths, state)
        y, state = self.step_rows(values, lengths, state)
        return (x.with_values(y) if full else x.with_values(y).zero_padding()), state

    def step_rows(self, values: Tensor, lengths: Tensor | None, state: State) -> tuple[Tensor, StepBuffer]:
        """`step` at stride 1 without looks at the input: zeros in the padding, `lengths` None where all rows are full."""
        alone = lengths is None and values.size(1) == 1 and not torch.is_grad_enabled()
        if alone and self.groups == 1 and self.span and isinstance(state, StepBuffer):
            taps, after = state.append_one(values, self.kernel, self.dilation)  # [B, in, kernel]
            return F.linear(taps.flatten(1), self.effective_weight().flatten(1), self.bias).unsqueeze(1), after
        joined, after = advance(state, values, lengths)
        return self.windows(joined), after

    def _step_strided(
        self, x: Sequence, values: Tensor, lengths: Tensor | None, state: StridedState
    ) -> tuple[Sequence, StridedState]:
        joined, window = advance(state.window, values, lengths)
        first = -state.phase % self.stride  # [B]: steps of this chunk before the one that gives an output
        outputs = super().output_lengths((x.lengths - first).clamp(min=0))  # [B]
        most = int(outputs.max()) if x.batch_size else 0
        needed = self.span + (most - 1) * self.stride + 1 if most else 0
        if most and bool((first == first[0]).all()):
            joined = joined[:, int(first[0]) :][:, :needed]
        elif most:
            index = first.unsqueeze(1) + torch.arange(needed, device=x.device)  # [B, needed]
            index = index.clamp(max=joined.shape[1] - 1).unsqueeze(2).expand(-1, -1, self.in_size)
            joined = joined.gather(1, index)
        y = self.windows(joined) if most else values.new_zeros(x.batch_size, 0, self.out_size)
        return self._under(y, outputs), StridedState(window, (state.phase + x.lengths) % self.stride)

    def _under(self, values: Tensor, lengths: Tensor) -> Sequence:
        return Sequence(values, lengths).zero_padding()

    def extra_repr(self) -> str:
        options = {"padding": self.padding, "dilation": self.dilation, "stride": self.stride, "groups": self.groups}
        return f"{self.in_size}, {self.out_size}, {self.kernel}, " + ", ".join(f"{k}={v}" for k, v in options.items())


def convolution_plain(layer: Convolution, x: Sequence) -> Sequence:
    """The whole pass of `Convolution` by `convolve_plainly` on the padded input: for reading and as the test of the fast paths."""
    padded = layer.pad(x.zero_padding().values)
    options: dict[str, Any] = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    if padded.shape[1] <= layer.span:
        y = padded.new_zeros(x.batch_size, 0, layer.out_size)
    else:
        y = convolve_plainly(padded, layer.effective_weight(), layer.bias, **options)
    return Sequence(y, layer.output_lengths(x.lengths)).zero_padding()


def check_sizes(layer: Layer, **sizes: int) -> None:
    """Raise ValueError, naming the layer and the size, unless all are at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{type(layer).__name__} was given {name} {size}: it must be at least 1")

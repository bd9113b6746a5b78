"""The convolution that gives several outputs a step."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.kernels.step_buffer import StepBuffer, advance
from carryover.layers.base import Layer, State
from carryover.layers.convolutional.convolution import check_sizes
from carryover.sequence import Sequence

TransposedPadding = Literal["causal", "centred"]


@final
class TransposedConvolution(Layer):
    """y_u = b + Σ_{t·stride + j·dilation = u + before} W_j x_t: values [B, T, in_size] to [B, T · stride, out_size].

    Every input writes its window of s = (kernel−1)·dilation + 1 outputs, windows `stride` apart, and where they overlap
    they add up (Zeiler et al. 2010, "Deconvolutional networks"). What is kept of them depends on the padding:

        "causal"     before = 0: input t first appears in output t·stride; what the last inputs would write beyond the
                     row's l·stride outputs is dropped.
        "centred"    before = (s − stride) / 2: as much dropped at the start as at the end.

    Warm-up: the first outputs miss the windows of the inputs before the row. A kernel that is a multiple of the stride
    gives every output equally many inputs; others leave a chequered pattern. Causal layers have `step`; the state is the
    last ⌊(s−1) / stride⌋ inputs.

    Parameters
    ----------
    in_size, out_size, kernel : sizes.
    stride : outputs per step; ratio = stride.
    padding : see above. "centred" needs s − stride even and not negative; if it is 0 the layer is causal.
    dilation, groups, bias : as in `Convolution`.

    Parameters learned: `weight` [in_size, out_size / groups, kernel] and `bias` [out_size], those of
    `torch.nn.ConvTranspose1d`. ValueError for a size that is not positive, an unknown padding, a window that cannot be
    centred, or groups that do not divide the sizes.
    """

    state_type = StepBuffer

    def __init__(
        self,
        in_size: int,
        out_size: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: TransposedPadding = "causal",
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"in_size": in_size, "out_size": out_size, "kernel": kernel, "stride": stride, "dilation": dilation}
        check_sizes(self, **sizes, groups=groups)
        if padding not in get_args(TransposedPadding):
            known = ", ".join(get_args(TransposedPadding))
            raise ValueError(f"TransposedConvolution was given padding {padding!r}: choose from {known}")
        if in_size % groups or out_size % groups:
            raise ValueError(
                f"TransposedConvolution was given {groups} groups for {in_size} features in and {out_size} out: "
                "both must be multiples"
            )
        span = (kernel - 1) * dilation
        if padding == "centred" and (span + 1 < stride or (span + 1 - stride) % 2):
            raise ValueError(
                f"TransposedConvolution was given a kernel that spans {span + 1} steps at stride {stride}: padding "
                "'centred' needs a span that exceeds the stride by 0, 2, 4, …"
            )
        self.in_size, self.out_size, self.ratio = in_size, out_size, Fraction(stride)
        self.kernel, self.stride, self.padding, self.dilation, self.groups = kernel, stride, padding, dilation, groups
        self.before = (span + 1 - stride) // 2 if padding == "centred" else 0
        self.causal = self.before == 0
        self.memory = span // stride
        self.receptive_field = _receptive_field(kernel, dilation, stride)
        self.weight = nn.Parameter(torch.empty(in_size, out_size // groups, kernel))
        self.bias = nn.Parameter(torch.empty(out_size)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√(out_size / groups · kernel), as `torch.nn.ConvTranspose1d`."""
        limit = (self.out_size // self.groups * self.kernel) ** -0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-limit, limit)

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        y = self._spread(x.zero_padding().values)[:, self.before : self.before + x.time * self.stride]
        return Sequence(y, self.output_lengths(x.lengths)).zero_padding()

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Zeros, `StepBuffer` [batch_size, ⌊(s−1) / stride⌋, in_size], like the parameters by default."""
        if not self.causal:
            return super().initial_state(batch_size)
        device, dtype = device or self.weight.device, dtype or self.weight.dtype
        return StepBuffer.zeros(batch_size, self.memory, self.in_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        if not self.causal:
            return super().step(x, state)
        self.check_input(x)
        self.check_state(x, state)
        joined, state = advance(state, x.zero_padding().values, None if x.full else x.lengths)
        start = self.memory * self.stride
        y = self._spread(joined)[:, start : start + x.time * self.stride]
        return Sequence(y, self.output_lengths(x.lengths)).zero_padding(), state

    def _spread(self, values: Tensor) -> Tensor:
        """All that [B, T, in_size] writes, at least T · stride + before outputs [B, …, out_size]."""
        values = F.pad(values, (0, 0, 0, 1))  # a kernel shorter than the stride ends before the last outputs do
        y = F.conv_transpose1d(values.transpose(1, 2), self.weight, self.bias, self.stride, 0, 0, self.groups, self.dilation)
        return y.transpose(1, 2)

    def extra_repr(self) -> str:
        options = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}
        return f"{self.in_size}, {self.out_size}, {self.kernel}, " + ", ".join(f"{k}={v}" for k, v in options.items())


def _receptive_field(kernel: int, dilation: int, stride: int) -> int:
    """Most steps between the first and the last input, both counted, that write the same output."""
    widest = 1
    for phase in range(stride):
        inputs = [(phase - j * dilation) // stride for j in range(kernel) if (phase - j * dilation) % stride == 0]
        if inputs:
            widest = max(widest, max(inputs) - min(inputs) + 1)
    return widest

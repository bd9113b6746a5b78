"""An LSTM whose state is a line or an image and whose products are convolutions over it."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.layers.base import Layer, State
from carryover.layers.convolutional.convolution import check_sizes
from carryover.layers.recurrent.lstm import LSTMState
from carryover.sequence import Sequence


@final
class ConvLSTM(Layer):
    """LSTM over images; values [B, T, in_size, *space] to [B, T, size, *space], `space` being (W,) or (H, W).

    Shi et al. 2015, "Convolutional LSTM network: a machine learning approach for precipitation nowcasting", equation 3:

        i, f = σ(W x_t + U h_{t−1} + V ⊙ c_{t−1} + b)         c_t = f ⊙ c_{t−1} + i ⊙ tanh(W_g x_t + U_g h_{t−1} + b_g)
        o    = σ(W_o x_t + U_o h_{t−1} + V_o ⊙ c_t + b_o)     h_t = o ⊙ tanh(c_t)

    with convolutions over space for products of W and U, zeros beyond the border, and peepholes V for every place. The
    input's convolutions run over all steps at once. The state is `LSTMState(hidden, cell)`, both [B, size, *space]; a
    row of length l ends with its state after l steps. `feature_axis` is 2: sizes count channels.

    Parameters
    ----------
    in_size, size : channels in and out.
    space : width, or height and width, of the images; with peepholes they belong to the weights.
    kernel : width of the window over space in each direction, odd so that it has a middle.
    peephole : whether V is there (Shi et al.) or not (most later work).

    Parameters learned: `input_weight` [4 size, in_size, kernel(, kernel)], `hidden_weight` [4 size, size, …], `bias`
    [4 size], in the order i, f, g, o, and `peephole_weight` [3, size, *space] in the order i, f, o. ValueError for a size
    that is not positive, an even kernel, or other than one or two dimensions of space.
    """

    causal = True
    state_type = LSTMState
    feature_axis = 2

    def __init__(self, in_size: int, size: int, *, space: tuple[int, ...], kernel: int = 3, peephole: bool = True) -> None:
        super().__init__()
        check_sizes(self, in_size=in_size, size=size, kernel=kernel)
        if len(space) not in (1, 2) or min(space) < 1:
            raise ValueError(f"ConvLSTM was given space {tuple(space)}: give (width,) or (height, width), each at least 1")
        if kernel % 2 == 0:
            raise ValueError(
                f"ConvLSTM was given a kernel of {kernel}, which has no middle: take the odd {kernel - 1} or {kernel + 1}"
            )
        self.in_size, self.out_size, self.space, self.kernel = in_size, size, tuple(space), kernel
        self.axes = 3 + len(space)
        window = [kernel] * len(space)
        self.input_weight = nn.Parameter(torch.empty(4 * size, in_size, *window))
        self.hidden_weight = nn.Parameter(torch.empty(4 * size, size, *window))
        self.bias = nn.Parameter(torch.empty(4 * size))
        self.peephole_weight = nn.Parameter(torch.empty(3, size, *space)) if peephole else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√(size · inputs of a window), as `torch.nn.LSTM` where the window is one place."""
        limit = (self.out_size * self.kernel ** len(self.space)) ** -0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-limit, limit)

    def check_input(self, x: Sequence) -> None:
        """Raise TypeError on ids, ValueError on another shape than [batch, time, in_size, *space]."""
        super().check_input(x)
        if tuple(x.values.shape[3:]) != self.space:
            raise ValueError(
                f"ConvLSTM expects images of size {self.space} and got {tuple(x.values.shape[3:])}: build it with "
                f"space={tuple(x.values.shape[3:])} or resize them"
            )

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LSTMState:
        """Zeros, of the parameters' device and type by default."""
        zeros = self.bias.new_zeros(batch_size, self.out_size, *self.space, device=device, dtype=dtype)
        return LSTMState(zeros, zeros)

    def forward(self, x: Sequence) -> Sequence:
        return self.step(x, self.initial_state(x.batch_size, device=x.device))[0]

    def step(self, x: Sequence, state: State) -> tuple[Sequence, LSTMState]:
        self.check_input(x)
        self.check_state(x, state)
        hidden, cell = state
        if not x.values.numel():
            return x.with_values(x.values.new_zeros(x.batch_size, x.time, *hidden.shape[1:])), LSTMState(hidden, cell)
        images = x.zero_padding().values.flatten(0, 1)  # [B · T, in, *space]
        drive = self._convolve(images, self.input_weight, self.bias).unflatten(0, (x.batch_size, x.time))
        running = None if x.full else x.expand_mask()
        outputs = []
        for t in range(x.time):
            new_hidden, new_cell = self._advance(drive[:, t], hidden, cell)
            if running is None:
                hidden, cell = new_hidden, new_cell
            else:
                hidden = torch.where(running[:, t], new_hidden, hidden)
                cell = torch.where(running[:, t], new_cell, cell)
            outputs.append(new_hidden)
        return x.with_values(torch.stack(outputs, dim=1)).zero_padding(), LSTMState(hidden, cell)

    def _advance(self, drive: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """h_t and c_t from W x_t + b [B, 4 size, *space] and the state before."""
        a_i, a_f, a_g, a_o = (drive + self._convolve(hidden, self.hidden_weight, None)).chunk(4, dim=1)
        if self.peephole_weight is not None:
            a_i, a_f = a_i + self.peephole_weight[0] * cell, a_f + self.peephole_weight[1] * cell
        cell = torch.sigmoid(a_f) * cell + torch.sigmoid(a_i) * torch.tanh(a_g)
        if self.peephole_weight is not None:
            a_o = a_o + self.peephole_weight[2] * cell
        return torch.sigmoid(a_o) * torch.tanh(cell), cell

    def _convolve(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolution = F.conv1d if len(self.space) == 1 else F.conv2d
        return convolution(images, weight, bias, padding=self.kernel // 2)

    def extra_repr(self) -> str:
        peephole = self.peephole_weight is not None
        return f"{self.in_size}, {self.out_size}, space={self.space}, kernel={self.kernel}, peephole={peephole}"

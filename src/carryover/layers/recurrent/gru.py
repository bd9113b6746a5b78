"""The gated recurrent unit, in its two published forms."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from carryover.kernels.elman_gru_lstm_compiled import RecurrenceWeights
from carryover.kernels.elman_gru_scan import gru_scan
from carryover.layers.recurrent.hidden_state_base import HiddenRecurrence
from carryover.sequence import Sequence

__all__ = ["GRU", "gru_loop"]


class GRU(HiddenRecurrence):
    """Gated recurrent unit (Cho et al. 2014), with r, z = σ(W x_t + U h_{t−1} + b) and one of two candidates:

        reset="after"    n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t−1} + c))       h_t = z ⊙ h_{t−1} + (1 − z) ⊙ n
        reset="before"   n = tanh(W_n x_t + b_n + U_n (r ⊙ h_{t−1}))          h_t = (1 − z) ⊙ h_{t−1} + z ⊙ n

    "before" is the form of Chung et al. 2014 and of the textbooks: forget, then look. "after" is that of cuDNN and
    `torch.nn.GRU`, which is why it is the default: its recurrent product does not wait for r, so there is a fused kernel,
    and its weights can be exchanged with `torch.nn.GRU`. Each form keeps the sense of z of its source: "after" z keeps,
    "before" z renews. Neither is known to be better; weights of one are of no use to the other.

    Values [B, T, in] to [B, T, size]; the state is h, [B, size]. A row of length l ends with its state after l steps;
    one of length 0 keeps it. Parameters: `input_weight` [3H, in], `hidden_weight` [3H, H], `bias` [3H], all in the order
    r, z, n, and with "after" `candidate_bias` [H] (c above).

    `last_path` says what the latest call ran: "compiled" ("after", see `elman_gru_lstm_compiled`) or, where that is not to be
    had, "fused" (PyTorch's kernel), or "scan" ("before"). `gru_loop` is the plain loop all are tested against, and "loop"
    where `fast` is False. ValueError for a size that is not positive or another reset.
    """

    def __init__(self, in_size: int, size: int, *, reset: Literal["before", "after"] = "after") -> None:
        super().__init__(in_size, size, gates=3)
        if reset not in ("before", "after"):
            raise ValueError(f"reset is {reset!r}: choose 'before' or 'after'")
        self.reset = reset
        self.candidate_bias = nn.Parameter(torch.empty(size)) if reset == "after" else None
        self.reset_parameters()

    @property
    def kernel(self) -> str | None:
        return "gru" if self.reset == "after" else None

    def recurrence_weights(self) -> RecurrenceWeights:
        return RecurrenceWeights(self.input_weight, self.hidden_weight, self.bias, self.candidate_bias)

    def hidden_bias(self) -> Tensor:
        assert self.candidate_bias is not None
        return torch.cat([self.bias.new_zeros(2 * self.out_size), self.candidate_bias])

    def scan(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        return gru_scan(x, state, self.input_weight, self.hidden_weight, self.bias)

    def loop(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        return gru_loop(self, x, state)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.out_size}, reset={self.reset}"


def gru_loop(layer: GRU, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
    """The equations of `GRU` word by word, one step at a time: slow, for reading and as the test of the fast paths."""
    values, outputs = x.zero_padding().values, []
    u_r, u_z, u_n = layer.hidden_weight.chunk(3)
    for t in range(x.time):
        x_r, x_z, x_n = (values[:, t] @ layer.input_weight.t() + layer.bias).chunk(3, dim=1)
        r = torch.sigmoid(x_r + state @ u_r.t())
        z = torch.sigmoid(x_z + state @ u_z.t())
        if layer.candidate_bias is None:
            n = torch.tanh(x_n + (r * state) @ u_n.t())
            new = (1 - z) * state + z * n
        else:
            n = torch.tanh(x_n + r * (state @ u_n.t() + layer.candidate_bias))
            new = z * state + (1 - z) * n
        state = torch.where((t < x.lengths).unsqueeze(1), new, state)
        outputs.append(new)
    if not outputs:
        return x.with_values(state.new_zeros(x.batch_size, 0, layer.out_size)), state
    return x.with_values(torch.stack(outputs, dim=1)).zero_padding(), state

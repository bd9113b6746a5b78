"""Long short-term memory, with optional peepholes, projection and clipping of cell and projection."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from carryover.kernels import elman_gru_lstm_compiled, projected_lstm_inference
from carryover.kernels.elman_gru_lstm_compiled import RecurrenceWeights
from carryover.kernels.lstm_arguments import LSTMState, LSTMWeights, ScanOptions
from carryover.kernels.lstm_scan import scan
from carryover.kernels.packed_steps import PackedSteps
from carryover.kernels.products import product_type, wants_gradients
from carryover.kernels.pytorch_recurrent import FusedKernel, run_fused
from carryover.layers.base import Layer
from carryover.layers.prepared import forget, prepared
from carryover.sequence import Sequence

__all__ = ["LSTM", "LSTMState", "lstm_loop"]

LEAST_ROWS, MOST_CELLS = 4, 160
"""Fewest rows, and of full ones most cells, with which the compiled recurrence trains faster than oneDNN (measured)."""

LOW_PRECISION_CELLS = 512
"""Fewest cells for which the scan trains faster in bfloat16 than PyTorch's kernel (measured on a CPU at batch 32)."""

LARGEST_CLIP = 1e30
"""Larger bounds are none, and not every type of numbers can hold them."""


class LSTMShape(NamedTuple):
    """What two LSTMs must share to run in one scan."""

    in_size: int
    cell_size: int
    projection: int | None
    cell_clip: float | None
    projection_clip: float | None
    peephole: bool


class LSTM(Layer):
    """LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000), one layer, forward in time.

        i, f, o = σ(W x_t + U h_{t−1} + b + p ⊙ c)       peepholes p (Gers & Schmidhuber 2002): i, f see c_{t−1}, o sees c_t
        g       = tanh(W x_t + U h_{t−1} + b)
        c_t     = clip(f ⊙ c_{t−1} + i ⊙ g, ± cell_clip)
        h_t     = clip(W_p (o ⊙ tanh c_t), ± projection_clip)       projection W_p (Sak, Senior & Beaufays 2014, eqs. 7–12)

    A clipped number has derivative zero. A row of length l ends with its state after l steps; one of length 0 keeps it.

    Parameters: `input_weight` [4C, in], `hidden_weight` [4C, P], `bias` [4C], `projection_weight` [P, C],
    `peephole_weight` [3, C] (i, f, o); gates in the order i, f, g, o as in `torch.nn.LSTM`. Without projection P = C.

    `last_path` says what the latest call ran. On a processor with AVX-512 where a compiler is present: "compiled", without
    gradients and with projection (`projected_lstm_inference`), or without projection and options for ragged rows and for training
    up to 160 cells (`elman_gru_lstm_compiled`). Else "fused" (PyTorch's kernel: oneDNN on a CPU, cuDNN on a GPU) whenever the
    options allow, or "scan" (`lstm_scan`: with projection on a CPU, clipping or peepholes, for the states of a
    ragged batch, and on a CPU for training 512 and more cells with products in bfloat16, where it is faster). For one step
    on a CPU without gradients "cell" (PyTorch's cell), or "loop" where there is neither cell nor compiled kernel.
    `lstm_loop` is the plain loop all are tested against, and "loop" where `fast` is False.

    Raises ValueError for a size or clip that is not positive.
    """

    causal = True
    state_type = LSTMState

    def __init__(
        self,
        in_size: int,
        cell_size: int,
        *,
        projection: int | None = None,
        cell_clip: float | None = None,
        projection_clip: float | None = None,
        peephole: bool = False,
    ) -> None:
        super().__init__()
        for name, value in [
            ("in_size", in_size),
            ("cell_size", cell_size),
            ("projection", projection),
            ("cell_clip", cell_clip),
            ("projection_clip", projection_clip),
        ]:
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}: it must be positive (or None where it is optional)")
        if max(cell_clip or 0, projection_clip or 0) > LARGEST_CLIP:
            raise ValueError(f"a clip is above {LARGEST_CLIP:g}, which has no effect: give None instead")
        if projection is None and projection_clip is not None:
            raise ValueError(f"projection_clip is {projection_clip} without a projection: give both or neither")
        self.in_size, self.cell_size = in_size, cell_size
        self.out_size = cell_size if projection is None else projection
        self.cell_clip, self.projection_clip = cell_clip, projection_clip
        self.input_weight = nn.Parameter(torch.empty(4 * cell_size, in_size))
        self.hidden_weight = nn.Parameter(torch.empty(4 * cell_size, self.out_size))
        self.bias = nn.Parameter(torch.empty(4 * cell_size))
        self.projection_weight = None if projection is None else nn.Parameter(torch.empty(projection, cell_size))
        self.peephole_weight = nn.Parameter(torch.empty(3, cell_size)) if peephole else None
        self.last_path: str | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√C as `torch.nn.LSTM`; the forget gate's bias 1, so that memories last from the start
        (Jozefowicz, Zaremba & Sutskever 2015)."""
        bound = self.cell_size**-0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound)
            self.bias[self.cell_size : 2 * self.cell_size] = 1

    @property
    def shape(self) -> LSTMShape:
        projection = None if self.projection_weight is None else self.out_size
        peephole = self.peephole_weight is not None
        return LSTMShape(self.in_size, self.cell_size, projection, self.cell_clip, self.projection_clip, peephole)

    def weights(self) -> LSTMWeights:
        return LSTMWeights(self.input_weight, self.hidden_weight, self.bias, self.projection_weight, self.peephole_weight)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LSTMState:
        """Zeros: hidden [batch_size, P] and cell [batch_size, C], of the parameters' device and type by default."""
        like = self.bias.new_empty(0, device=device, dtype=dtype)
        return LSTMState(like.new_zeros(batch_size, self.out_size), like.new_zeros(batch_size, self.cell_size))

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        state = self.initial_state(x.batch_size, device=x.device)
        return self._fused(x, state)[0] if self._kernel_fits(x) else self._advance(x, state)[0]

    def step(self, x: Sequence, state: LSTMState) -> tuple[Sequence, LSTMState]:
        self.check_input(x)
        self.check_state(x, state)
        return self._advance(x, state)

    def _advance(self, x: Sequence, state: LSTMState) -> tuple[Sequence, LSTMState]:
        if not self.fast:
            self.last_path = "loop"
            return lstm_loop(self, x, state)
        if x.time == 1 and x.device.type == "cpu" and not wants_gradients(x.values, *self.weights(), *state):
            found = self._one_step(x, state)
            if found is not None:
                return found
        if self.is_compiled(x, *state):
            self.last_path = "compiled"
            outputs, hidden, cell = elman_gru_lstm_compiled.run("lstm", self._recurrence_weights(), x, *state)
            assert cell is not None
            return outputs, LSTMState(hidden, cell)
        if self.has_kernel(x):
            return self._fused(x, state)
        steps = PackedSteps(x.lengths, x.time)
        packed, state = self.scan_packed(steps.pack(x.values), state, steps)
        return x.with_values(steps.unpack(packed)), state

    def scan_packed(self, x: Tensor, state: LSTMState, steps: PackedSteps) -> tuple[Tensor, LSTMState]:
        """Packed rows x [total, in] to packed outputs [total, P] and the last state, by the compiled kernel where it fits and
        nobody wants gradients, else by the scan in PyTorch. States are in the order of the batch."""
        weights, dtype = self.weights(), product_type(x)
        if wants_gradients(x, *weights, *state):
            forget(self)
        elif projected_lstm_inference.fits(weights, x, dtype):
            self.last_path = "compiled"
            build = projected_lstm_inference.panels_of
            panels = prepared(self, ("panels", dtype), weights, lambda: build(weights, dtype))
            options = ScanOptions(steps, self.cell_clip, self.projection_clip, dtype)
            return projected_lstm_inference.run_panels(panels, x, state, options)
        self.last_path = "scan"
        return scan(x, weights, state, steps, self.cell_clip, self.projection_clip)

    def has_kernel(self, x: Sequence) -> bool:
        """Whether PyTorch's fused kernel can do a `step` over `x`.

        It gives the cells of the last padded step only, so ragged rows that must hand on their state are scanned.
        """
        return self._kernel_fits(x) and x.full

    def is_compiled(self, x: Sequence, *state: Tensor) -> bool:
        """Whether the compiled recurrence does a `step` over `x`.

        oneDNN is as fast or faster for few rows, and for full ones of many cells or without gradients.
        """
        if not self.fast or not self._is_plain or self.projection_weight is not None or x.batch_size < LEAST_ROWS:
            return False
        if not elman_gru_lstm_compiled.fits(self._recurrence_weights(), x, *state):
            return False
        training = wants_gradients(x.values, *self.weights(), *state)
        return (training and self.cell_size <= MOST_CELLS and product_type(x.values) == torch.float32) or not x.full

    @property
    def _is_plain(self) -> bool:
        return self.peephole_weight is None and self.cell_clip is None and self.projection_clip is None

    def _recurrence_weights(self) -> RecurrenceWeights:
        return RecurrenceWeights(self.input_weight, self.hidden_weight, self.bias)

    def _kernel_fits(self, x: Sequence) -> bool:
        if not self.fast or not self._is_plain or not x.values.numel() or self.is_compiled(x):
            return False
        return x.device.type == "cuda" or not self._scan_is_faster(x)

    def _scan_is_faster(self, x: Sequence) -> bool:
        """Whether on a CPU the scan beats the kernel for `x`."""
        if self.projection_weight is not None:
            return True
        low = product_type(x.values) == torch.bfloat16
        return low and self.cell_size >= LOW_PRECISION_CELLS and wants_gradients(x.values, *self.weights())

    def fused_kernel(self, x: Sequence) -> FusedKernel | None:
        return self._kernel() if self._kernel_fits(x) else None

    def _kernel(self) -> FusedKernel:
        weights = [self.input_weight, self.hidden_weight, bias := self.bias, torch.zeros_like(bias)]
        return FusedKernel("lstm", weights if self.projection_weight is None else [*weights, self.projection_weight])

    def _fused(self, x: Sequence, state: LSTMState) -> tuple[Sequence, LSTMState]:
        outputs, last = run_fused(*self._kernel(), x, state, full=x.full)
        self.last_path = "fused"
        if any(new.dtype != old.dtype for new, old in zip(last, state, strict=True)):
            last = tuple(new.to(old.dtype) for new, old in zip(last, state, strict=True))
        return outputs, LSTMState(*last)

    def _one_step(self, x: Sequence, state: LSTMState) -> tuple[Sequence, LSTMState] | None:
        """One step on a CPU without gradients by PyTorch's cell or, where options forbid it, the plain loop: kernel and scan
        lay out the weights anew for every call. None where another path is better."""
        dtype = product_type(x.values)
        if not self._kernel_fits(x):
            if (
                dtype != x.values.dtype
                or not x.values.numel()
                or projected_lstm_inference.fits(self.weights(), x.values[:, 0], dtype)
            ):
                return None
            self.last_path = "loop"
            return lstm_loop(self, x, state)
        values, hidden, cell, *weights = (
            part.to(dtype)
            for part in (x.zero_padding().values[:, 0], *state, self.input_weight, self.hidden_weight, self.bias)
        )
        with torch.autocast("cpu", enabled=False):
            new = torch.lstm_cell(values, (hidden, cell), *weights)
        self.last_path = "cell"
        running = (x.lengths > 0).unsqueeze(1)
        last = (torch.where(running, one, old).to(old.dtype) for one, old in zip(new, state, strict=True))
        return x.with_values(new[0].unsqueeze(1)).zero_padding(), LSTMState(*last)

    def extra_repr(self) -> str:
        options = [f"{name}={value}" for name, value in self.shape._asdict().items() if value not in (None, False)]
        return ", ".join(options)


def lstm_loop(layer: LSTM, x: Sequence, state: LSTMState) -> tuple[Sequence, LSTMState]:
    """The equations of `LSTM` word by word, one step at a time: slow, for reading and as the test of the fast paths."""
    hidden, cell = state
    values = x.zero_padding().values
    outputs = []
    for t in range(x.time):
        a = values[:, t] @ layer.input_weight.t() + hidden @ layer.hidden_weight.t() + layer.bias  # [B, 4C]
        a_i, a_f, a_g, a_o = a.chunk(4, dim=1)
        if layer.peephole_weight is not None:
            a_i = a_i + layer.peephole_weight[0] * cell
            a_f = a_f + layer.peephole_weight[1] * cell
        new_cell = torch.sigmoid(a_f) * cell + torch.sigmoid(a_i) * torch.tanh(a_g)
        if layer.cell_clip is not None:
            new_cell = new_cell.clamp(-layer.cell_clip, layer.cell_clip)
        if layer.peephole_weight is not None:
            a_o = a_o + layer.peephole_weight[2] * new_cell
        new_hidden = torch.sigmoid(a_o) * torch.tanh(new_cell)
        if layer.projection_weight is not None:
            new_hidden = new_hidden @ layer.projection_weight.t()
        if layer.projection_clip is not None:
            new_hidden = new_hidden.clamp(-layer.projection_clip, layer.projection_clip)
        running = (t < x.lengths).unsqueeze(1)  # [B, 1]
        hidden, cell = torch.where(running, new_hidden, hidden), torch.where(running, new_cell, cell)
        outputs.append(new_hidden)
    if not outputs:
        return x.with_values(hidden.new_zeros(x.batch_size, 0, layer.out_size)), LSTMState(hidden, cell)
    return x.with_values(torch.stack(outputs, dim=1)).zero_padding(), LSTMState(hidden, cell)

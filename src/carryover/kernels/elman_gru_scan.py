"""Scans of the Elman network and of the GRU that resets before its product, with backward passes written by hand.

Built like `carryover.layers.recurrent.lstm_side_by_side`: packed steps instead of masks, one product for the input of all steps and one
for the gradient of each weight, one operation for autograd. They serve the forms for which there is no fused kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from carryover.kernels.packed_steps import PackedSteps
from carryover.kernels.products import prepare, product
from carryover.sequence import Sequence

Tensors = tuple[Tensor, ...]


def elman_scan(
    x: Sequence, state: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor, nonlinearity: str
) -> tuple[Sequence, Tensor]:
    """h_t = φ(W x_t + U h_{t−1} + b); shapes as in `Elman`."""
    return _run(_ElmanScan, x, state, (input_weight, hidden_weight, bias), nonlinearity)


def gru_scan(
    x: Sequence, state: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor
) -> tuple[Sequence, Tensor]:
    """The GRU with `reset="before"`; shapes as in `GRU`, gates r, z, n."""
    return _run(_GRUScan, x, state, (input_weight, hidden_weight, bias))


def _run(scan: Any, x: Sequence, state: Tensor, weights: Tensors, *options: object) -> tuple[Sequence, Tensor]:
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.values.dtype
    steps = PackedSteps(x.lengths, x.time)
    packed = steps.pack(x.values).to(dtype)
    hidden = steps.sort(state).to(dtype)
    with torch.autocast(device, enabled=False):
        outputs, last = scan.apply(packed, hidden, *(weight.to(dtype) for weight in weights), steps, *options)
    return x.with_values(steps.unpack(outputs)), last.to(state.dtype)


def _tanh(x: Tensor) -> Tensor:
    """tanh in place as 2σ(2x) − 1: on a CPU a sigmoid costs a sixth of a tanh. Low precision could not afford the −1."""
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        return x.mul_(2).sigmoid_().mul_(2).sub_(1)
    return x.tanh_()


class _ElmanScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, hidden0: Tensor, w: Tensor, u: Tensor, b: Tensor, steps: PackedSteps, kind: str
    ) -> Tensors:
        apply = {"tanh": _tanh, "relu": torch.relu_, "sigmoid": torch.sigmoid_}[kind]
        states = steps.begin(hidden0)
        recur, inputs = prepare(u, steps.batch), product(x, w, b)
        after = states[steps.batch :].split(steps.sizes)
        for a, before, new in zip(inputs.split(steps.sizes), steps.before(states), after, strict=True):
            apply(torch.add(a, recur(before), out=new))
        ctx.steps, ctx.kind = steps, kind
        ctx.save_for_backward(x, w, u, states)
        return states[steps.batch :], steps.last(states).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        (x, w, u, states), steps = ctx.saved_tensors, ctx.steps
        recur = prepare(u.mT, steps.batch)
        h = states[steps.batch :]
        slope = {"tanh": lambda: 1 - h * h, "relu": lambda: (h > 0).to(h.dtype), "sigmoid": lambda: h * (1 - h)}[ctx.kind]()
        d_pre = torch.empty_like(h)
        dh = steps.sort(d_last).clone()
        parts = [tensor.split(steps.sizes) for tensor in (d_outputs, slope, d_pre)]
        for d_out, slope_t, da in zip(*(reversed(part) for part in parts), strict=True):
            running = dh[: len(da)]
            torch.mul(running.add_(d_out), slope_t, out=da)
            running.copy_(recur(da))
        d_u = product(steps.all_before(states).mT, d_pre.mT).mT
        return product(d_pre, w.mT), dh, product(x.mT, d_pre.mT).mT, d_u, d_pre.sum(0), None, None


class _GRUScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, hidden0: Tensor, w: Tensor, u: Tensor, b: Tensor, steps: PackedSteps) -> Tensors:
        size = hidden0.shape[1]
        states = steps.begin(hidden0)
        recur_gates, recur_candidate = prepare(u[: 2 * size], steps.batch), prepare(u[2 * size :], steps.batch)
        gates, candidates = product(x, w, b).split([2 * size, size], 1)
        gates, candidates = gates.contiguous(), candidates.contiguous()
        past = torch.empty_like(candidates)  # r ⊙ h_{t−1}
        lists = [tensor.split(steps.sizes) for tensor in (gates, candidates, past, states[steps.batch :])]
        for gate, n, reset, new, before in zip(*lists, steps.before(states), strict=True):
            r, z = gate.add_(recur_gates(before)).sigmoid_().chunk(2, 1)
            torch.mul(r, before, out=reset)
            _tanh(n.add_(recur_candidate(reset)))
            torch.lerp(before, n, z, out=new)
        ctx.steps = steps
        ctx.save_for_backward(x, w, u, states, gates, candidates, past)
        return states[steps.batch :], steps.last(states).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        (x, w, u, states, gates, candidates, past), steps = ctx.saved_tensors, ctx.steps
        size = candidates.shape[1]
        recur_gates, recur_candidate = prepare(u[: 2 * size].mT, steps.batch), prepare(u[2 * size :].mT, steps.batch)
        d_gates, d_candidates = torch.empty_like(gates), torch.empty_like(candidates)
        slope = 1 - candidates * candidates
        dh = steps.sort(d_last).clone()
        tensors = (d_outputs, gates, candidates, slope, d_gates, d_candidates)
        lists = [reversed(tensor.split(steps.sizes)) for tensor in tensors]
        for d_out, gate, n, slope_t, d_gate, dn, before in zip(*lists, reversed(steps.before(states)), strict=True):
            (r, z), (d_r, d_z) = gate.chunk(2, 1), d_gate.chunk(2, 1)
            running = dh[: len(gate)]
            running.add_(d_out)
            torch.sub(n, before, out=d_z)
            d_z.mul_(running)
            torch.mul(running, z, out=dn)
            running.sub_(dn)  # the part that is kept: (1 − z) ⊙ dh
            d_past = recur_candidate(dn.mul_(slope_t))
            torch.mul(d_past, before, out=d_r)
            d_gate.mul_(gate).mul_(1 - gate)
            running.addcmul_(d_past, r).add_(recur_gates(d_gate))
        d_pre = torch.cat([d_gates, d_candidates], 1)
        d_u = torch.cat([product(steps.all_before(states).mT, d_gates.mT).mT, product(past.mT, d_candidates.mT).mT])
        return product(d_pre, w.mT), dh, product(x.mT, d_pre.mT).mT, d_u, d_pre.sum(0), None

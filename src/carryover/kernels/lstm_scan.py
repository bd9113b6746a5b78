"""LSTMs with projection, clipping and peepholes over packed rows (`packed_steps`), with a backward pass written by hand.

What bounds it: per step one small product (batch × projection × 4 cells) and about ten element-wise passes. So

* the input product of all steps is one matrix product, and so is the gradient of all weights that read x or h;
* no masks, no work on padding: the padding is never read, so a NaN there can leak nowhere;
* tanh(x) = 2σ(2x) − 1, scaled by powers of two (exact): the candidate's rows of the weights are doubled, so that one
  sigmoid serves all four gates, and the cell is carried at half its value. On a CPU a sigmoid costs a sixth of a tanh;
* autograd sees one operation instead of twenty a step.

With low-precision products (bfloat16, float16) gates and cells stay in float32.

Notation, with σ of the four gates i, f, s, o (s of the doubled candidate, so that g = 2s − 1) and the half cell z = c/2:
    z_t = clip(f ⊙ z_{t−1} + i ⊙ (s − ½)),   u = σ(4 z_t),   m = o ⊙ (u − ½) = (o ⊙ tanh c_t)/2,   h_t = clip(2 W_p m).
Every tensor may have a leading axis of independent scans, which run side by side in batched products.
"""

from __future__ import annotations

from collections.abc import Sequence as Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from carryover.kernels import c_library
from carryover.kernels.lstm_arguments import LSTMState, LSTMWeights, ScanOptions
from carryover.kernels.lstm_elementwise import CompiledSteps
from carryover.kernels.packed_steps import PackedSteps
from carryover.kernels.products import prepare, product, product_type, wants_gradients

# When nothing is kept for a backward pass, at most this many numbers are spent on the gates of the steps at hand.
GATES_AT_ONCE = 1 << 22

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


def scan(
    x: Tensor,
    weights: LSTMWeights,
    state: LSTMState,
    steps: PackedSteps,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
) -> tuple[Tensor, LSTMState]:
    """Run packed rows x [total, in] from `state` (in the order of the batch) to packed outputs [total, P] and a state.

    A leading axis on every tensor, if any, counts scans side by side. Products run in autocast's type where autocast is
    on, else in that of x; the state keeps its own. Without gradients nothing is kept and the gates never exist whole.
    """
    device, dtype = x.device.type, product_type(x)
    options = ScanOptions(steps, cell_clip, projection_clip, dtype)
    hidden, cell = steps.sort(state.hidden), steps.sort(state.cell)
    x = x.to(dtype)
    with torch.autocast(device, enabled=False):
        if wants_gradients(x, *weights, hidden, cell):
            outputs, *last = LSTMScan.apply(x, *weights, hidden, cell, options)
        else:
            kept = run(x, weights, hidden, cell, options, keep=False)
            outputs, *last = results(kept, options, hidden.dtype, cell.dtype)
    return outputs, LSTMState(*last)


def scan_side_by_side(
    packed: list[Tensor],
    weights: list[LSTMWeights],
    states: Collection[LSTMState],
    steps: PackedSteps,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
) -> list[tuple[Tensor, LSTMState]]:
    """`scan` for each of several inputs, weights and states of equal shapes, in one scan with batched products."""
    stacked = LSTMWeights(*(None if column[0] is None else torch.stack(column) for column in zip(*weights, strict=True)))  # type: ignore[arg-type]
    state = LSTMState(*(torch.stack(column) for column in zip(*states, strict=True)))
    outputs, last = scan(torch.stack(packed), stacked, state, steps, cell_clip, projection_clip)
    return [(y, LSTMState(hidden, cell)) for y, hidden, cell in zip(outputs, last.hidden, last.cell, strict=True)]


class ForwardCache(NamedTuple):
    """What the forward pass leaves for the backward pass. The first rows of `cells` and `hidden` are the first state."""

    gates: Tensor  # [rows, 4C]
    cells: Tensor  # [B + rows, C]: z
    squashed: Tensor  # [rows, C]: u
    outputs: Tensor  # [rows, C]: m
    hidden: Tensor  # [B + rows, P]
    clipped: Tensor  # bool [2]: whether a cell, a projection may have been cut


class LSTMScan(torch.autograd.Function):
    """x [rows, in], the five weights and the two first states, in the order of the packed rows, to packed outputs
    [rows, P] and each row's last state, in the order of the batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        *weights, hidden0, cell0, options = arguments
        kept = run(x, LSTMWeights(*weights), hidden0, cell0, options, keep=True)
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *weights, hidden0, cell0, *kept)
        return results(kept, options, hidden0.dtype, cell0.dtype)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_outputs: Tensor | None, d_last_hidden: Tensor | None, d_last_cell: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, *weights, hidden0, cell0 = ctx.saved_tensors[:8]
        kept, options, like = ForwardCache(*ctx.saved_tensors[8:]), ctx.options, LSTMWeights(*weights)
        with torch.autocast(x.device.type, enabled=False):
            back = _Backward(like, kept, options, hidden0.shape[-1])
            dh, dz = back.run(d_outputs, d_last_hidden, d_last_cell)
            gradients = _weight_gradients(x, like, kept, options, back.d_gates, back.d_hidden)
            dx = product(back.d_gates, _doubled(like.input, options.dtype).mT) if ctx.needs_input_grad[0] else None
        return dx, *gradients, dh.to(hidden0.dtype), dz.div_(2).to(cell0.dtype), None


def results(
    kept: ForwardCache, options: ScanOptions, hidden: torch.dtype, cell: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Packed outputs, and the last states in the types given."""
    steps = options.steps
    outputs = kept.hidden.narrow(-2, steps.batch, steps.total)
    return outputs, steps.last(kept.hidden).to(hidden, copy=True), (steps.last(kept.cells) * 2).to(cell)


def run(
    x: Tensor, weights: LSTMWeights, hidden0: Tensor, cell0: Tensor, options: ScanOptions, *, keep: bool
) -> ForwardCache:
    """All steps forward. Without `keep`, only `hidden` and `cells` of the result mean anything."""
    steps, wide, dtype = options.steps, options.wide, options.dtype
    lead, batch, cells = cell0.shape[:-2], cell0.shape[-2], cell0.shape[-1]
    input_weight, bias = _doubled(weights.input, dtype), _doubled(weights.bias.unsqueeze(-1), wide).squeeze(-1)
    recur = prepare(_doubled(weights.hidden, dtype), batch)
    project = None if weights.projection is None else prepare(weights.projection.to(dtype) * 2, batch)
    peephole = _doubled_peepholes(weights, wide)
    cell_limit = None if options.cell_clip is None else options.cell_clip / 2
    limit = options.projection_clip

    hidden = hidden0.new_empty(*lead, batch + steps.total, hidden0.shape[-1], dtype=dtype)
    hidden.narrow(-2, 0, batch).copy_(hidden0)
    cell = cell0.new_empty(*lead, batch + steps.total, cells, dtype=wide)
    torch.mul(cell0, 0.5, out=cell.narrow(-2, 0, batch))
    room = steps.total if keep else batch
    squashed = cell0.new_empty(*lead, room, cells, dtype=wide)
    outputs = cell0.new_empty(*lead, room, cells, dtype=dtype)
    gates = cell.new_empty(*lead, 0, 4 * cells)
    quick = _compiled_steps(weights, options, cell)

    hidden_after, hidden_before = steps.after(hidden), steps.before(hidden)
    cell_after, cell_before = steps.after(cell), steps.before(cell)
    for first, stop in steps.blocks(steps.total if keep else max(batch, GATES_AT_ONCE // (4 * cells))):
        sizes = steps.sizes[first:stop]
        if wide == dtype:
            gates = inputs = product(steps.narrow(x, first, stop), input_weight, bias)
        else:
            inputs = product(steps.narrow(x, first, stop), input_weight)
            gates = inputs.to(wide).add_(bias.unsqueeze(-2)) if quick is None else torch.empty_like(inputs, dtype=wide)
        each_input, each_gates = inputs.split(sizes, -2), gates.split(sizes, -2)
        each_quarter = zip(*(quarter.split(sizes, -2) for quarter in gates.split(cells, -1)), strict=True)
        each_u = squashed.split(sizes, -2) if keep else [squashed.narrow(-2, 0, n) for n in sizes]
        each_m = outputs.split(sizes, -2) if keep else [outputs.narrow(-2, 0, n) for n in sizes]
        for t, gate, (i, f, s, o), u, m in zip(range(first, stop), each_gates, each_quarter, each_u, each_m, strict=True):
            z, z_before, h = cell_after[t], cell_before[t], hidden_after[t]
            recurrent = recur(hidden_before[t])
            if quick is not None:
                added = None if wide == dtype else bias
                quick.forward((each_input[t - first], recurrent), added, z_before, gate, z, u, m)
            else:
                gate.add_(recurrent)
                if peephole is None:
                    gate.sigmoid_()
                else:
                    i.addcmul_(z_before, peephole[0])
                    f.addcmul_(z_before, peephole[1])
                    gate.narrow(-1, 0, 3 * cells).sigmoid_()
                torch.mul(f, z_before, out=z)
                z.addcmul_(i, s).sub_(i, alpha=0.5)
                if cell_limit is not None:
                    z.clamp_(-cell_limit, cell_limit)
                if peephole is not None:
                    o.addcmul_(z, peephole[2]).sigmoid_()
                torch.mul(z, 4, out=u)
                u.sigmoid_()
                if wide == dtype:
                    torch.mul(o, u, out=m)
                    m.sub_(o, alpha=0.5)
                else:  # rounded once, at the end
                    torch.mul(o, u - 0.5, out=m)
            if project is None:
                torch.mul(m, 2, out=h)
            elif limit is None:
                h.copy_(project(m))
            else:
                torch.clamp(project(m), -limit, limit, out=h)
    clipped = torch.stack([_reached(cell, cell_limit, batch), _reached(hidden, limit, batch)]) if keep else torch.empty(0)
    return ForwardCache(gates, cell, squashed, outputs, hidden, clipped)


class _Backward:
    """The steps from the last to the first. `d_gates` [rows, 4C] (of the doubled pre-activations) and `d_hidden`
    [rows, P] (of the projections before they are clipped) hold what the weights' gradients are made of."""

    def __init__(self, weights: LSTMWeights, kept: ForwardCache, options: ScanOptions, size: int) -> None:
        self.weights, self.kept, self.options = weights, kept, options
        self.d_gates = torch.empty_like(kept.gates, dtype=options.dtype)
        self.d_hidden = kept.hidden.new_empty(*kept.gates.shape[:-1], size)

    def run(
        self, d_outputs: Tensor | None, d_last_hidden: Tensor | None, d_last_cell: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Gradients of the first h and the first z, in the order of the packed rows and the wide type."""
        weights, kept, options = self.weights, self.kept, self.options
        steps, wide, dtype = options.steps, options.wide, options.dtype
        lead, batch, cells = kept.cells.shape[:-2], steps.batch, kept.cells.shape[-1]
        recur = prepare(_doubled(weights.hidden, dtype).mT, batch)
        project = None if weights.projection is None else prepare((weights.projection.to(dtype) * 2).mT, batch)
        peephole = _doubled_peepholes(weights, wide)
        cell_limit = None if options.cell_clip is None else options.cell_clip / 2
        cell_cut, hidden_cut = kept.clipped.tolist()
        quick = _compiled_steps(weights, options, kept.cells)

        dh = kept.cells.new_zeros(*lead, batch, kept.hidden.shape[-1])
        if d_last_hidden is not None:
            dh.copy_(steps.sort(d_last_hidden))
        dz = kept.cells.new_zeros(*lead, batch, cells)
        if d_last_cell is not None:
            dz.copy_(steps.sort(d_last_cell)).mul_(2)
        ds, slope = kept.gates.new_empty(*lead, batch, 4 * cells), torch.empty_like(dz)

        each_gates, each_d_gates = kept.gates.split(steps.sizes, -2), self.d_gates.split(steps.sizes, -2)
        each_quarter = list(zip(*(quarter.split(steps.sizes, -2) for quarter in kept.gates.split(cells, -1)), strict=True))
        cell_after, cell_before, hidden_after = steps.after(kept.cells), steps.before(kept.cells), steps.after(kept.hidden)
        each_u, each_d_hidden = kept.squashed.split(steps.sizes, -2), self.d_hidden.split(steps.sizes, -2)
        each_d_output = None if d_outputs is None else d_outputs.split(steps.sizes, -2)
        running = -1
        for t in range(len(steps.sizes) - 1, -1, -1):
            if running != steps.sizes[t]:  # seldom: the views serve until another row starts
                running = steps.sizes[t]
                dh_t, dz_t, ds_t, slope_t = (tensor.narrow(-2, 0, running) for tensor in (dh, dz, ds, slope))
                ds_i, ds_f, ds_s, ds_o = ds_t.split(cells, -1)
            (i, f, s, o), z, u, d_hidden, da = each_quarter[t], cell_after[t], each_u[t], each_d_hidden[t], each_d_gates[t]
            if each_d_output is None:
                d_hidden.copy_(dh_t)
            else:
                torch.add(dh_t, each_d_output[t], out=d_hidden)
            if hidden_cut and options.projection_clip is not None:
                d_hidden.mul_(hidden_after[t].abs() < options.projection_clip)
            dm = d_hidden * 2 if project is None else project(d_hidden)
            if quick is not None:
                quick.backward(each_gates[t], u, cell_before[t], z if cell_cut else None, dm, dz_t, da)
                dh_t.copy_(recur(da))
                continue
            dm = dm.to(wide)
            torch.mul(dm, u, out=ds_o)
            ds_o.sub_(dm, alpha=0.5)
            torch.mul(dm, o, out=slope_t)
            _sigmoid_backward(slope_t, u, grad_input=slope_t)
            dz_t.add_(slope_t, alpha=4)
            if peephole is not None:  # o has seen z_t
                ds_o.mul_(o).mul_(1 - o)
                dz_t.addcmul_(ds_o, peephole[2])
            if cell_cut and cell_limit is not None:
                dz_t.mul_(z.abs() < cell_limit)
            torch.mul(dz_t, s, out=ds_i)
            ds_i.sub_(dz_t, alpha=0.5)
            torch.mul(dz_t, cell_before[t], out=ds_f)
            torch.mul(dz_t, i, out=ds_s)
            dz_t.mul_(f)
            if peephole is not None:  # i and f have seen z_{t−1}
                three, gates = ds_t.narrow(-1, 0, 3 * cells), each_gates[t].narrow(-1, 0, 3 * cells)
                _sigmoid_backward(three, gates, grad_input=three)
                dz_t.addcmul_(ds_i, peephole[0]).addcmul_(ds_f, peephole[1])
                da.copy_(ds_t)
            elif wide == dtype:
                _sigmoid_backward(ds_t, each_gates[t], grad_input=da)
            else:
                da.copy_(_sigmoid_backward(ds_t, each_gates[t], grad_input=ds_t))
            dh_t.copy_(recur(da))
        return dh, dz


def _weight_gradients(
    x: Tensor, weights: LSTMWeights, kept: ForwardCache, options: ScanOptions, d_gates: Tensor, d_hidden: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of the five weights, all steps at once."""
    steps, size = options.steps, x.shape[-1]
    before = steps.all_before(kept.hidden)
    ones = x.new_ones(*x.shape[:-1], 1)  # the bias reads a constant 1: one pass over d_gates for all three
    whole = _double_in_place(product(torch.cat([x, before, ones], -1).mT, d_gates.mT).mT)  # [4C, in + P + 1]
    d_input, d_recurrent, d_bias = whole.split([size, before.shape[-1], 1], -1)
    d_projection = d_peephole = None
    if weights.projection is not None:
        d_projection = product(d_hidden.mT, kept.outputs.mT).mul_(2).to(weights.projection.dtype)
    if weights.peephole is not None:
        d_i, d_f, _, d_o = d_gates.to(options.wide).chunk(4, -1)
        z_before, z = steps.all_before(kept.cells), kept.cells.narrow(-2, steps.batch, steps.total)
        sums = [(d_i * z_before).sum(-2), (d_f * z_before).sum(-2), (d_o * z).sum(-2)]
        d_peephole = torch.stack(sums, -2).mul_(2).to(weights.peephole.dtype)
    return (
        d_input.to(weights.input.dtype),
        d_recurrent.to(weights.hidden.dtype),
        d_bias.squeeze(-1).to(weights.bias.dtype),
        d_projection,
        d_peephole,
    )


def _compiled_steps(weights: LSTMWeights, options: ScanOptions, cells: Tensor) -> CompiledSteps | None:
    """The compiled part of a step, where there is one for these weights and options."""
    if weights.peephole is not None or cells.dim() != 2 or cells.dtype != torch.float32:
        return None
    if not c_library.supported(weights, options.dtype, c_library.TRAINING):
        return None
    return CompiledSteps(cells.shape[-1], options.dtype, None if options.cell_clip is None else options.cell_clip / 2)


def _doubled(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of [4C, …] with the candidate's rows times two."""
    return _double_in_place(weight.to(dtype, copy=True))


def _double_in_place(weight: Tensor) -> Tensor:
    cells = weight.shape[-2] // 4
    weight.narrow(-2, 2 * cells, cells).mul_(2)
    return weight


def _doubled_peepholes(weights: LSTMWeights, wide: torch.dtype) -> tuple[Tensor, ...] | None:
    """For i, f, o [1, C], doubled because they meet half cells."""
    return None if weights.peephole is None else (weights.peephole.to(wide) * 2).split(1, -2)


def _reached(states: Tensor, limit: float | None, batch: int) -> Tensor:
    """Whether clipping may have cut a state after the first: most batches of a trained model need no masks."""
    later = states.narrow(-2, batch, states.shape[-2] - batch)
    if limit is None or not later.numel():
        return torch.zeros((), dtype=torch.bool, device=states.device)
    low, high = torch.aminmax(later)
    return ~((low > -limit) & (high < limit))  # a NaN counts as cut: its neighbours still need their masks

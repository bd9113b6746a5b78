"""The fast scan of the LSTM with projection, clipping and peepholes, with a backward pass written by hand.

What bounds it: per step one small product (batch × projection × 4 cells) and about ten element-wise passes. So

* the input product of all steps is one matrix product, and so is the gradient of every weight, after the loop;
* steps are packed: rows are ordered by length, step t holds only the rows still running, one below the other. No masks,
  no work on padding, and what stands in the padding is never read, so a NaN there can leak nowhere;
* tanh(x) = 2σ(2x) − 1, exactly scaled by powers of two: the candidate rows of the weights are doubled, so that one
  sigmoid serves all four gates, and the cell is carried at half its value. A sigmoid costs a sixth of a tanh on a CPU;
* autograd sees one operation instead of twenty a step.

With low-precision products (bfloat16, float16) gates and cells stay in float32.

Notation (Sak, Senior & Beaufays 2014, eqs. 7–12; gates in the order i, f, g, o): σ(a) = s, half cell z = c/2,
    z_t = clip(f ⊙ z_{t−1} + i ⊙ (s_g − ½)),  u = σ(4 z_t),  m̃ = o ⊙ (u − ½) = (o ⊙ tanh c_t)/2,  h_t = clip(2 W_p m̃).
"""

from __future__ import annotations

from collections.abc import Sequence as Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from carryover.layers.packing import PackedSteps
from carryover.layers.products import prepare, product
from carryover.sequence import Sequence

if TYPE_CHECKING:
    from carryover.layers.lstm import LSTM

# Without gradients the gates of this many numbers at most are held at a time.
_GATES_AT_ONCE = 1 << 23


class LSTMState(NamedTuple):
    """State of an LSTM: `hidden` [B, P] (what the next step reads, projected) and `cell` [B, C]."""

    hidden: Tensor
    cell: Tensor


@dataclass(frozen=True, eq=False)
class _Weights:
    """What one scan reads besides its input; every tensor may have a leading axis of N scans side by side."""

    input: Tensor | None  # [4C, in]; None: the input already is the gates' input product [rows, 4C]
    bias: Tensor | None  # [4C]
    hidden: Tensor  # [4C, P]
    projection: Tensor | None  # [P, C]
    peephole: Tensor | None  # [3, C]


@dataclass(frozen=True, eq=False)
class _Options:
    steps: PackedSteps
    cell_clip: float | None
    projection_clip: float | None
    dtype: torch.dtype  # of the products

    @property
    def wide(self) -> torch.dtype:
        """Type of gates and cells."""
        return torch.float32 if self.dtype in (torch.bfloat16, torch.float16) else self.dtype


class _Kept(NamedTuple):
    """What the forward pass leaves for the backward pass; rows are packed, `cells` and `hidden` begin with the state."""

    gates: Tensor  # [rows, 4C]: σ of the (doubled, for g) pre-activations
    cells: Tensor  # [B + rows, C]: halves
    squashed: Tensor  # [rows, C]: u
    outputs: Tensor  # [rows, C]: m̃
    hidden: Tensor  # [B + rows, P]
    clipped: Tensor  # bool [2]: whether any cell, any projection was cut


def _doubled(weight: Tensor, dtype: torch.dtype, axis: int) -> Tensor:
    """A copy with the candidate's quarter of `axis` (a negative number) times two."""
    cells = weight.shape[axis] // 4
    copy = weight.to(dtype, copy=True)
    copy.narrow(axis, 2 * cells, cells).mul_(2)
    return copy


def _double_in_place(gradient: Tensor, axis: int) -> Tensor:
    cells = gradient.shape[axis] // 4
    gradient.narrow(axis, 2 * cells, cells).mul_(2)
    return gradient


def _gates(x: Tensor, weight: Tensor | None, bias: Tensor | None, options: _Options) -> Tensor:
    """Input part of the scaled pre-activations, [rows, 4C] in the wide type; `weight` and `bias` are already doubled."""
    if weight is None:
        return _doubled(x, options.wide, -1)
    if options.wide == options.dtype:
        return product(x, weight, bias)
    gates = product(x, weight).to(options.wide)
    return gates if bias is None else gates.add_(bias.unsqueeze(-2))


def _scan(x: Tensor, weights: _Weights, hidden0: Tensor, cell0: Tensor, options: _Options, keep: bool) -> _Kept:
    """All steps. Without `keep` only `hidden` and `cells` of the result mean anything, and `cells` only in its last rows."""
    steps, wide = options.steps, options.wide
    batch, rows, cells = cell0.shape[-2], steps.total, cell0.shape[-1]
    lead, size = cell0.shape[:-2], hidden0.shape[-1]
    input_weight = None if weights.input is None else _doubled(weights.input, options.dtype, -2)
    bias = None if weights.bias is None else _doubled(weights.bias, wide, -1)
    recur = prepare(_doubled(weights.hidden, options.dtype, -2), batch)
    project = None if weights.projection is None else prepare(weights.projection.to(options.dtype) * 2, batch)
    peephole = None if weights.peephole is None else (weights.peephole.to(wide) * 2).unsqueeze(-3).unbind(-2)

    hidden = hidden0.new_empty(*lead, batch + rows, size, dtype=options.dtype)
    hidden.narrow(-2, 0, batch).copy_(hidden0)
    cell = cell0.new_empty(*lead, batch + rows, cells, dtype=wide)
    torch.mul(cell0, 0.5, out=cell.narrow(-2, 0, batch))
    scratch = rows if keep else batch
    squashed = cell0.new_empty(*lead, scratch, cells, dtype=wide)
    outputs = cell0.new_empty(*lead, scratch, cells, dtype=options.dtype)

    hiddens, before = hidden.narrow(-2, batch, rows).split(steps.sizes, -2), steps.before(hidden)
    cell_after, cell_before = cell.narrow(-2, batch, rows).split(steps.sizes, -2), steps.before(cell)
    cell_limit = None if options.cell_clip is None else options.cell_clip / 2
    limit = options.projection_clip
    gates = cell.new_empty(*lead, 0, 4 * cells)
    for first, stop in steps.blocks(rows if keep else max(batch, _GATES_AT_ONCE // (4 * cells))):
        sizes = steps.sizes[first:stop]
        gates = _gates(steps.narrow(x, first, stop), input_weight, bias, options)
        gate_steps = gates.split(sizes, -2)
        quarters = [quarter.split(sizes, -2) for quarter in gates.split(cells, -1)]
        squashed_steps = squashed.split(sizes, -2) if keep else [squashed.narrow(-2, 0, n) for n in sizes]
        outputs_steps = outputs.split(sizes, -2) if keep else [outputs.narrow(-2, 0, n) for n in sizes]
        for k, t in enumerate(range(first, stop)):
            gate, i, f, g, o = gate_steps[k], quarters[0][k], quarters[1][k], quarters[2][k], quarters[3][k]
            c, c_before, u, m = cell_after[t], cell_before[t], squashed_steps[k], outputs_steps[k]
            gate.add_(recur(before[t]))
            if peephole is None:
                gate.sigmoid_()
            else:
                i.addcmul_(c_before, peephole[0])
                f.addcmul_(c_before, peephole[1])
                gate.narrow(-1, 0, 3 * cells).sigmoid_()
            torch.mul(f, c_before, out=c)
            c.addcmul_(i, g)
            c.sub_(i, alpha=0.5)
            if cell_limit is not None:
                c.clamp_(-cell_limit, cell_limit)
            if peephole is not None:
                o.addcmul_(c, peephole[2])
                o.sigmoid_()
            torch.mul(c, 4, out=u)
            u.sigmoid_()
            if wide == options.dtype:
                torch.mul(o, u, out=m)
                m.sub_(o, alpha=0.5)
            else:  # one rounding, at the end
                torch.mul(o, u - 0.5, out=m)
            h = hiddens[t]
            if project is None:
                torch.mul(m, 2, out=h)
            elif limit is None:
                h.copy_(project(m))
            else:
                torch.clamp(project(m), -limit, limit, out=h)
    return _Kept(gates, cell, squashed, outputs, hidden, _cuts(cell, cell_limit, hidden, limit, batch, keep))


def _cuts(cell: Tensor, cell_limit: float | None, hidden: Tensor, limit: float | None, batch: int, keep: bool) -> Tensor:
    """Whether clipping can have cut anything; most batches of a trained model are not cut and need no masks then."""

    def reached(values: Tensor, bound: float | None) -> Tensor:
        real = values.narrow(-2, batch, values.shape[-2] - batch)
        if bound is None or not keep or not real.numel():
            return torch.zeros((), dtype=torch.bool, device=values.device)
        low, high = torch.aminmax(real)
        return ~((low > -bound) & (high < bound))  # a NaN counts as cut: its neighbours still need their masks

    return torch.stack([reached(cell, cell_limit), reached(hidden, limit)])


class _Scan(torch.autograd.Function):
    """Forward and backward pass over packed rows. Inputs: x, the weights' five tensors, the two sorted first states."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        input_weight: Tensor | None,
        bias: Tensor | None,
        hidden_weight: Tensor,
        projection_weight: Tensor | None,
        peephole_weight: Tensor | None,
        hidden0: Tensor,
        cell0: Tensor,
        options: _Options,
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = _Weights(input_weight, bias, hidden_weight, projection_weight, peephole_weight)
        kept = _scan(x, weights, hidden0, cell0, options, keep=True)
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *vars(weights).values(), hidden0, cell0, *kept)
        return _results(kept, options, hidden0.dtype, cell0.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_outputs: Tensor | None, grad_hidden: Tensor | None, grad_cell: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, input_weight, bias, hidden_weight, projection, peephole, hidden0, cell0, *tensors = ctx.saved_tensors
        weights = _Weights(input_weight, bias, hidden_weight, projection, peephole)
        needed = ctx.needs_input_grad
        with torch.autocast(hidden0.device.type, enabled=False):
            gradients = _backward(
                x, weights, hidden0, cell0, _Kept(*tensors), ctx.options, (grad_outputs, grad_hidden, grad_cell), needed
            )
        return (*gradients, None)


def _results(kept: _Kept, options: _Options, hidden: torch.dtype, cell: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Packed outputs and each row's last state, in the order of the batch."""
    steps = options.steps
    outputs = kept.hidden.narrow(-2, steps.batch, steps.total)
    return outputs, steps.last(kept.hidden).to(hidden, copy=True), (steps.last(kept.cells) * 2).to(cell)


def _backward(
    x: Tensor,
    weights: _Weights,
    hidden0: Tensor,
    cell0: Tensor,
    kept: _Kept,
    options: _Options,
    gradients: tuple[Tensor | None, Tensor | None, Tensor | None],
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of x, the five weights, and the two first states (in the order of the packed rows)."""
    steps, wide, dtype = options.steps, options.wide, options.dtype
    batch, rows, cells = steps.batch, steps.total, cell0.shape[-1]
    lead, size = cell0.shape[:-2], hidden0.shape[-1]
    grad_outputs, grad_hidden, grad_cell = gradients
    hidden_weight = _doubled(weights.hidden, dtype, -2)
    recur = prepare(hidden_weight.mT, batch)
    project = None if weights.projection is None else prepare((weights.projection.to(dtype) * 2).mT, batch)
    peephole = None if weights.peephole is None else (weights.peephole.to(wide) * 2).unsqueeze(-3).unbind(-2)
    cell_cut, hidden_cut = kept.clipped.tolist()

    dh = hidden0.new_zeros(*lead, batch, size, dtype=wide) if grad_hidden is None else steps.sort(grad_hidden).to(wide, copy=True)
    dz = cell0.new_zeros(*lead, batch, cells, dtype=wide) if grad_cell is None else steps.sort(grad_cell).to(wide) * 2
    d_hidden = hidden0.new_empty(*lead, rows, size, dtype=dtype)  # of h before its clipping, all steps
    d_gates = kept.gates.new_empty(kept.gates.shape, dtype=dtype)
    d_scratch = kept.gates.new_empty(*lead, batch, 4 * cells)
    slopes = cell0.new_empty(*lead, batch, cells, dtype=wide)

    quarters = [quarter.split(steps.sizes, -2) for quarter in kept.gates.split(cells, -1)]
    gate_steps, d_gate_steps = kept.gates.split(steps.sizes, -2), d_gates.split(steps.sizes, -2)
    cell_after, cell_before = kept.cells.narrow(-2, batch, rows).split(steps.sizes, -2), steps.before(kept.cells)
    hidden_after = kept.hidden.narrow(-2, batch, rows).split(steps.sizes, -2)
    squashed, d_hiddens = kept.squashed.split(steps.sizes, -2), d_hidden.split(steps.sizes, -2)
    d_outputs = None if grad_outputs is None else grad_outputs.split(steps.sizes, -2)
    views: tuple[int, list[Tensor]] = (-1, [])
    for t in range(len(steps.sizes) - 1, -1, -1):
        n = steps.sizes[t]
        if views[0] != n:  # the number of running rows changes seldom
            part = d_scratch.narrow(-2, 0, n)
            views = (n, [dh.narrow(-2, 0, n), dz.narrow(-2, 0, n), part, slopes.narrow(-2, 0, n), *part.split(cells, -1)])
        dh_t, dz_t, ds, slope, ds_i, ds_f, ds_g, ds_o = views[1]
        i, f, g, o = (quarter[t] for quarter in quarters)
        c, u, d_out = cell_after[t], squashed[t], d_hiddens[t]
        if d_outputs is None:
            d_out.copy_(dh_t)
        else:
            torch.add(dh_t, d_outputs[t], out=d_out)
        if hidden_cut:
            d_out.mul_(hidden_after[t].abs() < options.projection_clip)
        dm = (d_out * 2 if project is None else project(d_out)).to(wide)
        torch.mul(dm, u, out=ds_o)
        ds_o.sub_(dm, alpha=0.5)
        torch.mul(dm, o, out=slope)
        torch.ops.aten.sigmoid_backward.grad_input(slope, u, grad_input=slope)
        dz_t.add_(slope, alpha=4)
        if peephole is not None:
            ds_o.mul_(o).mul_(1 - o)
            dz_t.addcmul_(ds_o, peephole[2])
        if cell_cut:
            dz_t.mul_(c.abs() < options.cell_clip / 2)  # type: ignore[operator]
        torch.mul(dz_t, g, out=ds_i)
        ds_i.sub_(dz_t, alpha=0.5)
        torch.mul(dz_t, cell_before[t], out=ds_f)
        torch.mul(dz_t, i, out=ds_g)
        dz_t.mul_(f)
        da = d_gate_steps[t]
        if peephole is None and wide == dtype:
            torch.ops.aten.sigmoid_backward.grad_input(ds, gate_steps[t], grad_input=da)
        elif peephole is None:
            torch.ops.aten.sigmoid_backward.grad_input(ds, gate_steps[t], grad_input=ds)
            da.copy_(ds)
        else:
            first, rest = ds.narrow(-1, 0, 3 * cells), gate_steps[t].narrow(-1, 0, 3 * cells)
            torch.ops.aten.sigmoid_backward.grad_input(first, rest, grad_input=first)
            da.copy_(ds)
            dz_t.addcmul_(ds_i, peephole[0])
            dz_t.addcmul_(ds_f, peephole[1])
        dh_t.copy_(recur(da))
    return *_weight_gradients(x, weights, kept, options, d_gates, d_hidden, needed), dh.to(hidden0.dtype), (dz / 2).to(cell0.dtype)


def _weight_gradients(
    x: Tensor,
    weights: _Weights,
    kept: _Kept,
    options: _Options,
    d_gates: Tensor,
    d_hidden: Tensor,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of x and the five weights, all steps at once. `d_gates` belongs to the doubled pre-activations."""
    steps, wide, dtype = options.steps, options.wide, options.dtype
    across = d_gates.mT
    if weights.input is None:
        dx = _doubled(d_gates, x.dtype, -1) if needed[0] else None
    else:
        dx = product(d_gates, _doubled(weights.input, dtype, -2).mT).to(x.dtype) if needed[0] else None
    d_input = d_bias = d_recurrent = d_projection = d_peephole = None
    if weights.input is not None and needed[1]:
        d_input = _double_in_place(product(across, x.mT), -2).to(weights.input.dtype)
    if weights.bias is not None and needed[2]:
        d_bias = _double_in_place(d_gates.sum(-2, dtype=wide), -1).to(weights.bias.dtype)
    if needed[3]:
        d_recurrent = _double_in_place(product(across, steps.all_before(kept.hidden).mT), -2).to(weights.hidden.dtype)
    if weights.projection is not None and needed[4]:
        d_projection = product(d_hidden.mT, kept.outputs.mT).mul_(2).to(weights.projection.dtype)
    if weights.peephole is not None and needed[5]:
        d_i, d_f, _, d_o = d_gates.to(wide).chunk(4, -1)
        before, after = steps.all_before(kept.cells), kept.cells.narrow(-2, steps.batch, steps.total)
        sums = [(d_i * before).sum(-2), (d_f * before).sum(-2), (d_o * after).sum(-2)]
        d_peephole = torch.stack(sums, -2).mul_(2).to(weights.peephole.dtype)
    return dx, d_input, d_bias, d_recurrent, d_projection, d_peephole


def scan(
    x: Tensor, weights: tuple[Tensor | None, ...], hidden: Tensor, cell: Tensor, steps: PackedSteps, *,
    cell_clip: float | None = None, projection_clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run packed rows x [..., total, in] from the states [..., B, P] and [..., B, C] (in the order of the batch).

    `weights` are input [..., 4C, in] (None: x is the input product [..., total, 4C]), bias [..., 4C] or None, hidden
    [..., 4C, P], projection [..., P, C] or None and peephole [..., 3, C] or None; the leading axis, if any, counts scans
    side by side. Gives packed outputs [..., total, P] and the last states. Obeys autocast: products in its type.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    options = _Options(steps, cell_clip, projection_clip, dtype)
    hidden, cell = steps.sort(hidden), steps.sort(cell)
    if weights[0] is not None:
        x = x.to(dtype)
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *weights, hidden, cell)):
            return _Scan.apply(x, *weights, hidden, cell, options)
        return _results(_scan(x, _Weights(*weights), hidden, cell, options, False), options, hidden.dtype, cell.dtype)


def projected_lstm(
    gates: Tensor,
    hidden_weight: Tensor,
    projection_weight: Tensor | None,
    hidden: Tensor,
    cell: Tensor,
    lengths: Tensor,
    *,
    peephole_weight: Tensor | None = None,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """N independent LSTMs over input products computed elsewhere.

    `gates` [N, T, B, 4C] (input product and bias, gates i, f, g, o), `hidden_weight` [N, 4C, P], `projection_weight`
    [N, P, C] or None (P = C), states [N, B, P] and [N, B, C], `lengths` int64 [B] shared by all. Gives outputs
    [N, T, B, P], zero in the padding, and each row's states after its own length. When the input is at hand rather than
    its product, `lstm_together` is faster. Raises ValueError when the shapes disagree.
    """
    n, time, batch, width = gates.shape
    if hidden_weight.shape[:2] != (n, width) or hidden.shape != (n, batch, hidden_weight.shape[2]) or width != 4 * cell.shape[-1]:
        raise ValueError(
            f"gates {tuple(gates.shape)}, hidden_weight {tuple(hidden_weight.shape)}, hidden {tuple(hidden.shape)} and cell "
            f"{tuple(cell.shape)} disagree: [N, T, B, 4C], [N, 4C, P], [N, B, P] and [N, B, C] are needed"
        )
    steps = PackedSteps(lengths, time)
    results = []
    for k in range(n):
        weights = tuple(None if w is None else w[k] for w in (None, None, hidden_weight, projection_weight, peephole_weight))
        outputs, *states = scan(
            steps.pack(gates[k].transpose(0, 1)), weights, hidden[k], cell[k], steps,
            cell_clip=cell_clip, projection_clip=projection_clip,
        )
        results.append((steps.unpack(outputs).transpose(0, 1), *states))
    outputs, hiddens, cells = zip(*results, strict=True)
    return torch.stack(outputs), torch.stack(hiddens), torch.stack(cells)


def lstm_together(
    layers: Collection[LSTM], inputs: Collection[Sequence], states: Collection[LSTMState]
) -> tuple[list[Sequence], list[LSTMState]]:
    """One step (of any number of time steps) of several LSTMs of equal shape, such as the directions of a language model.

    All inputs have the same lengths. On a CPU the scans run one after the other (one weight in the cache at a time is
    faster there than two side by side), elsewhere as one scan with batched products. Raises ValueError when the layers'
    shapes or the inputs' lengths differ.
    """
    first = inputs[0]
    for layer, x, state in zip(layers, inputs, states, strict=True):
        layer.check_input(x)
        layer.check_state(x, state)
        if x.values.shape[:2] != first.values.shape[:2] or (x is not first and not torch.equal(x.lengths, first.lengths)):
            raise ValueError(
                f"inputs of shapes {tuple(first.values.shape)} and {tuple(x.values.shape)} do not share their lengths: "
                f"run these layers one at a time"
            )
        if layer.shape != layers[0].shape:
            raise ValueError(f"{layer.shape} and {layers[0].shape} differ: only LSTMs of equal shape run together")
    steps = PackedSteps(first.lengths, first.time)
    clips = {"cell_clip": layers[0].cell_clip, "projection_clip": layers[0].projection_clip}
    packed = [steps.pack(x.values) for x in inputs]
    weights = [layer.weights() for layer in layers]
    if len(layers) > 1 and first.device.type != "cpu":
        stacked = [None if column[0] is None else torch.stack(column) for column in zip(*weights, strict=True)]  # type: ignore[arg-type]
        hidden, cell = (torch.stack(column) for column in zip(*states, strict=True))
        results = list(zip(*scan(torch.stack(packed), tuple(stacked), hidden, cell, steps, **clips), strict=True))
    else:
        results = [
            scan(x, w, state.hidden, state.cell, steps, **clips)
            for x, w, state in zip(packed, weights, states, strict=True)
        ]
    outputs = [first.with_values(steps.unpack(output)) for output, _, _ in results]
    return outputs, [LSTMState(hidden, cell) for _, hidden, cell in results]

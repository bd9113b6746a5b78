"""Whole passes of a TCN's blocks in C (`c/passes.c`), forward and backward, on a CPU; `run_plainly` computes the same in PyTorch.

What it saves: PyTorch's convolutions fill channels up to a multiple of the register, compute the zeros before a row, and
leave rectifiers, dropout and additions to separate passes over memory. Here 16 steps fill a register, zeros are left out,
a row stops at its own length, and it goes through all blocks while it is in the cache. Sums of gradients are made in an order
that depends on the batch but not on the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as Many
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from carryover.kernels import c_library
from carryover.kernels.products import wants_gradients
from carryover.sequence import Sequence

LEAST_WEIGHTS = 1 << 13
MOST_CHANNELS = 64
"""Wider layers fill PyTorch's convolutions."""

MARGIN = 64  # floats, as in the kernel
GROUPS = 16  # of rows whose gradients are summed up apart, and thus the most threads
GROUP_BYTES = 1 << 24  # of all groups' gradients


class Shape(NamedTuple):
    """What a pass over blocks needs to know besides its tensors; kernel and dilation are those of each block."""

    in_size: int
    size: int
    kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    matched: tuple[bool, ...]


def fits(shape: Shape, values: Tensor, parameters: Many[Tensor]) -> bool:
    """Whether the kernel can run values [B, T, in_size] through blocks of these parameters. Compiles it when first needed."""
    return (
        values.numel() > 0
        and shape.size <= MOST_CHANNELS
        and shape.in_size <= MOST_CHANNELS
        and all(_is_readable(tensor) for tensor in (values, *parameters))
        and sum(tensor.numel() for tensor in parameters) >= min(LEAST_WEIGHTS, c_library.LEAST_WEIGHTS)
        and not torch.is_autocast_enabled("cpu")
        and c_library.available(c_library.PASSES)
    )


def _is_readable(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, nn.Parameter) and tensor.dtype == torch.float32 and tensor.is_cpu


def run_blocks(shape: Shape, x: Sequence, weights: Many[Tensor], masks: Tensor | None) -> Tensor:
    """Outputs [B, T, size] of the blocks one after the other, zero in the padding.

    `weights` are, for each block, weight [size, in, kernel] and bias of both convolutions and, where it matches sizes, of the
    map that does so. `masks` are the dropout multipliers [blocks, 2, B, size].
    """
    if wants_gradients(x.values, *weights):
        return _Passes.apply(x.values, x.lengths, masks, shape, *weights)
    return _forward(x.values, x.lengths, masks, shape, weights, None)


class _ForwardCache(NamedTuple):
    floats: Tensor  # [B, …]: x, then h and y of every block, in the kernel's layout
    open: Tensor  # int16 [B, blocks, size, ⌈T / 16⌉]: a bit where z > 0


class _Passes(torch.autograd.Function):
    """x [B, T, in_size], lengths, dropout masks and the weights of each block to y [B, T, size]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Tensor, masks: Tensor | None, shape: Shape, *weights: Tensor) -> Tensor:
        rows, steps = x.shape[0], -(-x.shape[1] // 16)
        stride = 16 * steps + MARGIN
        count = len(shape.kernels)
        floats = MARGIN + shape.in_size * stride + 2 * count * (MARGIN + shape.size * stride)
        kept = _ForwardCache(x.new_empty(rows, floats), torch.empty(rows, count, shape.size, steps, dtype=torch.int16))
        y = _forward(x, lengths, masks, shape, weights, kept)
        ctx.shape, ctx.masked = shape, masks is not None
        ctx.save_for_backward(x, lengths, *([] if masks is None else [masks]), *kept, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, lengths, *others = ctx.saved_tensors
        masks = others.pop(0) if ctx.masked else None
        floats, opened, *weights = others
        wanted = (ctx.needs_input_grad[0], *ctx.needs_input_grad[4:])
        if torch.is_grad_enabled():  # someone wants gradients of these gradients
            gradients = _gradients_plainly(x, lengths, masks, ctx.shape, weights, d_y, wanted)
        else:
            d_x = torch.empty_like(x, memory_format=torch.contiguous_format) if wanted[0] else None
            gradients = _backward(d_y, lengths, masks, ctx.shape, weights, _ForwardCache(floats, opened), d_x)
        return gradients[0], None, None, None, *gradients[1:]


def _gradients_plainly(
    x: Tensor,
    lengths: Tensor,
    masks: Tensor | None,
    shape: Shape,
    weights: list[Tensor],
    d_y: Tensor,
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    inputs = [tensor for tensor, want in zip((x, *weights), wanted, strict=True) if want]
    y = run_plainly(x, lengths, masks, shape, weights)
    found = iter(torch.autograd.grad(y, inputs, d_y, create_graph=True))
    return [next(found) if want else None for want in wanted]


def run_plainly(x: Tensor, lengths: Tensor, masks: Tensor | None, shape: Shape, weights: Many[Tensor]) -> Tensor:
    """What the kernel computes, by torch's operations."""
    padding = torch.arange(x.shape[1]).expand(x.shape[:2]) >= lengths.unsqueeze(1)
    values, rest = x.masked_fill(padding.unsqueeze(2), 0).transpose(1, 2), list(weights)  # [B, features, T]
    for number, (kernel, dilation, matched) in enumerate(zip(*shape[2:], strict=True)):
        hidden = values
        for one in range(2):
            weight, bias = rest.pop(0), rest.pop(0)
            windows = nn.functional.pad(hidden, ((kernel - 1) * dilation, 0))
            hidden = nn.functional.conv1d(windows, weight, bias, dilation=dilation).relu()
            hidden = hidden if masks is None else hidden * masks[number, one].unsqueeze(2)
        if matched:
            values = nn.functional.conv1d(values, rest.pop(0).unsqueeze(2), rest.pop(0))
        values = (hidden + values).relu()
    return values.transpose(1, 2).masked_fill(padding.unsqueeze(2), 0)


def _forward(
    x: Tensor, lengths: Tensor, masks: Tensor | None, shape: Shape, weights: Many[Tensor], kept: _ForwardCache | None
) -> Tensor:
    y = x.new_empty(*x.shape[:2], shape.size)
    _call("temporal_forward", shape, x.contiguous(), y, lengths, kept, masks, None, weights, [])
    return y


def _backward(
    d_y: Tensor,
    lengths: Tensor,
    masks: Tensor | None,
    shape: Shape,
    weights: Many[Tensor],
    kept: _ForwardCache,
    d_x: Tensor | None,
) -> list[Tensor | None]:
    found = [torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights]
    _call("temporal_backward", shape, None, d_y.contiguous(), lengths, kept, masks, d_x, weights, found)
    return [d_x, *found]


def _call(
    name: str,
    shape: Shape,
    x: Tensor | None,
    y: Tensor,
    lengths: Tensor,
    kept: _ForwardCache | None,
    masks: Tensor | None,
    d_x: Tensor | None,
    weights: Many[Tensor],
    gradients: Many[Tensor],
) -> None:
    rows, time = y.shape[:2]
    weights = [weight.detach().contiguous() for weight in weights]  # held until the kernel returns
    lengths = lengths.contiguous()
    each = 4 * sum(weight.numel() for weight in weights)
    work = rows * time * each // 4
    groups = max(2, min(GROUPS, GROUP_BYTES // each))
    threads = min(c_library.threads_for(work), groups)
    places = [_place(part) for part in (x, y, lengths, *(kept or (None, None)), masks, d_x)]
    task = [rows, time, shape.in_size, shape.size, len(shape.kernels), groups, threads, *places]
    first = 0
    for kernel, dilation, matched in zip(*shape[2:], strict=True):
        last = first + (6 if matched else 4)
        missing = [0] * (0 if matched else 2)
        task += [kernel, dilation, *(weight.data_ptr() for weight in weights[first:last]), *missing]
        task += [*(part.data_ptr() for part in gradients[first:last]), *missing] if gradients else [0] * 6
        first = last
    c_library.run(name, (ctypes.c_int64 * len(task))(*task), c_library.PASSES)


def _place(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()

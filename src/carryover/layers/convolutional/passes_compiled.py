"""Whole passes of `TemporalBlock`s in C (`kernels/passes.c`), forward and backward, on a CPU; `TemporalBlock.run` beside it.

What it saves: the library's convolutions fill channels up to a multiple of the register, compute the zeros before a row, and
leave rectifiers, dropout and additions to passes of their own over memory. Here 16 steps fill a register, zeros are left out,
a row stops at its own length, and it goes through all blocks while it is in the cache. Sums of gradients are made in an order
that depends on the batch but not on the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from carryover.layers import compiled
from carryover.layers.convolutional.convolution import Convolution
from carryover.layers.prepared import wants_gradients
from carryover.sequence import Sequence

if TYPE_CHECKING:
    from carryover.layers.convolutional.temporal import TemporalBlock

LEAST_WEIGHTS = 1 << 13
MOST_CHANNELS = 64
"""Wider layers fill the library's convolutions."""

MARGIN = 64  # floats, as in the kernel
GROUPS = 16  # of rows whose gradients are summed up apart, and thus the most threads
GROUP_BYTES = 1 << 24  # of all groups' gradients


class Shape(NamedTuple):
    """What a pass over blocks needs to know beside its tensors; kernel and dilation are those of each block."""

    in_size: int
    size: int
    kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    matched: tuple[bool, ...]


def shape_of(blocks: Many[TemporalBlock]) -> Shape:
    return Shape(
        blocks[0].in_size,
        blocks[0].out_size,
        tuple(block.first.kernel for block in blocks),
        tuple(block.first.dilation for block in blocks),
        tuple(block.match is not None for block in blocks),
    )


def fits(blocks: Many[TemporalBlock], x: Sequence) -> bool:
    """Whether the kernel can run x [B, T, in_size] through the blocks. Compiles it when that is first needed."""
    size = blocks[0].out_size
    tensors = [x.values, *(parameter for block in blocks for parameter in block.parameters())]
    return (
        x.values.numel() > 0
        and size <= MOST_CHANNELS
        and blocks[0].in_size <= MOST_CHANNELS
        and all(_is_plain(block, x.values.shape[2] if block is blocks[0] else size, size) for block in blocks)
        and all(_is_readable(tensor) for tensor in tensors)
        and sum(tensor.numel() for tensor in tensors[1:]) >= min(LEAST_WEIGHTS, compiled.LEAST_WEIGHTS)
        and not torch.is_autocast_enabled("cpu")
        and compiled.available(compiled.PASSES)
    )


def _is_plain(block: TemporalBlock, in_size: int, size: int) -> bool:
    """Whether the parts of a block are what it was built of: others may have been put in their place."""
    for convolution, inputs in ((block.first, in_size), (block.second, size)):
        if type(convolution) is not Convolution or convolution.bias is None or convolution.padding != "causal":
            return False
        weight = convolution.weight_direction if convolution.weight_norm else convolution.weight
        if tuple(weight.shape) != (size, inputs, block.first.kernel) or tuple(convolution.bias.shape) != (size,):
            return False
        if (convolution.dilation, convolution.stride) != (block.first.dilation, 1):
            return False
    match = block.match
    if match is None:
        return in_size == size
    return type(match) is nn.Linear and match.bias is not None and tuple(match.weight.shape) == (size, in_size)


def _is_readable(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, nn.Parameter) and tensor.dtype == torch.float32 and tensor.is_cpu


def run_blocks(blocks: Many[TemporalBlock], x: Sequence) -> Tensor:
    """Outputs [B, T, size] of the blocks one after the other, zero in the padding; masks are drawn as `run` draws them."""
    weights: list[Tensor] = []
    drawn = [block.draw_masks(x.values) for block in blocks]
    for block in blocks:
        for convolution in (block.first, block.second):
            assert convolution.bias is not None
            weights += [convolution.effective_weight(), convolution.bias]
        weights += [] if block.match is None else list(block.match.parameters())
    masks = None
    if any(pair is not None for pair in drawn):
        whole = x.values.new_ones(x.batch_size, blocks[0].out_size)
        masks = torch.stack([torch.stack(pair or (whole, whole)) for pair in drawn])  # [blocks, 2, B, size]
    shape = shape_of(blocks)
    if wants_gradients(x.values, *weights):
        return _Passes.apply(x.values, x.lengths, masks, shape, *weights)
    return _forward(x.values, x.lengths, masks, shape, weights, None)


class _Kept(NamedTuple):
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
        kept = _Kept(x.new_empty(rows, floats), torch.empty(rows, count, shape.size, steps, dtype=torch.int16))
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
            gradients = _backward(d_y, lengths, masks, ctx.shape, weights, _Kept(floats, opened), d_x)
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
    x: Tensor, lengths: Tensor, masks: Tensor | None, shape: Shape, weights: Many[Tensor], kept: _Kept | None
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
    kept: _Kept,
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
    kept: _Kept | None,
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
    threads = min(compiled.threads_for(work), groups)
    places = [_place(part) for part in (x, y, lengths, *(kept or (None, None)), masks, d_x)]
    task = [rows, time, shape.in_size, shape.size, len(shape.kernels), groups, threads, *places]
    first = 0
    for kernel, dilation, matched in zip(*shape[2:], strict=True):
        last = first + (6 if matched else 4)
        missing = [0] * (0 if matched else 2)
        task += [kernel, dilation, *(weight.data_ptr() for weight in weights[first:last]), *missing]
        task += [*(part.data_ptr() for part in gradients[first:last]), *missing] if gradients else [0] * 6
        first = last
    compiled.run(name, (ctypes.c_int64 * len(task))(*task), compiled.PASSES)


def _place(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()

"""Other ways to compute attention: `torch.nn` on the same weights where it exists, else plain loops over one row."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

from carryover.layers import (
    AdditiveAttention,
    CrossAttention,
    LayerNorm,
    MultiplicativeAttention,
    SelfAttention,
    SinusoidalPositions,
    Transformer,
    TransformerBlock,
    WindowAttention2D,
)


def hidden_pairs(layer: SelfAttention, steps: int) -> Tensor:
    """bool [steps, steps], true where the step of the row may not look at that of the column."""
    hidden = torch.zeros(steps, steps, dtype=torch.bool)
    for t in range(steps):
        for s in range(steps):
            hidden[t, s] = (layer.causal and s > t) or (layer.horizon is not None and abs(t - s) >= layer.horizon)
    return hidden


def attention_weights(layer: SelfAttention | CrossAttention) -> dict[str, Tensor]:
    """The weights under the names that `torch.nn.MultiheadAttention` gives them."""
    maps = (layer.query, layer.key, layer.value)
    size = layer.out_size
    zeros = torch.zeros(size, dtype=layer.query.weight.dtype)
    biases = [zeros if one.bias is None else one.bias for one in maps]
    weights = {
        "in_proj_bias": torch.cat(biases),
        "out_proj.weight": layer.output.weight,
        "out_proj.bias": zeros if layer.output.bias is None else layer.output.bias,
    }
    if layer.key.in_features == size:
        return {**weights, "in_proj_weight": torch.cat([one.weight for one in maps])}
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    return {**weights, **{name: one.weight for name, one in zip(names, maps, strict=True)}}


def torch_self_attention(layer: SelfAttention, row: Tensor) -> Tensor:
    if len(row) == 0:
        return row
    module = nn.MultiheadAttention(layer.in_size, layer.heads, batch_first=True)
    options = {"attn_mask": hidden_pairs(layer, len(row)), "need_weights": False}
    return functional_call(module, attention_weights(layer), (row[None], row[None], row[None]), options)[0][0]


def torch_cross_attention(layer: CrossAttention, row: Tensor, memory: Tensor) -> Tensor:
    if len(row) == 0:
        return row
    sizes = {"kdim": layer.memory_size, "vdim": layer.memory_size}
    module = nn.MultiheadAttention(layer.in_size, layer.heads, batch_first=True, **sizes)
    arguments = (row[None], memory[None], memory[None])
    return functional_call(module, attention_weights(layer), arguments, {"need_weights": False})[0][0]


def loop_self_attention(layer: SelfAttention, row: Tensor) -> Tensor:
    """Every step, head and key by itself; turns by complex numbers and distances by their definition."""
    width = layer.in_size // layer.heads
    queries, keys, values = (
        affine(row).unflatten(-1, (layer.heads, width)) for affine in (layer.query, layer.key, layer.value)
    )
    if layer.positions == "rotary":
        queries, keys = turned(queries), turned(keys)
    hidden = hidden_pairs(layer, len(row))
    outputs = []
    for t in range(len(row)):
        heads = []
        for h in range(layer.heads):
            seen = [s for s in range(len(row)) if not hidden[t, s]]
            scores = [queries[t, h] @ keys[s, h] for s in seen]
            if layer.positions == "relative":
                scores = [
                    (queries[t, h] + layer.content_bias[h]) @ keys[s, h]
                    + (queries[t, h] + layer.position_bias[h]) @ relative_key(layer, t - s, row)[h]
                    for s in seen
                ]
            shares = (torch.stack(scores) / math.sqrt(width)).exp()
            heads.append(sum(share * values[s, h] for share, s in zip(shares / shares.sum(), seen, strict=True)))
        outputs.append(layer.output(torch.cat(heads)))
    return torch.stack(outputs) if outputs else row


def turned(vectors: Tensor) -> Tensor:
    """[T, heads, d] as complex numbers times e^(i t 10000^(−2k/d))."""
    width = vectors.shape[-1]
    numbers = torch.view_as_complex(vectors.unflatten(-1, (width // 2, 2)).contiguous())  # [T, heads, d/2]
    angles = torch.tensor(
        [[t / 10000 ** (2 * k / width) for k in range(width // 2)] for t in range(len(vectors))], dtype=torch.float64
    )
    turns = torch.polar(torch.ones_like(angles), angles).to(numbers.dtype).reshape(len(vectors), 1, width // 2)
    return torch.view_as_real(numbers * turns).flatten(-2)


def wave(position: int, size: int) -> list[float]:
    pairs = [position / 10000 ** (2 * k / size) for k in range(size // 2)]
    return [function(angle) for angle in pairs for function in (math.sin, math.cos)]


def relative_key(layer: SelfAttention, distance: int, like: Tensor) -> Tensor:
    key = layer.relative.weight @ torch.tensor(wave(distance, layer.in_size), dtype=torch.float64).to(like)
    return key.unflatten(0, (layer.heads, -1))


def loop_sinusoidal_positions(layer: SinusoidalPositions, row: Tensor) -> Tensor:
    waves = torch.tensor([wave(t, layer.in_size) for t in range(len(row))], dtype=torch.float64)
    return row + waves.to(row).reshape(row.shape)


def loop_additive(layer: AdditiveAttention, row: Tensor, memory: Tensor) -> Tensor:
    def score(query: Tensor, key: Tensor) -> Tensor:
        hidden = torch.tanh(layer.query.weight @ query + layer.key.weight @ key + layer.key.bias)
        return hidden @ layer.question

    return _contexts(score, row, memory)


def loop_multiplicative(layer: MultiplicativeAttention, row: Tensor, memory: Tensor) -> Tensor:
    return _contexts(lambda query, key: query @ (key if layer.key is None else layer.key.weight @ key), row, memory)


def _contexts(score: Callable[[Tensor, Tensor], Tensor], row: Tensor, memory: Tensor) -> Tensor:
    contexts = [torch.stack([score(query, key) for key in memory]).softmax(0) @ memory for query in row]
    return torch.stack(contexts) if contexts else memory.new_zeros(0, memory.shape[1])


def torch_layer_norm(layer: LayerNorm, row: Tensor) -> Tensor:
    if layer.bias is None:
        return row / (row.square().mean(-1, keepdim=True) + layer.epsilon).sqrt() * layer.weight
    return functional_call(nn.LayerNorm(layer.in_size), {"weight": layer.weight, "bias": layer.bias}, (row,))


def _block_weights(block: TransformerBlock) -> dict[str, Tensor]:
    norms = ["attention_norm", "feed_forward_norm"]
    weights = {f"self_attn.{name}": tensor for name, tensor in attention_weights(block.attention).items()}
    if block.memory_attention is not None:
        norms.insert(1, "memory_norm")
        crossed = attention_weights(block.memory_attention).items()
        weights |= {f"multihead_attn.{name}": tensor for name, tensor in crossed}
    for number, affine in enumerate(block.feed_forward.maps, 1):
        weights |= {f"linear{number}.weight": affine.weight, f"linear{number}.bias": affine.bias}
    for number, name in enumerate(norms, 1):
        norm = getattr(block, name)
        weights |= {f"norm{number}.weight": norm.weight, f"norm{number}.bias": norm.bias}
    return weights


def _torch_like(kind: type[nn.Module], block: TransformerBlock) -> nn.Module:
    hidden = block.feed_forward.maps[0].out_features
    activation = "relu" if block.feed_forward.activation is torch.relu else "gelu"
    options = {"dim_feedforward": hidden, "activation": activation, "norm_first": block.norm == "pre", "dropout": 0.0}
    # In training mode, without dropout, torch takes no short cut of its own.
    return kind(block.in_size, block.attention.heads, batch_first=True, **options).train()


def torch_block(block: TransformerBlock, row: Tensor) -> Tensor:
    if len(row) == 0:
        return row
    module = _torch_like(nn.TransformerEncoderLayer, block)
    options = {"src_mask": hidden_pairs(block.attention, len(row))}
    return functional_call(module, _block_weights(block), (row[None],), options)[0]


def torch_decoder_block(block: TransformerBlock, row: Tensor, memory: Tensor) -> Tensor:
    """`torch.nn.TransformerDecoderLayer` reads memories of its own size only: others are mapped by hand to its weights."""
    if len(row) == 0:
        return row
    module = _torch_like(nn.TransformerDecoderLayer, block)
    size = block.memory_attention.memory_size
    if size != block.in_size:
        module.multihead_attn = nn.MultiheadAttention(
            block.in_size, block.attention.heads, batch_first=True, kdim=size, vdim=size
        )
    options = {"tgt_mask": hidden_pairs(block.attention, len(row))}
    return functional_call(module, _block_weights(block), (row[None], memory[None]), options)[0]


def torch_transformer(layer: Transformer, row: Tensor) -> Tensor:
    for block in layer.blocks:
        row = torch_block(block, row)
    return row if layer.top_norm is None else torch_layer_norm(layer.top_norm, row)


def loop_windows(layer: WindowAttention2D, grid: Tensor) -> Tensor:
    """One grid [H, W, size]: cut at shift, shift + window, …, and each piece attends to itself."""
    height, width = grid.shape[:2]
    output = torch.zeros_like(grid)
    for top, bottom in _pieces(layer, height):
        for left, right in _pieces(layer, width):
            cells = [(i, j) for i in range(top, bottom) for j in range(left, right)]
            for cell, value in zip(cells, _one_window(layer, grid, cells), strict=True):
                output[cell] = value
    return output


def _pieces(layer: WindowAttention2D, side: int) -> list[tuple[int, int]]:
    first = layer.shift if side > layer.window else 0
    cuts = sorted({0, side, *range(first, side, layer.window)})
    return list(pairwise(cuts))


def _one_window(layer: WindowAttention2D, grid: Tensor, cells: list[tuple[int, int]]) -> list[Tensor]:
    values = torch.stack([grid[cell] for cell in cells])
    queries, keys, contents = layer.query_key_value(values).chunk(3, dim=-1)
    width, span = layer.in_size // layer.heads, 2 * layer.window - 1
    answers = []
    for (i, j), query in zip(cells, queries, strict=True):
        heads = []
        for h in range(layer.heads):
            part = slice(h * width, (h + 1) * width)
            places = [(i - k + layer.window - 1) * span + (j - m + layer.window - 1) for k, m in cells]
            scores = keys[:, part] @ query[part] / math.sqrt(width) + layer.bias_table[places, h]
            heads.append(scores.softmax(0) @ contents[:, part])
        answers.append(layer.output(torch.cat(heads)))
    return answers

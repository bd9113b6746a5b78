"""The Transformer: self-attention and a feed-forward network, each with a residual and a normalization, repeated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, cast, final, get_args

import torch
import torch.nn.functional as F
from torch import nn

from carryover.layers.attention.attention_cache import AttentionState
from carryover.layers.attention.cross_attention import CrossAttention
from carryover.layers.attention.memory_attention import Memory
from carryover.layers.attention.self_attention import AttentionPositions, SelfAttention
from carryover.layers.base import Layer
from carryover.layers.dropout import check_probability, drop
from carryover.layers.layer_norm import LayerNorm
from carryover.layers.perceptron import Perceptron
from carryover.layers.stacked import step_each
from carryover.sequence import Sequence

Activation = Literal["gelu", "relu"]
Norm = Literal["post", "pre"]
ACTIVATIONS = {"gelu": F.gelu, "relu": torch.relu}


class BlockState(NamedTuple):
    """State of a causal block: the cache of its self-attention, and its memory (`()` without cross-attention)."""

    attention: AttentionState
    memory: Memory | tuple[()]


@final
class TransformerBlock(Layer):
    """One layer of a Transformer; values [B, T, size] to the same. With f self-attention, g the feed-forward network:

        norm="post"   h = N_1(x + f(x)),   y = N_3(h + g(h))            Vaswani et al. 2017, section 3.1
        norm="pre"    h = x + f(N_1(x)),   y = h + g(N_3(h))            Xiong et al. 2020, which trains without warm-up

    and g(h) = W_2 φ(W_1 h + b_1) + b_2 with `hidden` features inside, φ = "relu" or "gelu". With `memory_size` a
    cross-attention of the same form (N_2) comes between f and g: the block of a decoder, called as `block(x, memory)`
    and stepped after `state = block.remember(memory)`.

    `causal`, `horizon` and `positions` are those of `SelfAttention`, as is the state (with the memory beside it) and what
    is said there about its growth; without cross-attention the receptive field is the attention's too. Dropout acts on
    attention weights, inside g, and on the output of every part before it is added.

    Parameters: `attention.…`, `attention_norm.…`, `feed_forward.maps.0.…`, `feed_forward.maps.1.…`,
    `feed_forward_norm.…`, and perhaps `memory_attention.…`, `memory_norm.…`. ValueError for another norm or activation.
    """

    state_type = BlockState

    def __init__(
        self,
        size: int,
        heads: int,
        hidden: int,
        *,
        causal: bool = False,
        horizon: int | None = None,
        positions: AttentionPositions | None = None,
        norm: Norm = "pre",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
    ) -> None:
        super().__init__()
        if norm not in get_args(Norm):
            raise ValueError(f"TransformerBlock has norm {norm!r}: choose 'pre' or 'post'")
        if activation not in get_args(Activation):
            raise ValueError(f"TransformerBlock has activation {activation!r}: choose 'gelu' or 'relu'")
        if hidden <= 0:
            raise ValueError(f"TransformerBlock has {hidden} hidden features: give at least one")
        self.in_size = self.out_size = size
        self.memory_size = memory_size
        self.norm, self.dropout = norm, check_probability(dropout)
        self.attention = SelfAttention(size, heads, causal=causal, horizon=horizon, positions=positions, dropout=dropout)
        self.attention_norm = LayerNorm(size)
        self.memory_attention, self.memory_norm = None, None
        if memory_size is not None:
            self.memory_attention = CrossAttention(size, heads, memory_size=memory_size, dropout=dropout)
            self.memory_norm = LayerNorm(size)
        self.feed_forward = Perceptron(size, (hidden,), size, activation=ACTIVATIONS[activation], dropout=dropout)
        self.feed_forward_norm = LayerNorm(size)
        self.causal, self.receptive_field = causal, self.attention.receptive_field

    def forward(self, x: Sequence, memory: Sequence | None = None) -> Sequence:
        """Whole pass; `memory` [B, S, memory_size] is given if, and only if, the block has cross-attention."""
        self.check_input(x)
        x = x.zero_padding()
        x = self._after(self.attention_norm, x, self.attention(self._before(self.attention_norm, x)))
        if self.memory_attention is not None and self.memory_norm is not None:
            looked = self.memory_attention(self._before(self.memory_norm, x), memory)
            x = self._after(self.memory_norm, x, looked)
        elif memory is not None:
            self._refuse_memory()
        return self._feed_forward(x)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> BlockState:
        """An empty cache and, with cross-attention, an empty memory."""
        self.require_causal("has no initial state")
        attention = self.attention.initial_state(batch_size, device=device, dtype=dtype)
        if self.memory_attention is None:
            return BlockState(attention, ())
        return BlockState(attention, self.memory_attention.initial_state(batch_size, device=device, dtype=dtype))

    def remember(self, memory: Sequence, state: BlockState | None = None) -> BlockState:
        """`state`, by default the initial one, with this memory. ValueError when the block has no cross-attention."""
        if self.memory_attention is None:
            self._refuse_memory()
        assert self.memory_attention is not None
        state = self.initial_state(memory.batch_size, device=memory.device) if state is None else state
        return BlockState(state.attention, self.memory_attention.remember(memory))

    def step(self, x: Sequence, state: BlockState) -> tuple[Sequence, BlockState]:
        self.require_causal("cannot be stepped")
        self.check_input(x)
        self.check_state_type(x, state)
        x = x.zero_padding()
        y, attention = self.attention.step(self._before(self.attention_norm, x), state.attention)
        x = self._after(self.attention_norm, x, y)
        if self.memory_attention is not None and self.memory_norm is not None:
            y, _ = self.memory_attention.step(self._before(self.memory_norm, x), cast("Memory", state.memory))
            x = self._after(self.memory_norm, x, y)
        return self._feed_forward(x), BlockState(attention, state.memory)

    def _feed_forward(self, x: Sequence) -> Sequence:
        return self._after(self.feed_forward_norm, x, self.feed_forward(self._before(self.feed_forward_norm, x)))

    def _before(self, norm: LayerNorm, x: Sequence) -> Sequence:
        return norm(x) if self.norm == "pre" else x

    def _after(self, norm: LayerNorm, x: Sequence, y: Sequence) -> Sequence:
        added = x.with_values(x.values + drop(y.values, self.dropout, self.training))
        return added if self.norm == "pre" else norm(added)

    def _refuse_memory(self) -> None:
        raise ValueError(
            "TransformerBlock was given a memory but has no cross-attention: build it with memory_size, or leave the memory out"
        )

    def extra_repr(self) -> str:
        return f"norm={self.norm}, dropout={self.dropout}"


@final
class Transformer(Layer):
    """`depth` blocks one above the other, and with norm="pre" a normalization at the top; [B, T, size] to the same.

    The options are those of `TransformerBlock`, the same in every block. `causal` makes it a decoder that can be stepped:
    its state is the tuple of the blocks' states. A horizon of h gives a receptive field of 1 + depth · (h − 1) when
    causal, else 1 + depth · 2(h − 1). Alone, it ignores order: choose positions, or put `SinusoidalPositions` or
    `LearnedPositions` below it with `Stacked`.

    Parameters: `blocks.k.…`, k from 0, and with norm="pre" `top_norm.…`. ValueError for a depth below 1.
    """

    state_type = tuple

    def __init__(
        self,
        size: int,
        heads: int,
        hidden: int,
        depth: int,
        *,
        causal: bool = False,
        horizon: int | None = None,
        positions: AttentionPositions | None = None,
        norm: Norm = "pre",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"Transformer has depth {depth}: give at least one block")
        self.in_size = self.out_size = size
        self.memory_size = memory_size
        self.blocks = nn.ModuleList(
            TransformerBlock(
                size,
                heads,
                hidden,
                causal=causal,
                horizon=horizon,
                positions=positions,
                norm=norm,
                activation=activation,
                dropout=dropout,
                memory_size=memory_size,
            )
            for _ in range(depth)
        )
        self.top_norm = LayerNorm(size) if norm == "pre" else None
        self.causal = causal
        field = next(iter(self._each())).receptive_field
        self.receptive_field = None if field is None else 1 + depth * (field - 1)

    def forward(self, x: Sequence, memory: Sequence | None = None) -> Sequence:
        return self.all_outputs(x, memory)[-1]

    def all_outputs(self, x: Sequence, memory: Sequence | None = None) -> list[Sequence]:
        """What every block wrote in a whole pass, first block first; the last one is `forward`'s answer (normalized)."""
        outputs = []
        for block in self._each():
            x = block(x, memory)
            outputs.append(x)
        outputs[-1] = self._top(x)
        return outputs

    def stages(self) -> list[list[Layer]]:
        """Its blocks; the normalization at the top belongs to the last."""
        found: list[list[Layer]] = [[block] for block in self._each()]
        if self.top_norm is not None:
            found[-1].append(self.top_norm)
        return found

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[BlockState, ...]:
        self.require_causal("has no initial state")
        return tuple(block.initial_state(batch_size, device=device, dtype=dtype) for block in self._each())

    def remember(self, memory: Sequence, state: tuple[BlockState, ...] | None = None) -> tuple[BlockState, ...]:
        """`state`, by default the initial one, with this memory in every block."""
        state = self.initial_state(memory.batch_size, device=memory.device) if state is None else state
        return tuple(block.remember(memory, part) for block, part in zip(self._each(), state, strict=True))

    def step(self, x: Sequence, state: tuple[BlockState, ...]) -> tuple[Sequence, tuple[BlockState, ...]]:
        self.require_causal("cannot be stepped")
        x, state = step_each(self, list(self._each()), x, state, "blocks")
        return self._top(x), state

    def _top(self, x: Sequence) -> Sequence:
        return x if self.top_norm is None else self.top_norm(x)

    def _each(self) -> Iterable[TransformerBlock]:
        return cast("Iterable[TransformerBlock]", self.blocks)

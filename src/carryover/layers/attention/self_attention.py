"""Every step of a sequence looks at the others."""

from __future__ import annotations

from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from carryover.layers.attention.attention_blocks import cut_keys, cut_queries, join_blocks
from carryover.layers.attention.attention_cache import AttentionState, cached_positions, extend_cache, in_step
from carryover.layers.attention.dot_product import AttentionWeights, attend, check_heads, merge_heads, split_heads
from carryover.layers.attention.positions import rotate, sinusoid
from carryover.layers.base import Layer
from carryover.layers.dropout import check_probability
from carryover.sequence import Sequence

AttentionPositions = Literal["rotary", "relative"]


@final
class SelfAttention(Layer):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2); values [B, T, size] to the same.

        q, k, v = W_q x, W_k x, W_v x, cut into heads of d = size / heads features
        y_t     = W_o [head_1; …; head_n] + b_o,   head = Σ_s softmax_s(score(t, s) / √d) v_s

    over the steps s that t sees: all real ones; with `causal` those up to t; with `horizon` h only those less than h
    steps away, t itself included (receptive field h if causal, else 2h − 1).

    positions : None        score(t, s) = q_t · k_s, which knows no order (add positions to the input below);
                "rotary"    q and k turned by their positions first (Su et al. 2021, equation 34);
                "relative"  (q_t + u) · k_s + (q_t + v) · W_r R_{t−s} with R the sinusoid of the distance
                            (Transformer-XL: Dai et al. 2019, section 3.3).

    The state of a causal layer is a cache of keys and values (`AttentionState`), a row at its own position. **Without a
    horizon it grows by one slot for every step read and so does the cost of a step**; with one it is a ring of h slots,
    and memory and cost of a step stay what they are. It is also the memory of Transformer-XL: with the horizon as
    memory length and `detach_state` between segments; every step sees exactly h steps however the text is cut, where
    the paper lets the first step of a segment see fewer than the last.

    Parameters: `query`, `key`, `value`, `output` (weight [size, size], bias [size]); with "relative" `relative.weight`
    [size, size] (W_r), `content_bias` and `position_bias` [heads, d] (u, v). `weights` names the attention weights
    [B, heads, T, S] for `taps`; when the layer is stepped S counts the slots of the cache, which hold the new steps too
    without a horizon, and with one stand before them.

    `last_path` says what the latest call ran: "fused" (`scaled_dot_product_attention`), "blocks" (the same kernel on
    blocks of the length of the horizon, for rows of more than three of them) or "plain" (softmax written out: on empty
    input, and while a tap is on). ValueError when heads do not divide size, when "rotary" meets a head of an
    odd size or "relative" an odd size, and for a horizon below 1, or below 2 when not causal.
    """

    state_type = AttentionState

    def __init__(
        self,
        size: int,
        heads: int,
        *,
        causal: bool = False,
        horizon: int | None = None,
        positions: AttentionPositions | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_heads(self, size, heads)
        if horizon is not None and horizon < 1:
            raise ValueError(f"SelfAttention has horizon {horizon}: a step sees at least itself, choose 1 or more, or None")
        if horizon == 1 and not causal:
            raise ValueError(
                "SelfAttention has horizon 1 and causal False, yet would see no step but itself: choose 2 or more"
            )
        if positions is not None and positions not in get_args(AttentionPositions):
            raise ValueError(f"SelfAttention has positions {positions!r}: choose None, 'rotary' or 'relative'")
        if positions == "rotary" and (size // heads) % 2:
            raise ValueError(
                f"SelfAttention of size {size} with {heads} heads has heads of {size // heads} features, and rotary "
                "positions turn them in pairs: choose size / heads even"
            )
        if positions == "relative" and size % 2:
            raise ValueError(f"SelfAttention has size {size}, and relative positions are waves in pairs: choose it even")
        self.in_size = self.out_size = size
        self.heads, self.causal, self.horizon = heads, causal, horizon
        self.receptive_field = None if horizon is None else horizon if causal else 2 * horizon - 1
        self.positions: AttentionPositions | None = positions
        self.dropout = check_probability(dropout)
        self.query, self.key, self.value, self.output = (nn.Linear(size, size, bias=bias) for _ in range(4))
        self.relative = nn.Linear(size, size, bias=False) if positions == "relative" else None
        self.content_bias = nn.Parameter(torch.empty(heads, size // heads)) if positions == "relative" else None
        self.position_bias = nn.Parameter(torch.empty(heads, size // heads)) if positions == "relative" else None
        self.weights = AttentionWeights()
        self.last_path: str | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Matrices as Glorot & Bengio 2010 (uniform), biases zero; u and v normal with standard deviation 0.02."""
        for parameter in self.parameters():
            if parameter.dim() == 1:
                nn.init.zeros_(parameter)
            elif parameter is self.content_bias or parameter is self.position_bias:
                nn.init.normal_(parameter, std=0.02)
            else:
                nn.init.xavier_uniform_(parameter)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> AttentionState:
        """An empty cache: no slot, or `horizon` slots, for each row. TypeError when the layer is not causal."""
        self.require_causal("has no initial state")
        like = self.query.weight.new_empty(0, device=device, dtype=dtype)
        empty = like.new_zeros(batch_size, self.horizon or 0, self.heads, self.in_size // self.heads)
        return AttentionState(empty, empty, torch.zeros(batch_size, dtype=torch.int64, device=like.device))

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        steps = torch.arange(x.time, device=x.device)
        queries, keys, values = self._project(x, steps)
        if self.causal and self.horizon is None and self.relative is None:
            # Padding comes after a row's end, where a causal layer does not look: no mask is needed.
            return self._finish(x, *self._attend(queries, keys, values, causal=True))
        if self.horizon is not None and self.fast and x.time > 3 * self.horizon:
            return self._finish(x, self._attend_in_blocks(x, queries, keys, values, self.horizon), "blocks")
        distance = steps.unsqueeze(1) - steps  # [T, T], how far back the key is
        visible = self._within(distance)
        if not self.causal and not x.full:
            real = x.mask[:, None, None, :]  # [B, 1, 1, T]
            visible = real if visible is None else real & visible
        reach = x.time - 1 if self.horizon is None else self.horizon - 1
        bias = self._relative_scores(queries, distance, 0 if self.causal else -reach, reach)
        return self._finish(x, *self._attend(queries, keys, values, visible=visible, bias=bias))

    def step(self, x: Sequence, state: AttentionState) -> tuple[Sequence, AttentionState]:
        self.require_causal("cannot be stepped")
        self.check_input(x)
        self.check_state(x, state)
        positions = state.steps.unsqueeze(1) + torch.arange(x.time, device=x.device)  # [B, T]
        queries, new_keys, new_values = self._project(x, positions.unsqueeze(1))
        new = (new_keys.transpose(1, 2), new_values.transpose(1, 2))  # [B, T, heads, d]
        after = extend_cache(state, *new, x.lengths, self.horizon)
        if self.horizon is None and self.relative is None and x.time == 1 and in_step(state, x.lengths, 1):
            # Behind everything that was read so far: it sees all.
            keys, values = (part.transpose(1, 2).to(queries.dtype) for part in after[:2])
            return self._finish(x, *self._attend(queries, keys, values)), after
        if self.horizon is None:
            keys, values, places = after.keys, after.values, cached_positions(after, None)
        else:  # the new steps may have pushed out of the ring what the first of them still sees
            keys, values = (torch.cat([old.to(one.dtype), one], dim=1) for old, one in zip(state[:2], new, strict=True))
            places = torch.cat([cached_positions(state, self.horizon), positions], dim=1)
        distance = positions.unsqueeze(2) - places.unsqueeze(1)  # [B, T, S]
        within = self._within(distance)
        assert within is not None
        reach = max(distance.shape[2], 1) - 1 if self.horizon is None else self.horizon - 1
        context, path = self._attend(
            queries,
            keys.transpose(1, 2).to(queries.dtype),
            values.transpose(1, 2).to(queries.dtype),
            visible=(within & (places >= 0).unsqueeze(1)).unsqueeze(1),
            bias=self._relative_scores(queries, distance, 0, reach),
        )
        return self._finish(x, context, path), after

    def check_state(self, x: Sequence, state: AttentionState) -> None:
        """ValueError when the state has another batch size, or a ring of another horizon, than this call."""
        super().check_state(x, state)
        if self.horizon is not None and state.keys.shape[1] != self.horizon:
            raise ValueError(
                f"SelfAttention has horizon {self.horizon} and was given a cache of {state.keys.shape[1]} slots: "
                f"make one with initial_state({x.batch_size})"
            )

    def _project(self, x: Sequence, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, heads, T, d]."""
        inputs = x.zero_padding().values
        queries, keys, values = (split_heads(map_(inputs), self.heads) for map_ in (self.query, self.key, self.value))
        if self.positions == "rotary":
            queries, keys = rotate(queries, positions), rotate(keys, positions)
        return queries, keys, values

    def _within(self, distance: Tensor) -> Tensor | None:
        """Which distances are seen, bool of the same shape; None for all."""
        near = None if self.horizon is None else distance.abs() < self.horizon
        if not self.causal:
            return near
        return distance >= 0 if near is None else (distance >= 0) & near

    def _relative_scores(self, queries: Tensor, distance: Tensor, low: int, high: int) -> Tensor | None:
        """(q_t + v) · W_r R_{t−s} / √d, [B, heads, T, S], for distances low … high (others are not seen); None if unused."""
        if self.relative is None or self.position_bias is None:
            return None
        table = sinusoid(torch.arange(low, max(high, low) + 1, device=distance.device), self.in_size)
        table = split_heads(self.relative(table.to(self.relative.weight.dtype)).unsqueeze(0), self.heads)  # [1, heads, n, d]
        scores = (queries + self.position_bias.unsqueeze(1)) @ table.mT * queries.shape[-1] ** -0.5  # [B, heads, T, n]
        place = (distance - low).clamp(0, table.shape[2] - 1)
        place = place if place.dim() == 2 else place.unsqueeze(1)
        return scores.gather(3, place.expand(*scores.shape[:3], distance.shape[-1]))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, **options: Tensor | bool | None) -> tuple[Tensor, str]:
        if self.content_bias is not None:
            queries = queries + self.content_bias.unsqueeze(1)
        dropout = self.dropout if self.training else 0.0
        return attend(queries, keys, values, self.weights, dropout=dropout, fast=self.fast, **options)  # type: ignore[arg-type]

    def _attend_in_blocks(self, x: Sequence, queries: Tensor, keys: Tensor, values: Tensor, width: int) -> Tensor:
        """The same within the horizon as among all pairs, [B, heads, T, d], at a cost of T · horizon."""
        ahead = not self.causal
        queries = cut_queries(queries, width)
        keys, values = cut_keys(keys, width, ahead=ahead), cut_keys(values, width, ahead=ahead)
        real = cut_keys(x.mask[:, None, :, None].to(keys.dtype), width, ahead=ahead).mT.bool()  # [B · blocks, 1, 1, S]
        steps = torch.arange(keys.shape[2], device=x.device)
        distance = steps[width : 2 * width].unsqueeze(1) - steps  # [width, S]
        within = self._within(distance)
        assert within is not None
        bias = self._relative_scores(queries, distance, 1 - width if ahead else 0, width - 1)
        context, _ = self._attend(queries, keys, values, visible=within & real, bias=bias)
        return join_blocks(context, x.batch_size, x.time)

    def _finish(self, x: Sequence, context: Tensor, path: str) -> Sequence:
        self.last_path = path
        return x.with_values(self.output(merge_heads(context))).zero_padding()

    def extra_repr(self) -> str:
        options = {"causal": self.causal, "horizon": self.horizon, "positions": self.positions, "dropout": self.dropout}
        return ", ".join([f"{self.in_size}, heads={self.heads}", *(f"{k}={v}" for k, v in options.items() if v)])

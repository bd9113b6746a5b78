"""Dot-product attention twice: PyTorch's fused kernel, and the plain softmax that defines it and can be looked into."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.layers.dropout import drop, is_part


class AttentionWeights(nn.Module):
    """a = softmax(scores) over the keys that a query sees, 0 for the others (and everywhere when it sees none).

    A module without parameters, so that the weights have a name to be tapped by (`carryover.layers.taps`).
    """

    def forward(self, scores: Tensor, visible: Tensor | None) -> Tensor:
        """`scores` [..., queries, keys] and `visible`, bool that broadcasts to it, to weights of the shape of `scores`."""
        if visible is None:
            return scores.softmax(-1)
        # The most negative number rather than −∞: a query that sees no key would else be 0/0.
        return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1) * visible


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    weights: AttentionWeights,
    *,
    visible: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    fast: bool = True,
) -> tuple[Tensor, str]:
    """softmax(q kᵀ · scale + bias) v, and the path taken, "fused" or "plain" (Vaswani et al. 2017, equation 1).

    Parameters
    ----------
    queries, keys, values : [..., Tq, d], [..., Tk, d] and [..., Tk, e]; the result is [..., Tq, e]. All are finite.
    weights : the module that turns scores into weights on the plain path.
    visible : bool that broadcasts to [..., Tq, Tk], which keys a query sees; None for all. The result of a query that
        sees none is zero.
    bias : added to the scores, broadcasts as `visible`.
    causal : query i sees the keys 0 … i, instead of `visible`: needs no mask and is fastest.
    scale : 1/√d by default.
    dropout : probability with which a weight is zero; 0 outside training.
    fast : False for the plain path.
    """
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    apart = dropout > 0 and is_part()  # the kernel cannot draw the mask of a batch of which it sees a part
    if apart or not (fast and queries.numel() and keys.numel()):
        return _attend_plainly(queries, keys, values, weights, visible, bias, causal, scale, dropout), "plain"
    if visible is None:
        mask = None if bias is None else bias.to(queries.dtype)
        y = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scale
        )
        return y, "fused"
    # What the kernel makes of a query that sees nothing depends on its version: show it everything and drop the result.
    sees = visible.any(-1, keepdim=True)
    mask = visible | ~sees
    if bias is not None:
        mask = bias.to(queries.dtype).masked_fill(~mask, -torch.inf)
    y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout, scale=scale)
    return y.masked_fill(~sees, 0), "fused"


def _attend_plainly(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    weights: AttentionWeights,
    visible: Tensor | None,
    bias: Tensor | None,
    causal: bool,
    scale: float,
    dropout: float,
) -> Tensor:
    scores = queries @ keys.mT * scale  # [..., Tq, Tk]
    if bias is not None:
        scores = scores + bias
    if causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    return drop(weights(scores, visible), dropout, True).to(values.dtype) @ values


def split_heads(values: Tensor, heads: int) -> Tensor:
    """[B, T, heads · d] to [B, heads, T, d]."""
    return values.unflatten(-1, (heads, values.shape[-1] // heads)).transpose(1, 2)


def merge_heads(values: Tensor) -> Tensor:
    """[B, heads, T, d] to [B, T, heads · d]."""
    return values.transpose(1, 2).flatten(2)


def check_heads(owner: nn.Module, size: int, heads: int) -> None:
    """ValueError unless `heads` is positive and divides `size`."""
    if size <= 0 or heads <= 0 or size % heads:
        raise ValueError(
            f"{type(owner).__name__} cannot divide size {size} among {heads} heads: choose a size that is a positive "
            "multiple of heads"
        )

"""Matrix products of a few rows with one weight, by the fastest kernel the machine has.

PyTorch sends float32 products on a CPU to MKL, which uses only half of the vector width on processors not made by its
vendor; oneDNN, which PyTorch ships as well, uses all of it (about twice as fast there, equal elsewhere). Both compute
the same float32 sums in another order. Autograd does not know the products: they are for hand-written backward passes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


@cache
def _onednn() -> tuple[Callable[..., Tensor], Callable[..., Tensor]] | None:
    """oneDNN's product and its weight layout, or None where this build of PyTorch lacks them or they do not agree."""
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        operators: Any = torch.ops.mkldnn
        linear, reorder = operators._linear_pointwise.default, operators._reorder_linear_weight.default
        x = torch.linspace(-1, 1, 6, device="cpu", dtype=torch.float32).view(2, 3)
        weight = torch.linspace(1, -2, 12, device="cpu", dtype=torch.float32).view(4, 3)
        found = linear(x, reorder(weight, 2), None, "none", [], "")
        agree = torch.allclose(found, x @ weight.t(), atol=1e-5) and torch.allclose(
            linear(x.t(), x.t(), None, "none", [], ""), x.t() @ x, atol=1e-5
        )
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return None
    return (linear, reorder) if agree else None


def product_type(x: Tensor) -> torch.dtype:
    """Type of products with x: autocast's where autocast is on, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def wants_gradients(*tensors: Tensor | None) -> bool:
    """Whether a result of these tensors would be part of a graph."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def uses_onednn(weight: Tensor) -> bool:
    """Whether products with `weight` run on oneDNN: one float32 or bfloat16 matrix on a CPU, not empty."""
    return (
        weight.device.type == "cpu"
        and weight.dim() == 2
        and weight.dtype in (torch.float32, torch.bfloat16)
        and weight.numel() > 0
        and bool(torch.backends.mkldnn.enabled)
        and _onednn() is not None
    )


def prepare(weight: Tensor, rows: int) -> Product:
    """The function x ↦ x @ weightᵀ for a weight that many products of about `rows` rows share.

    `weight` is [out, in] (x is [rows, in]) or [N, out, in] (x is [N, rows, in]). It is laid out for the kernel once, so
    a later change of `weight` may or may not be seen.
    """
    if uses_onednn(weight):
        linear, reorder = _onednn() or (None, None)
        assert linear is not None and reorder is not None
        ordered = reorder(weight.contiguous(), max(rows, 1))

        def multiply(x: Tensor) -> Tensor:
            return linear(x, ordered, None, "none", [], "")

        return multiply
    transposed = weight.mT

    def multiply_plainly(x: Tensor) -> Tensor:
        return torch.matmul(x, transposed)

    return multiply_plainly


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weightᵀ + bias once, [..., rows, in] and [..., out, in] to [..., rows, out]; `bias` is [..., out]."""
    if x.numel() and uses_onednn(weight):
        linear, _ = _onednn() or (None, None)
        assert linear is not None
        return linear(x, weight, bias, "none", [], "")
    if bias is None:
        return torch.matmul(x, weight.mT)
    if x.dim() == 2:
        return torch.addmm(bias, x, weight.mT)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight.mT)

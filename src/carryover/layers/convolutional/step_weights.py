"""The tensors that a compiled step reads, out of the modules of a network (`carryover.kernels.tcn_wavenet_steps`).

Modules are looked at anew in every step, because others may have been put in their place, and without `getattr`, because a short
step is not much longer than that of fifty modules.
"""

from __future__ import annotations

from torch import nn

from carryover.kernels.tcn_wavenet_steps import ConvolutionWeights, LinearWeights, Unreadable
from carryover.layers.convolutional.convolution import Convolution


def convolution_weights(module: nn.Module | None) -> ConvolutionWeights:
    """Raises Unreadable unless it is a `Convolution` of one group, without stride and with all parameters it was built with."""
    if type(module) is not Convolution or module.groups > 1 or module.stride > 1:
        raise Unreadable
    found = module._parameters
    normed = module.weight_norm
    weight = found.get("weight_direction" if normed else "weight")
    length = found.get("weight_length") if normed else None
    if weight is None or (length is None and normed) or "bias" not in found:
        raise Unreadable
    sizes = module.in_size, module.out_size, module.kernel, module.dilation
    return ConvolutionWeights(weight, length, found["bias"], *sizes)


def linear_weights(module: nn.Module | None) -> LinearWeights:
    """Raises Unreadable unless it is a `torch.nn.Linear` with all parameters it was built with."""
    if type(module) is not nn.Linear:
        raise Unreadable
    found = module._parameters
    weight = found.get("weight")
    if weight is None or "bias" not in found:
        raise Unreadable
    return LinearWeights(weight, found["bias"])


def optional_linear_weights(module: nn.Module | None) -> LinearWeights | None:
    """The same; None where there is no module."""
    return None if module is None else linear_weights(module)

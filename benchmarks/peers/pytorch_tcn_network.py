"""pytorch-tcn's network (1.2.3) on the weights of ours.

`CARRYOVER_PYTORCH_TCN` names a folder made by `pip install --no-deps --target FOLDER pytorch-tcn==1.2.3`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from carryover.layers import TCN
from carryover.layers.convolutional.temporal import TemporalBlock


def find_pytorch_tcn() -> Callable[[TCN], nn.Module] | None:
    """A function from our network to pytorch-tcn's, [B, C, T] to the same, or None where no folder is given."""
    folder = os.environ.get("CARRYOVER_PYTORCH_TCN")
    if not folder:
        return None
    if not (Path(folder) / "pytorch_tcn").is_dir():
        print(f"CARRYOVER_PYTORCH_TCN is {folder} but holds no folder pytorch_tcn: install it there first", file=sys.stderr)
        raise SystemExit(69)  # as the command line says it where a piece is missing
    if folder not in sys.path:
        sys.path.append(folder)
    network: Any = importlib.import_module("pytorch_tcn").TCN

    def peer_of(layer: TCN) -> nn.Module:
        kernel = next(block.first.kernel for block in layer.blocks if isinstance(block, TemporalBlock))
        peer = network(layer.in_size, [layer.out_size] * len(layer.blocks), kernel_size=kernel, dropout=0.0)
        for block, theirs in zip(layer.blocks, peer.network, strict=True):
            assert isinstance(block, TemporalBlock)
            for ours, convolution in ((block.first, theirs.conv1), (block.second, theirs.conv2)):
                copied = {
                    "bias": ours.bias,
                    "parametrizations.weight.original0": ours.weight_length,
                    "parametrizations.weight.original1": ours.weight_direction,
                }
                convolution.load_state_dict(copied, strict=False)  # beside them it has its buffer
            if block.match is not None:
                theirs.downsample.load_state_dict({"weight": block.match.weight.unsqueeze(2), "bias": block.match.bias})
        return peer

    return peer_of


def leaves_of(peer: Any) -> list[Tensor]:
    """Parameters in the order of ours: direction, length and bias of each convolution, then the match."""
    found: list[Tensor] = []
    for block in peer.network:
        for convolution in (block.conv1, block.conv2):
            weight = convolution.parametrizations.weight
            found += [weight.original1, weight.original0, convolution.bias]
        if block.downsample is not None:
            found += list(block.downsample.parameters())
    return found

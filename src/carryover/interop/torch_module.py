"""A language model's mixed layers as a torch module, for models that are written elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Sequence as ListOf
from pathlib import Path

import torch
from torch import Tensor, nn

from carryover.encoders.encoder import Encoder
from carryover.interop.encoder_argument import given_encoder
from carryover.layers import Dropout, ScalarMix
from carryover.sequence import Sequence
from carryover.transfer.trainable_encoders import layers_of


class ElmoModule(nn.Module):
    """Sentences as lists of words in; `mixes` mixtures γ Σ_j s_j h_j of one pass out, each with separate weights.

    Peters et al. 2018, section 3.3: one mixture for the input of a task's model, another for its output, dropout on them,
    and λ ‖w‖² added to the loss to keep the shares s = softmax(w) near an even mixture.

    Parameters
    ----------
    encoder : folder of a pretrained model, or the model itself, which is copied and stays untouched.
    mixes : how many mixtures, and so how many sequences `forward` gives.
    dropout : on each mixture, in training.
    layer_norm : normalise each layer's vectors before they are mixed.
    l2 : λ of `penalty`.
    fixed : keep the language model in evaluation mode and without gradients even while the rest is trained.
    """

    def __init__(
        self,
        encoder: Encoder | Path | str,
        *,
        mixes: int = 1,
        dropout: float = 0.5,
        layer_norm: bool = False,
        l2: float = 0.0,
        fixed: bool = True,
    ) -> None:
        super().__init__()
        if mixes < 1:
            raise ValueError(f"{mixes} mixtures: give at least one")
        if l2 < 0:
            raise ValueError(f"l2 is {l2}: give a number from 0")
        self.encoder = copy.deepcopy(given_encoder(encoder, device="cpu"))
        self.encoder.drop_output_layer()  # predicting words is not asked for
        self.coder, self.fixed, self.l2 = self.encoder.coder, fixed, l2
        self.model: nn.Module = self.encoder.model
        self.model.requires_grad_(not fixed)
        self.out_size = self.encoder.out_size
        self.mixes = nn.ModuleList(
            ScalarMix(self.encoder.layer_count, self.out_size, layer_norm=layer_norm) for _ in range(mixes)
        )
        self.dropout = Dropout(self.out_size, dropout)
        self.train(self.training)

    def train(self, mode: bool = True) -> ElmoModule:
        super().train(mode)
        self.model.train(mode and not self.fixed)
        return self

    def forward(self, sentences: ListOf[ListOf[str]]) -> tuple[Sequence, ...]:
        """One sequence [B, W, out_size] for each mixture. Raises TypeError for a sentence that is a string."""
        for sentence in sentences:
            if isinstance(sentence, str):
                raise TypeError(f"a sentence is a list of words, got the string {sentence[:40]!r}: cut it into words first")
        layers = layers_of(self.encoder, sentences, fixed=self.fixed)
        return tuple(self.dropout(mix(layers)) for mix in self.mixes)

    def penalty(self) -> Tensor:
        """λ Σ ‖w‖² over the mixtures, to be added to the loss."""
        return self.l2 * torch.stack([mix.layer_weights.square().sum() for mix in self.mixes]).sum()  # type: ignore[operator]

    def shares(self) -> list[Tensor]:
        """s of each mixture, [L+1] each, without gradients."""
        return [mix.layer_weights.detach().softmax(0) for mix in self.mixes]  # type: ignore[operator]

"""A signal as a language of samples: WaveNet over μ-law classes, whole or sample by sample, told of what it shall be.

    p(x_1 … x_T | h) = Π_t p(x_t | x_1 … x_{t−1}, h)

(van den Oord et al. 2016, "WaveNet: a generative model for raw audio", equations 1 and 4.) Samples are classes of
`carryover.data.companding`; h is a vector a row (global: a speaker), features of every sample (local: a melody), or both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from carryover.data.companding import CLASSES
from carryover.errors import UsageError
from carryover.generation.steps import PrimedModel
from carryover.layers import Embedding, State, WaveNet
from carryover.models.configuration import ModelConfig
from carryover.sequence import Sequence


class SignalState(NamedTuple):
    """`layer` is WaveNet's state; `local` [B, S, local_size] and `context` [B, global_size] what the rows are about, and
    `steps` [B] how many samples each has read."""

    layer: State
    local: Tensor
    context: Tensor
    steps: Tensor


class SignalModel(nn.Module):
    """Classes of samples in, scores of the next sample's class out; `given(…)` is one for `carryover.generation`.

    Scores after sample t are conditioned on `local` at t: give there what sample t + 1 shall be. Parameters:
    `embedding.weight` [classes, size] and `wavenet.…`.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        """Fields of `layers.WaveNet`, whose outputs are scores of `classes`. Raises UsageError naming the field that is wrong."""

        classes: int = CLASSES
        size: int = 32
        skip_size: int = 64
        levels: int = 8
        stacks: int = 1
        kernel: int = 2
        local_size: int = 0
        global_size: int = 0

        def __post_init__(self) -> None:
            self.check_positive("classes", "size", "skip_size", "levels", "stacks", "kernel")
            for name in ("local_size", "global_size"):
                if getattr(self, name) < 0:
                    raise UsageError(f"{name} is {getattr(self, name)}", repair="give 0 for no such condition, or more")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.classes, config.size)
        self.wavenet = WaveNet(
            config.size,
            config.classes,
            size=config.size,
            skip_size=config.skip_size,
            levels=config.levels,
            stacks=config.stacks,
            kernel=config.kernel,
            local_size=config.local_size,
            global_size=config.global_size,
        )

    @property
    def receptive_field(self) -> int:
        """Samples that the scores of the next one depend on."""
        assert self.wavenet.receptive_field is not None
        return self.wavenet.receptive_field

    def forward(self, ids: Sequence, local: Sequence | None = None, context: Tensor | None = None) -> Sequence:
        """Scores (logits) [B, T, classes] of what follows each sample of ids [B, T]; conditions as `WaveNet` takes them."""
        return self.wavenet(self.embedding(ids), local, context)

    @torch.no_grad()
    def given(self, local: Tensor | None = None, context: Tensor | None = None, *, batch_size: int = 1) -> PrimedModel:
        """This model about `local` [B, S, local_size] and `context` [B, global_size], one prompt a row; `batch_size` prompts
        where it is about nothing. Raises ValueError for a condition that is missing, not wanted or of another shape."""
        state = self.initial_state(batch_size)
        for name, condition, like in (("local", local, state.local), ("context", context, state.context)):
            size = like.shape[-1]
            if (condition is None) != (size == 0) or (
                condition is not None and (condition.dim() != like.dim() or condition.shape[-1] != size)
            ):
                given = None if condition is None else tuple(condition.shape)
                wanted = [*(["batch", "steps"] if name == "local" else ["batch"]), size]
                raise ValueError(
                    f"SignalModel has {name} conditions {wanted} and got {given}: give `{name}` exactly when its size is not 0"
                )
        rows = next((len(one) for one in (local, context) if one is not None), batch_size)
        if local is not None and context is not None and len(context) != rows:
            raise ValueError(
                f"SignalModel got {rows} rows of local and {len(context)} of global conditions: make them equal"
            )
        state = self.initial_state(rows)
        return PrimedModel(
            self,
            SignalState(
                state.layer,
                state.local if local is None else local,
                state.context if context is None else context,
                state.steps,
            ),
        )

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> SignalState:
        """What every signal begins with, about nothing."""
        like = self.embedding.weight.new_empty(0, device=device, dtype=dtype)
        layer = self.wavenet.initial_state(batch_size, device=like.device, dtype=like.dtype)
        local = like.new_zeros(batch_size, 0, self.config.local_size)
        steps = torch.zeros(batch_size, dtype=torch.int64, device=like.device)
        return SignalState(layer, local, like.new_zeros(batch_size, self.config.global_size), steps)

    def step(self, ids: Sequence, state: SignalState) -> tuple[Sequence, SignalState]:
        """Read samples [B, T] and carry the state on; scores [B, T, classes] of what follows each.

        Raises ValueError where the local conditions end before the samples do.
        """
        local = self._local(ids, state) if self.config.local_size else None
        context = state.context if self.config.global_size else None
        scores, layer = self.wavenet.step(self.embedding(ids), state.layer, local, context)
        return scores, SignalState(layer, state.local, state.context, state.steps + ids.lengths)

    def _local(self, ids: Sequence, state: SignalState) -> Sequence:
        """The features of the samples that are read, [B, T, local_size]."""
        present, needed = state.local.shape[1], int((state.steps + ids.lengths).max()) if ids.batch_size else 0
        if needed > present:
            raise ValueError(
                f"SignalModel is at sample {needed} and its local conditions have {present} steps: give one for each sample, "
                "those of the prompt among them"
            )
        places = state.steps.unsqueeze(1) + torch.arange(ids.time, device=ids.device)  # [B, T]
        places = places.clamp(max=max(0, present - 1)).unsqueeze(2).expand(-1, -1, state.local.shape[2])
        return ids.with_values(state.local.gather(1, places))

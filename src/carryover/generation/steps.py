"""What every way of generating does: read the prompts, mask what may not come, advance the rows that continue.

A row never depends on the rows beside it: rows that have ended leave the batch, rows of unequal length are padded, and both
change nothing by the laws that every layer obeys (`padding`, `batch`, `step = whole`). What remains is rounding: a product of
many rows may differ from that of one in the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from carryover.errors import UsageError
from carryover.layers.base import State, map_state, state_tensors
from carryover.sequence import Sequence

PROMPT_STEPS = 256
"""Steps of a prompt that are read at once, so that the scores over a large vocabulary stay few."""


class Steppable(Protocol):
    """A model that can be generated from: ids in, scores of the next token out.

    Every causal layer from ids to a score a token is one, such as `Stacked(Embedding(…), LSTM(…), Perceptron(…))`.
    """

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        """What every sequence begins with, each tensor [batch_size, ...]."""

    def step(self, x: Sequence, state: State, /) -> tuple[Sequence, State]:
        """Read ids [B, T], of each row its own length; give logits or log-probabilities [B, T, V] of what follows each."""


@dataclass(frozen=True)
class PrimedModel:
    """A model of which row b begins with row b of a given state: what a decoder knows of its source.

    `generate(PrimedModel(model, state), prompts, …)` and `beam_search` take one prompt for each row of the state. Raises
    UsageError for another number of prompts.
    """

    model: Steppable
    state: State

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        for tensor in state_tensors(self.state):
            if len(tensor) != batch_size:
                raise UsageError(
                    f"{batch_size} prompts for a state of {len(tensor)} rows", repair="give one prompt for each source"
                )
        return self.state

    def step(self, x: Sequence, state: State, /) -> tuple[Sequence, State]:
        return self.model.step(x, state)


@dataclass(frozen=True)
class Token:
    """A new token of one row: `log_probability` (nats) is the model's own, before temperature and cuts.

    `ends` is true for the row's last one; `stop` when that is a stop token, which is not part of the text.
    """

    row: int
    id: int
    log_probability: float
    ends: bool
    stop: bool


@dataclass(frozen=True)
class Generated:
    """What was generated for a prompt.

    tokens : the new ids, without the prompt and without the stop token.
    log_probability : of all of them under the model, the stop token's included, in nats.
    stopped_by : the stop token, or None where the length was at its end.
    score : by which beams are ranked; `log_probability` elsewhere.
    """

    tokens: list[int]
    log_probability: float
    stopped_by: int | None
    score: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where generation ends. Raises UsageError naming the field that is wrong.

    max_tokens : how many tokens are taken at most, the stop token among them.
    min_tokens : fewest tokens before a stop token may come.
    stop : ids that end a row. forbidden : ids that never come.
    """

    max_tokens: int
    min_tokens: int = 0
    stop: Collection[int] = ()
    forbidden: Collection[int] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens is {self.max_tokens}", repair="give a whole number of at least 1")
        if not 0 <= self.min_tokens <= self.max_tokens:
            raise UsageError(
                f"min_tokens is {self.min_tokens} and max_tokens {self.max_tokens}",
                repair="give 0 ≤ min_tokens ≤ max_tokens",
            )

    def allow(self, log_probabilities: Tensor, made: int) -> Tensor:
        """The same [B, V] with −∞ where a token may not come as number `made`, from 0.

        Raises UsageError for a stop or forbidden token that is no id of the model, and where a row is left without any.
        """
        closed = sorted({*self.forbidden, *(self.stop if made < self.min_tokens else ())})
        size = log_probabilities.shape[-1]
        for number in closed:
            if not 0 <= number < size:
                raise UsageError(f"the token {number} is stop or forbidden", repair=f"ids of this model are 0 to {size - 1}")
        if closed:
            log_probabilities = log_probabilities.index_fill(-1, torch.tensor(closed), -math.inf)
        if bool((log_probabilities.amax(dim=-1) == -math.inf).any()):
            raise UsageError("no token may come next: all are forbidden or impossible", repair="forbid fewer")
        return log_probabilities


def read_prompts(model: Steppable, prompts: ListOf[ListOf[int]], device: Any) -> tuple[Tensor, State]:
    """Log-probabilities [B, V] (float64, on the CPU) of the token after each prompt, and the state there.

    Raises UsageError for a prompt without a token: nothing is known before the first.
    """
    if not prompts:
        raise UsageError("there is no prompt", repair="give at least one list of ids")
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise UsageError(f"prompt {row} is empty", repair="begin it with the token that begins every text")
    ids = Sequence.pad([torch.as_tensor(list(prompt), dtype=torch.int64) for prompt in prompts]).to(device)
    state = model.initial_state(len(prompts), device=device, dtype=_precision(model))
    last: Tensor | None = None
    for start in range(0, ids.time, PROMPT_STEPS):
        part = ids.slice(start, start + PROMPT_STEPS)
        scores, state = model.step(part, state)
        found = scores.last()  # [B, V]
        last = found if last is None else torch.where((part.lengths > 0).unsqueeze(1), found, last)
    assert last is not None
    return _log_probabilities(last), state


def advance(model: Steppable, ids: ListOf[int], state: State, device: Any) -> tuple[Tensor, State]:
    """Read one id a row; log-probabilities [B, V] (float64, on the CPU) of the next, and the new state."""
    scores, state = model.step(Sequence.of(torch.tensor(ids, device=device).unsqueeze(1)), state)
    return _log_probabilities(scores.values[:, -1]), state


def pick_rows(state: State, rows: ListOf[int]) -> State:
    """The state whose row i is row rows[i] of this one; a row may be taken often or not at all."""
    index = torch.tensor(rows, dtype=torch.int64)
    return map_state(lambda tensor: tensor[index.to(tensor.device)], state)


def device_of(model: Any) -> torch.device:
    """Where a model's parameters are; the CPU for one without any."""
    first = next(_parameters(model), None)
    return torch.device("cpu") if first is None else first.device


def _precision(model: Any) -> torch.dtype | None:
    """In which type a model computes, for the parts of its state that belong to no parameter; None is the usual one."""
    return next((parameter.dtype for parameter in _parameters(model) if parameter.is_floating_point()), None)


def _parameters(model: Any) -> Iterator[Tensor]:
    model = model.model if isinstance(model, PrimedModel) else model
    return model.parameters() if isinstance(model, torch.nn.Module) else iter(())


def check_evaluating(model: Any) -> None:
    """Raise UsageError for a model in training mode, whose dropout would make it another model at every step."""
    model = model.model if isinstance(model, PrimedModel) else model
    if isinstance(model, torch.nn.Module) and model.training:
        raise UsageError("the model is in training mode", repair="call model.eval() first")


def _log_probabilities(scores: Tensor) -> Tensor:
    scores = torch.log_softmax(scores.to("cpu", torch.float64), dim=-1)
    if bool(scores.isnan().any()):
        raise UsageError("the model's scores are not numbers", repair="train it again with a lower learning rate")
    return scores

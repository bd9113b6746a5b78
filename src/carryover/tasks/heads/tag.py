"""The heads of tagging: a linear layer with each word separately (softmax), or with all of a sentence together (random field)."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from typing import Any

import torch
from torch import Tensor, nn

from carryover.data.examples import Example, Labels
from carryover.data.schemes import PLAIN
from carryover.errors import BadData, UsageError
from carryover.layers import Dropout
from carryover.sequence import Sequence
from carryover.tasks.crf import LinearChainCRF
from carryover.tasks.heads.head import Head, argmax_labels, softmax_loss
from carryover.tasks.spans import first_violation, may_follow
from carryover.tasks.tag import Tag


class TagHead(Head):
    """A tag for every word. `output` is "softmax", "crf" or None for the default that fits the labels.

    Where the labels are spans that is the random field, restricted to taggings that are valid; otherwise softmax.
    """

    task: Tag

    def __init__(self, task: Tag, in_size: int, *, output: str | None = None, dropout: float = 0.0) -> None:
        super().__init__(task, in_size, dropout=dropout)
        self.output_kind = output or ("crf" if task.spans else "softmax")
        if self.output_kind not in ("softmax", "crf"):
            raise UsageError(f"output {output!r} is unknown", repair='use "softmax" or "crf"')
        self.input_dropout = Dropout(in_size, dropout)
        self.output = nn.Linear(in_size, len(task.labels))
        self.crf = self._field() if self.output_kind == "crf" else None

    def _field(self) -> LinearChainCRF:
        if not self.task.spans:
            return LinearChainCRF(len(self.task.labels))
        table = [[may_follow(tag, previous) for tag in self.task.labels] for previous in self.task.labels]
        allowed = torch.tensor(table, device="cpu")  # real also where a model is built without memory
        first = torch.tensor([may_follow(tag, None) for tag in self.task.labels], device="cpu")
        return LinearChainCRF(len(self.task.labels), allowed=allowed, allowed_first=first)

    def encode(self, example: Example[Any, Labels]) -> Tensor:
        tokens, tags = example.input.tokens, self.task.gold(example)
        if len(tags) != len(tokens):
            raise BadData(
                f"a sentence has {len(tokens)} words but {len(tags)} tags",
                line=example.source.line or None,
                repair="give every word one tag",
            )
        position = first_violation(tags) if self.task.spans else None
        if position is not None and self.crf is not None:
            place = f"follows {tags[position - 1]!r}" if position else "begins a sentence"
            raise BadData(
                f"tag {tags[position]!r} of word {position + 1} ({tokens[position]!r}) {place}, which IOB2 does not allow",
                line=example.source.line or None,
                repair="begin every span with B-, read the file with its own scheme, or train with output='softmax'",
            )
        return torch.tensor([self.task.number(tag, example) for tag in tags], dtype=torch.int64)

    def stack(self, targets: ListOf[Tensor]) -> Tensor:
        """[B, T], −1 in the padding."""
        return nn.utils.rnn.pad_sequence(list(targets), batch_first=True, padding_value=-1)

    def scores(self, hidden: Sequence) -> Sequence:
        """Logits, [B, T, K]."""
        return self.input_dropout(hidden).map(self.output)

    def loss(self, hidden: Sequence, targets: Tensor) -> Tensor:
        """Nats a word, for both outputs, so that long sentences weigh by their words."""
        scores = self.scores(hidden)
        # States may be padded to another width than the targets.
        targets = nn.functional.pad(targets, (0, scores.time - targets.shape[1]), value=-1)
        if self.crf is None:
            return softmax_loss(scores.values.flatten(0, 1), targets.flatten())
        return self.crf.loss(scores, targets).sum() / scores.lengths.sum().clamp(min=1)

    def weight(self, targets: Tensor) -> int:
        return int((targets >= 0).sum())

    def probabilities(self, hidden: Sequence) -> list[Tensor]:
        scores = self.scores(hidden)
        table = scores.values.softmax(2) if self.crf is None else self.crf.marginals(scores)
        return scores.with_values(table).rows()

    def decode(self, hidden: Sequence) -> list[Labels]:
        scores = self.scores(hidden)
        if self.crf is None:
            return [argmax_labels(self.task.labels, row) for row in scores.rows()]
        return [tuple(self.task.labels[number] for number in path) for path in self.crf.decode(scores)]

    def options(self) -> dict[str, Any]:
        scheme = PLAIN if self.task.scheme is None else self.task.scheme.spelling
        return {"output": self.output_kind, "dropout": self.dropout, "scheme": scheme}

"""The head of annotation: a linear layer for every part of every column, all over the same states of a word."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from typing import Any

import torch
from torch import Tensor, nn

from carryover.data.examples import Example, Labels
from carryover.errors import BadData, UsageError
from carryover.layers import Dropout
from carryover.sequence import Sequence
from carryover.tasks.annotate import Annotate
from carryover.tasks.heads.head import Head, softmax_loss


class AnnotateHead(Head):
    """A value for every part of a word, each by a softmax of its own. `output` is "softmax" or None, which is the same.

    The loss is the mean over columns of the nats a word, those of the parts of a column added up.
    """

    task: Annotate

    def __init__(self, task: Annotate, in_size: int, *, output: str | None = None, dropout: float = 0.0) -> None:
        super().__init__(task, in_size, dropout=dropout)
        if output not in (None, "softmax"):
            raise UsageError(f"output {output!r} is for one column of tags", repair='leave the output out, or use "softmax"')
        self.input_dropout = Dropout(in_size, dropout)
        self.output = nn.Linear(in_size, len(task.labels))
        self.parts = [place for places in task.slices.values() for place in places]

    def encode(self, example: Example[Any, Labels]) -> Tensor:
        """[W, P], −1 where a part has nothing to learn, as of a lemma whose rule is too rare."""
        tokens, words = example.input.tokens, self.task.gold(example)
        if len(words) != len(tokens):
            raise BadData(
                f"a sentence has {len(tokens)} words but {len(words)} of them are annotated",
                line=example.source.line or None,
                repair="annotate every word",
            )
        self.task.check([example])
        values = [self.task.encode(form, word) for form, word in zip(tokens, words, strict=True)]
        return torch.tensor(values, dtype=torch.int64).reshape(len(tokens), len(self.parts))

    def stack(self, targets: ListOf[Tensor]) -> Tensor:
        """[B, T, P], −1 in the padding."""
        return nn.utils.rnn.pad_sequence(list(targets), batch_first=True, padding_value=-1)

    def scores(self, hidden: Sequence) -> Sequence:
        """Logits, [B, T, K]."""
        return self.input_dropout(hidden).map(self.output)

    def loss(self, hidden: Sequence, targets: Tensor) -> Tensor:
        scores = self.scores(hidden)
        # States may be padded to another width than the targets.
        targets = nn.functional.pad(targets, (0, 0, 0, scores.time - targets.shape[1]), value=-1).flatten(0, 1)
        flat = scores.values.flatten(0, 1)
        total = flat.new_zeros(())
        for number, (start, end) in enumerate(self.parts):
            total = total + softmax_loss(flat[:, start:end], targets[:, number])
        return total / len(self.task.columns)

    def weight(self, targets: Tensor) -> int:
        """Words with something to learn."""
        return int((targets >= 0).any(-1).sum())

    def probabilities(self, hidden: Sequence) -> list[Tensor]:
        """[W, K] a sentence; in every row the values of each part sum to 1."""
        scores = self.scores(hidden)
        table = torch.cat([scores.values[..., start:end].softmax(-1) for start, end in self.parts], -1)
        return scores.with_values(table).rows()

    def answers(self, hidden: Sequence, sentences: ListOf[Any]) -> list[Labels]:
        rows = self.scores(hidden).rows()
        return [self.task.answer(words, row.cpu().numpy()) for words, row in zip(sentences, rows, strict=True)]

    def decode(self, hidden: Sequence) -> list[Labels]:
        raise NotImplementedError("a lemma is made from its word: call answers")

    def options(self) -> dict[str, Any]:
        return {"dropout": self.dropout}

"""Tagging: one label for each word, each by itself (softmax) or all of a sentence together (conditional random field).

Where the labels are spans the default is the random field, restricted to taggings that are valid, and the score is the F1 of
exact spans; otherwise softmax and accuracy over words. Labels of spans are IOB2 (`B-x`, `I-x`, `O`), whatever scheme the training
data had; answers are written in that scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import replace
from itertools import chain
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from carryover.data.examples import Example, Words
from carryover.data.schemes import LETTERS, PLAIN, Scheme, scheme_name
from carryover.errors import BadData, UsageError
from carryover.layers import Dropout
from carryover.sequence import Sequence
from carryover.tasks.base import Labels, Task, argmax_labels, need_two_labels, softmax_loss
from carryover.tasks.crf import LinearChainCRF
from carryover.tasks.metrics import ConfusionMatrix, accuracy, label_scores, macro_f1, micro_average
from carryover.tasks.spans import first_violation, is_span_scheme, may_follow, span_scores

_LARGEST_CONFUSION = 60  # labels; a larger table tells nobody anything


class Tag(Task):
    """A tag for every word. `output` is "softmax", "crf" or None for the default that fits the labels.

    `scheme` is the spelling of the span scheme of the training data (`Scheme.spelling`), "plain" when its tags are no spans, or
    None: spans if all labels are IOB2.
    """

    kind: ClassVar[str] = "tag"

    def __init__(
        self,
        labels: Iterable[str],
        in_size: int,
        *,
        output: str | None = None,
        dropout: float = 0.0,
        metric: str | None = None,
        scheme: str | None = None,
    ) -> None:
        super().__init__(labels, in_size, dropout=dropout)
        need_two_labels(self.labels, "tagging")
        if scheme is None:
            scheme = Scheme().spelling if is_span_scheme(self.labels) else PLAIN
        self.scheme = None if scheme == PLAIN else Scheme.from_spelling(scheme)
        self.spans = self.scheme is not None
        usual = "span_f1" if self.spans else "accuracy"
        self.choose_main_score(metric, usual, tuple(dict.fromkeys((usual, "accuracy", "macro_f1"))))
        self.output_kind = output or ("crf" if self.spans else "softmax")
        if self.output_kind not in ("softmax", "crf"):
            raise UsageError(f"output {output!r} is unknown", repair='use "softmax" or "crf"')
        self.input_dropout = Dropout(in_size, dropout)
        self.output = nn.Linear(in_size, len(self.labels))
        self.crf = self._field() if self.output_kind == "crf" else None

    @classmethod
    def fewest_numbers(cls, labels: int, options: Mapping[str, Any]) -> int:
        """Of a random field one number for each pair of labels."""
        return labels if options.get("output") == "softmax" else labels**2

    def _field(self) -> LinearChainCRF:
        if not self.spans:
            return LinearChainCRF(len(self.labels))
        table = [[may_follow(tag, previous) for tag in self.labels] for previous in self.labels]
        allowed = torch.tensor(table, device="cpu")  # real also where a model is built without memory
        first = torch.tensor([may_follow(tag, None) for tag in self.labels], device="cpu")
        return LinearChainCRF(len(self.labels), allowed=allowed, allowed_first=first)

    @staticmethod
    def gold(example: Example[Words, Labels]) -> Labels:
        return example.gold or ()

    @staticmethod
    def words(example: Example[Words, Labels], tokenize: Callable[[str], list[str]]) -> tuple[str, ...]:
        return example.input.words(tokenize)

    def check(self, examples: Iterable[Example[Words, Labels]], path: str | PathLike[str] | None = None) -> None:
        """See `Task.check`. A tag of a span is known when its type is: training data without long spans has no `I-x`."""
        if self.spans:
            types = {label[2:] for label in self.labels}
            examples = [
                replace(
                    one, gold=tuple(tag for tag in self.gold(one) if tag[:2] not in ("B-", "I-") or tag[2:] not in types)
                )
                for one in examples
            ]
        super().check(examples, path)

    def encode(self, example: Example[Words, Labels]) -> Tensor:
        tokens, tags = example.input.tokens, self.gold(example)
        if len(tags) != len(tokens):
            raise BadData(
                f"a sentence has {len(tokens)} words but {len(tags)} tags",
                line=example.source.line or None,
                repair="give every word one tag",
            )
        position = first_violation(tags) if self.spans else None
        if position is not None and self.crf is not None:
            place = f"follows {tags[position - 1]!r}" if position else "begins a sentence"
            raise BadData(
                f"tag {tags[position]!r} of word {position + 1} ({tokens[position]!r}) {place}, which IOB2 does not allow",
                line=example.source.line or None,
                repair="begin every span with B-, read the file with its own scheme, or train with output='softmax'",
            )
        return torch.tensor([self.number(tag, example) for tag in tags], dtype=torch.int64)

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
            return [argmax_labels(self.labels, row) for row in scores.rows()]
        return [tuple(self.labels[number] for number in path) for path in self.crf.decode(scores)]

    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """Accuracy and F1 over words; for spans precision, recall and F1 of exact spans, together and for each type.

        Raises ValueError when a sentence has not as many predicted tags as gold ones.
        """
        spans = span_scores(gold, predicted) if self.spans else None
        for number, (one, other) in enumerate(zip(gold, predicted, strict=True)):
            if len(one) != len(other):
                raise ValueError(f"sentence {number} has {len(one)} gold tags but {len(other)} predicted: score every word")
        words = list(chain.from_iterable(gold)), list(chain.from_iterable(predicted))
        figures: dict[str, Any] = {"accuracy": accuracy(*words)}
        if spans is not None:
            together = micro_average(spans)
            figures |= {"span_precision": together.precision, "span_recall": together.recall, "span_f1": together.f1}
            each = spans
        else:
            each = label_scores([(tag,) for tag in words[0]], [(tag,) for tag in words[1]])
        figures |= {"macro_f1": macro_f1(each), "per_label": {label: part.to_json() for label, part in each.items()}}
        if len({*words[0], *words[1], *self.labels}) <= _LARGEST_CONFUSION:
            figures["confusion"] = ConfusionMatrix.count(*words, labels=self.labels).to_json()
        return self._scored(figures, {"sentences": len(gold), "words": len(words[0])})

    def written(self, labels: Labels) -> Labels:
        return labels if self.scheme is None else self.scheme.from_iob2(labels)

    def understood(self, answer: Labels) -> Labels:
        return answer if self.scheme is None else self.scheme.to_iob2(answer)

    @property
    def answers(self) -> Labels:
        if self.scheme is None or self.scheme == Scheme():
            return self.labels
        return tuple(self.scheme.tags({label[2:] for label in self.labels if label[1:2] == "-"}))

    def write_in(self, scheme: str) -> None:
        """Write answers in another span scheme from now on. Raises UsageError where tags are no spans."""
        name = scheme_name(scheme)
        if self.scheme is None and name in LETTERS:
            raise UsageError(f"the model's tags are no spans and cannot be written as {name}", repair="leave --scheme out")
        if self.scheme is not None and name == PLAIN:
            raise UsageError("the model's tags are spans", repair="leave --scheme out, or name a span scheme")
        if self.scheme is not None and name in LETTERS:
            self.scheme = replace(self.scheme, name=name)

    def options(self) -> dict[str, Any]:
        scheme = PLAIN if self.scheme is None else self.scheme.spelling
        return {"output": self.output_kind, "dropout": self.dropout, "scheme": scheme}

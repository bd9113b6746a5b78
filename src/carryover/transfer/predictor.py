"""A model for a task: encoder, perhaps a task LSTM, and the task's head; and what predicts with it and stores it.

    words → language model (fixed or tuned) → γ Σ s_j h_j → dropout ┐
    words → word vectors and spelling → LSTM                        ┴→ [LSTM] → head

A second mixture of the same layers may stand beside the output of the LSTM (`CarryPlan.placement`).

A row is computed independently, so a prediction does not depend on what else is in its batch or in which order it comes, but for
the rounding of products of another size (below 1e-6 in a probability).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from carryover.ambient import default_torch_state
from carryover.data.coding import TokenCoder
from carryover.data.examples import Example
from carryover.data.metric_names import metric_title
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.artefact_parts import fill, parsed
from carryover.encoders.batching import batches_by_length
from carryover.encoders.encoder import Words
from carryover.encoders.loading import KINDS_IN_TASKS, encoder_in_task
from carryover.encoders.words import WordsEncoder
from carryover.errors import BadData, check_schema
from carryover.escaping import in_markdown
from carryover.forking import computing
from carryover.layers import LSTM, Bidirectional, ScalarMix
from carryover.models.configuration import check_types, declared_types
from carryover.sequence import Sequence
from carryover.storage.artefact import Artefact, save_artefact
from carryover.tasks import TASKS, Labels, Task
from carryover.tasks.heads import Head, head_class, head_from_json
from carryover.transfer.learners import check_input
from carryover.transfer.predicting import Item, Prediction, Predictor
from carryover.transfer.trainable_encoders import MixedEncoder, OwnWords, TaskEncoder, WordsAndSpelling

PREDICTION_TOKENS = 2048
_TOKENIZERS = "carryover.task-tokenizers/1"

# What the parts of a description declare, read from JSON again when a model is loaded.
_ENCODER = declared_types(MixedEncoder.__init__)
_OWN = {"context_size": int, "own_size": int}


class TaskModel(nn.Module):
    """Encoder → [bidirectional LSTM with `context_size` cells a direction] → task.

    Raises ValueError when the task was built for states of another size.
    """

    def __init__(self, encoder: TaskEncoder, head: Head, *, context_size: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.add_module("task", head)  # as its tensors are called in every artefact
        self.context_size = context_size
        size = encoder.out_size
        self.context = Bidirectional(LSTM(size, context_size), LSTM(size, context_size)) if context_size else None
        given = state_size(encoder, context_size)
        if head.in_size != given:
            raise ValueError(
                f"the task reads states of size {head.in_size}, encoder and context give {given}: build it with their size"
            )

    @property
    def head(self) -> Head:
        """The head of the task, whose data side is `head.task`."""
        return cast(Head, self.get_submodule("task"))

    def hidden(self, sentences: ListOf[Words], ready: Sequence | None = None) -> Sequence:
        """States of all words, [B, W, D]."""
        layers = self.encoder.layers(sentences) if ready is None else ready  # one pass for both mixtures
        x = self.encoder(sentences, layers)
        return self.encoder.at_output(x if self.context is None else self.context(x), layers)

    def loss(self, sentences: ListOf[Words], targets: Tensor, ready: Sequence | None = None) -> Tensor:
        """Mean loss of a batch; see `Head.loss`."""
        return self.head.loss(self.hidden(sentences, ready), targets)

    def mixtures(self) -> dict[str, ScalarMix]:
        """The mixtures of a language model's layers by their place, "input" or "output" of the task's LSTM."""
        return self.encoder.mixtures()

    @property
    def device(self) -> torch.device:
        return next(self.head.parameters()).device

    def description(self) -> dict[str, Any]:
        task = self.head.to_json()
        task.pop("labels")  # they have a separate file
        return {"encoder": self.encoder.description(), "context_size": self.context_size, "task": task}


def state_size(encoder: TaskEncoder, context_size: int) -> int:
    """Size of the states that a task gets to see."""
    return (2 * context_size if context_size else encoder.out_size) + encoder.output_size


def build_task_model(
    description: Mapping[str, Any], labels: ListOf[str], coder: TokenCoder, own_vocabulary: Vocabulary | None = None
) -> TaskModel:
    """A model with fresh weights, as `TaskModel.description` described it.

    Raises BadData for a kind of encoder this version does not know and for a tokenizer that is not the encoder's, UsageError
    for an option of another type than declared, KeyError and TypeError for a faulty description.
    """
    described = dict(description["encoder"])
    kind, config = described.pop("kind"), described.pop("model")
    check_types(_ENCODER, described)
    check_types(_OWN, {"context_size": description["context_size"], "own_size": described.get("own_size", 0)})
    check_types(_declared_options(description["task"]["kind"]), description["task"])
    encoder: TaskEncoder
    if kind in KINDS_IN_TASKS:
        carried = encoder_in_task(kind).build(config, coder)
        own, own_size = None, described.pop("own_size")
        if (own_size > 0) != (own_vocabulary is not None) or own_size < 0:
            raise BadData(
                f"own_size is {own_size}, but its words are {'missing from' if own_size else 'in'} tokenizer.json",
                repair="restore the folder from a copy",
            )
        if own_vocabulary is not None:
            own = OwnWords(own_vocabulary, own_size, dropout=described["dropout"])
        encoder = MixedEncoder(carried, own=own, **described)
    elif kind == WordsAndSpelling.kind:
        encoder = WordsAndSpelling(WordsEncoder.build(config, coder))
    else:
        raise BadData(
            f"the encoder is of kind {str(kind)[:80]!r}, this version knows "
            f"{' and '.join((*KINDS_IN_TASKS, WordsAndSpelling.kind))}",
            repair="upgrade carryover",
        )
    head = head_from_json({**description["task"], "labels": list(labels)})
    return TaskModel(encoder, head, context_size=description["context_size"])


def _declared_options(name: Any) -> dict[str, Any]:
    """The types of the options that a task and its head declare, nothing for an unknown task."""
    return _declared_by(TASKS[name]) if name in TASKS else {}


@cache
def _declared_by(task: type[Task]) -> dict[str, Any]:
    """Evaluated once for a task: nothing is compiled while a model is loaded later on."""
    declared = {**declared_types(task.__init__), **declared_types(head_class(task).__init__)}
    return {option: wanted for option, wanted in declared.items() if option not in ("labels", "task")}


# ---------------------------------------------------------------------- predicting


class TaskPredictor(Predictor):
    """A trained task model, ready for use."""

    kind = "task"

    def __init__(self, model: TaskModel, record: dict[str, Any], folder: Path | None = None) -> None:
        self.model = model.eval()
        self.record = record
        self.folder = folder

    @property
    def task(self) -> Task:
        return self.model.head.task

    @property
    def coder(self) -> TokenCoder:
        return self.model.encoder.coder

    def tokenize(self, text: str) -> list[str]:
        return self.model.encoder.tokenize(text)

    def _check(self, example: Example[Any, Any]) -> None:
        check_input(self.model.encoder, [example])

    def say_cut(self, path: str | Path, examples: Iterable[Example[Any, Any]]) -> None:
        self.model.encoder.say_cut(str(path), map(self.words, examples))

    @default_torch_state()
    @torch.no_grad()
    def _decoded(self, examples: ListOf[Example[Any, Any]]) -> list[Labels]:
        found: list[Labels] = [()] * len(examples)
        for positions, words, hidden in self._states(examples):
            for position, labels in zip(positions, self.model.head.answers(hidden, words), strict=True):
                found[position] = labels
        return found

    @default_torch_state()
    @torch.no_grad()
    def _probabilities(self, examples: ListOf[Example[Any, Any]]) -> list[np.ndarray]:
        found: list[np.ndarray] = [np.empty(0)] * len(examples)
        for positions, _, hidden in self._states(examples):
            for position, table in zip(positions, self.model.head.probabilities(hidden), strict=True):
                found[position] = table.cpu().numpy()
        return found

    @default_torch_state()
    @torch.no_grad()
    def predictions(self, items: ListOf[Item]) -> list[Prediction]:
        """Words, labels and probabilities of every item, in one pass."""
        found: dict[int, Prediction] = {}
        for positions, words, hidden in self._states(self._given(items)):
            head = self.model.head
            answers = zip(positions, words, head.answers(hidden, words), head.probabilities(hidden), strict=True)
            for position, own, labels, table in answers:
                found[position] = Prediction(own, self.task.written(labels), table.cpu().numpy(), labels)
        return [found[position] for position in range(len(items))]

    def _states(self, examples: ListOf[Example[Any, Any]]) -> Iterator[tuple[list[int], list[tuple[str, ...]], Sequence]]:
        """Positions, words and states of examples of similar length, batch by batch."""
        sentences = [self.task.sentences(example, self.tokenize) for example in examples]
        self.model.eval()
        for positions in batches_by_length([sum(map(len, own)) for own in sentences], PREDICTION_TOKENS):
            chosen = [sentences[position] for position in positions]
            with computing():  # the head, too, while the caller has the states
                hidden = self.model.hidden([sentence for own in chosen for sentence in own])
                yield positions, [tuple(chain.from_iterable(own)) for own in chosen], hidden

    # ------------------------------------------------------------------ storing

    def save(self, folder: Path) -> None:
        """Write an artefact of kind "task" that needs nothing beside itself. Raises CannotWrite, DiskFault."""
        own = self.model.encoder.own
        save_artefact(
            folder,
            kind="task",
            config=self.model.description(),
            tensors=self.model.state_dict(),
            tokenizer={
                "schema": _TOKENIZERS,
                "encoder": self.coder.to_json(),
                "own_words": None if own is None else own.coder.vocabulary.to_json(),
            },
            labels={"labels": list(self.labels)},
            record=self.record,
            card=task_card(self),
            files=self._pictures(),
        )

    def _pictures(self) -> dict[str, bytes]:
        """`mix.svg`, where a language model's layers were mixed."""
        if not self.record.get("mix"):
            return {}
        from carryover.transfer.mix_figure import mixture_figure

        title = f"How {self.task.activity} mixes the layers of the pretrained model"
        return {"mix.svg": mixture_figure(self.record["mix"], title).encode()}

    @classmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> TaskPredictor:
        """Raises BadData where configuration, labels, vocabulary and weights disagree, showing both values."""
        labels = (stored.labels or {}).get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise BadData("holds no list of labels", path=stored.folder / "labels.json", repair="restore it from a copy")
        place = stored.folder / "tokenizer.json"
        check_schema("the table of tokenizers", stored.tokenizer.get("schema"), _TOKENIZERS, path=place)
        coder = parsed(_coder_reader(stored.config), stored.tokenizer.get("encoder"), place)
        own_words = stored.tokenizer.get("own_words")
        own = None if own_words is None else parsed(Vocabulary.from_json, own_words, place)
        parsed(
            lambda config: _check_labels(config["task"], len(labels), stored), stored.config, stored.folder / "config.json"
        )
        model = fill(lambda: build_task_model(stored.config, labels, coder, own), stored.tensors, stored.folder)
        return cls(model.to(device), stored.record, stored.folder)


def _coder_reader(config: Mapping[str, Any]) -> Callable[[Any], Any]:
    """What reads the coder of the encoder that a stored task model describes; of an unknown kind, words'."""
    described = config.get("encoder")
    kind = described.get("kind") if isinstance(described, dict) else None
    return encoder_in_task(kind).read_coder if isinstance(kind, str) and kind in KINDS_IN_TASKS else TokenCoder.from_json


def _check_labels(task: Mapping[str, Any], labels: int, stored: Artefact) -> None:
    """Raise BadData where there are more labels than weights for them, before tables of all pairs of labels are made."""
    least = TASKS[task["kind"]].fewest_numbers(labels, task) if task["kind"] in TASKS else 0
    numbers = sum(tensor.numel() for tensor in stored.tensors.values())
    if least > numbers:
        raise BadData(
            f"{labels} labels need {least} numbers, model.safetensors has {numbers}", repair="restore the folder from a copy"
        )


def task_card(predictor: TaskPredictor) -> str:
    """The README of an artefact: what it answers, how it was made, how good it was on the held-out part."""
    record, task = predictor.record, predictor.task
    proof = "\n".join(f"* {in_markdown(line)}" for line in record.get("proof_lines", []))
    score = record.get("dev_score")
    found = f"{metric_title(score['main_name'])} {score['main']:.4f}" if score else "not measured"
    listed = task.summary
    limits = "It cannot answer labels that were absent from its training data." if listed else ""
    return f"""# {task.card}{": " if listed else ""}{in_markdown(listed)}

Trained by carryover {record.get("versions", {}).get("carryover", "")} on {record.get("train_examples", "?")} labelled
examples, mode `{record.get("plan", {}).get("mode", "?")}`. On the {record.get("dev_examples", 0)} examples held out for
early stopping: {found}. These examples decided when to stop, so the figure is optimistic; score the model on separate test data.

{proof}
{_mixture(record)}
## Use

```
carryover predict FOLDER texts.txt
carryover evaluate FOLDER --test FILE
```

Settings, seed and versions are in `record.json`. {limits}
"""


def _mixture(record: dict[str, Any]) -> str:
    return "\n![Shares of the pretrained model's layers in the mixture](mix.svg)\n" if record.get("mix") else ""

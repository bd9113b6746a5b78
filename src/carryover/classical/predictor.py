"""A model of hand-made features, or what answers without looking, as a trained task: predicts, is scored, stored and loaded."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from carryover.classical.feature_model import FeatureModel
from carryover.classical.feature_models import stored_model
from carryover.classical.stored import Stored
from carryover.data.examples import Example
from carryover.data.metric_names import metric_title
from carryover.data.tokenizers import Tokenizer
from carryover.data.words import WordTokenizer
from carryover.encoders.artefact_parts import parsed
from carryover.errors import BadData
from carryover.escaping import in_markdown
from carryover.storage.artefact import Artefact, save_artefact
from carryover.tasks import TASKS, Labels, Task
from carryover.transfer.predicting import Predictor

_NAMES = "carryover.feature-names/1"
_SHOWN_LABELS, _SHOWN_FEATURES = 8, 8


class FeaturePredictor(Predictor):
    """A fitted `FeatureModel` with its task."""

    kind: ClassVar[str] = "hand-made"
    description: ClassVar[str] = "a task model"

    def __init__(self, model: FeatureModel, task: Task, record: dict[str, Any], folder: Path | None = None) -> None:
        self.model, self._task, self.record, self.folder = model, task, record, folder
        self._tokenizer: Tokenizer = WordTokenizer()
        self._columns = [task.numbers[label] for label in model.labels]

    @property
    def task(self) -> Task:
        return self._task

    def tokenize(self, text: str) -> list[str]:
        return self._tokenizer.words(text)

    def _check(self, example: Example[Any, Any]) -> None:
        content, place = example.input.content, {"path": example.source.path or None, "line": example.source.line or None}
        if not isinstance(content, self.model.reads):
            raise BadData(
                f"the model reads {self.model.reading}, not a {type(example.input).__name__.lower()}",
                **place,  # type: ignore[arg-type]
                repair="give examples that it reads, or another model",
            )
        fault = self.model.faults(content)
        if fault is not None:
            raise BadData(fault, **place, repair="give series of the same channels")  # type: ignore[arg-type]

    def _decoded(self, examples: ListOf[Example[Any, Any]]) -> list[Labels]:
        return [tuple(labels) for labels in self.model.predict([example.input.content for example in examples])]

    def _probabilities(self, examples: ListOf[Example[Any, Any]]) -> list[np.ndarray]:
        """Labels that the training examples lacked have probability 0."""
        found = []
        for row in self.model.predict_proba([example.input.content for example in examples]):
            whole = np.zeros((*row.shape[:-1], len(self.labels)), dtype=np.float32)
            whole[..., self._columns] = row
            found.append(whole)
        return found

    def weights(self, count: int = 10) -> dict[str, list[tuple[str, float]]]:
        """For every label the features that speak most for it, with their weights; nothing where there are none."""
        return self.model.weights(count)

    def contributions(self, item: Any) -> dict[str, list[tuple[str, float]]]:
        """For every label what each feature of an item adds to its score, strongest first; with the entry `""`, what the label
        has beforehand, they add up to the score. Nothing where the model cannot say it."""
        return self.model.contributions(self.example(item).input.content)

    # ------------------------------------------------------------------ storing

    def save(self, folder: Path) -> None:
        import torch

        stored = self.model.to_stored()
        save_artefact(
            folder,
            kind=self.kind,
            config={
                "task": {"kind": self.task.name, "labels": len(self.labels), **self.task.described()},
                "model": {"kind": self.model.kind, "labels": self._columns, **stored.config},
            },
            tensors={name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in stored.arrays.items()},
            tokenizer={"schema": _NAMES, "names": stored.names},
            labels={"labels": list(self.labels)},
            record=self.record,
            card=_card(self),
        )

    @classmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> FeaturePredictor:
        """Raises BadData where configuration, labels, names and weights disagree, showing both values."""
        labels = (stored.labels or {}).get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise BadData("holds no list of labels", path=stored.folder / "labels.json", repair="restore it from a copy")

        def build(config: dict[str, Any]) -> FeaturePredictor:
            described, made = dict(config["task"]), dict(config["model"])
            name, count = described.pop("kind"), described.pop("labels")
            if count != len(labels):
                raise ValueError(f"it is for {str(count)[:20]} labels, labels.json has {len(labels)}")
            if name not in TASKS:
                raise ValueError(f"the task is {str(name)[:80]!r}, this version knows {', '.join(TASKS)}")
            task = TASKS[name].of(labels, described)
            if task.described() != described or list(task.labels) != labels:
                raise ValueError(f"the task says {task.described()}, config.json {described}")
            columns = made.pop("labels")
            known = [labels[number] for number in _places(columns, len(labels))]
            arrays = {name: tensor.numpy() for name, tensor in stored.tensors.items()}
            names = stored.tokenizer["names"]
            model = stored_model(made.pop("kind"), Stored(made, names, arrays), known)
            return cls(model, task, stored.record, stored.folder)

        return parsed(build, stored.config, stored.folder / "config.json")


def _places(columns: Any, labels: int) -> list[int]:
    """Raise ValueError for what are not different numbers of labels."""
    if not isinstance(columns, list) or not all(type(one) is int and 0 <= one < labels for one in columns):
        raise ValueError(f"the model's labels are {str(columns)[:60]}, labels.json has {labels}")
    if len(set(columns)) != len(columns):
        raise ValueError(f"the model's labels are {str(columns)[:60]}, and some are there twice")
    return columns


def weight_lines(weights: dict[str, list[tuple[str, float]]]) -> list[str]:
    """The strongest features of each label, a line each."""
    lines = []
    for label, features in list(weights.items())[:_SHOWN_LABELS]:
        told = ", ".join(f"{name} {weight:+.2f}" for name, weight in features[:_SHOWN_FEATURES])
        lines.append(f"{label}: {told}" if label else told)
    more = len(weights) - len(lines)
    return [*lines, *([f"and {more} more labels"] if more > 0 else [])]


def _card(predictor: FeaturePredictor) -> str:
    record, task = predictor.record, predictor.task
    score = record.get("dev_score")
    found = (
        f"On {record.get('dev_examples', 0)} development examples: {metric_title(score['main_name'])} {score['main']:.4f}."
        if score
        else "It was not scored: score it on separate test data."
    )
    features = "\n".join(f"* {in_markdown(line)}" for line in weight_lines(record.get("weights", {})))
    listed = task.summary
    strongest = f"## Strongest features\n\n{features}\n\n" if features else ""
    return f"""# {task.card}{": " if listed else ""}{in_markdown(listed)}

Trained by carryover {record.get("versions", {}).get("carryover", "")} on {record.get("train_examples", "?")} labelled
examples, mode `{record.get("plan", {}).get("mode", "?")}`: {in_markdown(str(record.get("chosen", "")))}. {found}

{strongest}## Use

```
carryover predict FOLDER texts.txt
carryover evaluate FOLDER --test FILE
```

Settings, seed and versions are in `record.json`.
"""

"""scikit-learn estimators: `fit(texts)` learns from raw text, `fit(texts, labels)` from labelled text, then `predict`."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from collections.abc import Sized
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags, check_consistent_length

from carryover.classical.train import USED, fit_features
from carryover.data.examples import Example, Labels, Text, Words
from carryover.data.schemes import PLAIN, Scheme, find_scheme
from carryover.data.splits import stratified_split
from carryover.devices import choose_device
from carryover.encoders.encoder import Encoder
from carryover.encoders.proof import CarryProof
from carryover.errors import BadData, UsageError, check_fields
from carryover.interop.encoder_argument import given_encoder
from carryover.interop.sklearn.rows import collections_of, labels_of, sentences_of, texts_of
from carryover.interop.sklearn.text_input import TextInput
from carryover.pretraining.settings import PretrainSettings
from carryover.transfer.fit import FitResult, fit_task
from carryover.transfer.plan import FITTED, MODES, CarryPlan, usual_mode
from carryover.transfer.predicting import Predictor
from carryover.transfer.settings import FitSettings


class _Estimator(TextInput):
    """What classifier and tagger share.

    Parameters
    ----------
    mode : "features", "majority", "scratch", "frozen", "head", "top-k" or "full"; "auto" is "frozen" once there is a language model.
    encoder : a pretrained language model, as a folder or as loaded by `carryover.load`. Without it `fit(texts)` makes one.
        `sklearn.base.clone`, and with it cross-validation and grid search, copies parameters only: give it here then, for
        what `fit(texts)` learned is not a parameter.
    pretraining, fitting : single fields of `PretrainSettings` and `FitSettings`, as dictionaries.
    dev_share : share of the labelled examples held out to choose when to stop, 0 for none.
    seed, device, verbose : as on the command line.

    Attributes after `fit(texts)`: `encoder_`, the `Encoder`. After `fit(texts, labels)`: `classes_`, `predictor_` (a
    `Predictor`), `proof_` (what was carried over), `dev_score_`.
    """

    _task = ""
    predictor_: Predictor
    proof_: CarryProof | None
    dev_score_: dict[str, Any] | None

    def __init__(
        self,
        mode: str = "auto",
        *,
        encoder: Any = None,
        pretraining: dict[str, Any] | None = None,
        fitting: dict[str, Any] | None = None,
        dev_share: float = 0.2,
        seed: int = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.mode = mode
        self.encoder = encoder
        self.pretraining = pretraining
        self.fitting = fitting
        self.dev_share = dev_share
        self.seed = seed
        self.device = device
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    def fit(self, X: ListOf[Any], y: ListOf[Any] | None = None) -> Self:
        """Without `y` learn a language model from raw texts; with `y` learn the task, on top of it if there is one.

        Raises BadData when there is nothing to learn from, UsageError for settings that do not fit together, and TypeError or
        ValueError as scikit-learn does for what has not one text and one label a row.
        """
        check_fields("pretraining", self.pretraining or {}, PretrainSettings)
        check_fields("fitting", self.fitting or {}, FitSettings)
        if y is None:
            raw = self._raw(X)
            if not raw:
                raise BadData("X is empty", repair="give at least a few texts")
            self.encoder_ = self._pretrain(raw)
            return self
        X = self._inputs(X)
        if not X:
            raise BadData("X is empty", repair="give at least a few texts")
        if isinstance(y, Sized) and len(X) != len(y):
            raise UsageError(f"{len(X)} inputs and {len(y)} labels", repair="give one label an input")
        if not 0 <= self.dev_share < 1:
            raise UsageError(f"dev_share is {self.dev_share}", repair="give a share of at least 0 and below 1")
        if self.mode in MODES and MODES[self.mode].uses_vectors:
            raise UsageError(
                f"mode {self.mode} needs word vectors, which no estimator makes", repair="use `carryover train`"
            )
        examples = self._examples(X, y)
        if len(self.classes_) < 2 and not self._fixed_settings().get("multi_label"):
            raise BadData(f"y holds only {self.classes_.tolist()}", repair="give examples of at least two classes")
        labels = sorted({label for example in examples for label in self._labels(example)})
        if self.mode in FITTED:
            return self._fit_features(examples, labels)
        own, held_out = list(range(len(examples))), []
        if self.dev_share:
            own, held_out = stratified_split(examples, [1 - self.dev_share, self.dev_share], self.seed)
        encoder = self._carried_encoder()
        mode = usual_mode(with_encoder=encoder is not None) if self.mode == "auto" else self.mode
        fitted: FitResult = fit_task(
            self._task,
            [examples[i] for i in own],
            [examples[i] for i in held_out],
            plan=CarryPlan(mode=mode),
            encoder=encoder,
            settings=FitSettings(**{"seed": self.seed, **self._fixed_settings(), **(self.fitting or {})}),
            device=choose_device(self.device),
            quiet=not self.verbose,
            labels=labels,
        )
        self.predictor_ = fitted.predictor
        self.proof_ = fitted.proof
        self.dev_score_ = fitted.dev_score
        return self

    def _fit_features(self, examples: list[Any], labels: list[str]) -> Self:
        """The modes that need no encoder and hold nothing out: they choose by cross-validation inside the examples."""
        unused = sorted(set(self.fitting or {}) - set(USED))
        if unused:
            raise UsageError(
                f"mode {self.mode} does not use fitting[{unused[0]!r}]", repair="leave it out or choose another mode"
            )
        settings = FitSettings(**{"seed": self.seed, **self._fixed_settings(), **(self.fitting or {})})
        self.predictor_ = fit_features(self._task, examples, settings, self.mode, labels)
        self.proof_ = self.dev_score_ = None
        return self

    def save(self, folder: str | Path) -> None:
        """Write the fitted task as an artefact that `carryover.load` and the command line read."""
        self._fitted().save(Path(folder))

    def _carried_encoder(self) -> Encoder | None:
        if self.mode in MODES and not MODES[self.mode].uses_encoder:
            return None
        if self.encoder is None:
            return getattr(self, "encoder_", None)
        return given_encoder(self.encoder, device=self.device)

    def _fitted(self) -> Predictor:
        if "predictor_" not in vars(self):
            raise NotFittedError(f"this {type(self).__name__} has seen no labels yet: call fit(X, y) first")
        return self.predictor_

    def __sklearn_is_fitted__(self) -> bool:
        return "predictor_" in vars(self)

    def _fixed_settings(self) -> dict[str, Any]:
        return {}

    def _raw(self, X: ListOf[Any]) -> list[str]:
        """The texts to pretrain on."""
        raise NotImplementedError

    def _inputs(self, X: ListOf[Any]) -> list[Any]:
        """One input a row. Raises TypeError, ValueError."""
        raise NotImplementedError

    def _examples(self, X: list[Any], y: ListOf[Any]) -> list[Any]:
        raise NotImplementedError

    def _labels(self, example: Any) -> tuple[str, ...]:
        raise NotImplementedError


class TextClassifier(ClassifierMixin, _Estimator):
    """Classify texts. `X` is a list of strings, `y` one label each, or with `multi_label` a collection of labels each.

    >>> classifier = TextClassifier().fit(unlabelled_texts).fit(texts, labels)     # doctest: +SKIP
    >>> classifier.predict(["what a film"])                                        # doctest: +SKIP
    """

    _task = "classify"

    def __init__(
        self,
        mode: str = "auto",
        *,
        multi_label: bool = False,
        encoder: Any = None,
        pretraining: dict[str, Any] | None = None,
        fitting: dict[str, Any] | None = None,
        dev_share: float = 0.2,
        seed: int = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            mode,
            encoder=encoder,
            pretraining=pretraining,
            fitting=fitting,
            dev_share=dev_share,
            seed=seed,
            device=device,
            verbose=verbose,
        )
        self.multi_label = multi_label

    def predict(self, X: ListOf[str]) -> Any:
        """The label of every text, an array [N]; with `multi_label` a list of tuples."""
        found = self._fitted().predict(self._inputs(X))
        if self.multi_label:
            return [tuple(self.classes_[self._names.index(label)] for label in labels) for labels in found]
        return self.classes_[[self._names.index(labels[0]) for labels in found]]

    def predict_proba(self, X: ListOf[str]) -> np.ndarray:
        """The probability of every class, [N, classes], columns in the order of `classes_`."""
        predictor = self._fitted()
        columns = [predictor.labels.index(name) for name in self._names]
        rows = [row[columns] for row in predictor.predict_proba(self._inputs(X))]
        return np.array(rows, dtype=np.float32).reshape(-1, len(columns))

    def score(self, X: ListOf[str], y: ListOf[Any], sample_weight: Any = None) -> float:
        """Accuracy; with `multi_label` the share of texts whose labels are all right."""
        if not self.multi_label:
            labels = labels_of(y)
            if labels.dtype.kind != "f":
                return float(super().score(X, labels, sample_weight))
            # scikit-learn takes floats for targets of a regression unless they are whole; a class may be 1.5 stars
            check_consistent_length(X, labels)
            return float(np.average(self.predict(X) == labels, weights=sample_weight))
        right = [set(own) == set(gold) for own, gold in zip(self.predict(X), collections_of(y), strict=True)]
        return float(np.average(right, weights=sample_weight))

    def _fixed_settings(self) -> dict[str, Any]:
        return {"multi_label": self.multi_label}

    def _raw(self, X: ListOf[Any]) -> list[str]:
        return self._inputs(X)

    def _inputs(self, X: ListOf[Any]) -> list[str]:
        return texts_of(X)

    def _examples(self, X: list[str], y: ListOf[Any]) -> list[Any]:
        rows = collections_of(y) if self.multi_label else [(label,) for label in labels_of(y)]
        flat = np.array([label for row in rows for label in row])
        self.classes_, numbers = np.unique(flat, return_inverse=True)
        self._names = [str(one) for one in self.classes_]  # a predictor's labels are strings
        own = iter(numbers.tolist())
        return [Example(Text(text), tuple(self._names[next(own)] for _ in row)) for text, row in zip(X, rows, strict=True)]

    def _labels(self, example: Example[Text, Labels]) -> tuple[str, ...]:
        return example.gold or ()


class SequenceTagger(_Estimator):
    """Tag every word of a sentence. `X` is a list of sentences (lists of words), `y` a list of lists of tags.

    `scheme` is the span scheme of `y`: "iob1", "iob2", "bioes", "bilou", "bmes", "bmewo", "plain" where tags are no spans, or
    "auto". Attribute after `fit`: `scheme_`, the `carryover.data.schemes.Scheme` found, None for plain tags. Spans of any scheme
    are learned as IOB2, which `classes_` holds, and predicted in that of `y`.
    """

    _task = "tag"

    def __init__(
        self,
        mode: str = "auto",
        *,
        scheme: str = "auto",
        encoder: Any = None,
        pretraining: dict[str, Any] | None = None,
        fitting: dict[str, Any] | None = None,
        dev_share: float = 0.2,
        seed: int = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            mode,
            encoder=encoder,
            pretraining=pretraining,
            fitting=fitting,
            dev_share=dev_share,
            seed=seed,
            device=device,
            verbose=verbose,
        )
        self.scheme = scheme

    def predict(self, X: ListOf[ListOf[str]]) -> list[list[str]]:
        """One tag a word, in the scheme of `y`."""
        return [list(tags) for tags in self._fitted().predict(self._inputs(X))]

    def predict_proba(self, X: ListOf[ListOf[str]]) -> list[np.ndarray]:
        """For every sentence the probability of every tag, [words, tags], columns in the order of `classes_`."""
        return self._fitted().predict_proba(self._inputs(X))

    def score(self, X: ListOf[ListOf[str]], y: ListOf[ListOf[str]]) -> float:
        """Span F1 for tags of spans, else accuracy over words."""
        predictor = self._fitted()
        examples = _as_iob2(_tagged(self._inputs(X), y), predictor.task.scheme)
        return float(predictor.score(examples, unseen_labels="miss")["main"])

    def _raw(self, X: ListOf[Any]) -> list[str]:
        return [" ".join([item] if isinstance(item, str) else item) for item in texts_of(X, words_too=True)]

    def _inputs(self, X: ListOf[ListOf[str]]) -> list[tuple[str, ...]]:
        return sentences_of(X)

    def _examples(self, X: list[tuple[str, ...]], y: ListOf[Any]) -> list[Any]:
        examples = _tagged(X, y)
        self.scheme_ = find_scheme([example.gold or () for example in examples], self.scheme)
        examples = _as_iob2(examples, self.scheme_)
        self.classes_ = np.array(sorted({tag for example in examples for tag in example.gold or ()}))
        return examples

    def _labels(self, example: Example[Words, Labels]) -> tuple[str, ...]:
        return example.gold or ()

    def _fixed_settings(self) -> dict[str, Any]:
        return {"scheme": PLAIN if self.scheme_ is None else self.scheme_.spelling}


def _tagged(sentences: list[tuple[str, ...]], y: ListOf[Any]) -> list[Example[Words, Labels]]:
    examples = [Example(Words(words), tags) for words, tags in zip(sentences, sentences_of(y, "tag"), strict=True)]
    for number, example in enumerate(examples):
        words, tags = example.input.tokens, example.gold or ()
        if len(words) != len(tags):
            raise UsageError(f"sentence {number} has {len(words)} words and {len(tags)} tags", repair="give one a word")
    return examples


def _as_iob2(examples: list[Example[Words, Labels]], scheme: Scheme | None) -> list[Example[Words, Labels]]:
    """Tags as the model learns them. Raises BadData naming the first that cannot stand where it stands; broken IOB2 can be
    learned with `fitting={"output": "softmax"}`, which the task itself checks."""
    if scheme is None:
        return examples
    found = []
    distinct = {tag for example in examples for tag in example.gold or ()}
    for number, example in enumerate(examples):
        tags = example.gold or ()
        for place, tag in enumerate(tags):
            if not scheme.knows(tag):
                known = sum(map(scheme.knows, distinct))
                raise BadData(
                    f"{known} of {len(distinct)} tags look like {scheme.name}, {tag!r} (sentence {number}, word {place}) does not",
                    repair='correct it, or give scheme="plain"',
                )
        fault = None if scheme.name == "IOB2" else scheme.first_fault(tags)
        if fault is not None:
            raise BadData(
                f"sentence {number}, word {fault[0]}: {fault[1]}",
                repair=f"correct it, or name the scheme of y, which looks like {scheme.name}, with scheme=",
            )
        found.append(Example(example.input, scheme.to_iob2(tags)))
    return found

"""The lowest rung for text classification: hand-made features and a linear model, chosen inside the labelled budget.

Candidates are tf-idf weighted word n-grams, alone or beside character n-grams, under logistic regression, multinomial
naive Bayes or a linear support vector machine. Cross-validation over the training examples alone picks one; the pick is
then fitted on all of them. Nothing outside the given examples is looked at.

Memory stays bounded for any number of classes. A model holds classes × features weights, so that many classes get fewer
features (`most_features`), and beyond `MANY_CLASSES` logistic regression is fitted one class against the rest: the quasi-Newton
method that fits all classes at once keeps some forty tables of that size. On TREC's 50 fine classes the two score alike,
and the former takes a twentieth of the time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from carryover.classical.cross_validation import fold_indices, score_folds
from carryover.classical.feature_model import FeatureModel, strongest
from carryover.classical.linear import LinearModel
from carryover.classical.stored import Stored, with_linear
from carryover.data.words import WordTokenizer
from carryover.errors import NothingToLearn

WORD_PATTERN = WordTokenizer().pattern
MANY_CLASSES = 10
MOST_FEATURES, FEWEST_FEATURES = 200_000, 5_000
MOST_WEIGHTS = 2**24
"""Classes × features of one model, words and characters together."""
MOST_TARGETS = 2**24
"""Examples × classes that are spread out as a table of 0 and 1 at once."""
MOST_TARGETS_OF_ALL_FOLDS = 2**19
"""Examples × classes beyond which cross-validation has two folds: models of one class at a time take as long as this says."""

# What a fit holds, in tables of classes × features (naive Bayes, and the quasi-Newton method of logistic regression), and
# bytes for each entry of the matrices and each distinct n-gram: measured.
_TABLES_OF_BAYES, _TABLES_OF_ALL_AT_ONCE = 4, 40
_NUMBER, _BYTES_AN_ENTRY, _BYTES_A_NAME = 8, 32, 250


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way of classifying: which features, which linear model, how strongly regularised."""

    features: str
    model: str
    strength: float

    def __str__(self) -> str:
        return f"{self.features}, {self.model} ({self.strength:g})"


CANDIDATES = tuple(
    Candidate(features=features, model=model, strength=strength)
    for features in ("words", "words+characters")
    for model, strength in (
        ("logistic regression", 1.0),
        ("logistic regression", 10.0),
        ("naive Bayes", 0.1),
        ("naive Bayes", 1.0),
        ("linear SVM", 0.1),
        ("linear SVM", 1.0),
    )
)


class FeatureClassifier(FeatureModel):
    """Fit, predict and explain a linear text classifier; `multi_label` fits one binary model a label.

    `metric` decides between the candidates: "accuracy", "macro_f1" or "micro_f1". `class_weights` "balanced" makes rare
    classes weigh as much as frequent ones.
    """

    kind: ClassVar[str] = "text"
    reads: ClassVar[type] = str
    reading: ClassVar[str] = "texts"

    def __init__(
        self,
        *,
        multi_label: bool = False,
        candidates: Sequence[Candidate] = CANDIDATES,
        folds: int = 5,
        metric: str = "accuracy",
        class_weights: str = "none",
    ) -> None:
        self.multi_label = multi_label
        self.candidates = tuple(candidates)
        self.folds = folds
        self.metric = metric
        self.class_weights = class_weights

    def fit(self, texts: Sequence[str], labels: Sequence[tuple[str, ...]], seed: int = 0) -> FeatureClassifier:
        """Choose and fit. `labels` holds the labels of each text (exactly one unless multi-label).

        Raises NothingToLearn when there are fewer than two classes or no text holds a word.
        """
        self.labels = tuple(sorted({label for row in labels for label in row}))
        if len(self.labels) < (1 if self.multi_label else 2):
            raise NothingToLearn(
                f"only one class ({', '.join(self.labels) or 'none'}) among {len(texts)} examples",
                repair="give examples of at least two classes",
            )
        targets = self._targets(labels)
        matrices = _matrices({candidate.features for candidate in self.candidates}, texts, len(self.labels))
        self.scores = {
            candidate: self._cross_validate(matrices[candidate.features][1], targets, candidate, seed)
            for candidate in (self.candidates if len(self.candidates) > 1 else ())
        }
        # Ties go to the first, so the pick is the same on every machine.
        self.chosen = max(self.scores, key=lambda c: self.scores[c]) if self.scores else self.candidates[0]
        self._vectorizers, matrix = matrices[self.chosen.features]
        self._linear = LinearModel.of(self._fitted(self.chosen, matrix, targets, seed), several=self.multi_label)
        return self

    def predict(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """The labels of each text, as they were given to `fit`."""
        predicted = self._linear.answers(_transform(self._vectorizers, texts))
        if self.multi_label:
            return [tuple(self.labels[i] for i in np.flatnonzero(row)) for row in predicted]
        return [(self.labels[i],) for i in predicted]

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """[N, number of labels]. A support vector machine has no probabilities: its margins pass through a softmax
        (a logistic function when multi-label) and are scores, not calibrated chances."""
        return self._linear.probabilities(_transform(self._vectorizers, texts))

    def weights(self, count: int = 10) -> dict[str, list[tuple[str, float]]]:
        """For every label the features that speak most for it, with their weights (log probabilities less their mean
        over labels for naive Bayes)."""
        names, rows = self.feature_names(), self._centred()
        return {label: strongest(names, row, count) for label, row in zip(self.labels, rows, strict=True)}

    def contributions(self, text: str) -> dict[str, list[tuple[str, float]]]:
        """For every label what each feature of the text adds to its score, strongest first. With the entry `""`, what the label
        has beforehand, they add up to the score."""
        names, row = self.feature_names(), _transform(self._vectorizers, [text])
        rows, offsets = self._linear.rows(), self._linear.offsets()
        found = {}
        for label, weights, offset in zip(self.labels, rows, offsets, strict=True):
            own = [(names[i], float(value * weights[i])) for i, value in zip(row.indices, row.data, strict=True)]
            found[label] = [("", float(offset)), *sorted(own, key=lambda entry: (-abs(entry[1]), entry[0]))]
        return found

    def feature_names(self) -> list[str]:
        """The n-grams, in the order of the weights; those of characters in quotes."""
        words, *characters = ([str(name) for name in one.get_feature_names_out()] for one in self._vectorizers)
        return [*words, *(f"“{name}”" for names in characters for name in names)]

    def to_stored(self) -> Stored:
        """All that `predict` needs."""
        kinds = self.chosen.features.split("+")
        return with_linear(
            self._linear,
            {"multi_label": self.multi_label, **asdict(self.chosen)},
            {kind: list(map(str, one.get_feature_names_out())) for kind, one in zip(kinds, self._vectorizers, strict=True)},
            {f"{kind}.idf": np.asarray(one.idf_) for kind, one in zip(kinds, self._vectorizers, strict=True)},
        )

    @classmethod
    def from_stored(cls, stored: Stored, labels: Sequence[str]) -> FeatureClassifier:
        """Inverse of `to_stored`. Raises KeyError, TypeError, ValueError for what does not fit together."""
        model = cls(multi_label=stored.value("multi_label", bool))
        model.labels = tuple(labels)
        model.chosen = Candidate(
            features=stored.value("features", str),
            model=stored.value("model", str),
            strength=stored.value("strength", float),
        )
        kinds = model.chosen.features.split("+")
        model._vectorizers = []
        for kind in kinds:
            names = stored.listed(kind)
            vectorizer = VECTORIZERS[kind](len(labels)).set_params(vocabulary={name: i for i, name in enumerate(names)})
            vectorizer.idf_ = stored.array(f"{kind}.idf", len(names))
            model._vectorizers.append(vectorizer)
        model._linear = stored.linear(len(labels), sum(len(stored.listed(kind)) for kind in kinds))
        if (model._linear.link == "several") != model.multi_label:
            raise ValueError(f"multi_label is {model.multi_label}, link {model._linear.link!r}")
        return model

    def parameter_count(self) -> int:
        """Number of fitted weights."""
        return len(self.labels) * self._width()

    def foretold_mib(self, sample: Sequence[str], classes: int, examples: int) -> float:
        """Memory that `fit` needs beyond what the process holds already, for `examples` texts like those of
        `sample`, a random part of them."""
        analyzers = [word_vectorizer(classes).build_analyzer(), character_vectorizer(classes).build_analyzer()]
        known: list[set[str]] = [set() for _ in analyzers]
        halfway, entries = [1, 1], 0
        for number, text in enumerate(sample):
            if number == len(sample) // 2:
                halfway = [max(1, len(names)) for names in known]
            for names, analyze in zip(known, analyzers, strict=True):
                found = set(analyze(text))
                entries += len(found)
                names |= found
        times = examples / len(sample)
        # Distinct n-grams grow as a power of the amount of text (Heaps 1978), taken from the second half of the sample.
        growth = [
            min(1.0, max(0.0, math.log2(max(1, len(names)) / half))) for names, half in zip(known, halfway, strict=True)
        ]
        distinct = [len(names) * times**power for names, power in zip(known, growth, strict=True)]
        features = sum(min(count, most_features(classes)) for count in distinct)
        weights = _NUMBER * classes * features
        fitting = _TABLES_OF_BAYES * weights
        if self.multi_label:
            fitting = max(fitting, weights + _TABLES_OF_ALL_AT_ONCE * _NUMBER * features)
        elif classes <= MANY_CLASSES:
            at_once = 1 if classes == 2 else classes
            fitting = max(fitting, _TABLES_OF_ALL_AT_ONCE * _NUMBER * features * at_once)
        return (fitting + _BYTES_AN_ENTRY * entries * times + _BYTES_A_NAME * sum(distinct)) / 2**20

    def _centred(self) -> np.ndarray:
        rows = self._linear.rows()
        return rows - rows.mean(axis=0) if self.chosen.model == "naive Bayes" and not self.multi_label else rows

    def _width(self) -> int:
        return int(self._linear.weights.shape[1])

    def _targets(self, labels: Sequence[tuple[str, ...]]) -> np.ndarray:
        place = {label: i for i, label in enumerate(self.labels)}
        if self.multi_label:
            targets = np.zeros((len(labels), len(self.labels)), dtype=np.uint8)
            for i, row in enumerate(labels):
                targets[i, [place[label] for label in row]] = 1
            return targets
        return np.array([place[row[0]] for row in labels])

    def _cross_validate(self, matrix: Any, targets: np.ndarray, candidate: Candidate, seed: int) -> float:
        folds = self.folds if len(targets) * len(self.labels) <= MOST_TARGETS_OF_ALL_FOLDS else 2
        answered = []
        for train, held_out in fold_indices(targets, folds, self.multi_label, seed):
            if not self.multi_label and len(np.unique(targets[train])) < 2:
                continue
            # The model of one fold is gone when the next begins.
            fitted = self._fitted(candidate, matrix[train], targets[train], seed)
            answers = (
                fitted.predict(matrix[held_out])
                if not self.multi_label
                else LinearModel.of(fitted, several=True).answers(matrix[held_out])
            )
            answered.append((targets[held_out], answers))
        return score_folds(answered, self.metric) if answered else 0.0

    def _fitted(self, candidate: Candidate, matrix: Any, targets: np.ndarray, seed: int) -> Any:
        """The candidate's model, its classes weighed as asked for. Naive Bayes: classes are equally likely beforehand."""
        model = _model(candidate, self.multi_label, seed, len(self.labels))
        if self.class_weights == "balanced":
            values = {"class_weight": "balanced", "fit_prior": False}
            names = {name: name.rpartition("__")[2] for name in model.get_params()}
            model.set_params(**{name: values[last] for name, last in names.items() if last in values})
        return _fit(model, matrix, targets)


def most_features(classes: int) -> int:
    """The largest number of word n-grams, and of character n-grams, for a model of `classes` classes."""
    return max(FEWEST_FEATURES, min(MOST_FEATURES, MOST_WEIGHTS // (2 * classes)))


def word_vectorizer(classes: int) -> Any:
    """Tf-idf of single words and pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        token_pattern=WORD_PATTERN, ngram_range=(1, 2), sublinear_tf=True, max_features=most_features(classes)
    )


def character_vectorizer(classes: int) -> Any:
    """Tf-idf of two to five characters within a word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=most_features(classes))


VECTORIZERS = {"words": word_vectorizer, "characters": character_vectorizer}


def _matrices(wanted: set[str], texts: Sequence[str], classes: int) -> dict[str, tuple[list[Any], Any]]:
    """For each kind of features what makes them, fitted, and those of the texts, [N, features] sparse."""
    from scipy.sparse import csr_matrix, hstack

    words = word_vectorizer(classes)
    found = {"words": ([words], _transform([words], texts, fit=True))}
    if "words+characters" in wanted:
        characters = character_vectorizer(classes)
        both = hstack([found["words"][1], _transform([characters], texts, fit=True)])
        found["words+characters"] = ([words, characters], csr_matrix(both))
    return found


def _transform(vectorizers: list[Any], texts: Sequence[str], fit: bool = False) -> Any:
    from scipy.sparse import csr_matrix, hstack

    try:
        parts = [v.fit_transform(texts) if fit else v.transform(texts) for v in vectorizers]
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        raise NothingToLearn("no training text holds a single word", repair="check the text column") from error
    return csr_matrix(hstack(parts))


def _model(candidate: Candidate, multi_label: bool, seed: int, classes: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.svm import LinearSVC

    one_by_one = multi_label
    if candidate.model == "naive Bayes":
        model = MultinomialNB(alpha=candidate.strength)
    elif candidate.model == "linear SVM":
        model = LinearSVC(C=candidate.strength, random_state=seed)
    elif multi_label or classes <= MANY_CLASSES:
        model = LogisticRegression(C=candidate.strength, max_iter=1000, tol=1e-3)
    else:
        # Coordinate descent over the examples, which needs no table but the weights of the class.
        model = LogisticRegression(C=candidate.strength, solver="liblinear", dual=True, tol=0.1, random_state=seed)
        one_by_one = True
    return OneVsRestClassifier(model) if one_by_one else model


def _fit(model: Any, matrix: Any, targets: np.ndarray) -> Any:
    with warnings.catch_warnings():
        # A capped number of iterations is part of the recipe, few examples of each of many classes are the user's task, and
        # one-vs-rest speaks up about constant labels.
        warnings.simplefilter("ignore", UserWarning)
        classes = np.unique(targets) if targets.ndim == 1 else ()
        partial_fit = getattr(model, "partial_fit", None)
        if partial_fit is not None and len(targets) * len(classes) > MOST_TARGETS:
            rows = max(1, MOST_TARGETS // len(classes))  # the same sums, without a table of all examples and classes
            for start in range(0, len(targets), rows):
                partial_fit(matrix[start : start + rows], targets[start : start + rows], classes)
            return model
        return model.fit(matrix, targets)

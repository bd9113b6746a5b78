"""The lowest rung for pairs of texts: hand-made features of how they overlap and a linear model, chosen inside the budget.

Features are those of the lexicalised classifier of Bowman et al. 2015 ("A large annotated corpus for learning natural language
inference", section 3.1) without any list of words of one language: how much the two overlap in words, pairs of words and
characters, how long they are, and (where a candidate has them) the words that only one of them has, the words both have, and
the pairs of a word of the first with a word of the second that are not shared. Labels are answered by logistic regression,
numbers by ridge regression. Cross-validation over the given pairs alone picks the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import numpy as np

from carryover.classical.feature_model import FeatureModel, strongest
from carryover.classical.linear import LinearModel
from carryover.classical.stored import Stored, with_linear
from carryover.data.examples import TextPair
from carryover.data.numbers import written_number
from carryover.data.words import WordTokenizer
from carryover.errors import NothingToLearn

MOST_FEATURES = 100_000
"""Words, and pairs of words, that a model has weights for: the most frequent ones."""
FEWEST_TIMES = 2
"""How often a word or a pair of words must occur among the pairs that are learned from."""
_TOKENIZER = WordTokenizer()
# What a fit holds, in bytes for each entry of the matrices and each distinct feature: measured.
_BYTES_AN_ENTRY, _BYTES_A_NAME, _TABLES, _NUMBER = 40, 250, 40, 8


_KINDS = ("words", "word pairs", "characters")
_MAIN = (
    "likeness of rare words",
    *(f"{kind} shared of {side}" for kind in _KINDS for side in ("both", "the first", "the second")),
    "rare words only in the first",
    "rare words only in the second",
    "gap of lengths",
    "absolute gap of lengths",
    "length of the first",
    "length of the second",
    "equal words",
)
OVERLAP = (*_MAIN, *(f"{name}, squared" for name in _MAIN[:10]))
"""The features of how two texts overlap, in their order."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Which features, and how strongly the linear model is regularised: C of logistic regression, 1 / alpha of ridge."""

    features: str
    strength: float

    def __str__(self) -> str:
        return f"{self.features} ({self.strength:g})"


CANDIDATES = tuple(
    Candidate(features=features, strength=strength)
    for features in ("overlap", "overlap+words", "overlap+words+word pairs")
    for strength in (0.03, 0.3)
)


class Answering(Protocol):
    """What is done with the features: one linear model of scikit-learn, and the score that picks the candidate."""

    labels: tuple[str, ...]

    def rows(self, classes: int) -> int:
        """Rows of weights, where so many different answers are known."""

    def targets(self, gold: Sequence[Any]) -> np.ndarray:
        """[N] numbers for the model. Raises NothingToLearn where all are one."""

    def model(self, strength: float) -> Any:
        """One that is not fitted."""

    def score(self, gold: np.ndarray, answers: np.ndarray) -> float:
        """How good answers are, larger is better."""

    def linear(self, model: Any) -> LinearModel:
        """The fitted model as plain numbers."""

    def answers(self, found: np.ndarray) -> list[Any]:
        """What the model predicted, as answers are given to `targets`."""

    def to_json(self) -> dict[str, Any]:
        """What `answering_of` makes it again from."""


class LabelAnswering:
    """Answers are labels, one a pair: `(label,)`. Logistic regression, picked by `metric`, "accuracy" or an F1."""

    def __init__(self, metric: str, class_weights: str) -> None:
        self.metric, self.class_weights = metric, class_weights
        self.labels: tuple[str, ...] = ()

    @classmethod
    def from_stored(cls, stored: Stored, labels: Sequence[str]) -> LabelAnswering:
        found = cls(stored.value("metric", str), stored.value("class_weights", str))
        found.labels = tuple(labels)
        return found

    def rows(self, classes: int) -> int:
        return max(1, classes)

    def targets(self, gold: Sequence[tuple[str, ...]]) -> np.ndarray:
        self.labels = tuple(sorted({label for row in gold for label in row}))
        if len(self.labels) < 2:
            raise NothingToLearn(
                f"only one class ({', '.join(self.labels) or 'none'}) among {len(gold)} examples",
                repair="give examples of at least two classes",
            )
        place = {label: number for number, label in enumerate(self.labels)}
        return np.array([place[row[0]] for row in gold])

    def model(self, strength: float) -> Any:
        from sklearn.linear_model import LogisticRegression

        weights = "balanced" if self.class_weights == "balanced" else None
        return LogisticRegression(C=strength, max_iter=300, tol=1e-3, class_weight=weights)

    def score(self, gold: np.ndarray, answers: np.ndarray) -> float:
        if self.metric == "accuracy":
            return float((gold == answers).mean())
        from sklearn.metrics import f1_score

        return float(f1_score(gold, answers, average=self.metric.partition("_")[0], zero_division=0.0))

    def linear(self, model: Any) -> LinearModel:
        return LinearModel.of(model)

    def answers(self, found: np.ndarray) -> list[tuple[str, ...]]:
        return [(self.labels[number],) for number in found]

    def to_json(self) -> dict[str, Any]:
        return {"answers": "labels", "metric": self.metric, "class_weights": self.class_weights}


class NumberAnswering:
    """Answers are numbers as files write them, `("3.84213",)`. Ridge regression, picked by the squared error."""

    labels: tuple[str, ...] = ()

    @classmethod
    def from_stored(cls, stored: Stored, labels: Sequence[str]) -> NumberAnswering:
        return cls()

    def rows(self, classes: int) -> int:
        return 1

    def targets(self, gold: Sequence[tuple[str, ...]]) -> np.ndarray:
        found = np.array([float(row[0]) for row in gold])
        if len(set(found.tolist())) < 2:
            raise NothingToLearn(
                f"all {len(found)} examples have the same number", repair="give examples of at least two different numbers"
            )
        return found

    def model(self, strength: float) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=1 / strength)

    def score(self, gold: np.ndarray, answers: np.ndarray) -> float:
        return -float(np.mean((gold - answers) ** 2))

    def linear(self, model: Any) -> LinearModel:
        return LinearModel(np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), "number")

    def answers(self, found: np.ndarray) -> list[tuple[str, ...]]:
        return [(written_number(number),) for number in found]

    def to_json(self) -> dict[str, Any]:
        return {"answers": "numbers"}


ANSWERING: dict[str, Any] = {"labels": LabelAnswering, "numbers": NumberAnswering}


class PairFeatures(FeatureModel):
    """Fit and predict by hand-made features of pairs of texts; the face is that of `FeatureClassifier`."""

    kind: ClassVar[str] = "text pair"
    reads: ClassVar[type] = TextPair
    reading: ClassVar[str] = "pairs of texts"

    def __init__(self, answering: Answering, *, candidates: Sequence[Candidate] = CANDIDATES, folds: int = 5) -> None:
        self.answering, self.candidates, self.folds = answering, tuple(candidates), folds

    def fit(self, inputs: Sequence[TextPair], gold: Sequence[Any], seed: int = 0) -> PairFeatures:
        """Choose and fit. Raises NothingToLearn where all answers are one."""
        targets = self.answering.targets(gold)
        pairs = [_Pair.of(one) for one in inputs]
        makers = {name: _Maker(name, pairs) for name in dict.fromkeys(one.features for one in self.candidates)}
        matrices = {name: maker.matrix(pairs) for name, maker in makers.items()}
        self.scores = {one: self._cross_validate(matrices[one.features], targets, one, seed) for one in self.candidates}
        # Ties go to the first, so the pick is the same on every machine.
        self.chosen = max(self.scores, key=lambda one: self.scores[one])
        self._maker = makers[self.chosen.features]
        model = self.answering.model(self.chosen.strength).fit(matrices[self.chosen.features], targets)
        self._linear = self.answering.linear(model)
        return self

    def predict(self, inputs: Sequence[TextPair]) -> list[Any]:
        """The answer for each pair, as answers were given to `fit`."""
        if not len(inputs):
            return []
        return self.answering.answers(self._linear.answers(self._matrix(inputs)))

    def predict_proba(self, inputs: Sequence[TextPair]) -> np.ndarray:
        """[N, number of labels], none where numbers are answered."""
        return self._linear.probabilities(self._matrix(inputs)) if len(inputs) else np.zeros((0, self._linear.classes))

    def _matrix(self, inputs: Sequence[TextPair]) -> Any:
        return self._maker.matrix([_Pair.of(one) for one in inputs])

    def parameter_count(self) -> int:
        """Number of fitted weights."""
        return int(self._linear.weights.size)

    def weights(self, count: int = 10) -> dict[str, list[tuple[str, float]]]:
        """For every label the features that speak most for it, with their weights; of numbers those that raise it."""
        names, rows = self._maker.feature_names(), self._linear.rows()
        labels = self.labels or ("",)
        return {label: strongest(names, row, count) for label, row in zip(labels, rows, strict=True)}

    @property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.answering.labels

    def to_stored(self) -> Stored:
        """All that `predict` needs."""
        maker, config = self._maker, {**self.answering.to_json(), **asdict(self.chosen)}
        return with_linear(
            self._linear,
            {**config, "other": float(maker.other)},
            {"known": list(maker.rarity), "weighted": list(maker.places)},
            {"rarity": np.array(list(maker.rarity.values())), "mean": maker.mean, "spread": maker.spread},
        )

    @classmethod
    def from_stored(cls, stored: Stored, labels: Sequence[str]) -> PairFeatures:
        """Inverse of `to_stored`. Raises KeyError, TypeError, ValueError for what does not fit together."""
        model = cls(ANSWERING[stored.value("answers", str)].from_stored(stored, labels))
        model.chosen = Candidate(features=stored.value("features", str), strength=stored.value("strength", float))
        model._maker = _Maker.from_stored(model.chosen.features, stored)
        model._linear = stored.linear(len(labels), len(model._maker.feature_names()))
        if (model._linear.link == "number") != isinstance(model.answering, NumberAnswering):
            raise ValueError(f"{stored.config['answers']} are answered, but link is {model._linear.link!r}")
        return model

    def foretold_mib(self, sample: Sequence[TextPair], classes: int, examples: int) -> float:
        """Memory that `fit` needs beyond what the process holds already, for `examples` pairs like those of `sample`."""
        rows = [list(_Pair.of(one).names(self.candidates[-1].features)) for one in sample]
        entries = sum(map(len, rows)) * examples / max(1, len(sample))
        distinct = min(len({name for row in rows for name in row}) * examples / max(1, len(sample)), MOST_FEATURES)
        weights = _NUMBER * _TABLES * self.answering.rows(classes) * distinct
        return float((entries * _BYTES_AN_ENTRY + distinct * _BYTES_A_NAME + weights) / 2**20)

    def _cross_validate(self, matrix: Any, targets: np.ndarray, candidate: Candidate, seed: int) -> float:
        folds = max(2, min(self.folds, len(targets)))
        order = np.random.default_rng([seed, 2]).permutation(len(targets))
        order = order[np.argsort(targets[order], kind="stable")]  # classes, and sizes of numbers, are even over the folds
        fold_of = np.empty(len(targets), dtype=np.int64)
        fold_of[order] = np.arange(len(targets)) % folds
        gold, answers = [], []
        for fold in range(folds):
            train, held_out = fold_of != fold, fold_of == fold
            if len(np.unique(targets[train])) < 2:
                continue
            model = self.answering.model(candidate.strength).fit(matrix[train], targets[train])
            gold.append(targets[held_out])
            answers.append(model.predict(matrix[held_out]))
        return self.answering.score(np.concatenate(gold), np.concatenate(answers)) if gold else 0.0


@dataclass(frozen=True)
class _Pair:
    """The words of both texts in lower case, and the characters."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    texts: tuple[str, str]

    @classmethod
    def of(cls, pair: TextPair) -> _Pair:
        texts = (pair.first.lower(), pair.second.lower())
        first, second = (tuple(_TOKENIZER.words(text)) for text in texts)
        return cls(first, second, texts)

    def names(self, features: str) -> Iterable[str]:
        """The sparse features that the pair has, each once."""
        if "words" not in features:
            return
        first, second = dict.fromkeys(self.first), dict.fromkeys(self.second)
        mine, yours = ([word for word in one if word not in other] for one, other in ((first, second), (second, first)))
        yield from (f"1 {word}" for word in mine)
        yield from (f"2 {word}" for word in yours)
        yield from (f"= {word}" for word in first if word in second)
        if "word pairs" in features:
            yield from (f"x {one} {other}" for one in mine for other in yours)

    def overlap(self, rarity: dict[str, float], other: float) -> list[float]:
        """How alike the two are: shares of words, of rare words, of pairs of words and of characters; and the lengths."""
        first, second = set(self.first), set(self.second)
        grams = [set(pairwise(words)) for words in (self.first, self.second)]
        letters = [{text[i : i + 3] for i in range(len(text) - 2)} for text in self.texts]

        def weight(words: set[str]) -> float:
            return sum(rarity.get(word, other) ** 2 for word in words)

        cosine = weight(first & second) / max(math.sqrt(weight(first) * weight(second)), 1e-9)
        sizes = [len(self.first), len(self.second)]
        found = [cosine]
        for one, two in ((first, second), (grams[0], grams[1]), (letters[0], letters[1])):
            shared = len(one & two)
            found += [shared / max(1, len(one | two)), shared / max(1, len(one)), shared / max(1, len(two))]
        rare = [weight(one - two) / max(weight(one), 1e-9) for one, two in ((first, second), (second, first))]
        gap = (sizes[0] - sizes[1]) / max(1, sum(sizes))
        found += [*rare, gap, abs(gap), math.log1p(sizes[0]), math.log1p(sizes[1]), float(self.first == self.second)]
        return found + [value * value for value in found[:10]]


class _Maker:
    """Turns pairs into a matrix [N, features]; what it knows, it learned from the pairs it was made with."""

    def __init__(self, features: str, pairs: Sequence[_Pair]) -> None:
        self.features = features
        texts = [words for pair in pairs for words in (set(pair.first), set(pair.second))]
        seen: dict[str, int] = {}
        for words in texts:
            for word in words:
                seen[word] = seen.get(word, 0) + 1
        self.rarity = {word: math.log((1 + len(texts)) / (1 + count)) + 1 for word, count in seen.items()}
        self.other = math.log(1 + len(texts)) + 1
        counts: dict[str, int] = {}
        for pair in pairs:
            for name in pair.names(features):
                counts[name] = counts.get(name, 0) + 1
        kept = sorted(
            (name for name, count in counts.items() if count >= FEWEST_TIMES), key=lambda name: (-counts[name], name)
        )
        self.places = {name: place for place, name in enumerate(kept[:MOST_FEATURES])}
        table = np.array([pair.overlap(self.rarity, self.other) for pair in pairs])
        self.mean, spread = table.mean(axis=0), table.std(axis=0)
        self.spread = np.where(spread > 1e-9, spread, 1.0)

    @classmethod
    def from_stored(cls, features: str, stored: Stored) -> _Maker:
        known, places = stored.listed("known"), stored.listed("weighted")
        maker = cls.__new__(cls)
        maker.features, maker.other = features, stored.value("other", float)
        maker.rarity = dict(zip(known, stored.array("rarity", len(known)).tolist(), strict=True))
        maker.places = {name: place for place, name in enumerate(places)}
        size = len(OVERLAP)
        maker.mean, maker.spread = stored.array("mean", size), stored.array("spread", size)
        if not (maker.spread > 0).all():
            raise ValueError("spread holds a number that is not positive")
        return maker

    def feature_names(self) -> list[str]:
        """In the order of the weights."""
        return [*OVERLAP, *self.places]

    def matrix(self, pairs: Sequence[_Pair]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        dense = (np.array([pair.overlap(self.rarity, self.other) for pair in pairs]) - self.mean) / self.spread
        if not self.places:
            return dense
        rows, columns = [], []
        for row, pair in enumerate(pairs):
            found = [self.places[name] for name in pair.names(self.features) if name in self.places]
            rows += [row] * len(found)
            columns += found
        sparse = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(pairs), len(self.places)))
        return csr_matrix(hstack([csr_matrix(dense), sparse]))

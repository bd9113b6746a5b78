"""As many answers as rows: every shape in which people hand over texts and labels is taken, or refused in scikit-learn's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from carryover import ElmoEmbedder, SequenceTagger, TextClassifier, TextVectors
from carryover.errors import UsageError
from carryover.interop.sklearn.rows import collections_of, is_missing, labels_of, rows_of, sentences_of, texts_of
from task_material import classified, language_model, tagged

QUICK = {"least_updates": 4, "epochs": 1, "evaluations": 2, "hidden": 4, "word_size": 4, "filters": ((2, 4),)}
FOUND = classified(24)
TEXTS = [example.input.text for example in FOUND]
LABELS = [example.gold[0] for example in FOUND]
SENTENCES = [list(one.input.tokens) for one in tagged(12)]
TAGS = [list(one.gold) for one in tagged(12)]


class Table:
    """What a table of pandas shows of itself: it goes through its columns, is as long as its rows, and turns into an array."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns = columns

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, name: Any) -> Any:
        if name not in self.columns:
            raise KeyError(name)
        return self.columns[name]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        columns = [objects(column) for column in self.columns.values()]
        return np.stack(columns, axis=1)


class Column(Table):
    """What a series shows of itself: its index need not be numbers from 0."""

    def __init__(self, values: list[Any]) -> None:
        super().__init__(values=values)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self),)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.columns["values"])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return objects(self.columns["values"])


def objects(values: list[Any]) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def pandas_shapes() -> dict[str, Callable[[list[Any]], Any]]:
    try:
        import pandas
    except ImportError:
        return {}
    return {
        "pandas series": lambda values: pandas.Series(values, index=range(100, 100 + len(values))),
        "pandas frame": lambda values: pandas.DataFrame({"text": values}, index=[f"row {n}" for n in range(len(values))]),
        "pandas categorical": lambda values: pandas.Series(pandas.Categorical(values)),
        "pandas categories": pandas.Categorical,
        "pandas strings": lambda values: pandas.Series(values, dtype="string"),
        "pandas index": pandas.Index,
    }


SHAPES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "array of objects": objects,
    "column": lambda values: np.array(values)[:, None],
    "column of objects": lambda values: objects(values)[:, None],
    "table of one column": lambda values: Table(text=values),
    "series": Column,
    **pandas_shapes(),
}
WARNS = ("column", "column of objects", "table of one column", "pandas frame")


@pytest.fixture(scope="module")
def classifier() -> TextClassifier:
    return TextClassifier("scratch", fitting=QUICK).fit(TEXTS, LABELS)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_answer_a_row(classifier: TextClassifier, shape: str) -> None:
    expected = classifier.predict_proba(TEXTS)
    X, y = SHAPES[shape](TEXTS), SHAPES[shape](LABELS)
    assert classifier.predict(X).shape == (24,)
    assert np.array_equal(classifier.predict_proba(X), expected)
    estimator = TextClassifier("scratch", fitting=QUICK)
    if shape in WARNS:  # as every classifier of scikit-learn does
        with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
            estimator.fit(X, y)
        with pytest.warns(DataConversionWarning):
            score = estimator.score(X, y)
    else:
        score = estimator.fit(X, y).score(X, y)
    assert np.array_equal(estimator.predict_proba(TEXTS), expected) and estimator.classes_.tolist() == ["farm", "sea"]
    assert score == classifier.score(TEXTS, LABELS)


@pytest.mark.parametrize("shape", SHAPES)
def test_vectors_of_every_shape(shape: str) -> None:
    encoder = language_model()
    expected = TextVectors(encoder).fit(TEXTS).transform(TEXTS)
    X = SHAPES[shape](TEXTS)
    assert np.array_equal(TextVectors(encoder).fit(X).transform(X), expected)
    assert len(ElmoEmbedder(encoder)(X)) == 24


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (Table(text=TEXTS[:5], label=LABELS[:5]), ValueError, r"should be a 1d array, got an array of shape \(5, 2\)"),
        (np.array([TEXTS[:4], TEXTS[:4]]), ValueError, r"got an array of shape \(2, 4\) instead"),
        (np.array("one"), (TypeError, ValueError), r"got an array of shape \(\) instead|0-d array"),
        ((text for text in TEXTS), TypeError, "X is a generator: give a list"),
        (iter(TEXTS), TypeError, "X is a list_iterator"),
        (set(TEXTS), TypeError, "X is a set"),
        ({"text": TEXTS}, TypeError, "X is a dict"),
        ("a text", TypeError, "X is one string"),
        (b"a text", TypeError, "X is one string"),
        ([*TEXTS[0:2], None], TypeError, r"text 2 is missing \(None\)"),
        (objects([TEXTS[0], float("nan")]), TypeError, r"text 1 is missing \(nan\)"),
        ([[text] for text in TEXTS], TypeError, "text 0 is list"),
        (np.zeros((3, 1)), TypeError, "text 0 is float"),
        (np.array([b"a", b"b"]), TypeError, "text 0 is bytes"),
        (3, TypeError, "X is a int"),
    ],
)
def test_what_has_not_one_text_a_row_is_refused(
    classifier: TextClassifier, X: Any, error: type[Exception], message: str
) -> None:
    for call in (classifier.predict, classifier.predict_proba, TextClassifier(mode="scratch").fit):
        with pytest.raises(error, match=message):
            call(X)
        if isinstance(X, Iterator):
            break  # read only once


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.array([LABELS, LABELS]).T, ValueError, r"y should be a 1d array, got an array of shape \(24, 2\) instead"),
        (Table(a=LABELS, b=LABELS), ValueError, r"y should be a 1d array, got an array of shape \(24, 2\)"),
        ([None, *LABELS[1:]], ValueError, "Input y contains NaN: label 0 is None"),
        ([float("nan"), *[1.0] * 12, *[2.0] * 11], ValueError, "Input y contains NaN: label 0 is nan"),
        (np.array([1.0, np.nan] * 12, dtype=np.float32), ValueError, "Input y contains NaN: label 1"),
        (Column([*LABELS[1:], None]), ValueError, "Input y contains NaN: label 23 is None"),
        ((label for label in LABELS), TypeError, "y is a generator"),
        ({"y": LABELS}, (TypeError, UsageError), "y is a dict|24 inputs and 1 labels"),
        (["x", 1] * 12, UsageError, "strings and other labels"),
        (LABELS[1:], UsageError, "24 inputs and 23 labels"),
    ],
)
def test_what_has_not_one_label_a_row_is_refused(y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TextClassifier("scratch", fitting=QUICK).fit(TEXTS, y)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble, np.int8, np.uint64, bool])
def test_labels_of_any_width(kind: Any) -> None:
    y = np.array([0.1 if label == "sea" else 1.7 for label in LABELS]).astype(kind)
    if kind is bool:
        y = np.array([label == "sea" for label in LABELS])
    estimator = TextClassifier("scratch", fitting=QUICK).fit(TEXTS, y)
    found = estimator.predict(TEXTS)
    assert estimator.classes_.dtype == y.dtype == found.dtype and set(found.tolist()) <= set(y.tolist())
    assert estimator.score(TEXTS, y) == np.mean(found == y)
    assert estimator.predict_proba(TEXTS).shape == (24, 2)


def test_several_labels_a_row() -> None:
    several = [[label, "cow"] if "cow" in text else [label] for text, label in zip(TEXTS, LABELS, strict=True)]
    expected = TextClassifier("scratch", multi_label=True, fitting=QUICK).fit(TEXTS, several).predict_proba(TEXTS)
    for y in (objects(several), Column(several), [set(labels) for labels in several]):
        estimator = TextClassifier("scratch", multi_label=True, fitting=QUICK).fit(Column(TEXTS), y)
        assert np.array_equal(estimator.predict_proba(TEXTS), expected) and 0 <= estimator.score(TEXTS, y) <= 1
    with pytest.raises(ValueError, match=r"array of int64 of shape \(24, 2\): give a collection of labels for each row"):
        TextClassifier(multi_label=True).fit(TEXTS, np.ones((24, 2), dtype=np.int64))
    with pytest.raises(ValueError, match="contains NaN"):
        TextClassifier(multi_label=True).fit(TEXTS, [["x"], [None]] * 12)


def test_sentences_of_every_shape() -> None:
    tagger = SequenceTagger("scratch", fitting=QUICK).fit(SENTENCES, TAGS)
    expected = tagger.predict(SENTENCES)
    for shape in (list, tuple, objects, Column):
        X, y = shape(SENTENCES), shape(TAGS)
        assert tagger.predict(X) == expected and len(tagger.predict_proba(X)) == 12
        again = SequenceTagger("scratch", fitting=QUICK).fit(X, y)
        assert again.predict(SENTENCES) == expected and again.score(X, y) == tagger.score(SENTENCES, TAGS)
    assert len(tagger.predict(np.array([["the", "boat"], ["a", "cow"]]))) == 2
    for X, message in (
        ((one for one in SENTENCES), "X is a generator"),
        ([["the", 3]], "word 1 of sentence 0 is int"),
        ([["the"], None], "sentence 1 is NoneType"),
        ("the boat", "X is a str"),
        (["the boat"], "sentence 0 is a string"),
    ):
        with pytest.raises(TypeError, match=message):
            tagger.predict(X)
    with pytest.raises(TypeError, match="tag 0 of sentence 0 is int"):
        SequenceTagger("scratch").fit([["a"], ["b"]], [[1], [2]])
    with pytest.raises(TypeError, match="y is a generator"):
        SequenceTagger("scratch").fit(SENTENCES, (tags for tags in TAGS))


@pytest.mark.parametrize("shape", ["series", "array of objects", *(name for name in SHAPES if name == "pandas series")])
def test_scikit_learn_cuts_what_it_is_given(shape: str) -> None:
    if shape == "series":  # the stand-in is not what scikit-learn can cut
        shape = "array"
    X, y = SHAPES[shape](TEXTS), SHAPES[shape](LABELS)
    pipeline = make_pipeline(TextClassifier("scratch", fitting=QUICK))
    assert cross_val_score(pipeline, X, y, cv=2, error_score="raise").shape == (2,)
    search = GridSearchCV(TextClassifier("scratch", fitting=QUICK), {"seed": [0, 1]}, cv=2, error_score="raise").fit(X, y)
    assert search.predict(X).shape == (24,)


def test_rows() -> None:
    assert rows_of([1, "a"], "X") == [1, "a"] and rows_of(np.ones((2, 1)), "X") == [1.0, 1.0]
    assert texts_of([np.str_("a")]) == ["a"] and texts_of([["a", "b"], "c"], words_too=True) == [["a", "b"], "c"]
    assert labels_of([True, False]).dtype == bool and labels_of(objects(["a", "b"])).dtype.kind == "U"
    assert collections_of([("a",), set(), ["b", "c"]]) == [("a",), (), ("b", "c")]
    assert sentences_of([["a"], []]) == [("a",), ()]
    assert is_missing(np.float32("nan")) and not is_missing("nan") and not is_missing(np.zeros(3))

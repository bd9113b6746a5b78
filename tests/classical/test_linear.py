"""The linear model does what the model of scikit-learn does that it was taken from."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import LinearSVC

from carryover.classical.linear import LinearModel

MODELS = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "bayes": lambda: MultinomialNB(alpha=0.1),
    "svm": lambda: LinearSVC(C=0.3, random_state=0),
    "ridge": lambda: RidgeClassifierCV(),
}


def material(classes: int) -> tuple[Any, np.ndarray]:
    random = np.random.default_rng(classes)
    targets = np.concatenate([np.arange(classes), random.integers(classes, size=90)])
    dense = random.random((len(targets), 31)) * (random.random((len(targets), 31)) < 0.4)
    dense[np.arange(len(targets)), targets % 31] += 0.5
    return csr_matrix(dense), targets


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("name", MODELS)
def test_one_of_several_classes(name: str, classes: int) -> None:
    matrix, targets = material(classes)
    matrix = matrix.toarray() if name == "ridge" else matrix
    fitted = MODELS[name]().fit(matrix, targets)
    ours = LinearModel.of(fitted)
    assert ours.answers(matrix).tolist() == fitted.predict(matrix).tolist()
    assert len(set(fitted.predict(matrix).tolist())) == classes
    if hasattr(fitted, "predict_proba"):
        np.testing.assert_allclose(ours.probabilities(matrix), fitted.predict_proba(matrix), atol=1e-12)
    else:
        assert ours.probabilities(matrix).argmax(axis=1).tolist() == fitted.predict(matrix).tolist()
    np.testing.assert_allclose(ours.probabilities(matrix).sum(axis=1), 1)


@pytest.mark.parametrize("name", ["logistic", "bayes", "svm"])
def test_any_of_several_labels_also_of_some_that_never_and_always_hold(name: str) -> None:
    matrix, numbers = material(3)
    targets = np.zeros((len(numbers), 5), dtype=np.uint8)
    targets[np.arange(len(numbers)), numbers] = 1
    targets[::3, 1] = 1
    targets[:, 3] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fitted = OneVsRestClassifier(MODELS[name]()).fit(matrix, targets)
        # Here scikit-learn 1.9 compares the margins of all labels with 0.5, for the constant first one has none.
        turned = OneVsRestClassifier(MODELS[name]()).fit(matrix, targets[:, ::-1])
    ours = LinearModel.of(fitted, several=True)
    assert np.array_equal(ours.answers(matrix), fitted.predict(matrix))
    assert np.array_equal(LinearModel.of(turned, several=True).answers(matrix)[:, ::-1], ours.answers(matrix))
    probabilities = ours.probabilities(matrix)
    assert (probabilities[:, 3] == 1).all() and (probabilities[:, 4] == 0).all()
    if name != "svm":
        np.testing.assert_allclose(probabilities, fitted.predict_proba(matrix), atol=1e-12)


def test_one_class_against_the_rest() -> None:
    matrix, targets = material(12)
    fitted = OneVsRestClassifier(LogisticRegression(solver="liblinear")).fit(matrix, targets)
    ours = LinearModel.of(fitted)
    assert ours.answers(matrix).tolist() == fitted.predict(matrix).tolist()
    np.testing.assert_allclose(ours.probabilities(matrix), fitted.predict_proba(matrix), atol=1e-12)


def test_a_number() -> None:
    matrix, targets = material(5)
    fitted = Ridge(alpha=0.5).fit(matrix, targets / 3)
    weights, bias = np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)
    np.testing.assert_allclose(LinearModel(weights, bias, "number").answers(matrix), fitted.predict(matrix), rtol=1e-12)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights are \[2, 3\], bias \[1\]"):
        LinearModel(np.zeros((2, 3)), np.zeros(1), "softmax")
    with pytest.raises(ValueError, match="link is 'probit'"):
        LinearModel(np.zeros((2, 3)), np.zeros(2), "probit")

"""Pairs of texts over every way of carrying over: both texts are read apart, cached, mixed and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.data.examples import TextPair
from carryover.encoders.loading import load
from carryover.transfer.fit import CarryPlan, FitResult, FitSettings, fit_task
from pair_material import pairs
from task_material import language_model, word_vectors

MODES = ("scratch", "static", "frozen", "head", "top-k", "full")
SMALL = FitSettings(least_updates=4, epochs=1, hidden=6, word_size=6, filters=((2, 4),), evaluations=2, token_budget=80)


def fit(mode: str, *, numbers: bool = False, settings: FitSettings = SMALL, count: int = 24, **more: Any) -> FitResult:
    plan = CarryPlan(mode=mode, unfreezing_share=0.0, **more.pop("plan", {}))
    return fit_task(
        "pair",
        pairs(count, numbers=numbers),
        pairs(10, seed=1, numbers=numbers),
        plan=plan,
        settings=settings,
        encoder=language_model(),
        vectors=word_vectors(),
        **more,
    )


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_trains_stores_and_answers(mode: str, numbers: bool, tmp_path: Path) -> None:
    fitted = fit(mode, numbers=numbers, cache_folder=tmp_path / "cache")
    predictor = fitted.predictor
    assert fitted.dev_score is not None and fitted.dev_score["examples"] == 10
    assert fitted.dev_score["main_name"] == ("pearson" if numbers else "accuracy")
    items = pairs(7, seed=2)
    answers = predictor.predict(items)
    assert len(answers) == 7 and all(len(answer) == 1 for answer in answers)
    predictor.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.predict(items) == answers
    assert again.predict([item.input for item in items]) == answers, "an input is read as an example is"
    if numbers:
        alone = [float(again.predict([item])[0][0]) for item in items]
        assert alone == pytest.approx([float(answer[0]) for answer in answers], rel=1e-4, abs=1e-5)
    else:
        for item, row in zip(items, again.predict_proba(items), strict=True):
            np.testing.assert_allclose(again.predict_proba([item])[0], row, atol=1e-5)


def test_cached_vectors_give_the_weights_that_computed_ones_give(tmp_path: Path) -> None:
    one, other = (fit("frozen", cache_folder=folder) for folder in (tmp_path / "a", tmp_path / "a"))
    fresh = fit("frozen", cache_folder=tmp_path / "b")
    for name, tensor in one.predictor.model.state_dict().items():
        for found in (other, fresh):
            assert tensor.numpy().tobytes() == found.predictor.model.state_dict()[name].numpy().tobytes(), name


def test_training_reads_first_and_second_as_predicting_does() -> None:
    """The score of the held-out examples while training is the one that the finished model gets."""
    fitted = fit("frozen", numbers=True)
    assert fitted.dev_score is not None
    score = fitted.predictor.score(pairs(10, seed=1, numbers=True))
    assert score["pearson"] == pytest.approx(fitted.dev_score["pearson"], abs=1e-4)


def test_two_sentences_are_not_one() -> None:
    """The two texts are read apart: what stands in the second changes no state of the first."""
    predictor = fit("scratch").predictor
    states = [
        next(hidden for _, _, hidden in predictor._states(predictor._given([TextPair("the boat sees the gull", second)])))
        for second in ("the cow", "the port hears the wave")
    ]
    assert [one.lengths.tolist() for one in states] == [[5, 2], [5, 5]]
    np.testing.assert_allclose(states[0].values[0, :5].detach(), states[1].values[0, :5].detach(), atol=1e-6)


def test_a_line_with_a_tab_is_a_pair() -> None:
    predictor = fit("scratch").predictor
    pair = TextPair("the boat sees the gull", "the cow likes the barn")
    assert predictor.predict([f"{pair.first}\t{pair.second}"]) == predictor.predict([pair])
    assert predictor.words(f"{pair.first}\t{pair.second}") == (*pair.first.split(), *pair.second.split())


@pytest.mark.parametrize("numbers", [False, True])
def test_what_the_pairs_teach_is_learned(numbers: bool) -> None:
    settings = replace(SMALL, least_updates=200, hidden=32, word_size=16, token_budget=300, dropout=0.0, learning_rate=0.01)
    fitted = fit("scratch", numbers=numbers, settings=settings, count=200)
    held_out = pairs(60, seed=5, numbers=numbers)
    assert fitted.predictor.score(held_out)["main"] > 0.85

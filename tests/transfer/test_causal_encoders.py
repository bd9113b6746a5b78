"""A causal language model under a task: trained in each mode, stored inside the task, and loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import carryover
from carryover.transfer.fit import FitSettings, fit_task
from carryover.transfer.plan import CarryPlan
from encoders.material import ENCODERS
from task_material import classified, tagged

TUNED = {"frozen": [], "head": [], "top-k": ["layer 2"], "full": ["layer 2", "layer 1", "tokens"]}


@pytest.mark.parametrize("name", ["transformer-characters", "lstm-subwords"])
@pytest.mark.parametrize("mode", TUNED)
def test_it_is_carried_over_stored_and_loaded(mode: str, name: str, tmp_path: Path) -> None:
    encoder = ENCODERS[name](0)
    before = encoder.content()
    fitted = fit_task(
        "classify",
        classified(12),
        classified(4, seed=1),
        plan=CarryPlan(mode=mode, gradual_unfreezing=False),
        encoder=encoder,
        settings=FitSettings(epochs=1, least_updates=3, evaluations=1, hidden=8),
        cache_folder=tmp_path / "cache",
    )
    assert encoder.content() == before, "the caller's own stays as it is"
    assert set(fitted.proof.measured_perplexity or {}) == {"perplexity"}
    assert [layer for layer, distance in fitted.proof.moved.items() if distance > 0] == TUNED[mode]
    fitted.predictor.save(tmp_path / "task")
    loaded = carryover.load(tmp_path / "task")
    texts = ["the boat sees the gull", "Zoë's cow, unheard-of", ""]
    for one, other in zip(fitted.predictor.predict_proba(texts), loaded.predict_proba(texts), strict=True):
        assert (one == other).all()
    assert loaded.words(texts[1]) == tuple(encoder.tokenize(texts[1])) != tuple(texts[1])


def test_a_tagger_over_characters_has_a_state_a_word(tmp_path: Path) -> None:
    encoder = ENCODERS["tcn-characters"](0)
    fitted = fit_task(
        "tag",
        tagged(12),
        [],
        plan=CarryPlan(mode="head"),
        encoder=encoder,
        settings=FitSettings(epochs=1, least_updates=2, evaluations=1),
        cache_folder=tmp_path,
    )
    sentence = tagged(1)[0].input.tokens
    assert [len(tags) for tags in fitted.predictor.predict([sentence, ("the",)])] == [len(sentence), 1]
    with torch.no_grad():
        assert fitted.predictor.model.hidden([sentence]).time == len(sentence)

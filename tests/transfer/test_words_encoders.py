"""Word vectors, and what was learned from labels alone, carried over as any other encoder is: trained, stored and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

import carryover
from carryover.transfer.fit import FitSettings, fit_task
from carryover.transfer.plan import CarryPlan
from encoders.material import ENCODERS
from task_material import classified


@pytest.mark.parametrize("name", ["static", "words-and-spelling"])
@pytest.mark.parametrize("mode", ["frozen", "head", "full"])
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
    assert any(distance > 0 for distance in fitted.proof.moved.values()) == (mode == "full")
    fitted.predictor.save(tmp_path / "task")
    loaded = carryover.load(tmp_path / "task")
    assert loaded.model.description() == fitted.predictor.model.description()
    texts = ["the boat sees the gull", "Zoë's cow, unheard-of", ""]
    for one, other in zip(fitted.predictor.predict_proba(texts), loaded.predict_proba(texts), strict=True):
        assert (one == other).all()

"""Where the mixed layers join the task's model, the penalty on their weights, and that the default is what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import carryover
from carryover.errors import UsageError
from carryover.models.bilm import BiLanguageModel
from carryover.transfer.fit import FitResult, FitSettings, fit_task
from carryover.transfer.plan import CarryPlan
from carryover.transfer.predictor import build_task_model
from carryover.transfer.train import TaskRunResult
from carryover.transfer.trainable_encoders import MixedEncoder
from task_material import language_model, tagged

SETTINGS = FitSettings(epochs=1, least_updates=12, hidden=8, word_size=8, token_budget=128, seed=3)
SENTENCE = ("the", "boat", "sees", "Bo")
OWN = ["encoder.own.words.weight"]
CONTEXT = [
    f"context.{side}_layer.{part}" for side in ("forward", "backward") for part in ("input_weight", "hidden_weight", "bias")
]


def mixture(name: str) -> list[str]:
    return [f"encoder.{name}.layer_weights", f"encoder.{name}.scale"]


def fit(tmp_path: Path, settings: FitSettings = SETTINGS, **plan: Any) -> FitResult:
    return fit_task(
        "tag", tagged(24), tagged(8, 1), plan=CarryPlan(**plan), encoder=language_model(), settings=settings,
        cache_folder=tmp_path / "cache",
    )  # fmt: skip


def names(result: FitResult) -> set[str]:
    return {name for name in result.predictor.model.state_dict() if not name.startswith(("encoder.model.", "task."))}


@pytest.mark.parametrize(
    ("mode", "chances", "mix", "parameters"),
    [
        (
            "frozen",
            [0.34232, 0.18044, 0.24752, 0.22973],
            [1.00183, 0.33934, 0.32886, 0.3318],
            mixture("mix") + OWN + CONTEXT,
        ),
        ("full", [0.28792, 0.21005, 0.29163, 0.21039], [0.97309, 0.3325, 0.33518, 0.33232], mixture("mix")),
    ],
)
def test_the_default_is_what_it_was(
    tmp_path: Path, mode: str, chances: list[float], mix: list[float], parameters: list[str]
) -> None:
    """Numbers and names as they were before there was a choice."""
    result = fit(tmp_path, mode=mode)
    assert names(result) == set(parameters)
    assert result.predictor.predict_proba([SENTENCE])[0][1].tolist() == pytest.approx(chances, abs=2e-4)
    stored = result.predictor.record["mix"]
    assert list(stored) == ["input"]
    assert [stored["input"]["scale"], *stored["input"]["shares"]] == pytest.approx(mix, abs=2e-4)
    assert result.predictor.record["plan"]["placement"] == "input" and result.predictor.record["plan"]["mix_l2"] == 0


@pytest.mark.parametrize("placement", ["input", "output", "both"])
@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_each_placement_is_trained_stored_and_loaded(tmp_path: Path, placement: str, mode: str) -> None:
    more = {} if mode == "frozen" else {"context": True, "own_words": True, "unfreezing_share": 0.0}
    result = fit(tmp_path, mode=mode, placement=placement, **more)
    wanted = {"input": mixture("mix"), "output": mixture("output_mix"), "both": mixture("mix") + mixture("output_mix")}
    assert names(result) == {*wanted[placement], *OWN, *CONTEXT}
    model = result.predictor.model
    encoder = model.encoder
    assert isinstance(encoder, MixedEncoder)
    size = encoder.model.out_size
    assert encoder.out_size == 8 + (size if placement != "output" else 0)
    assert model.head.in_size == 16 + (size if placement != "input" else 0)
    for mix in model.mixtures().values():
        assert mix.scale != 1 and mix.layer_weights.abs().max() > 0, "each has been trained"
    result.predictor.save(tmp_path / "stored")
    config = json.loads((tmp_path / "stored" / "config.json").read_text())
    assert f'"placement": "{placement}"' in json.dumps(config)
    loaded = carryover.load(tmp_path / "stored")
    one, other = (predictor.predict_proba([SENTENCE])[0] for predictor in (result.predictor, loaded))
    assert (one == other).all()
    batch = loaded.predict_proba([SENTENCE, ("the",), tagged(1)[0].input.tokens])
    assert abs(batch[0] - one).max() < 1e-5, "alone as in a batch"
    assert set(loaded.record["mix"]) == ({"input", "output"} if placement == "both" else {placement})


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_both_mixtures_are_of_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    more = {} if mode == "frozen" else {"context": True, "own_words": True}
    result = fit(tmp_path, mode=mode, placement="both", **more)
    calls = []
    real = BiLanguageModel.representations
    monkeypatch.setattr(BiLanguageModel, "representations", lambda self, batch: calls.append(1) or real(self, batch))
    result.predictor.predict([SENTENCE])
    assert len(calls) == 1


def test_an_artefact_from_before_there_was_a_choice(tmp_path: Path) -> None:
    model = fit(tmp_path, mode="frozen").predictor.model
    described = model.description()
    described["encoder"].pop("placement")
    encoder = model.encoder
    assert isinstance(encoder, MixedEncoder) and encoder.own is not None
    again = build_task_model(described, list(model.head.task.labels), encoder.coder, encoder.own.coder.vocabulary)
    assert again.state_dict().keys() == model.state_dict().keys()
    described["encoder"]["placement"] = "elsewhere"
    with pytest.raises(ValueError, match="placement is 'elsewhere'"):
        build_task_model(described, list(model.head.task.labels), encoder.coder, encoder.own.coder.vocabulary)


def test_what_stands_at_the_output(tmp_path: Path) -> None:
    """The states are [LSTM; γ Σ s_j h_j], each mixture with its own weights."""
    model = fit(tmp_path, mode="frozen", placement="both").predictor.model.eval()
    encoder = model.encoder
    assert isinstance(encoder, MixedEncoder) and encoder.output_mix is not None
    with torch.no_grad():
        encoder.output_mix.layer_weights.copy_(torch.tensor([0.0, 50.0, 0.0]))
        encoder.output_mix.scale.fill_(3.0)
        states = model.hidden([SENTENCE, ("Bo",)])
        layers = encoder.layers([SENTENCE, ("Bo",)])
    assert states.values.shape == (2, 4, 16 + encoder.model.out_size)
    assert torch.allclose(states.values[..., 16:], 3 * layers.zero_padding().values[:, :, 1], atol=1e-5)
    assert not states.values[1, 1:].any(), "nothing in the padding"


def test_the_penalty_keeps_the_shares_even(tmp_path: Path) -> None:
    def unevenness(mix_l2: float) -> float:
        result = fit(tmp_path, mode="frozen", placement="both", mix_l2=mix_l2)
        return sum(float(mix.layer_weights.detach().abs().sum()) for mix in result.predictor.model.mixtures().values())

    free, held = unevenness(0.0), unevenness(50.0)
    assert held < 0.5 * free


def test_refusals() -> None:
    for plan, message in (
        ({"placement": "outptu"}, "did you mean 'output'?"),
        ({"placement": "output", "mode": "head"}, "needs a task LSTM, and mode head has none"),
        ({"placement": "both", "mode": "scratch"}, "mode scratch has none"),
        ({"placement": "output", "own_words": False}, "no input; use placement 'both'"),
        ({"mix_l2": -1.0}, "mix_l2 is -1.0"),
        ({"mix_l2": float("nan")}, "mix_l2 is nan"),
    ):
        with pytest.raises(UsageError) as caught:
            CarryPlan(**plan)
        assert message in str(caught.value)


def test_the_mixture_in_words() -> None:
    record = {"mix": {"output": {"scale": 1.5, "shares": [0.25, 0.5, 0.25]}}}
    assert TaskRunResult(Path("x"), record, None).mix_lines() == [
        "shares of the pretrained model's layers at the output of the task: tokens 0.250, layer 1 0.500, layer 2 0.250; scale 1.500",
        "drawn in x/mix.svg",
    ]
    assert TaskRunResult(Path("x"), {}, None).mix_lines() == [], "records from before have none"

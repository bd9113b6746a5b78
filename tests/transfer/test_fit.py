"""Training of tasks: what is trained and what not, that it learns, that it repeats itself to the bit, and resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from carryover import storage
from carryover.encoders.loading import load
from carryover.errors import BadData, TrainingFailed, UsageError
from carryover.training import loop as training_loop
from carryover.training.checkpoint import checkpoint_folders, load_checkpoint, save_checkpoint
from carryover.training.loop import TrainingLoop
from carryover.training.run_folder import RunFolder
from carryover.training.stopping import Interrupted, StopRequest
from carryover.transfer import fitting
from carryover.transfer.fit import CarryPlan, FitResult, FitSettings, fit_task
from carryover.transfer.predictor import TaskPredictor
from carryover.transfer.trainable_encoders import MixedEncoder
from example_material import LabelledText, labelled_text, tagged_words
from task_material import examples, language_model, tagged, word_vectors

MODES = ("scratch", "static", "frozen", "head", "top-k", "full")
SMALL = FitSettings(least_updates=6, epochs=1, hidden=6, word_size=6, filters=((2, 4),), evaluations=3, token_budget=40)


def fit(
    kind: str = "tag", mode: str = "scratch", *, cache: Path | None = None, settings: FitSettings = SMALL, **more: Any
) -> FitResult:
    plan = more.pop("plan", CarryPlan(mode=mode, unfreezing_share=0.0))
    given = {"vectors": word_vectors(), **more}
    if "encoder" not in given:
        given["encoder"] = language_model()
    return fit_task(
        kind, examples(kind, 20), examples(kind, 6, seed=1), plan=plan, settings=settings, cache_folder=cache, **given
    )


def weights(result: FitResult) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in result.predictor.model.state_dict().items()}


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Largest gradient of every parameter over all updates, by name; None where there never was one."""
    seen: dict[str, float] = {}
    clip = training_loop.clip_gradients

    def watch(model: torch.nn.Module, limit: float | None) -> float:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                seen[name] = max(seen.get(name, 0.0), float(parameter.grad.abs().max()))
        return clip(model, limit)

    monkeypatch.setattr(training_loop, "clip_gradients", watch)
    return seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_trained_parameters_get_gradients_and_no_others(
    kind: str, mode: str, tmp_path: Path, gradients: dict[str, float]
) -> None:
    encoder = language_model()
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    result = fit(kind, mode, cache=tmp_path, encoder=encoder)
    model = result.predictor.model
    names = {name for name, _ in model.named_parameters()}
    fixed = {
        "scratch": set(),
        "static": {"encoder.encoder.words.weight"},
        "full": set(),
        "top-k": {n for n in names if n.startswith("encoder.model.") and "_layers.1." not in n},
    }.get(mode, {n for n in names if n.startswith("encoder.model.")})
    assert set(gradients) == names - fixed
    assert all(largest > 0 for largest in gradients.values()), gradients
    trained = sum(p.numel() for n, p in model.named_parameters() if n not in fixed)
    assert result.trainable == trained and result.parameters == sum(p.numel() for p in model.parameters())
    if isinstance(model.encoder, MixedEncoder):
        for layer in model.encoder.groups():
            moves = mode == "full" or (mode == "top-k" and layer.depth == 1)
            assert (result.proof.moved[layer.name] > 0) == moves
            assert result.proof.tensors_loaded == len([n for n in before if not n.startswith("output.")])
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.model.state_dict().items()), "caller's model"


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("tag", "scratch"), ("tag", "static"), ("classify", "scratch"), ("classify", "static"), ("tag", "frozen")],
)
def test_it_learns(kind: str, mode: str, tmp_path: Path) -> None:
    settings = FitSettings(
        learning_rate=0.01, dropout=0.2, hidden=16, filters=((2, 8),), word_size=16, least_updates=120, token_budget=128
    )
    result = fit_task(
        kind, examples(kind, 40), examples(kind, 10, seed=1), plan=CarryPlan(mode=mode), settings=settings,
        encoder=language_model(), vectors=word_vectors(), cache_folder=tmp_path,
    )  # fmt: skip
    test = examples(kind, 50, seed=2)
    assert result.predictor.score(test)["main"] > 0.9
    assert (
        result.dev_score is not None
        and result.dev_score["main"] == result.predictor.score(examples(kind, 10, seed=1))["main"]
    )


def test_spans_are_learned_with_valid_output() -> None:
    settings = FitSettings(
        learning_rate=0.01, dropout=0.2, hidden=16, filters=((2, 8),), word_size=16, least_updates=120, token_budget=128
    )
    result = fit_task(
        "tag", tagged(40, spans=True), tagged(10, 1, spans=True), plan=CarryPlan(mode="scratch"), settings=settings
    )
    score = result.predictor.score(tagged(50, 2, spans=True))
    assert score["main_name"] == "span_f1" and score["main"] > 0.9


def test_several_labels_a_text() -> None:
    def both(example: LabelledText) -> LabelledText:
        return replace(
            example, gold=(*example.gold, "animal") if "cow" in example.input.text or "gull" in example.input.text else ()
        )

    train, dev, test = ([both(e) for e in examples("classify", n, s)] for n, s in ((60, 0), (15, 1), (40, 2)))
    settings = FitSettings(
        learning_rate=0.01,
        dropout=0.2,
        hidden=16,
        filters=((2, 8),),
        word_size=16,
        least_updates=150,
        multi_label=True,
        token_budget=128,
    )
    result = fit_task("classify", train, dev, plan=CarryPlan(mode="scratch"), settings=settings)
    score = result.predictor.score(test)
    assert score["main_name"] == "macro_f1" and score["main"] > 0.8
    assert () in result.predictor.predict(test)


@pytest.mark.parametrize("mode", ["scratch", "frozen", "full"])
def test_same_seed_same_bytes(mode: str, tmp_path: Path) -> None:
    encoder = language_model()
    torch.manual_seed(5)
    first = fit(mode=mode, cache=tmp_path / "a", encoder=encoder)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn), "the caller's random numbers must not be disturbed"
    assert weights(fit(mode=mode, cache=tmp_path / "b", encoder=encoder)) == weights(first)
    other = fit(mode=mode, cache=tmp_path / "a", encoder=encoder, settings=replace(SMALL, seed=1))
    assert weights(other) != weights(first)


def test_small_data_trains_long_and_large_data_by_epochs() -> None:
    assert fit(settings=replace(SMALL, least_updates=11)).updates == 11
    result = fit(settings=replace(SMALL, least_updates=1, epochs=3))
    assert result.epochs_run == pytest.approx(3, abs=0.5) and result.stopped_by == "updates"


def test_patience_and_the_weights_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are given. 0.46 is within a standard error (0.05) of the best, 0.5, and later, so its weights are kept."""
    scores = iter([0.1, 0.5, 0.46, 0.3, 0.9, 0.9, 0.9])
    seen: list[dict[str, bytes]] = []

    def score(self: Any) -> fitting.HeldOut:
        seen.append({n: p.detach().numpy().tobytes() for n, p in self.model.named_parameters()})
        return fitting.HeldOut({"main": next(scores), "main_name": "accuracy"}, 1.0, 100)

    monkeypatch.setattr(fitting.Fitting, "_score_held_out", score)
    result = fit(settings=replace(SMALL, least_updates=21, evaluations=7, patience=2))
    assert result.stopped_by == "patience" and len(seen) == 4 and result.dev_score == {"main": 0.46, "main_name": "accuracy"}
    assert {n: p.numpy().tobytes() for n, p in result.predictor.model.named_parameters()} == seen[2]
    assert result.predictor.record["kept_update"] == 9 and len(result.predictor.record["history"]) == 4


def test_without_held_out_examples() -> None:
    result = fit_task("tag", tagged(10), [], plan=CarryPlan(mode="scratch"), settings=SMALL)
    assert result.dev_score is None and result.updates == 6 and len(result.predictor.predict([["the", "boat"]])[0]) == 2


def test_time_limit() -> None:
    result = fit(settings=replace(SMALL, least_updates=10**6, time_limit=0.3))
    assert result.stopped_by == "time limit" and result.dev_score is not None


def test_empty_and_long_sentences_are_legal(tmp_path: Path) -> None:
    long = tagged_words(("the", "boat") * 90, ("DET", "NOUN") * 90)
    for mode in ("scratch", "frozen", "full"):
        result = fit_task(
            "tag", [*tagged(6), tagged_words((), ()), long], [tagged_words((), ()), long], plan=CarryPlan(mode=mode),
            encoder=language_model(), settings=SMALL, cache_folder=tmp_path,
        )  # fmt: skip
        assert [len(tags) for tags in result.predictor.predict([(), ("a",), long])] == [0, 1, 180]
    result = fit_task(
        "classify",
        [*examples("classify", 6), labelled_text("", ("sea",))],
        [],
        plan=CarryPlan(mode="scratch"),
        settings=SMALL,
    )
    assert len(result.predictor.predict([""])) == 1


def test_layers_are_let_go_in_turn(tmp_path: Path) -> None:
    early = fit(
        mode="full",
        cache=tmp_path,
        plan=CarryPlan(mode="full", unfreezing_share=0.5),
        settings=replace(SMALL, least_updates=4),
    )
    assert early.proof.moved["layer 2"] > 0 and early.proof.moved["layer 1"] == early.proof.moved["tokens"] == 0


@pytest.mark.parametrize("kind", ["words", "characters"])
def test_proof(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = language_model(kind)
    result = fit(mode="frozen", cache=tmp_path, encoder=encoder, quiet=False)
    proof = result.proof
    assert proof.stored_perplexity is not None and proof.measured_perplexity is not None
    for name, stored in proof.stored_perplexity.items():
        assert proof.measured_perplexity[name] == pytest.approx(stored, rel=1e-4)
    assert proof.tensors_new == len(result.predictor.model.state_dict()) - proof.tensors_loaded > 0
    assert 0 < proof.vocabulary_rows_matched <= proof.vocabulary_rows
    assert kind == "words" or proof.vocabulary_rows_matched == proof.vocabulary_rows
    assert result.predictor.record["proof"] == proof.to_json()
    said = capsys.readouterr().err
    assert all(line in said for line in proof.lines())
    encoder.record["heldout_check"]["forward_perplexity"] *= 1.01
    with pytest.raises(BadData, match="forward perplexity of the 20 held-out lines"):
        fit(mode="frozen", cache=tmp_path, encoder=encoder)


def test_wrong_use_is_named() -> None:
    with pytest.raises(UsageError, match="task 'rank' is unknown; use one of classify, tag"):
        fit("rank")
    with pytest.raises(BadData, match="no labelled example"):
        fit_task("tag", [], [], plan=CarryPlan(mode="scratch"))
    with pytest.raises(UsageError, match="mode frozen needs a pretrained model"):
        fit(mode="frozen", encoder=None)
    with pytest.raises(UsageError, match="mode static needs word vectors"):
        fit(mode="static", vectors=None)
    vocabulary, array = word_vectors()
    with pytest.raises(UsageError, match=r"vectors of shape \[3, 8\]"):
        fit(mode="static", vectors=(vocabulary, array[:3]))
    for options in ({"epochs": 0}, {"learning_rate": float("nan")}, {"dropout": 1.0}, {"seed": -1}):
        with pytest.raises(UsageError, match=next(iter(options))):
            FitSettings(**options)  # type: ignore[arg-type]
    with pytest.raises(BadData, match="label 'NOUN' was not among the 2 labels"):
        fit(labels=["DET", "VERB"])


def test_labels_given_beyond_those_seen() -> None:
    assert fit(labels=["ADV", "DET", "NAME", "NOUN", "VERB"]).predictor.labels[0] == "ADV"


def test_not_a_number_stops_training(tmp_path: Path) -> None:
    vocabulary, array = word_vectors()
    array[vocabulary.id("boat")] = float("nan")
    with pytest.raises(TrainingFailed, match=r"not finite at update \d+ .*batch \d+.*gradient norm"):
        fit(mode="static", vectors=(vocabulary, array))


# ---------------------------------------------------------------------- resuming


@pytest.mark.parametrize("mode", ["scratch", "frozen", "full"])
def test_interrupted_anywhere_ends_the_same(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SMALL, least_updates=9, evaluations=4, checkpoint_updates=1)
    plan = CarryPlan(mode=mode, unfreezing_share=0.2)
    whole = fit(settings=settings, plan=plan, cache=tmp_path)
    one_step = TrainingLoop._one_step
    died: list[int] = []

    def dying(self: Any, step: int) -> dict[str, float]:
        if step in (0, 4, 8) and step not in died:
            died.append(step)
            raise KeyboardInterrupt
        return one_step(self, step)

    monkeypatch.setattr(TrainingLoop, "_one_step", dying)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            fit(settings=settings, plan=plan, cache=tmp_path, folder=RunFolder(tmp_path / "run"))
    resumed = fit(settings=settings, plan=plan, cache=tmp_path, folder=RunFolder(tmp_path / "run"))
    assert died == [0, 4, 8] and weights(resumed) == weights(whole)
    assert resumed.predictor.record["history"] == whole.predictor.record["history"]
    finished = fit(settings=settings, plan=plan, cache=tmp_path, folder=RunFolder(tmp_path / "run"))
    assert weights(finished) == weights(whole) and finished.updates == 9


def test_a_signal_finishes_the_update_and_saves(tmp_path: Path) -> None:
    stop = StopRequest(quiet=True)
    settings = replace(SMALL, checkpoint_seconds=1000.0)
    stop.pending = Interrupted
    with pytest.raises(Interrupted, match="after update 1 of 6"):
        fit(settings=settings, folder=RunFolder(tmp_path / "run"), stop=stop)
    assert weights(fit(settings=settings, folder=RunFolder(tmp_path / "run"))) == weights(fit(settings=settings))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fit(folder=RunFolder(folder))
    for changes, what in [
        ({"settings": replace(SMALL, seed=3)}, "settings"),
        ({"mode": "static"}, "plan"),
        ({"labels": ["ADV", "DET", "NAME", "NOUN", "VERB"]}, "task"),
    ]:
        with pytest.raises(UsageError, match=f"another {what}"):
            fit(folder=RunFolder(folder), **changes)
    fit(folder=RunFolder(folder), settings=replace(SMALL, time_limit=500.0))


_PROGRAM = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from transfer.test_fit import longer_fit
longer_fit(Path(sys.argv[2]))
"""


def longer_fit(folder: Path) -> FitResult:
    settings = replace(SMALL, least_updates=60, evaluations=6, checkpoint_updates=2)
    return fit(mode="full", settings=settings, plan=CarryPlan(mode="full"), folder=RunFolder(folder))


def test_killed_for_real(tmp_path: Path) -> None:
    """SIGKILL while updates and checkpoints are under way; the same call ends with the weights of an undisturbed one."""
    tests = str(Path(__file__).resolve().parent.parent)
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, tests, str(folder)])
    while process.poll() is None and not (RunFolder(folder).checkpoints / "step-000000020").is_dir():
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = max(int(place.name[5:]) for place in RunFolder(folder).checkpoints.glob("step-*"))
    assert 20 <= kept < 60
    assert weights(longer_fit(folder)) == weights(longer_fit(tmp_path / "undisturbed"))


def skewed(count: int, seed: int = 0) -> list[LabelledText]:
    """Texts of which nine in ten are ham."""
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 9, (count, 5), generator=random).tolist()
    return [
        labelled_text(" ".join(f"w{n}" for n in row), ("spam" if i % 10 == 0 else "ham",)) for i, row in enumerate(words)
    ]


def test_skewed_labels_are_stopped_by_macro_f1_and_the_choice_is_stored(tmp_path: Path) -> None:
    def of(train: list[LabelledText], **options: Any) -> FitResult:
        plan, settings = CarryPlan(mode="scratch"), replace(SMALL, **options)
        return fit_task("classify", train, skewed(20, 1), plan=plan, settings=settings)

    found = of(skewed(40))
    assert found.dev_score is not None and found.dev_score["main_name"] == "macro_f1"
    found.predictor.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, TaskPredictor) and again.task.main_score == "macro_f1"
    asked = of(skewed(40), metric="accuracy").dev_score
    assert asked is not None and asked["main_name"] == "accuracy" and {"accuracy", "macro_f1"} <= set(asked)
    with pytest.raises(UsageError, match="metric 'f2' is unknown"):
        FitSettings(metric="f2")
    assert FitSettings(metric="macro-f1").metric == "macro_f1"


def test_balanced_class_weights_change_what_is_learned() -> None:
    def of(**options: Any) -> FitResult:
        settings = replace(SMALL, least_updates=60, learning_rate=0.02, **options)
        return fit_task("classify", skewed(60), [], plan=CarryPlan(mode="scratch"), settings=settings)

    texts = [example.input.text for example in skewed(200, 5)]

    def spam(found: FitResult) -> float:
        return float(sum(row[1] for row in found.predictor.predict_proba(texts)))

    plain, balanced = of(), of(class_weights="balanced")
    assert spam(balanced) > 1.3 * spam(plain)
    with pytest.raises(UsageError, match="class weights are for classification"):
        fit("tag", settings=replace(SMALL, class_weights="balanced"))
    with pytest.raises(UsageError, match="class weights 'balance' is unknown; did you mean 'balanced'"):
        FitSettings(class_weights="balance")


def test_settings_of_before_there_were_metrics_continue() -> None:
    assert "metric" not in SMALL.deciding() and "class_weights" not in SMALL.asked()
    assert replace(SMALL, metric="macro_f1", class_weights="balanced").deciding()["metric"] == "macro_f1"


def test_a_checkpoint_of_the_loop_that_tasks_had_before_is_continued(tmp_path: Path) -> None:
    """Counts of its own in place of those of the loop; tensors have the same names."""
    settings = replace(SMALL, least_updates=9, evaluations=3, checkpoint_updates=4)
    stop, folder = StopRequest(quiet=True), RunFolder(tmp_path / "run")
    stop.pending = Interrupted
    with pytest.raises(Interrupted):
        fit(settings=replace(settings, checkpoint_updates=None), folder=folder, stop=stop)
    with pytest.raises(UsageError, match="another settings"):
        fit(settings=replace(settings, seed=1), folder=folder)
    place = checkpoint_folders(folder.checkpoints)[-1]
    found = load_checkpoint(place)
    loop, kept = found.state["loop"], found.state["keeper"]
    counts = {
        "update": loop["step"],
        "epoch": 0,
        "position": 1,
        "waited": loop["waited"],
        "evaluated_at": -1,
        "seconds": loop["seconds"],
        "best": None if loop["best"] is None else loop["best"]["score"],
        "kept_update": kept["update"],
        "kept_score": kept["score"],
        "history": kept["history"],
    }
    storage.remove_folder(place)
    save_checkpoint(folder.checkpoints, 1, found.tensors, {"identity": found.state["identity"], "counts": counts})
    resumed, whole = fit(settings=settings, folder=folder), fit(settings=settings)
    assert weights(resumed) == weights(whole)
    assert resumed.predictor.record["history"] == whole.predictor.record["history"]

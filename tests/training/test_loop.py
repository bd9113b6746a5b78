"""The loop over a tiny job: continuing equals not having stopped, whatever the moment and the reason."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from carryover import storage
from carryover.errors import BadData, TrainingFailed, UsageError
from carryover.training.checkpoint import checkpoint_folders, load_checkpoint, save_checkpoint
from carryover.training.schedules import Annealing, Schedule
from carryover.training.stopping import Interrupted, StopRequest, Terminated
from faults import tiny_run
from faults.outcome import leftovers, outcome


class StopAt(StopRequest):
    """A request that arrives during step `step`."""

    def __init__(self, step: int, kind: type = Interrupted) -> None:
        super().__init__(quiet=True)
        self.step, self.kind, self.count = step, kind, 0

    def objective(self, *arguments: Any, **named: Any) -> Any:
        self.count += 1
        if self.count == self.step:
            self.pending = self.kind
        return tiny_run.tiny_objective(*arguments, **named)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("reference") / "run"
    tiny_run.run(out)
    return outcome(out)


def test_two_runs_leave_the_same_bytes(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    tiny_run.run(tmp_path / "again")
    assert outcome(tmp_path / "again") == uninterrupted


@pytest.mark.parametrize("steps", [[1], [4], [9], [10], [11], [19], [1, 1, 1], [3, 5, 2]])
def test_stopping_and_continuing_equals_not_stopping(
    tmp_path: Path, uninterrupted: dict[str, Any], steps: list[int]
) -> None:
    out = tmp_path / "run"
    for step in steps:
        stop = StopAt(step)
        with pytest.raises(Interrupted) as caught:
            tiny_run.run(out, objective=stop.objective, stop=stop)
        assert caught.value.exit_code == 130
    result = tiny_run.run(out)
    assert result.resumed_from == sum(steps)
    assert outcome(out) == uninterrupted
    assert leftovers(out) == []


def test_a_finished_run_is_not_run_again(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    out = tmp_path / "run"
    tiny_run.run(out)
    for _ in range(2):
        result = tiny_run.run(out)
        assert result.resumed_from == 20 and result.stopped_by == "epochs"
    assert outcome(out) == uninterrupted


def test_a_request_in_the_last_step_ends_as_finished(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    stop = StopAt(20)
    tiny_run.run(tmp_path / "run", objective=stop.objective, stop=stop)
    assert outcome(tmp_path / "run") == uninterrupted


def test_terminated_has_its_own_exit_code(tmp_path: Path) -> None:
    stop = StopAt(2, Terminated)
    with pytest.raises(Terminated) as caught:
        tiny_run.run(tmp_path / "run", objective=stop.objective, stop=stop)
    assert caught.value.exit_code == 143
    assert "run the same command again" in str(caught.value)


def test_without_the_carried_state_the_weights_would_differ(
    tmp_path: Path, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail: a resume that forgets the carried state is noticed."""
    out = tmp_path / "run"
    stop = StopAt(6)
    with pytest.raises(Interrupted):
        tiny_run.run(out, objective=stop.objective, stop=stop)
    monkeypatch.setattr("carryover.training.loop.map_state", lambda function, state: state)
    tiny_run.run(out)
    assert outcome(out) != uninterrupted


def test_two_checkpoints_and_the_best_they_name_are_kept(tmp_path: Path) -> None:
    tiny_run.run(tmp_path / "run")
    kept = checkpoint_folders(tmp_path / "run" / "run" / "checkpoints")
    assert [place.name for place in kept] == ["step-000000016", "step-000000020"]
    named = {f"step-{load_checkpoint(place).state['loop']['best_step']:09d}" for place in kept}
    assert {place.name for place in checkpoint_folders(tmp_path / "run" / "run" / "best")} == named


def test_a_damaged_newest_checkpoint_falls_back_and_says_so(
    tmp_path: Path, uninterrupted: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    stop = StopAt(11)
    with pytest.raises(Interrupted):
        tiny_run.run(out, objective=stop.objective, stop=stop)
    newest = checkpoint_folders(out / "run" / "checkpoints")[-1] / "state.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)
    result = tiny_run.run(out)
    assert result.resumed_from == 8
    assert "step-000000011 is damaged" in capsys.readouterr().err
    assert outcome(out) == uninterrupted


def test_when_all_checkpoints_are_damaged_nothing_is_lost_silently(tmp_path: Path) -> None:
    out = tmp_path / "run"
    tiny_run.run(out)
    for place in checkpoint_folders(out / "run" / "checkpoints"):
        (place / "state.json").write_text("{")
    with pytest.raises(BadData, match="no checkpoint can be read"):
        tiny_run.run(out)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_not_a_number_stops_and_leaves_the_last_checkpoint(tmp_path: Path, uninterrupted: dict[str, Any], what: str) -> None:
    out, count = tmp_path / "run", 0

    def poisoned(model: Any, batch: Any, state: Any, *, step_seed: int) -> Any:
        nonlocal count
        count += 1
        loss, state, figures = tiny_run.tiny_objective(model, batch, state, step_seed=step_seed)
        if count == 14:  # the square root has an infinite slope at 0, its value is finite
            loss = loss * float("nan") if what == "loss" else loss + (loss * 0).sqrt()
        return loss, state, figures

    with pytest.raises(TrainingFailed) as caught:
        tiny_run.run(out, objective=poisoned)
    assert caught.value.exit_code == 3
    for part in ("step 13", "epoch 1, batch 3", "gradient norm", "step-000000012"):
        assert part in str(caught.value)
    newest = load_checkpoint(checkpoint_folders(out / "run" / "checkpoints")[-1])
    assert newest.step == 12 and all(bool(torch.isfinite(t).all()) for t in newest.tensors.values())
    tiny_run.run(out)  # without the poison it goes on as if nothing had been
    assert outcome(out) == uninterrupted


def test_epochs_may_grow_and_may_not_shrink(tmp_path: Path) -> None:
    out = tmp_path / "run"
    tiny_run.run(out)
    result = tiny_run.run(out, epochs=3)
    assert (result.resumed_from, result.state.step) == (20, 30)
    with pytest.raises(UsageError, match=r"epochs = 3, now it is 2"):
        tiny_run.run(out, epochs=2)
    with pytest.raises(UsageError, match=r"seed = 7, now it is 8"):
        tiny_run.run(out, epochs=3, seed=8)


def test_the_time_limit_counts_earlier_sessions(tmp_path: Path) -> None:
    out = tmp_path / "run"
    stop = StopAt(3)
    with pytest.raises(Interrupted):
        tiny_run.run(out, objective=stop.objective, stop=stop)
    spent = load_checkpoint(checkpoint_folders(out / "run" / "checkpoints")[-1]).state["loop"]["seconds"]
    result = tiny_run.run(out, time_limit=spent)  # nothing is left of it
    assert (result.stopped_by, result.state.step) == ("time limit", 3)
    assert result.best_folder.is_dir(), "the best model is measured and kept when the time is up"
    assert tiny_run.run(out, time_limit=1e9).stopped_by == "epochs"


def test_patience_ends_the_run_with_the_best_model(tmp_path: Path) -> None:
    scores = iter([5.0, 3.0, 4.0, 6.0])
    result = tiny_run.run(tmp_path / "run", patience=2, score=lambda model: {"perplexity": next(scores)}, evaluate_steps=2)
    assert (result.stopped_by, result.state.step, result.state.best_step) == ("patience", 8, 4)
    assert result.best_folder.name == "step-000000004"
    storage.verify_manifest(result.best_folder)


def test_the_metrics_log_is_complete_and_has_no_times(tmp_path: Path) -> None:
    tiny_run.run(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [3, 6, 9, 12, 15, 18]
    assert [line["step"] for line in lines if "held_out" in line] == [5, 10, 15, 20]
    assert not any("second" in name or "time" in name for line in lines for name in line)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    tiny_run.run(out)
    monkeypatch.setattr(tiny_run, "VOCABULARY", 12)
    with pytest.raises(BadData, match="not of this model"):
        tiny_run.run(out)


def test_a_checkpoint_that_holds_fewer_sums_is_continued(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    """As a version wrote it that did not count states yet."""
    out, stop = tmp_path / "run", StopAt(5)
    with pytest.raises(Interrupted):
        tiny_run.run(out, objective=stop.objective, stop=stop)
    folder = out / "run" / "checkpoints"
    found = load_checkpoint(checkpoint_folders(folder)[-1])
    for name in ("states", "clipped_states"):
        del found.state["loop"]["sums"][name]
    storage.remove_folder(checkpoint_folders(folder)[-1])
    save_checkpoint(folder, found.step, found.tensors, found.state)
    assert tiny_run.run(out).resumed_from == 5
    assert outcome(out) == uninterrupted


def test_a_deadline_ends_the_session_without_measuring(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    """Met again and again it leaves the bytes of the uninterrupted run, though its moments are no measuring points."""

    out = tmp_path / "run"
    count = 0
    real = time.monotonic

    def objective(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        return tiny_run.tiny_objective(*arguments, **named)

    def clock() -> float:
        return real() + (1000.0 if count % 3 == 0 and count else 0.0)

    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("carryover.training.loop.time.monotonic", clock)
        while not results or results[-1].stopped_by == "deadline":
            if results:
                count = 0
            results.append(tiny_run.run(out, objective=objective, deadline=real() + 500))
    assert [result.state.step for result in results] == [3, 6, 9, 12, 15, 18, 20]
    assert results[-1].stopped_by == "epochs"
    assert outcome(out) == uninterrupted


def test_annealing_divides_the_rate_and_survives_a_stop(tmp_path: Path) -> None:
    annealing = Annealing(divisor=10.0, window=1)

    def worse(model: Any) -> dict[str, float]:
        worse.count += 1  # type: ignore[attr-defined]
        return {"perplexity": 10.0 + worse.count}  # type: ignore[attr-defined]

    settings: dict[str, Any] = {"annealing": annealing, "schedule": Schedule(kind="constant", peak=0.05, total=20)}
    worse.count = 0  # type: ignore[attr-defined]
    tiny_run.run(tmp_path / "whole", score=worse, **settings)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines if "loss" in line}
    # Measured after steps 5, 10, 15 and 20, each time worse; the first has nothing to be worse than.
    assert rates == pytest.approx({3: 0.05, 6: 0.05, 9: 0.05, 12: 0.005, 15: 0.005, 18: 0.0005})
    worse.count = 0  # type: ignore[attr-defined]
    stop = StopAt(13)
    with pytest.raises(Interrupted):
        tiny_run.run(tmp_path / "parts", score=worse, objective=stop.objective, stop=stop, **settings)
    tiny_run.run(tmp_path / "parts", score=worse, **settings)
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_a_rate_that_is_used_up_ends_the_run(tmp_path: Path) -> None:
    """Measured after steps 5, 10 and 15, each time worse, which leaves a hundredth of the rate; so there is no step 16."""
    settings: dict[str, Any] = {
        "annealing": Annealing(divisor=10.0, window=1),
        "schedule": Schedule(kind="constant", peak=0.05, total=20),
        "least_share": 0.01,
    }
    scores = iter([1.0, 2.0, 3.0])
    result = tiny_run.run(tmp_path / "run", score=lambda model: {"perplexity": next(scores)}, **settings)
    assert (result.stopped_by, result.state.step, result.state.best_step) == ("rate", 15, 5)
    again = tiny_run.run(tmp_path / "run", score=lambda model: pytest.fail("was measured again"), **settings)
    assert (again.stopped_by, again.state.step) == ("rate", 15)


def test_another_figure_may_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr(tiny_run, "Job", partial(tiny_run.Job, decides="loss"))
    result = tiny_run.run(tmp_path / "run", score=lambda model: {"loss": next(scores), "perplexity": 1.0})
    assert result.state.best == {"loss": 1.0, "perplexity": 1.0} and result.state.best_step == 10

"""Pretraining from a file to an artefact that loads, measures the same, and says what it was made from."""

from __future__ import annotations

import json
import math
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

import carryover
from carryover import storage
from carryover.data.batch_size import lanes_for
from carryover.errors import BadData, CannotWrite, InputMissing, TrainingFailed, UsageError
from carryover.objectives.bilm import BiLanguageModelObjective, lines_perplexity
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.settings import PretrainSettings
from faults.outcome import leftovers, outcome
from pretraining.tiny_text import tiny, write_text


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    out = tmp_path_factory.mktemp("trained") / "lm"
    pretrain(tiny(text), out, quiet=True)
    return out


def test_it_learns(trained: Path) -> None:
    """Ten words in free order: better than a guess among the vocabulary, no better than the text allows."""
    record = storage.read_json(trained / "record.json")
    log = [json.loads(line) for line in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < losses[0] - 0.1
    assert 5 < record["held_out"]["perplexity"] < 14


def test_the_record_and_the_card_say_what_it_was_made_from(trained: Path, text: Path) -> None:
    record = storage.read_json(trained / "record.json")
    assert record["objective"] == "bilm" and record["seed"] == 11 and record["stopped_by"] == "epochs"
    assert record["corpus"]["fingerprint"] == storage.file_digest(text)
    assert record["versions"]["carryover"] == carryover.__version__ and record["versions"]["torch"] == torch.__version__
    assert record["corpus"]["lines"] + record["held_out"]["lines"] == 120, "every line is on one side"
    assert record["held_out"]["perplexity"] == pytest.approx(
        math.sqrt(record["held_out"]["forward_perplexity"] * record["held_out"]["backward_perplexity"])
    )
    card = (trained / "README.md").read_text()
    for part in (f"{record['held_out']['perplexity']:.2f}", record["corpus"]["fingerprint"], "carryover embed"):
        assert part in card


def test_the_held_out_check_is_measured_again_after_loading(trained: Path) -> None:
    encoder = carryover.load(trained)
    check = encoder.record["heldout_check"]
    assert check["lines"] == len(encoder.heldout) == len((trained / "heldout.txt").read_text().splitlines())
    assert lines_perplexity(encoder.model, encoder.coder, encoder.heldout) == check


def test_the_best_model_is_the_one_kept(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([9.0, 8.0, 8.5, 8.7])
    monkeypatch.setattr(
        "carryover.objectives.bilm.evaluate",
        lambda *_, **__: dict.fromkeys(("forward_perplexity", "backward_perplexity", "perplexity", "tokens"), next(scores)),
    )
    result = pretrain(tiny(text), tmp_path / "lm", quiet=True)
    best = tmp_path / "lm" / "run" / "best" / f"step-{result.record['held_out']['best_step']:09d}"
    assert result.held_out == 8.0 and result.record["held_out"]["best_step"] < result.steps
    assert storage.file_digest(best / "model.safetensors") == storage.file_digest(tmp_path / "lm" / "model.safetensors")


def test_two_runs_are_the_same_bytes_without_a_network(
    tmp_path: Path, text: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    pretrain(tiny(text), tmp_path / "lm", quiet=True)
    assert outcome(tmp_path / "lm") == outcome(trained)
    assert leftovers(tmp_path / "lm") == []


def test_another_seed_is_another_model(tmp_path: Path, text: Path, trained: Path) -> None:
    pretrain(tiny(text, seed=12), tmp_path / "lm", quiet=True)
    assert outcome(tmp_path / "lm")["tensors"] != outcome(trained)["tensors"]


def test_the_callers_random_state_is_left_alone(tmp_path: Path, text: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    pretrain(tiny(text, epochs=1), tmp_path / "lm", quiet=True)
    assert torch.equal(torch.rand(3), expected)


def test_the_same_command_again_has_nothing_to_do(trained: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {place: place.stat().st_mtime_ns for place in trained.glob("*.*")}
    result = pretrain(tiny(text), trained)
    assert result.resumed_from == result.steps
    assert "finished before" in capsys.readouterr().err
    assert {place: place.stat().st_mtime_ns for place in trained.glob("*.*")} == before


def test_a_finished_artefact_is_left_alone_by_another_number_of_threads(tmp_path: Path, text: Path) -> None:
    pretrain(tiny(text, threads=1), tmp_path / "lm", quiet=True)
    before = (tmp_path / "lm" / "record.json").read_bytes()
    pretrain(tiny(text, threads=2), tmp_path / "lm", quiet=True)
    assert (tmp_path / "lm" / "record.json").read_bytes() == before


def test_a_moved_text_continues_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    first = write_text(tmp_path / "first.txt")
    pretrain(tiny(first, epochs=1), tmp_path / "lm", quiet=True)
    moved = first.rename(tmp_path / "moved.txt")
    result = pretrain(tiny(moved, epochs=2), tmp_path / "lm", quiet=True)
    assert result.resumed_from is not None and result.resumed_from < result.steps
    moved.write_text(moved.read_text() + "one more line\n")
    with pytest.raises(UsageError, match=r'started with corpus = "[0-9a-f]{64}", now it is "[0-9a-f]{64}"'):
        pretrain(tiny(moved, epochs=2), tmp_path / "lm", quiet=True)


def test_growing_equals_having_asked_for_it_at_once(tmp_path: Path, text: Path) -> None:
    """With a constant rate, that is; other schedules stretch to the new end."""
    short = pretrain(tiny(text, epochs=1, schedule="constant", warm_up=0.0), tmp_path / "lm", quiet=True)
    longer = pretrain(tiny(text, epochs=2, schedule="constant", warm_up=0.0), tmp_path / "lm", quiet=True)
    assert longer.steps == 2 * short.steps and longer.resumed_from == short.steps
    pretrain(tiny(text, epochs=2, schedule="constant", warm_up=0.0), tmp_path / "other", quiet=True)
    assert outcome(tmp_path / "lm") == outcome(tmp_path / "other")


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 0.01}, {"seed": 3}, {"size": "small"}, {"input": "words"}, {"steps": 8}, {"patience": 2}]
)
def test_other_settings_are_refused_naming_both(trained: Path, text: Path, changes: dict[str, Any]) -> None:
    name, value = next(iter(changes.items()))
    with pytest.raises(UsageError) as caught:
        pretrain(tiny(text, **changes), trained, quiet=True)
    old = getattr(tiny(text), name)
    assert f"started with {name} = {json.dumps(old)}, now it is {json.dumps(value)}" in str(caught.value)


def test_damaged_shards_are_made_again(tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lm"
    pretrain(tiny(text, epochs=1), out, quiet=True)
    ids = out / "run" / "shards" / "train" / "ids.int32"
    ids.write_bytes(bytes([ids.read_bytes()[0] ^ 1]) + ids.read_bytes()[1:])
    pretrain(tiny(text, epochs=2), out, quiet=True)
    assert "damaged" in capsys.readouterr().err
    storage.verify_manifest(out / "run" / "shards" / "train")


@pytest.mark.parametrize("changes", [{"input": "words"}, {"softmax": "sampled"}, {"softmax": "adaptive"}])
def test_other_inputs_and_softmaxes(tmp_path: Path, text: Path, changes: dict[str, Any]) -> None:
    if changes.get("softmax") == "sampled":
        changes["model"] = {**tiny(text).model, "samples": 8}
    out = tmp_path / "lm"
    result = pretrain(tiny(text, **changes), out, quiet=True)
    assert result.held_out < 15
    vectors = carryover.load(out).embed([["the", "boat", "unheard-of"], []])
    assert [tuple(vector.shape) for vector in vectors] == [(3, 3, 8), (0, 3, 8)]


@pytest.mark.parametrize("optimiser", ["lazy-adam", "adagrad", "adam"])
def test_a_sampled_softmax_goes_on_exactly(tmp_path: Path, text: Path, optimiser: str) -> None:
    """With sparse gradients of the output layer and without: two sessions make the bytes of one."""
    model = {**tiny(text).model, "softmax": "sampled", "samples": 8}

    def run(out: Path, epochs: int) -> Path:
        pretrain(
            tiny(text, model=model, optimiser=optimiser, schedule="constant", warm_up=0.0, epochs=epochs), out, quiet=True
        )
        return out

    once, twice = run(tmp_path / "once", 2), run(run(tmp_path / "twice", 1), 2)
    for pattern in ("model.safetensors", "run/checkpoints/*/state.safetensors"):
        found, wanted = (sorted(folder.glob(pattern))[-1].read_bytes() for folder in (twice, once))
        assert found == wanted


@pytest.mark.parametrize(("softmax", "optimiser"), [("sampled", "lazy-adam"), ("full", "adam")])
def test_the_usual_optimiser_goes_with_the_softmax(tmp_path: Path, text: Path, softmax: str, optimiser: str) -> None:
    model = {**tiny(text).model, "softmax": softmax, **({"samples": 8} if softmax == "sampled" else {})}
    record = pretrain(tiny(text, model=model, epochs=1), tmp_path / "lm", quiet=True).record
    assert record["settings"]["optimiser"] == optimiser


def test_subwords(tmp_path: Path, text: Path) -> None:
    out = tmp_path / "lm"
    pretrain(tiny(text, input="subwords", vocabulary_size=300, epochs=1), out, quiet=True)
    vectors = carryover.load(out).embed([["the", "boat", "unheard-of"]])
    assert tuple(vectors[0].shape) == (3, 3, 8)


def test_held_out_text_of_its_own(tmp_path: Path, text: Path) -> None:
    valid = write_text(tmp_path / "valid.txt", lines=9, seed=4)
    record = pretrain(tiny(text, valid=valid, epochs=1), tmp_path / "lm", quiet=True).record
    assert record["corpus"]["lines"] == 120 and record["held_out"]["lines"] == 9
    assert record["held_out"]["fingerprint"] == storage.file_digest(valid)


def test_mixed_precision_trains(tmp_path: Path, text: Path) -> None:
    result = pretrain(tiny(text, precision="bfloat16"), tmp_path / "lm", quiet=True)
    assert result.held_out < 15
    assert {tensor.dtype for tensor in carryover.load(tmp_path / "lm").model.state_dict().values()} == {torch.float32}


def test_not_a_number_ends_with_exit_code_3(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = BiLanguageModelObjective.__call__, 0

    def poisoned(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        loss, state, figures = real(self, *arguments, **named)
        return loss * float("nan") if count == 12 else loss, state, figures

    monkeypatch.setattr(BiLanguageModelObjective, "__call__", poisoned)
    with pytest.raises(TrainingFailed, match="not finite at step 11") as caught:
        pretrain(tiny(text, checkpoint_steps=5), tmp_path / "lm", quiet=True)
    assert caught.value.exit_code == 3 and "step-000000010, unharmed" in str(caught.value)


def test_wrong_input_is_one_clear_line(tmp_path: Path, text: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "one.txt").write_text("a single line\n")
    (tmp_path / "latin.txt").write_bytes(b"good line\nb\xf6se Zeile\n")
    cases: list[tuple[Any, type[Exception], str]] = [
        (tmp_path / "gone.txt", InputMissing, r"gone\.txt"),
        (tmp_path / "empty.txt", BadData, r"empty\.txt: .*no text"),
        (tmp_path / "blank.txt", BadData, r"blank\.txt: .*no (text|line)"),
        (tmp_path / "one.txt", BadData, r"one\.txt: 1 lines, no two of them"),
        (tmp_path / "latin.txt", BadData, r"latin\.txt:2: "),
        ("builtin:nothing", Exception, "builtin:nothing"),
    ]
    for raw, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            pretrain(tiny(raw), tmp_path / "lm", quiet=True)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "lm").exists() or list((tmp_path / "lm").iterdir()) == []
    pretrain(tiny(text, epochs=1), tmp_path / "lm", quiet=True)  # the folder is as good as new


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "bil"}, "did you mean 'bilm'"), ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"optimiser": "adm"}, "did you mean 'adam'"), ({"epochs": 0}, "epochs is 0"), ({"clip": -1.0}, "clip is -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"), ({"held_out_share": 1.0}, "held_out_share is 1.0"),
        ({"patience": 0}, "patience is 0"), ({"seed": -1}, "seed is -1"), ({"precision": "float16"}, "precision 'float16' is unknown"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_before_anything_is_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PretrainSettings(raw="nowhere", **changes)


def test_a_size_of_the_model_that_does_not_exist_is_refused(tmp_path: Path, text: Path) -> None:
    with pytest.raises(UsageError, match="smal"):
        pretrain(tiny(text, size="smal"), tmp_path / "lm", quiet=True)
    with pytest.raises(UsageError, match="cellls"):
        pretrain(tiny(text, model={"cellls": 3}), tmp_path / "lm2", quiet=True)


def test_the_number_of_lanes_follows_the_text() -> None:
    assert [lanes_for(tokens, 20) for tokens in (5, 1000, 10_000, 10**6, 5 * 10**6, 10**9)] == [1, 1, 10, 16, 25, 32]


def test_a_removed_folder_is_no_success_and_the_same_call_works(
    text: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "lm", BiLanguageModelObjective.evaluate

    def removes(*given: Any) -> Any:
        found = real(*given)
        shutil.rmtree(out, ignore_errors=True)
        return found

    monkeypatch.setattr(BiLanguageModelObjective, "evaluate", removes)
    with pytest.raises(CannotWrite, match="was removed during the run; run the same command again"):
        pretrain(tiny(text), out, quiet=True)
    assert not out.exists()
    monkeypatch.setattr(BiLanguageModelObjective, "evaluate", real)
    pretrain(tiny(text), out, quiet=True)
    assert (out / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def of_an_earlier_version(out: Path, **stored: str) -> None:
    """Settings as an earlier version stored them: the fingerprints of built-in text covered its source."""
    file = out / "run" / "settings.json"
    content = storage.read_json(file)
    content["settings"] |= {"version": "0.0.9", **stored}
    file.write_text(json.dumps(content))


def test_a_run_of_an_earlier_version_on_builtin_text_goes_on(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = "builtin:grammar?raw=60&words=30"
    first = pretrain(tiny(raw), tmp_path / "lm", quiet=True)
    of_an_earlier_version(tmp_path / "lm", corpus="0" * 64)
    again = pretrain(tiny(raw), tmp_path / "lm", quiet=True)
    assert again.resumed_from == first.steps
    assert "builtin:grammar?raw=60&words=30 is still the same text" in capsys.readouterr().err
    pretrain(tiny(text), tmp_path / "file", quiet=True)
    of_an_earlier_version(tmp_path / "file", corpus="0" * 64)
    for changed in (text, raw):
        with pytest.raises(UsageError, match="was started with corpus"):
            pretrain(tiny(changed), tmp_path / "file", quiet=True)

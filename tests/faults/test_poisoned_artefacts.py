"""Loading never runs code: poisoned artefacts under an audit hook, at every entry point."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from carryover import storage
from carryover.classical.train import fit_features
from carryover.data.coding import TokenCoder
from carryover.data.subwords import SubwordTokenizer
from carryover.encoders.bilm import BidirectionalEncoder
from carryover.encoders.text_generator import TextGenerator
from carryover.errors import BadData, UsageError
from carryover.models.bilm import BiLanguageModel
from carryover.models.language_model import LanguageModel
from carryover.storage.artefact import load_artefact, save_artefact
from carryover.training.checkpoint import checkpoint_folders, load_newest_checkpoint
from carryover.transfer.fit import CarryPlan, FitSettings, fit_task
from faults import tiny_run
from faults.poisons import CONTENTS, forge
from golden.test_artefacts import RELEASES
from task_material import examples, language_model, store_language_model, word_vectors

GOLDEN = RELEASES[-1]


def language_model_that_writes(folder: Path, **changes: Any) -> None:
    """An artefact of a next-token model that was never trained."""
    model = TextGenerator.from_artefact(load_artefact(GOLDEN / "lm-lstm-characters"))
    config = LanguageModel.Config.from_json({**model.model.config.to_json(), **changes})
    network = LanguageModel(config)
    check = TextGenerator(network, model.coder, {}).score(["the boat"])
    save_artefact(
        folder,
        kind="lm",
        config=config.to_json(),
        tensors=network.state_dict(),
        tokenizer=model.coder.to_json(),
        labels=None,
        record={**model.record, "heldout_check": check},
        card="# A model",
        files={"heldout.txt": b"the boat\n"},
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of every kind of artefact: of the last release, and made here with weights at random."""
    folder = tmp_path_factory.mktemp("sound")
    for place in GOLDEN.iterdir():
        if place.is_dir():
            shutil.copytree(place, folder / place.name)
    for stack in ("gru", "tcn"):
        language_model_that_writes(folder / f"lm-{stack}", stack=stack)
    language_model_that_writes(folder / "lm-adaptive", softmax="adaptive", tied=False)
    encoder = language_model()
    store_language_model(folder / "bilm-trained-by-nobody", encoder)
    pieces = SubwordTokenizer.train(["the boat sees Ann Lee under the bridge"], size=270)
    coder = TokenCoder("subwords", subwords=pieces)
    config = BiLanguageModel.Config(
        input="subwords", vocabulary_size=len(coder.vocabulary), cells=5, projection=4, softmax="sampled", samples=8
    )
    store_language_model(folder / "bilm-subwords", BidirectionalEncoder(BiLanguageModel(config), coder, {}))
    settings = FitSettings(least_updates=1, epochs=1, hidden=3, word_size=3, filters=((2, 2),))
    for kind, plan in (
        ("tag", CarryPlan(mode="frozen", placement="both")),
        ("tag", CarryPlan(mode="static")),
        ("classify", CarryPlan(mode="head")),
        ("classify", CarryPlan(mode="top-k")),
        ("classify", CarryPlan(mode="scratch")),
    ):
        fitted = fit_task(kind, examples(kind, 8), [], plan=plan, encoder=encoder, vectors=word_vectors(), settings=settings)
        fitted.predictor.save(folder / f"task-{kind}-{plan.mode}-again")
    for kind in ("classify", "tag"):
        for mode in ("features", "majority"):
            fit_features(kind, examples(kind, 8), FitSettings(), mode).save(folder / f"{mode}-{kind}")
    return folder


@pytest.mark.parametrize("share", [7, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])])
def test_poisoned_artefacts_are_refused_and_run_nothing(tmp_path: Path, sound: Path, share: int) -> None:
    """Every poison, every kind of artefact, loaded and used: refused in one line or harmless, in bounded time and memory."""
    program = Path(__file__).with_name("load_poisoned.py")
    done = subprocess.run(
        [sys.executable, str(program), str(sound), str(tmp_path), str(share)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert report["grown_mib"] < 1024
    outcomes = report["outcomes"]
    assert len(outcomes) >= 120 * len(list(sound.iterdir())) // share
    # What does no harm may load: a record of another form, odd but valid sizes of what the model does not use.
    loaded = {name.partition(": ")[2] for name, result in outcomes.items() if result == "loaded"}
    harmless = ("config ", "tokenizer ", "record ", "labels.json is ", "record.json is empty object")
    assert not [name for name in loaded if not name.startswith(harmless)], loaded
    assert not any("Traceback" in result for result in outcomes.values())


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("what", ["pickle", "list", "deep", "empty"])
def test_a_poisoned_checkpoint_is_passed_over(tmp_path: Path, name: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    tiny_run.run(tmp_path / "run")
    folder = tmp_path / "run" / "run" / "checkpoints"
    older, newest = checkpoint_folders(folder)
    (newest / name).write_bytes(CONTENTS[what])
    forge(newest)
    found = load_newest_checkpoint(folder)
    assert found is not None and found.step == int(older.name.removeprefix("step-"))


def test_poisoned_settings_of_a_run_are_refused(tmp_path: Path) -> None:
    tiny_run.run(tmp_path / "run")
    for content in CONTENTS.values():
        storage.atomic_write(tmp_path / "run" / "run" / "settings.json", content)
        with pytest.raises((BadData, UsageError)):
            tiny_run.run(tmp_path / "run")

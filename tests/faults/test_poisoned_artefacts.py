"""Loading never runs code: poisoned artefacts under an audit hook, at every entry point."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from carryover import storage
from carryover.errors import BadData, UsageError
from carryover.training.checkpoint import checkpoint_folders, load_newest_checkpoint
from carryover.training.pretrain import pretrain
from faults import tiny_run
from faults.poisons import CONTENTS, forge
from training.tiny_text import tiny, write_text


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    pretrain(tiny(write_text(folder / "text.txt", lines=40), epochs=1), folder / "lm", quiet=True)
    return folder / "lm"


def test_poisoned_artefacts_are_refused_and_run_nothing(tmp_path: Path, sound: Path) -> None:
    program = Path(__file__).with_name("load_poisoned.py")
    done = subprocess.run(
        [sys.executable, str(program), str(sound), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["problems"] == []
    outcomes = report["outcomes"]
    assert len(outcomes) >= 60
    # What does no harm may load: a record of another form, odd but valid sizes of what the model does not use.
    loaded = {name for name, result in outcomes.items() if result == "loaded"}
    assert loaded <= {"record.json is empty object", "labels.json is null", "labels.json is empty object"} | {
        name for name in outcomes if name.startswith(("config ", "tokenizer subwords "))
    }, loaded
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

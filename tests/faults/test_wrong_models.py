"""Damaged and mistaken models, places that cannot be written, full disks, busy folders: refused as `one_line` asks."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carryover import storage
from carryover.storage import faults as primitive
from command_line import FEW_STEPS, Material, Shell, snapshot
from faults.one_line import Case, refuse

PREDICT = "predict model {raw}"
FEW = " ".join(FEW_STEPS)
TRAIN = "train --task tag --train {tagged} --epochs 1 --hidden 8"


def copied(name: str, change: Callable[[Path], object], *, sealed: bool = True) -> Callable[[Shell, Material], None]:
    """Put a changed copy of a model at `model`; `sealed` with a manifest that fits, as a forger would."""

    def prepare(shell: Shell, material: Material) -> None:
        folder = shell.folder / "model"
        shutil.copytree(getattr(material, name), folder, ignore=shutil.ignore_patterns("run"))
        change(folder)
        if sealed:
            (folder / storage.MANIFEST).unlink()
            storage.write_manifest(folder)

    return prepare


def flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def shorten(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def edit(file: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return apply


def without_a_tensor(folder: Path) -> None:
    tensors = storage.load_tensors(folder / "model.safetensors")
    del tensors["task.output.weight"]
    storage.save_tensors(folder / "model.safetensors", tensors)


def write(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(content)


def fewer_words(tokenizer: Any) -> Any:
    found: list[Any] = []

    def shorten_lists(value: Any) -> Any:
        if isinstance(value, list) and len(value) > 20 and not found:
            found.append(value)
            return value[:-1]
        return {key: shorten_lists(one) for key, one in value.items()} if isinstance(value, dict) else value

    shorter = shorten_lists(tokenizer)
    assert found
    return shorter


MODELS = [
    Case("no such model", "predict nowhere {raw}", 66, ("nowhere: does not exist", "give the folder")),
    Case("a file for a model", "evaluate x.txt --test {test}", 66, ("x.txt: is a file, not the folder",), {"x.txt": "text"}),
    Case("an empty folder", "predict model {raw}", 66, ("model: holds no trained model",),
         prepare=lambda shell, material: (shell.folder / "model").mkdir()),
    Case("another version", PREDICT, 65, ("config.json: the artefact has format version 2, this carryover reads 1", "upgrade"),
         prepare=copied("classifier", edit("config.json", lambda c: {**c, "schema": "carryover.artefact/2"}))),
    Case("no version", PREDICT, 65, ("config.json: schema is ", "carryover.artefact/1"),
         prepare=copied("classifier", edit("config.json", lambda c: {**c, "schema": 3}))),
    Case("unknown kind", PREDICT, 65, ("model: the artefact is of kind 'gpt'", "upgrade carryover"),
         prepare=copied("classifier", edit("config.json", lambda c: {**c, "kind": "gpt"}))),
    Case("a flipped bit", PREDICT, 65, ("model.safetensors: is damaged: SHA-256", "restore"),
         prepare=copied("classifier", flip, sealed=False)),
    Case("cut weights", PREDICT, 65, ("model.safetensors: is damaged: ", " bytes, manifest says "),
         prepare=copied("classifier", shorten, sealed=False)),
    Case("cut weights, sealed", PREDICT, 65, ("model.safetensors: ",), prepare=copied("classifier", shorten)),
    Case("a pickle for weights", PREDICT, 65, ("model.safetensors: ",),
         prepare=copied("classifier", write("model.safetensors", pickle.dumps({"weight": [1.0] * 100})))),
    Case("a tensor too few", PREDICT, 65, ("model.safetensors: has no tensor 'task.output.weight'",),
         prepare=copied("classifier", without_a_tensor)),
    Case("another size", PREDICT, 65, ("model.safetensors: tensor ", "config.json asks for"),
         prepare=copied("classifier", edit("config.json", lambda c: json.loads(
             json.dumps(c).replace('"word_size": 64', '"word_size": 32'))))),
    Case("another tokenizer", "embed model {raw}", 65, ("tokenizer.json has characters with ", "config.json characters with "),
         prepare=copied("encoder", edit("tokenizer.json", fewer_words))),
    Case("no record", PREDICT, 65, ("record.json: is listed in the manifest and missing", "restore"),
         prepare=copied("classifier", lambda folder: (folder / "record.json").unlink(), sealed=False)),
    Case("no record, sealed", PREDICT, 65, ("manifest.json: does not list record.json",),
         prepare=copied("classifier", lambda folder: (folder / "record.json").unlink())),
    Case("configuration no JSON", PREDICT, 65, ("config.json:1: is not JSON",),
         prepare=copied("classifier", write("config.json", b"{'kind'"))),
    Case("labels no list", PREDICT, 65, ("labels.json: holds no list of labels",),
         prepare=copied("classifier", edit("labels.json", lambda labels: {"labels": 3}))),
    Case("a label too few", PREDICT, 65, ("model.safetensors: tensor 'task.output",),
         prepare=copied("classifier", edit("labels.json", lambda labels: {"labels": labels["labels"][1:]}))),
    Case("damaged encoder", TRAIN + " --encoder model --out new", 65, ("model.safetensors: is damaged",),
         prepare=copied("encoder", flip, sealed=False)),
    Case("damaged encoder to compare", "compare --task tag --train {tagged} --rungs frozen --encoder model --out new", 65,
         ("model.safetensors: is damaged",), prepare=copied("encoder", flip, sealed=False)),
    Case("another language model's weights", TRAIN + " --encoder model --out new", 65, ("held-out lines is ", "pretrain again"),
         prepare=copied("encoder", edit("record.json", lambda record: {
             **record, "heldout_check": {**record["heldout_check"], "forward_perplexity": 7.0}}))),
    Case("an encoder that is a task", TRAIN + " --encoder {tagger} --out new", 2, ("is a task model, not a pretrained",)),
    Case("an encoder that is a task, to compare", "compare --task tag --train {tagged} --rungs frozen --encoder {tagger} --out new",
         2, ("tagger", "give")),
    Case("predicting without a task", "predict {encoder} {raw}", 2, ("is a bidirectional language model, not a trained task", "carryover train")),
    Case("columns for a language model", "evaluate {encoder} --test {test} --label-column label", 2, ("--label-column is for a trained task",)),
    Case("a task to begin with", "pretrain --begin-with {tagger} --raw {raw} --out new", 2, ("is a task model, but pretraining can only begin",)),
    Case("nothing to begin with", "pretrain --begin-with nowhere --raw {raw} --out new", 66, ("nowhere: does not exist",)),
    Case("another size to begin with", "pretrain --begin-with {encoder} --raw {raw} --size small --out new", 2, ("size small has ", "leave --size out")),
    Case("embedding with a task", "embed {tagger} {raw}", 2, ("is a task model", "give the folder of a pretrained one")),
    Case("frozen without encoder", TRAIN + " --mode frozen --out new", 2, ("mode frozen needs a pretrained model", "--encoder")),
    Case("static without vectors", TRAIN + " --mode static --out new", 2, ("mode static needs word vectors", "--encoder")),
    Case("static from a language model", TRAIN + " --mode static --encoder {encoder} --out new", 2, ("no word vectors", "give")),
    Case("static from nowhere", TRAIN + " --mode static --encoder nowhere --out new", 66, ("nowhere",)),
    Case("scratch with encoder", TRAIN + " --mode scratch --encoder {encoder} --out new", 2, ("does not use --encoder",)),
    Case("missing encoder", TRAIN + " --encoder nowhere --out new", 66, ("nowhere: does not exist",)),
    Case("tables for a tagger", "evaluate {tagger} --test {test}", 65, ("test.tsv",)),
]  # fmt: skip

FOLDERS = [
    Case("a file where a folder must be", TRAIN + " --out x/new", 73, ("cannot write: Not a directory", "choose a place"), {"x": "file"}),
    Case("a file where the folder must be", TRAIN + " --out x", 73, ("x: cannot write", "choose a place"), {"x": "file"}),
    Case("a place nobody may write", TRAIN + " --out /proc/nowhere/new", 73, ("/proc/nowhere/new: cannot write",)),
    Case("pretraining into a file", f"pretrain --raw {{raw}} --out x {FEW}", 73, ("x: cannot write",), {"x": "file"}),
    Case("pretraining where nobody may write", f"pretrain --raw {{raw}} --out /proc/nowhere/new {FEW}", 73, ("/proc/nowhere/new",)),
    Case("comparing into a file", "compare --task tag --train {tagged} --rungs features --out x", 73, ("x: ",), {"x": "file"}),
    Case("comparing where nobody may write", "compare --task tag --train {tagged} --rungs features --out /proc/nowhere", 73,
         ("/proc/nowhere",)),
    Case("vectors into a file's inside", "embed {encoder} {raw} --out x/v.safetensors", 73, ("x/v.safetensors: cannot write",), {"x": "f"}),
    Case("vectors over a folder", "embed {encoder} {raw} --out v.safetensors", 73, ("v.safetensors: cannot write: Is a directory",),
         prepare=lambda shell, material: (shell.folder / "v.safetensors").mkdir()),
    Case("a name too long", TRAIN + f" --out {'n' * 300}", 73, ("cannot write: File name too long",)),
    Case("somebody else's folder", TRAIN + " --out other", 2, ("other: is not empty", "'thesis.tex'", "choose another folder"),
         prepare=lambda shell, material: ((shell.folder / "other").mkdir(), (shell.folder / "other/thesis.tex").write_text("x"))),
    Case("somebody else's folder for pretraining", f"pretrain --raw {{raw}} --out . {FEW}", 2, ("is not empty",), {"mine": "x"}),
    Case("somebody else's folder to compare", "compare --task tag --train {tagged} --rungs features --out .", 2, ("mine", "choose"),
         {"mine": "x"}),
    Case("rates that explode", TRAIN + " --learning-rate 1e30 --epochs 9 --out new -q", 3, ("not finite at update", "lower the learning rate"),
         may_leave=("new/run",)),
]  # fmt: skip


@pytest.mark.parametrize("case", MODELS + FOLDERS, ids=lambda case: case.name.replace(" ", "-"))
def test_refused_in_one_line(shell: Shell, material: Material, case: Case) -> None:
    refuse(shell, material, case)


RUNS = {
    "train": TRAIN + " --out new -q",
    "pretrain": f"pretrain --raw {{raw}} --out new {FEW}",
    "compare": "compare --task classify --train {train} --rungs features --budgets 8 --seeds 1 --jobs 1 --out new",
}


@pytest.mark.parametrize("verb", RUNS)
def test_a_busy_folder(shell: Shell, material: Material, verb: str) -> None:
    with storage.run_lock(shell.folder / "new"):
        refuse(shell, material, Case("busy", RUNS[verb], 75, ("new: is in use by process ", "choose another output folder")))


@pytest.mark.parametrize("verb", [*RUNS, "embed"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_full_disk(shell: Shell, material: Material, monkeypatch: pytest.MonkeyPatch, verb: str, number: int) -> None:
    """The n-th write and all that follow fail: no artefact, no temporary file, and with room again the same command works."""
    line = RUNS.get(verb, "embed {encoder} {raw} --out v.safetensors -q").format(**vars(material)).split()
    real, calls = primitive.write_some, []

    def full(file: Any, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) >= number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(primitive, "write_some", full)
        done = shell(*line)
    if len(calls) < number:
        assert done.code == 0, "fewer writes than that"
        return
    assert done.code == 74 and "Traceback" not in done.err
    (message,) = [text for text in done.err.splitlines() if text.startswith("carryover: ")]
    assert "No space left on device" in message and "MiB free; make room" in message
    assert not Path("new/model.safetensors").exists() and not Path("v.safetensors").exists()
    assert not [place for place in shell.folder.rglob("*") if storage.is_temporary(place)]
    assert shell(*line).code == 0


def test_other_settings_in_a_finished_folder(shell: Shell, material: Material) -> None:
    """Refused with both values, and the artefact stays as it was."""
    shutil.copytree(material.classifier, "copy")
    before = snapshot(shell.folder)
    line = f"train --task classify --train {material.train} --epochs 8 --out copy --hidden".split()
    done = shell(*line, 32)
    assert done.code == 2 and "copy: this run was started with hidden = 16, now it is 32; give 16 again" in done.err
    other = shell(*line[:4], material.test, *line[5:], 16)
    assert other.code == 2 and "train_content" in other.err
    assert snapshot(shell.folder) == before
    assert shell(*line, 16).code == 0


def test_another_encoder_in_a_finished_folder(shell: Shell, material: Material) -> None:
    shutil.copytree(material.tagger, "copy")
    assert shell("pretrain", "--raw", material.raw, "--out", "lm", "--seed", 9, *FEW_STEPS).code == 0
    line = f"train --task tag --train {material.tagged} --epochs 2 --hidden 8 --out copy --encoder".split()
    done = shell(*line, "lm")
    assert done.code == 2 and "encoder_content" in done.err
    shutil.copytree(material.encoder, "moved")
    assert shell(*line, "moved").code == 0, "the same model elsewhere is the same model"

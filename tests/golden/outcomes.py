"""What command lines come to on a small made language: losses, scores, predictions and documents that a change must keep.

After a change that is meant, write the files anew: `python tests/golden/outcomes.py [pretraining] …`; the difference of the
JSON files then shows every number and sentence that moved. Nothing here but the command line and the files it leaves.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import random
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Run = Callable[..., Any]
"""Runs one command line and gives its JSON document."""

# The made language: what a text is about shows in its noun and verb. The first nouns have stored vectors.
KINDS = {
    "farm": (
        ("cow", "barn", "field", "plough", "goat", "hay", "hen", "mill", "cart", "sheep"),
        ("sees", "likes", "grazes", "mows", "digs"),
    ),
    "sea": (
        ("boat", "wave", "gull", "port", "yacht", "sail", "tide", "crab", "reef", "mast"),
        ("finds", "hears", "sinks", "swims", "rows"),
    ),
}
PEOPLE, FAMILIES = ("Ann", "Bo", "Cid", "Zoë", "Eve"), ("Lee", "Ray", "Fox", "Oak")

PRETRAIN = (
    *("--raw", "raw.txt", "--size", "tiny", "--epochs", 1, "--batch-size", 2, "--vocabulary-size", 60),
    *("--learning-rate", 0.01, "--seed", 3, "--device", "cpu", "--precision", "float32"),
)
BILM = ("--objective", "bilm", "--steps", 5)
LM = ("--objective", "lm", "--steps", 5, "--input")
PRETRAINING: dict[str, tuple[object, ...]] = {
    "bilm, characters": (*BILM, "--input", "characters"),
    "bilm, characters, sampled": (*BILM, "--input", "characters", "--softmax", "sampled", "--samples", 24),
    "bilm, characters, adaptive": (*BILM, "--input", "characters", "--softmax", "adaptive"),
    "bilm, words": (*BILM, "--input", "words"),
    "bilm, words, as wide as kernels want": (
        *(*BILM, "--input", "words", "--cells", 512, "--width", 64, "--learning-rate", 0.001),
    ),
    "bilm, subwords": (*BILM, "--input", "subwords", "--vocabulary-size", 280, "--batch-size", 6),
    "lm, characters, lstm": (*LM, "characters", "--steps", 20),
    "lm, words, lstm": (*LM, "words", "--stack", "lstm"),
    "lm, words, lstm, untied": (*LM, "words", "--stack", "lstm", "--untied"),
    "lm, words, lstm, sampled": (*LM, "words", "--stack", "lstm", "--softmax", "sampled", "--samples", 24),
    "lm, words, lstm, adaptive": (*LM, "words", "--stack", "lstm", "--softmax", "adaptive"),
    "lm, words, gru": (*LM, "words", "--stack", "gru"),
    "lm, words, tcn": (*LM, "words", "--stack", "tcn"),
    "lm, words, transformer": (*LM, "words", "--stack", "transformer"),
    "lm, subwords with spaces, transformer": (
        *(*LM, "subwords", "--keep-spaces", "--stack", "transformer", "--vocabulary-size", 280, "--batch-size", 6),
    ),
}  # fmt: skip
WITH_KERNELS = (
    "bilm, words, as wide as kernels want",
    "lm, characters, lstm",
    "lm, words, lstm",
    "lm, words, gru",
    "lm, words, tcn",
)
"""Trained a second time without compiled kernels: some of each kind of network that has some."""

VECTORS = HERE / "artefacts" / "0.1.0" / "vectors"
ENCODER = (*PRETRAIN, *BILM, "--input", "characters", "--batch-size", 4)
DATA = {"classify": ("train.tsv", "test.tsv"), "tag": ("train.conll", "test.conll")}
MODES: dict[str, tuple[object, ...]] = {
    "scratch": ("--mode", "scratch"),
    "static": ("--mode", "static", "--encoder", VECTORS),
    "static, tuned": ("--mode", "static", "--encoder", VECTORS, "--tune-vectors"),
    "frozen": ("--mode", "frozen", "--encoder", "lm"),
    "frozen, output": ("--mode", "frozen", "--encoder", "lm", "--elmo-placement", "both", "--mix-l2", 0.01),
    "head": ("--mode", "head", "--encoder", "lm"),
    "top-1": ("--mode", "top-k", "--top", 1, "--encoder", "lm"),
    "full": ("--mode", "full", "--encoder", "lm"),
}
EXTRA: dict[str, dict[str, tuple[object, ...]]] = {
    "classify": {"frozen": ("--class-weights", "balanced")},
    "tag": {"head": ("--output", "softmax"), "static": ("--output", "softmax")},
}
"""Options beside the mode, so that each output layer and weighting is met."""


def write_material(folder: Path) -> None:
    """raw.txt, and train and test as .tsv and .conll."""
    chosen = random.Random(5)

    def text(kind: str) -> list[str]:
        nouns, verbs = KINDS[kind]
        return [*chosen.choice(([], ["the"])), chosen.choice(nouns), *chosen.choice(([], [chosen.choice(verbs)]))]

    def sentence(kind: str) -> list[tuple[str, str]]:
        nouns, verbs = KINDS[kind]
        person = [(chosen.choice(PEOPLE), "B-PER"), *chosen.choice(([], [(chosen.choice(FAMILIES), "I-PER")]))]
        return [*person, (chosen.choice(verbs), "O"), ("the", "O"), (chosen.choice(nouns), f"B-{kind.upper()}")]

    def kind() -> str:
        return chosen.choice(list(KINDS))

    lines = [text(kind()) if chosen.random() < 0.5 else [word for word, _ in sentence(kind())] for _ in range(150)]
    (folder / "raw.txt").write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8")
    for part, examples in (("train", 40), ("test", 50)):
        kinds = [kind() for _ in range(examples)]
        rows = [" ".join(text(one)) + "\t" + (one if chosen.random() < 0.95 else "sea") for one in kinds]
        (folder / f"{part}.tsv").write_text("text\tlabel\n" + "".join(row + "\n" for row in rows), encoding="utf-8")
        tagged = ["".join(f"{word}\t{tag}\n" for word, tag in sentence(one)) for one in kinds]
        (folder / f"{part}.conll").write_text("\n".join(tagged), encoding="utf-8")


def pretraining(run: Run, name: str) -> dict[str, Any]:
    """What the metrics log of one pretraining says, and what the model scores after loading."""
    write_material(Path())
    out = Path("pretrained")
    run("pretrain", "--out", out, *PRETRAIN, *PRETRAINING[name])
    evaluated = run("evaluate", out, "--test", "raw.txt", "--device", "cpu")
    log = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    kept = {key: record[key] for key in ("held_out", "heldout_check", "parameters", "steps", "tokens")}
    return shown({"log": log, "record": kept, "evaluated": evaluated})


def fitting(run: Run, task: str) -> dict[str, Any]:
    """For each mode the loss and score of every epoch, the proof, and what the model predicts."""
    write_material(Path())
    run("pretrain", "--out", "lm", *ENCODER)
    train, test = DATA[task]
    found = {}
    for name, mode in MODES.items():
        out = Path(name)
        lines: tuple[object, ...] = ("--train", train, "--dev", test, "--hidden", 8, "--epochs", 12, "--seed", 2)
        extra = (*EXTRA[task].get(name, ()), "--device", "cpu")
        record = run("train", "--task", task, *lines, *mode, *extra, "--out", out)["record"]
        kept = {key: record[key] for key in ("history", "proof", "mix", "dev_score", "parameters", "trainable", "epochs")}
        kept |= {key: record[key] for key in ("updates", "kept_update", "stopped_by")}
        predicted = run("predict", out, test, "--probabilities", "--device", "cpu")["predictions"][:20]
        found[name] = shown({"record": kept, "predictions": predicted})
    return found


def asking(run: Run, task: str) -> dict[str, Any]:
    """Documents of doctor, and of evaluate and predict by one small model."""
    write_material(Path())
    train, test = DATA[task]
    plan: tuple[object, ...] = ("--mode", "scratch", "--hidden", 8, "--epochs", 25, "--learning-rate", 0.02)
    run("train", "--task", task, "--train", train, *plan, "--out", "model", "--device", "cpu")
    return {
        "doctor": shown(run("doctor", "--task", task, "--raw", "raw.txt", "--train", train, "--dev", train, "--test", test)),
        "evaluate": shown(run("evaluate", "model", "--test", test, "--device", "cpu")),
        "predict": shown(run("predict", "model", "raw.txt", "--device", "cpu"))["predictions"][:25],
    }


COMPARE = (
    *("--raw", "raw.txt", "--size", "tiny", "--rungs", "features,static,scratch,frozen,full", "--budgets", "16,all"),
    *("--seeds", 2, "--jobs", 1, "--device", "cpu", "--quiet"),
)
AGAIN = {"classify": ("features-16-0", "static-16-1", "frozen-16-0"), "tag": ("features-all-1", "scratch-16-0", "full-16-1")}
"""Cells that the comparison runs anew; it finds the others stored, as a comparison that is continued does."""


def comparing(run: Run, task: str, cells: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document of a comparison, and its stored cells; those of `cells` that are not run again are found there."""
    write_material(Path())
    train, test = DATA[task]
    out = Path("comparison")
    for name, content in (cells or {}).items():
        if Path(name).parent.name not in AGAIN[task]:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(zlib.decompress(base64.b85decode(content)))
    document = run("compare", "--task", task, "--train", train, "--test", test, *COMPARE, "--out", out)
    files = [out / "plan.json", *sorted((out / "cells").glob("*/*"))]
    kept = {str(file.relative_to(out)): base64.b85encode(zlib.compress(file.read_bytes(), 9)).decode() for file in files}
    return shown(document), kept


_MEASURED = {
    *("seconds", "pretraining_seconds", "prediction_milliseconds", "peak_memory_mib", "versions", "command"),
    *("folder", "report", "predictions_file", "identity", "fingerprint"),
}
_TIMES = re.compile(r"\d[\d.,]* (ms|s|min|h)\b( \d+ (s|min)\b)*")


def shown(value: Any) -> Any:
    """A document without times, memory, versions and paths; floats to 8 digits."""
    if isinstance(value, dict):
        return {key: shown(one) for key, one in value.items() if key not in _MEASURED}
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.8g}")
    return _TIMES.sub("…", value) if isinstance(value, str) else value


def differences(found: Any, golden: Any, *, relative: float, absolute: float = 0.0, place: str = "") -> list[str]:
    """One line for each place where two documents disagree; floats may by a tolerance, nothing else."""
    if isinstance(golden, float) and isinstance(found, float):
        if math.isclose(found, golden, rel_tol=relative, abs_tol=absolute):
            return []
    elif isinstance(golden, dict) and isinstance(found, dict):
        lines = [f"{place}/{key}: is new" for key in found if key not in golden]
        lines += [f"{place}/{key}: is missing" for key in golden if key not in found]
        both = [key for key in golden if key in found]
        kinds = {"relative": relative, "absolute": absolute}
        return lines + [
            line for key in both for line in differences(found[key], golden[key], **kinds, place=f"{place}/{key}")
        ]
    elif isinstance(golden, list) and isinstance(found, list) and len(found) == len(golden):
        pairs = {str(number): pair for number, pair in enumerate(zip(found, golden, strict=True))}
        return [
            line
            for number, (ours, theirs) in pairs.items()
            for line in differences(ours, theirs, relative=relative, absolute=absolute, place=f"{place}/{number}")
        ]
    elif found == golden and type(found) is type(golden):
        return []
    return [
        f"{place}: {json.dumps(found, ensure_ascii=False)}, the golden file says {json.dumps(golden, ensure_ascii=False)}"
    ]


def stored(part: str) -> Any:
    """The golden file of a part."""
    return json.loads(_file(part).read_text(encoding="utf-8"))


def _file(part: str) -> Path:
    return HERE / f"{part}.json"


PARTS: dict[str, Callable[[Run], Any]] = {
    "pretraining": lambda run: {name: _elsewhere(pretraining, run, name) for name in PRETRAINING},
    "fitting": lambda run: {task: _elsewhere(fitting, run, task) for task in DATA},
    "comparing": lambda run: {task: _elsewhere(_compared_anew, run, task) for task in DATA},
    "asking": lambda run: {task: _elsewhere(asking, run, task) for task in DATA},
}


def _compared_anew(run: Run, task: str) -> dict[str, Any]:
    document, cells = comparing(run, task, None)
    return {"document": document, "cells": cells}


def _elsewhere(make: Callable[[Run, str], Any], run: Run, name: str) -> Any:
    """`make` in an empty working folder."""
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        return make(run, name)


def _run(*words: object) -> Any:
    """A command line in this process. Raises RuntimeError when it does not end well."""
    from carryover.cli.main import run_command

    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = run_command([str(word) for word in (*words, "--json")])
    if code:
        raise RuntimeError(f"exit code {code}: {said.getvalue()}")
    return json.loads(printed.getvalue())


def _written(value: Any, depth: int = 2) -> Iterator[str]:
    """JSON with one line a value of the outer levels, so that differences can be read."""
    if isinstance(value, dict) and depth:
        for number, (key, one) in enumerate(value.items()):
            yield ("{" if not number else ",") + "\n" + json.dumps(key, ensure_ascii=False) + ": "
            yield from _written(one, depth - 1)
        yield "\n}"
    else:
        yield json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main(wanted: list[str]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ["CARRYOVER_CONFIG"] = "no-such-file.toml"
    for part in wanted or PARTS:
        _file(part).write_text("".join(_written(PARTS[part](_run))) + "\n", encoding="utf-8")
        print(f"wrote {_file(part)}")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main(sys.argv[1:])

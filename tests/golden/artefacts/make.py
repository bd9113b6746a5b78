"""Tiny artefacts of every kind, as this version writes them, with what it answers by them: later versions must load these.

Before a release: `python tests/golden/artefacts/make.py` writes the folder of its version. Those of earlier versions stay.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SENTENCES = [["the", "boat", "sees", "Ann", "Lee"], ["Zoë"], [], ["a", "plough", "under", "the", "gull", "1917"]]
PROMPTS = ["the boat", "", "Zoë"]
WORDS = ["boat", "cow", "sees"]


def answers(folder: Path, kind: str) -> Any:
    """What the artefact of a kind answers to fixed questions, as JSON."""
    import torch

    import carryover
    from carryover.embeddings.vectors import WordVectors
    from carryover.sequence import Sequence

    if kind == "vectors":
        vectors = WordVectors.load(folder)
        rows = [vectors.array[vectors.vocabulary.id(word)].tolist() for word in WORDS]
        return {"rows": rows, "nearest": [[word for word, _ in vectors.nearest(one, 3)] for one in WORDS]}
    loaded = carryover.load(folder)
    if kind == "bilm":
        return [vectors.tolist() for vectors in loaded.embed(SENTENCES)]
    if kind == "lm":
        texts = [loaded.generate(prompt, max_tokens=8, seed=3) for prompt in PROMPTS]
        ids = [Sequence.of(torch.tensor([loaded.encode(prompt).ids])) for prompt in PROMPTS]
        scores = [loaded.model(one).values[0, -1].tolist() for one in ids]
        return {"texts": [[one.text, one.log_probability] for one in texts], "scores": scores}
    found = loaded.predictions([sentence for sentence in SENTENCES if sentence])
    return [{"labels": list(one.labels), "probabilities": one.probabilities.tolist()} for one in found]


def make(target: Path) -> None:
    """Train everything anew into `target`."""
    import torch

    from carryover.embeddings.vectors import WordVectors
    from carryover.encoders.loading import load
    from carryover.pretraining.pretrain import pretrain
    from carryover.transfer.fit import CarryPlan, FitSettings, fit_task
    from pretraining.tiny_text import tiny, write_text
    from task_material import examples, word_vectors

    torch.set_num_threads(1)
    text = write_text(Path("text.txt"), lines=40)
    stack = {"size": 8, "cells": 10, "layers": 2, "heads": 2, "horizon": 8}
    pretrained: dict[str, dict[str, Any]] = {
        "bilm-characters": {"epochs": 1},
        "bilm-words": {"epochs": 1, "input": "words", "model": {"cells": 8, "projection": 4, "softmax": "adaptive"}},
        "lm-lstm-characters": {"objective": "lm", "input": "characters", "epochs": 1, "model": stack},
        "lm-transformer-words": {
            "objective": "lm", "input": "words", "epochs": 1, "model": {**stack, "stack": "transformer"},
        },
    }  # fmt: skip
    for name, changes in pretrained.items():
        pretrain(tiny(text, **changes), Path(name), quiet=True)
    encoder = load(Path("bilm-characters"))
    settings = FitSettings(least_updates=20, epochs=1, hidden=4, word_size=4, filters=((2, 4),))
    for kind, mode in (("classify", "frozen"), ("classify", "static"), ("tag", "scratch"), ("tag", "full")):
        fitted = fit_task(
            kind,
            examples(kind, 20),
            examples(kind, 6, seed=1),
            plan=CarryPlan(mode=mode),
            encoder=encoder,
            vectors=word_vectors(),
            settings=settings,
        )
        fitted.predictor.save(Path(f"task-{kind}-{mode}"))
    vocabulary, array = word_vectors()
    WordVectors(vocabulary, array).save(Path("vectors"))
    for folder in sorted(place for place in Path().iterdir() if place.is_dir()):
        shutil.copytree(folder, target / folder.name, ignore=shutil.ignore_patterns("run", ".*"))


def main() -> None:
    sys.path.insert(0, str(HERE.parent.parent))
    import carryover

    target = HERE / carryover.__version__
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)  # relative paths only: they stand in the records
        make(target)
        os.chdir(HERE)
    found = {folder.name: answers(folder, folder.name.split("-")[0]) for folder in sorted(target.iterdir())}
    (target / "answers.json").write_text(json.dumps(found, indent=None, separators=(",", ":"), ensure_ascii=False) + "\n")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()

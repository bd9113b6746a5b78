"""Load poisoned artefacts under an audit hook and report what they did. A program of its own: a hook stays for ever.

python load_poisoned.py SOUND_ARTEFACTS FOLDER SHARE, the first with a folder for each kind of artefact. One poison in SHARE is
tried on each, by turns, so that every one is tried on several kinds.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

import carryover
from carryover.data.examples import Text
from carryover.embeddings.vectors import WordVectors
from carryover.encoders.proof import measure_again
from carryover.errors import CarryoverError
from carryover.pretraining.evaluation import measured_as_in_training
from carryover.pretraining.initial_model import read_initial_model
from carryover.storage.artefact import load_artefact
from carryover.transfer.predictions import trained_columns
from carryover.transfer.predictor import task_card
from faults.poisons import MARK, poisons, poisons_of

FORBIDDEN = ("pickle.find_class", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "socket.",
             "exec", "compile", "marshal.load", "ctypes.dlopen", "urllib.", "shutil.", "os.remove", "os.rename", "os.chmod",
             "code.__new__", "webbrowser.")  # fmt: skip


class Watch:
    """Notes forbidden events, and files opened outside of the folder under test, while it is on."""

    def __init__(self, folder: Path) -> None:
        self.allowed = (str(folder), sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"])
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {str(arguments)[:100]}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, mode = os.fsdecode(arguments[0]), arguments[1]
            inside = os.path.realpath(path).startswith(self.allowed)
            if not inside or (mode and set(str(mode)) & set("wax+")):
                self.seen.append(f"open {path} {mode}")


def use(folder: Path) -> None:
    """Load and use what is in the folder, as all commands and classes do that are given one."""
    if (folder / "vectors.safetensors").exists():
        vectors = WordVectors.load(folder)
        vectors.nearest(vectors.vocabulary.tokens[-1])
        return
    found = carryover.load(folder)
    if hasattr(found, "task"):
        trained_columns(found)
        if hasattr(found, "coder"):
            task_card(found)
        words = [["the", "boat"], [], ["Zoë"] * 70]
        texts = hasattr(found, "weights") and Text in found.task.reads  # of hand-made features: they read text whole
        for one in found.predictions([" ".join(one) for one in words] if texts else words):
            assert np.isfinite(one.probabilities).all(), "a probability is not finite"
        return
    start = read_initial_model(folder)
    measured_as_in_training(start.record)
    if hasattr(found, "embed"):
        assert all(bool(vectors.isfinite().all()) for vectors in found.embed([["the", "boat"], [], ["Zoë"] * 70]))
        if start.predicts:
            measure_again(found, found)
    else:
        assert np.isfinite(found.generate("the", max_tokens=3).log_probability)


def main() -> None:
    sound, folder, share = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    kinds = sorted(place for place in sound.iterdir() if place.is_dir())
    for kind in kinds:
        use(kind)  # whatever is imported, compiled or built on first use is there before anybody watches
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = 8 << 30  # a poison that makes the loader ask for more is found as a MemoryError
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    watch = Watch(folder)
    problems: list[str] = []
    outcomes: dict[str, str] = {}
    for turn, kind in enumerate(kinds):
        for number, (poisoned, poison) in enumerate([*poisons(), *poisons_of(kind)]):
            if (number + turn) % share:
                continue
            name = f"{kind.name}: {poisoned}"
            place = folder / f"{kind.name}-{number}"
            shutil.copytree(kind, place, ignore=shutil.ignore_patterns("run"))
            try:
                poison(place)
            except (CarryoverError, OSError, KeyError, IndexError, TypeError, RuntimeError):
                continue  # this artefact has no such part
            problems += attempt(name, place, watch, outcomes)
            shutil.rmtree(place)
    if Path(MARK).exists() or list(folder.rglob(MARK)):
        problems.append("a poison ran")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(json.dumps({"problems": problems[:40], "outcomes": outcomes, "grown_mib": grown}))


def attempt(name: str, place: Path, watch: Watch, outcomes: dict[str, str]) -> list[str]:
    """What went wrong when the poisoned artefact was loaded and used."""
    problems = []
    for entry in (load_artefact, use) if (place / "config.json").exists() else (use,):
        signal.alarm(20)
        watch.on = True
        try:
            entry(place)
            outcomes[name] = "loaded"
        except CarryoverError as error:
            outcomes[name] = str(error)
            if "\n" in str(error) or len(str(error)) > 1500:
                problems.append(f"{name}: a message of {len(str(error))} characters")
        except BaseException:
            problems.append(f"{name}: {traceback.format_exc(limit=-3)}")
        finally:
            watch.on = False
            signal.alarm(0)
    problems += [f"{name}: {event}" for event in watch.seen[:2]]
    watch.seen.clear()
    return problems


if __name__ == "__main__":
    main()

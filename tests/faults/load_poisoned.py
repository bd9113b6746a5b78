"""Load every poisoned artefact under an audit hook and report what it did. A program of its own: a hook stays for ever.

python load_poisoned.py SOUND_ARTEFACT FOLDER
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

import torch

import carryover
import carryover.training.fitting.task_model
from carryover.errors import CarryoverError
from carryover.training.artefact import load_artefact
from faults.poisons import MARK, poisons

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


def main() -> None:
    sound, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    carryover.load(sound).embed([["warm", "up"]])
    limit = 8 << 30  # a poison that makes the loader ask for more is found as a MemoryError
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    watch = Watch(folder)
    problems: list[str] = []
    outcomes: dict[str, str] = {}
    for number, (name, poison) in enumerate(poisons()):
        place = folder / f"poisoned{number}"
        shutil.copytree(sound, place, ignore=shutil.ignore_patterns("run"))
        poison(place)
        for entry in (load_artefact, carryover.load):
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
        problems += [f"{name}: {event}" for event in watch.seen]
        watch.seen.clear()
    if Path(MARK).exists() or list(folder.rglob(MARK)):
        problems.append("a poison ran")
    print(json.dumps({"problems": problems[:20], "outcomes": outcomes}))


if __name__ == "__main__":
    main()

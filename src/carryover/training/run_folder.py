"""The folder of a run: its lock, the settings it was started with, the metrics log, checkpoints, best models.

```
out/                  the artefact, once there is one (see `artefact`)
out/report.html       curves of the run, drawn from the logs (see `report`)
out/run/settings.json resolved settings; the same command continues, another is refused
out/run/metrics.jsonl one line a measurement; a function of data, settings and seed, so it holds no times
out/run/times.jsonl   when, how long and how fast
out/run/checkpoints/  the newest two
out/run/best/         the best models that these refer to
```
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from carryover import storage
from carryover.data.builtin import is_earlier_fingerprint
from carryover.errors import BadData, CannotWrite, CarryoverError, InputMissing, UsageError
from carryover.progress import say
from carryover.training.checkpoint import checkpoint_folders

SCHEMA = "carryover.run/1"
REPORTS = ("report.html", "find-rate.html", "find-rate.json")
"""What may lie in the folder of a run besides, and is written anew."""


class RunFolder:
    """Paths and files of one run. Use `open_run`, which holds the lock."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.run = out / "run"
        self.settings_file = self.run / "settings.json"
        self.metrics_file = self.run / "metrics.jsonl"
        self.times_file = self.run / "times.jsonl"
        self.checkpoints = self.run / "checkpoints"
        self.best = self.run / "best"

    def best_model(self, step: int) -> Path:
        """Where the model of a step is kept if it was the best so far."""
        return self.best / f"step-{step:09d}"

    def check_settings(
        self,
        settings: Mapping[str, Any],
        *,
        may_grow: tuple[str, ...] = (),
        may_differ: tuple[str, ...] = (),
        warn_if_differ: tuple[str, ...] = (),
        content: Mapping[str, str] | None = None,
        repair: str | None = None,
        finished: bool = False,
    ) -> bool:
        """Store the settings of a new run (False), or compare them with those it was started with (True: it continues).

        Settings named in `may_grow` may be larger than before (None is without limit), those in `may_differ` may be anything,
        and for those in `warn_if_differ` a change is only pointed out. `content` names the fingerprints among them, each with
        the setting that says where its text is: one of built-in text that an earlier version stored is taken for the same.
        Raises UsageError naming the first other one that differs, with both values and `repair`, or how to give the old one
        again. A run that has saved no checkpoint yet begins anew with whatever it is given, unless it is `finished`: then the
        model that it made keeps its settings.
        """
        wanted = json.loads(json.dumps(settings))
        if not checkpoint_folders(self.checkpoints) and not (finished and self.settings_file.exists()):
            if not self._is_stored(wanted):
                self.discard()
                self._store(wanted)
            return False
        stored = storage.read_json(self.settings_file)
        before = stored.get("settings") if isinstance(stored, dict) else None
        if not isinstance(before, dict) or stored.get("schema") != SCHEMA:
            raise UsageError(
                "does not hold the settings of a run of this version",
                path=self.settings_file,
                repair="choose another folder",
            )
        for name in sorted(set(before) | set(wanted)):
            old, new = before.get(name), wanted.get(name)
            if name in may_differ or old == new:
                continue
            if name in may_grow and old is not None and (new is None or new > old):
                continue
            source = (content or {}).get(name)
            if source and before.get(source) == wanted.get(source) and is_earlier_fingerprint(old, new):
                say(f"an earlier version started this run; carryover assumes that {wanted[source]} is still the same text")
                continue
            if name in warn_if_differ:
                say(f"this run was started with {name} = {json.dumps(old)}, now it is {json.dumps(new)}: digits may differ")
                continue
            raise UsageError(
                f"this run was started with {name} = {json.dumps(old)}, now it is {json.dumps(new)}",
                path=self.out,
                repair=repair
                or ("leave it out" if old is None else f"give {json.dumps(old)} again")
                + " to continue, or choose another output folder",
            )
        if before != wanted:
            self._store(wanted)
        return True

    def _is_stored(self, wanted: dict[str, Any]) -> bool:
        try:
            return bool(storage.read_json(self.settings_file) == {"schema": SCHEMA, "settings": wanted})
        except CarryoverError:
            return False

    def check_present(self) -> None:
        """Raise CannotWrite when the run was removed meanwhile: what is written now could not be continued."""
        if not self.settings_file.is_file():
            self.discard()
            raise _removed(self.run)

    def discard(self) -> None:
        """Remove everything of the run, its page too."""
        (self.out / REPORTS[0]).unlink(missing_ok=True)
        if self.run.exists():
            storage.remove_folder(self.run)

    def _store(self, settings: dict[str, Any]) -> None:
        storage.atomic_write(
            self.settings_file, json.dumps({"schema": SCHEMA, "settings": settings}, indent=1, sort_keys=True)
        )

    def note_time(self, **entries: Any) -> None:
        """Append to the times log; nothing reads it but people."""
        with storage.writing(self.times_file), self.times_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entries) + "\n")


def _removed(run: Path) -> CannotWrite:
    return CannotWrite(
        "was removed during the run", path=run, repair="run the same command again and leave the folder in place"
    )


class MetricsLog:
    """A file of JSON lines that is cut back to where a checkpoint knew it to end."""

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        with storage.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("ab", buffering=0)
            if self._file.tell() < length:
                say(f"{path} is shorter than it was at the checkpoint: earlier measurements are missing from it")
            else:
                self._file.truncate(length)

    def add(self, **entries: Any) -> None:
        """Append one line. Raises DiskFault."""
        line = (json.dumps(entries) + "\n").encode()
        with storage.writing(self.path, len(line)):
            storage.write_all(self._file, line)

    def length(self) -> int:
        """Bytes so far, on the disk when this returns. Raises CannotWrite when the file was removed meanwhile."""
        if not self.path.exists():
            raise _removed(self.path.parent)
        with storage.writing(self.path):
            storage.flush(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


@contextmanager
def follow_run(out: Path) -> Iterator[RunFolder]:
    """The folder of a run that another process of the same run holds: to read from, never to write to."""
    yield RunFolder(Path(out).resolve())


@contextmanager
def open_run(out: Path, may_hold: Callable[[Path], bool] = lambda place: False) -> Iterator[RunFolder]:
    """The folder of a run, held for this process alone.

    Raises UsageError when `out` holds other people's files (an entry that is neither a run's nor allowed by `may_hold`),
    Busy when another process has it, CannotWrite when it cannot be made.
    """
    out = Path(out).resolve()
    folder = RunFolder(out)
    with storage.writing(out):
        exists = out.is_dir()
    try:
        with storage.run_lock(out):
            _check_free(folder, may_hold)  # by whoever holds the folder: another writer's half-done work looks strange
            storage.sweep(out)
            storage.sweep(folder.run)
            try:
                yield folder
            except (BadData, InputMissing, UsageError):
                if not checkpoint_folders(folder.checkpoints):
                    folder.discard()  # the input was wrong, so the run left nothing
                raise
    except BaseException:
        if not exists:
            with suppress(OSError):
                out.rmdir()  # only goes when nothing is in it
        raise


def _check_free(folder: RunFolder, may_hold: Callable[[Path], bool]) -> None:
    """Raise UsageError for a folder that is no run's and holds something else."""
    if folder.settings_file.exists():
        return
    for place in sorted(folder.out.iterdir()):
        if place.name not in (storage.LOCK, "run", *REPORTS) and not may_hold(place) and not storage.is_temporary(place):
            raise UsageError(
                f"is not empty and not the folder of a run: it holds {place.name!r}",
                path=folder.out,
                repair="choose another folder",
            )

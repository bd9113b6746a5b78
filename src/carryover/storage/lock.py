"""One run a folder: a lock that dies with its process."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from carryover.errors import Busy
from carryover.storage.faults import writing
from carryover.storage.files import alive

LOCK = ".lock"
_held: dict[str, tuple[int, int]] = {}
"""Folders locked here by their real paths, and by which process and thread. A forked child inherits the table, not the locks."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone. Raises Busy naming host and process; a lock whose holder died is taken over.

    The operating system drops the lock with the process (flock), so a SIGKILL leaves nothing to clear; the file's content
    only serves the message. Where there is no flock the process id on the same host decides.
    """
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(folder / LOCK)
    try:
        _held[os.path.realpath(folder)] = (os.getpid(), threading.get_ident())
        with writing(folder):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode(), 0)
        yield
    finally:
        _held.pop(os.path.realpath(folder), None)
        with suppress(OSError):  # where the folder was removed meanwhile, the name may be another holder's
            if (folder / LOCK).stat().st_ino == os.fstat(descriptor).st_ino:
                (folder / LOCK).unlink()
        os.close(descriptor)


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """`run_lock` for a single write: nothing more where this thread holds the folder already, for the run that it writes for."""
    if _held.get(os.path.realpath(folder)) == (os.getpid(), threading.get_ident()):
        yield
        return
    with run_lock(folder):
        yield


def _acquire(path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # a holder that ends may take the empty folder away
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        if not _flock(descriptor):
            try:
                holder = json.loads(os.pread(descriptor, 4096, 0))
                who = f"process {holder['process']} on host {holder['host']}"
            except (ValueError, KeyError, TypeError):
                who = "another process"
            os.close(descriptor)
            raise Busy(
                f"is in use by {who}", path=path.parent, repair="wait for it, stop it, or choose another output folder"
            )
        # Between opening and locking, the holder may have removed the file: then the lock is on nothing.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        try:
            holder = json.loads(os.pread(descriptor, 4096, 0))
            return holder["host"] == socket.gethostname() and not alive(int(holder["process"]))
        except (ValueError, KeyError, TypeError):
            return True

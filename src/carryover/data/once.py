"""A cached folder that many processes may want at once and one builds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from carryover.errors import BadData, Busy, InputMissing
from carryover.storage import run_lock, verify_manifest

_SECONDS_BETWEEN_LOOKS = 0.05


def build_once(folder: Path, build: Callable[[Path], object]) -> None:
    """Make sure that `folder` is there and whole: its manifest holds for every byte.

    When it is absent or damaged, one process calls `build(folder)`, which must put it in place with `atomic_folder`; all
    others wait for it. If the builder dies, its lock dies with it and one of the waiting takes over.
    """
    while not is_whole(folder):
        try:
            with run_lock(folder.parent / "locks" / folder.name):
                if not is_whole(folder):  # another may have finished between our look and our lock
                    build(folder)
        except Busy:
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def is_whole(folder: Path) -> bool:
    """Whether the folder is there and no byte of it has changed since it was built."""
    try:
        verify_manifest(folder)
    except (InputMissing, BadData):
        return False
    return True

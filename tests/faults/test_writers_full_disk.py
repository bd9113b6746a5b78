"""Every writer on a disk that is really full, whichever library it writes with: 74 and one line, nothing left, no crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import fill_disk

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.name == "nt", reason="limits of the system")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a MiB. Mounting one takes rights that not everybody has."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no right to mount a small file system ({mounted.stderr.strip()}); the size limit is tested")
    yield place
    subprocess.run(["umount", place], check=True)


def attempts(kind: str, place: Path, material: Path, how: str) -> list[tuple[int, int, str, list[str]]]:
    material.mkdir()
    program = [sys.executable, "-W", "error", fill_disk.__file__, kind, str(place), str(material), how]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stderr == "", (done.returncode, done.stderr[-2000:])
    return [tuple(row) for row in json.loads(done.stdout)]


@pytest.mark.parametrize("kind", fill_disk.KINDS)
def test_a_limit_on_the_size_of_files(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for room, code, said, left in attempts(kind, place, tmp_path / "material", "limit"):
        assert code == 74 and said.startswith(str(place / "out")) and "File too large" in said and "ulimit -f" in said, (
            room,
            said,
        )
        assert "\n" not in said and left == [], (room, left)


@pytest.mark.parametrize("kind", fill_disk.KINDS)
def test_a_disk_that_is_full(small_disk: Path, tmp_path: Path, kind: str) -> None:
    for room, code, said, left in attempts(kind, small_disk, tmp_path / "material", "disk"):
        assert code == 74 and "No space left on device" in said and "MiB free; make room there" in said, (room, said)
        assert "\n" not in said and left == [], (room, left)

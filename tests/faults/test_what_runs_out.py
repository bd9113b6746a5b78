"""What runs out is said: closed and full streams, memory, open files, a working folder that was removed. Real limits, one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carryover.errors import BadData, CannotWrite, InputMissing, exhausted
from carryover.storage import writing
from command_line import Material

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.name == "nt", reason="a shell and limits of the system")]
PROGRAM = f"{sys.executable} -m carryover"


def ended(command: str, folder: Path) -> tuple[int, list[str]]:
    """Exit code and lines on standard error of what a shell makes of `command`."""
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, capture_output=True, text=True, timeout=100)
    assert "unexpected" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    "line", ["", "--help", "train --help", "version", "version --json", "doctor --raw builtin:grammar?raw=500"]
)
def test_a_reader_that_has_left_is_no_error(tmp_path: Path, line: str) -> None:
    assert ended(f"{PROGRAM} {line} 2>&1 >pipe | true; true", tmp_path)[0] == 0
    code, said = ended(f"{PROGRAM} {line} | true", tmp_path)
    assert code == 0 and not [one for one in said if not one.startswith("next: ")], said


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("version >&-", 73, "carryover: standard output is closed; send it to a file, a pipe or /dev/null"),
        (">&-", 73, "carryover: standard output is closed; send it to a file, a pipe or /dev/null"),
        ("version <&- >&- 2>&-", 73, None),
        ("version <&-", 0, None),
        ("version 2>&-", 0, None),
        ("doctor --raw builtin:grammar?raw=500 2>&-", 0, None),
        ("doctor --raw none.txt 2>&-", 66, None),
        ("doctor --raw none.txt 2>/dev/full", 66, None),
        ("version >/dev/full", 74, "carryover: standard output: writing failed: No space left on device; make room where it goes, then run again"),
        (">/dev/full", 74, "carryover: standard output: writing failed: No space left on device; make room where it goes, then run again"),
        ("doctor --raw - <&-", 66, "carryover: -: standard input is closed; give a file, or text on standard input"),
    ],
)  # fmt: skip
def test_closed_and_full_streams(tmp_path: Path, command: str, code: int, said: str | None) -> None:
    assert ended(f"{PROGRAM} {command}", tmp_path) == (code, [] if said is None else [said])


@pytest.mark.parametrize("line", ["", "version", "doctor --raw x.txt"])
def test_a_working_folder_that_was_removed(tmp_path: Path, line: str) -> None:
    code, said = ended(f"mkdir gone; cd gone; rmdir ../gone; {PROGRAM} {line}", tmp_path)
    assert (code, said) == (66, ["carryover: the working folder no longer exists; change to a folder that does (cd)"])


@pytest.mark.parametrize("mebibytes", [250, 500, 700, 820, 1000])
def test_memory(material: Material, tmp_path: Path, mebibytes: int) -> None:
    """From PyTorch that cannot be loaded to a model that just fits."""
    command = f"ulimit -v {mebibytes << 10}; {PROGRAM} embed {material.encoder} {material.raw} --out v.npz -q"
    code, said = ended(command, tmp_path)
    if code or mebibytes < 800:  # below that the command is refused before anything is loaded
        assert code == 69 and len(said) == 1 and said[0].startswith("carryover: ") and "(ulimit -v)" in said[0], said
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("files", [5, 6, 7])
def test_open_files(material: Material, tmp_path: Path, files: int) -> None:
    command = f"ulimit -n {files}; {PROGRAM} embed {material.encoder} {material.raw} --out v.npz -q"
    code, said = ended(command, tmp_path)
    if code or files < 7:  # with seven the model may just be opened
        assert code == 69 and len(said) == 1 and f"the limit is {files}" in said[0] and "ulimit -n 4096" in said[0], said


class OutOfMemoryError(RuntimeError):
    """As PyTorch's."""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "not enough memory"),
        (MemoryError("Unable to allocate 3.1 GiB for an array"), "not enough memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to"), "not enough memory"),
        (RuntimeError("std::bad_alloc"), "not enough memory"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), "not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "not enough memory"),
        (OSError(errno.EMFILE, "Too many open files"), "no more files can be opened"),
        (RuntimeError("unable to open shared memory object: Too many open files (24)"), "no more files can be opened"),
        (RuntimeError("can't start new thread"), "no more threads"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no more threads"),
    ],
)  # fmt: skip
def test_what_ran_out_is_told_from_the_error_or_its_cause(error: Exception, says: str) -> None:
    spent = exhausted(error)
    assert spent is not None and spent.exit_code == 69 and says in str(spent) and ";" in str(spent)
    try:
        raise InputMissing("cannot be opened", path="x.txt", repair="check its name") from error
    except InputMissing as around:
        assert str(exhausted(around)).startswith(f"x.txt: {spent.message}")


def test_other_errors_are_what_they_are() -> None:
    for error in (ValueError("shapes"), FileNotFoundError(errno.ENOENT, "no"), BadData("out of memory", path="label.txt")):
        assert exhausted(error) is None


def test_writing_says_what_ran_out(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="x: no more files can be opened") as caught, writing(tmp_path / "x"):
        raise OSError(errno.EMFILE, "Too many open files")
    assert not isinstance(caught.value, CannotWrite)

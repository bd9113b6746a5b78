"""Compiled kernels are kept soundly: whole, ours alone, made once, and done without where that cannot be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from carryover import storage
from carryover.kernels import c_library, compile_cache


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if c_library.library() is None:
        pytest.skip("no compiled kernels here: they need AVX-512 and a C compiler")
    monkeypatch.setenv("CARRYOVER_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "answer.c"
    file.write_text("int answer(void) { return 42; }\n")
    return file


@pytest.fixture
def kernels(source: Path) -> Path:
    return source.parent / "cache" / "kernels"


def put(place: Path, content: bytes) -> None:
    """A new file of that name: this process has the old one in its memory, and a change would reach it there."""
    place.unlink(missing_ok=True)
    place.write_bytes(content)
    place.chmod(0o700)


def load(source: Path) -> int | None:
    """What the program answers; None where it could not be compiled. As in a new process: nothing is remembered."""
    library = c_library.library.__wrapped__(source)
    return None if library is None else int(library.answer())


def test_compiled_once_and_said_so(source: Path, kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(source) == 42
    assert "carryover: compiling answer.c once" in capsys.readouterr().err
    (place,) = kernels.iterdir()
    written = place.stat().st_mtime_ns
    assert load(source) == 42 and capsys.readouterr().err == "" and place.stat().st_mtime_ns == written
    assert kernels.stat().st_mode & 0o777 == 0o700
    source.write_text("int answer(void) { return 43; }\n")
    assert load(source) == 43


@pytest.mark.parametrize("size", [0, 100, 5000, -1])
def test_what_is_cut_short_is_compiled_again(source: Path, kernels: Path, size: int) -> None:
    """A truncated library is a SIGBUS when it is loaded, so it is judged before; a process of its own shows it."""
    assert load(source) == 42
    (place,) = kernels.iterdir()
    whole = place.read_bytes()
    put(place, whole[:size])
    program = f"from carryover.kernels import c_library; from pathlib import Path; print(c_library.library(Path({str(source)!r})).answer())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert [one.read_bytes() for one in kernels.iterdir()] == [whole]


def test_a_changed_byte_and_a_name_of_earlier_versions_are_compiled_again(source: Path, kernels: Path) -> None:
    assert load(source) == 42
    (place,) = kernels.iterdir()
    whole = place.read_bytes()
    put(place, whole[:-1] + bytes([whole[-1] ^ 1]))
    put(kernels / f"{place.stem.rpartition('-')[0]}.so", b"")
    assert load(source) == 42
    assert [one.read_bytes() for one in kernels.iterdir()] == [whole]


def test_a_library_that_others_may_write_is_not_loaded(source: Path, kernels: Path) -> None:
    assert load(source) == 42
    (place,) = kernels.iterdir()
    place.chmod(0o722)
    assert load(source) == 42
    (again,) = kernels.iterdir()
    assert again.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["cache", "cache/kernels"])
def test_a_folder_that_others_may_write_is_not_trusted(
    source: Path, kernels: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels.mkdir(parents=True, mode=0o700)
    (source.parent / place).chmod(0o777)
    for _ in range(2):
        assert load(source) == 42
        (line,) = [one for one in capsys.readouterr().err.splitlines() if "others may write" in one]
        assert line.startswith("carryover: ") and f"chmod go-w {source.parent / place}" in line
    assert list(kernels.iterdir()) == []
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"carryover-kernels-*/{source.stem}*"))


def test_a_folder_of_somebody_else_is_not_trusted(
    source: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels.mkdir(parents=True, mode=0o700)
    os.chown(kernels, 4321, -1) if os.getuid() == 0 else monkeypatch.setattr(os, "getuid", lambda: 4321)
    assert load(source) == 42 and list(kernels.iterdir()) == []
    assert "belongs to user" in capsys.readouterr().err


def test_what_killed_processes_left_is_swept(source: Path, kernels: Path) -> None:
    kernels.mkdir(parents=True, mode=0o700)
    gone = subprocess.Popen(["true"])
    gone.wait()
    name = storage.temporary_name(kernels / "answer-1.so").name
    dead = kernels / name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")
    dead.write_bytes(b"half")
    assert load(source) == 42
    assert not dead.exists() and len(list(kernels.iterdir())) == 1


def test_eight_processes_compile_once(source: Path, kernels: Path) -> None:
    program = (
        "from carryover.kernels import c_library; from pathlib import Path; "
        f"print(c_library.library(Path({str(source)!r})).answer())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    said = [process.communicate(timeout=120) for process in running]
    assert [out for out, _ in said] == ["42\n"] * 8
    assert sum("compiling" in err for _, err in said) == 1
    assert len(list(kernels.iterdir())) == 1


def test_many_threads_compile_once(source: Path, kernels: Path) -> None:
    found: list[int | None] = []
    threads = [threading.Thread(target=lambda: found.append(load(source))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [42] * 6 and len(list(kernels.iterdir())) == 1


def test_a_source_that_does_not_compile(source: Path, kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text("this is no program\n")
    assert load(source) is None and list(kernels.iterdir()) == []
    assert "carryover: no compiled answer.c (" in capsys.readouterr().err.splitlines()[-1]


def test_a_compiler_that_is_ended_or_never_ends(
    source: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler = source.parent / "slow-cc"
    compiler.write_text("#!/bin/sh\necho $$ > $(dirname $0)/pid\nsleep 60 &\nwait\n")
    compiler.chmod(0o700)
    monkeypatch.setattr(c_library, "find_compiler", lambda: str(compiler))
    monkeypatch.setattr(compile_cache, "SECONDS", 0.5)
    began = time.monotonic()
    assert load(source) is None and time.monotonic() - began < 30
    assert "took more than 0.5 s" in capsys.readouterr().err
    monkeypatch.setattr(compile_cache, "SECONDS", 60)
    pid = source.parent / "pid"
    pid.unlink()

    def end() -> None:
        while not (pid.exists() and pid.read_text().strip()):
            time.sleep(0.01)
        os.killpg(int(pid.read_text()), signal.SIGKILL)

    threading.Thread(target=end).start()
    assert load(source) is None
    assert "exit code -9" in capsys.readouterr().err and list(kernels.iterdir()) == []


def test_a_lock_that_is_never_given_back(
    source: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl

    kernels.mkdir(parents=True, mode=0o700)
    descriptor = os.open(kernels, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    monkeypatch.setattr(compile_cache, "SECONDS", 0.3)
    assert load(source) is None
    assert "another process has been compiling" in capsys.readouterr().err
    os.close(descriptor)


def test_without_a_compiler_or_a_place(source: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(compile_cache, "compile_to", lambda target, *_: target.write_bytes(b"not a library"))
        assert load(source) is None and list(kernels.iterdir()) == []
    (source.parent / "file").write_text("")
    monkeypatch.setenv("CARRYOVER_CACHE", str(source.parent / "file"))
    assert load(source) is None
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert load(source) is None

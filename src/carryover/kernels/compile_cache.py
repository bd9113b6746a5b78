"""C sources compiled once for this processor, and kept in the cache folder under a name that holds the digest of their content.

A library is loaded only if it is what was compiled (a file cut short or empty is a fault of the disk or of a copy, and would
end the process), and only if nobody else can have written it. What is damaged is removed and compiled again. Processes that
need it at once wait for the one that compiles.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from carryover.errors import CarryoverError
from carryover.progress import say
from carryover.storage import cache_folder, file_digest, sweep, temporary_name, writing

FLAGS = ("-O2", "-march=native", "-fPIC", "-shared")
SECONDS = 120
"""That compiling may take; others wait no longer for it."""


class NotCompiled(Exception):
    """Why there is no library."""


def load_library(source: Path, compiler: str) -> ctypes.CDLL | None:
    """The library of `source`, compiled now where it is not there yet; None, and the reason on standard error, where it cannot be."""
    try:
        folder = cache_folder() / "kernels"
        doubt = _doubt(folder)
        if doubt is None:
            with _alone(folder):
                return _load(_kept(folder, source, compiler))
        say(f"carryover: {doubt}; compiling {source.name} for this process alone")
        with tempfile.TemporaryDirectory(prefix="carryover-kernels-") as own:
            return _load(_kept(Path(own), source, compiler))
    except (NotCompiled, CarryoverError, OSError) as error:
        say(f"carryover: no compiled {source.name} ({error}): PyTorch computes the same, more slowly")
        return None


def compile_to(target: Path, source: Path, compiler: str) -> None:
    """Raises NotCompiled when the compiler refuses the source, is ended by somebody, or takes too long."""
    command = [compiler, *FLAGS, "-o", str(target), str(source)]
    # A separate session: what the compiler has started is ended with it, and Ctrl-C reaches only us.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as running:
        try:
            _, said = running.communicate(timeout=SECONDS)
        except BaseException as error:
            with suppress(OSError):
                os.killpg(running.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise NotCompiled(f"{Path(compiler).name} took more than {SECONDS} s") from error
            raise
    if running.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        why = next((line for line in lines if "error" in line), lines[-1] if lines else f"exit code {running.returncode}")
        raise NotCompiled(f"{Path(compiler).name}: {why[:200]}")


def find_compiler() -> str | None:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    return None


def _doubt(folder: Path) -> str | None:
    """Make the folder; why nothing in it can be trusted, None where nobody else may write there."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    for place, harmless in ((folder, 0), (folder.parent, 0o1000)):  # a sticky folder keeps its entries from others
        state = place.stat()
        if state.st_uid not in (os.getuid(), 0):
            return f"{place} belongs to user {state.st_uid}, and code is loaded from there"
        if state.st_mode & (0o022 if place == folder else 0o002) and not state.st_mode & harmless:
            return f"others may write in {place}, and code is loaded from there (chmod go-w {place})"
    return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While the block runs no other process is in one of the same folder. Raises NotCompiled when that takes too long."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise NotCompiled(f"another process has been compiling in {folder} for {SECONDS} s") from error
                time.sleep(0.02)
            except OSError:
                break  # a file system without locks: at worst two processes compile the same
        yield
    finally:
        os.close(descriptor)


def _kept(folder: Path, source: Path, compiler: str) -> Path:
    """The library in `folder`, sound; compiled now where there is none."""
    stem = f"{source.stem}-{_digest(source, compiler)}"
    for place in sorted(folder.glob(f"{stem}*.so")):
        if _is_sound(place):
            return place
        with suppress(OSError):
            place.unlink()
    sweep(folder)
    say(f"carryover: compiling {source.name} once for this processor (some seconds; CARRYOVER_KERNELS=off avoids it)")
    temporary = temporary_name(folder / f"{stem}.so")
    try:
        with writing(folder):
            compile_to(temporary, source, compiler)
            temporary.chmod(0o700)
            return temporary.rename(folder / f"{stem}-{file_digest(temporary)[:32]}.so")
    finally:
        with suppress(OSError):
            temporary.unlink()


def _is_sound(place: Path) -> bool:
    """Whether a library is what its name says, and nobody else can have written it."""
    try:
        state = place.lstat()
        ours = state.st_uid in (os.getuid(), 0) and not state.st_mode & 0o022
        return ours and place.is_file() and place.stem.rpartition("-")[2] == file_digest(place)[:32]
    except OSError:
        return False


def _load(place: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(place))
    except OSError:
        place.unlink(missing_ok=True)  # not a library at all: not to be met again at the next start
        raise


def _digest(source: Path, compiler: str) -> str:
    """Of everything that decides what comes out: source and headers, flags, compiler, processor."""
    binary = Path(compiler).resolve()
    state = binary.stat()
    parts = [
        *(file.read_text(encoding="utf-8") for file in (source, *sorted(source.parent.glob("*.h")))),
        *FLAGS,
        str(binary),
        str(state.st_size),
        str(state.st_mtime_ns),
        _processor(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))

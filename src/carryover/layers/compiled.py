"""Optional kernels in C, compiled on first use where a compiler is present and otherwise done without.

Every kernel has a path in plain PyTorch beside it that gives the same numbers; nothing but speed depends on them. A kernel is
compiled once for a processor and a compiler, in seconds, and said so on standard error; the library is put into the user's
cache folder by a rename, so that processes compiling at once cannot disturb each other. `CARRYOVER_KERNELS=off` leaves
compiled kernels alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import torch

from carryover.errors import CarryoverError
from carryover.progress import say
from carryover.storage import atomic_file, cache_folder

OFF = ("off", "0", "no", "false")
FLAGS = ("-O2", "-march=native", "-fPIC", "-shared", "-pthread")
_SECONDS = 120


def wanted() -> bool:
    """Whether `CARRYOVER_KERNELS` allows compiled kernels."""
    return os.environ.get("CARRYOVER_KERNELS", "").strip().lower() not in OFF


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The compiled `source`, from the cache folder or made now; None without AVX-512, a compiler or a place to write."""
    compiler = _compiler()
    if compiler is None or sys.platform == "win32" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    place = cache_folder() / "kernels" / f"{source.stem}-{_digest(source, compiler)}.so"
    try:
        if not place.exists():
            say(f"compiling {source.name} once for this processor (some seconds; CARRYOVER_KERNELS=off does without)")
            with atomic_file(place) as temporary:
                compile_to(temporary, source, compiler)
        if not _is_ours(place):
            return None
        return ctypes.CDLL(str(place))
    except (OSError, CarryoverError, subprocess.SubprocessError):
        return None


def compile_to(target: Path, source: Path, compiler: str) -> None:
    """Raises subprocess.CalledProcessError when the compiler refuses the source, TimeoutExpired when it takes too long."""
    command = [compiler, *FLAGS, "-o", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)


def _compiler() -> str | None:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    return None


def _digest(source: Path, compiler: str) -> str:
    """Of everything that decides what comes out: source, flags, compiler, processor."""
    binary = Path(compiler).resolve()
    state = binary.stat()
    parts = [source.read_text(encoding="utf-8"), *FLAGS, str(binary), str(state.st_size), str(state.st_mtime_ns), _processor()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))


def _is_ours(place: Path) -> bool:
    """Whether nobody else can have written the library."""
    state = place.stat()
    return state.st_uid in (os.getuid(), 0) and not state.st_mode & 0o022

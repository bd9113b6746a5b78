"""Commands that train keep the memory of a step for the next one; nobody else's process does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from carryover.cli import main, memory

FAULTS = """
import resource, sys
import torch
if "keep" in sys.argv:
    from carryover.cli.memory import keep_memory
    if not keep_memory():
        sys.exit("not glibc")
for step in range(30):
    if step == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    parts = [torch.ones(n << 20) for n in (10, 3, 1)]
    del parts
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_steps_get_no_new_pages() -> None:
    kept = subprocess.run([sys.executable, "-c", FAULTS, "keep"], capture_output=True, text=True)
    if kept.stderr.startswith("not glibc"):
        pytest.skip("another C library than glibc gives memory back as it likes")
    given_back = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert kept.returncode == 0, kept.stderr
    assert 5 * int(kept.stdout) < int(given_back.stdout)


@pytest.mark.parametrize(
    ("line", "keeps"), [(["train", "--task", "nothing"], True), (["version"], False), (["embed"], False), ([], False)]
)
def test_commands_that_train(monkeypatch: pytest.MonkeyPatch, line: list[str], keeps: bool) -> None:
    called = []
    monkeypatch.setattr(main, "keep_memory", lambda: called.append(1))
    with pytest.raises(SystemExit):
        main.run(line)
    assert bool(called) == keeps


def test_what_the_environment_says_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRIM_THRESHOLD", "TOP_PAD", "MMAP_MAX"):
        monkeypatch.setenv(f"MALLOC_{name}_", "12345")
    said: list[tuple[int, int]] = []

    class Library:
        @staticmethod
        def mallopt(number: int, value: int) -> int:
            said.append((number, value))
            return 1

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Library)
    monkeypatch.setattr(sys, "platform", "linux")
    assert memory.keep_memory() and not said
    monkeypatch.delenv("MALLOC_TOP_PAD_")
    assert memory.keep_memory() and said == [(-2, 64 << 20)]

"""Which compiled functions are called."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from carryover.kernels import c_library


def record_calls(monkeypatch: pytest.MonkeyPatch, source: Path, least: ModuleType = c_library) -> list[str]:
    """A list that gets the names of the functions of `source` as layers of any size call them (`least` says from how many weights
    on otherwise). Skips the test where the machine has no compiled kernels."""
    if c_library.library(source) is None:
        pytest.skip("no compiled kernels here: they need AVX-512 and a C compiler")
    monkeypatch.setattr(least, "LEAST_WEIGHTS", 0)
    monkeypatch.delenv("CARRYOVER_KERNELS", raising=False)
    names: list[str] = []
    really = c_library.run
    monkeypatch.setattr(c_library, "run", lambda name, *rest: (names.append(name), really(name, *rest)))
    return names

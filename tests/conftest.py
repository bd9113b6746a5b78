"""What all tests share: the folder of real data (skipped aloud when absent), few threads, no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CARRYOVER_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def kernels(one_thread: None) -> None:
    """Compiled before anything is tested: a first use says so on standard error, where tests expect nothing."""
    from carryover.kernels import c_library

    for source in c_library.SOURCES:
        c_library.library(source)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; a test that asks for it is skipped, and says so, where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}: set CARRYOVER_TEST_DATA to run this test")
    return SHARED

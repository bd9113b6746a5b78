"""Kernels take tensors and small named tuples: no module and no layer, and their C sources are part of the package."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import carryover.kernels
from carryover.kernels import c_library

MODULES = [f"carryover.kernels.{found.name}" for found in pkgutil.iter_modules(carryover.kernels.__path__)]


def annotations(thing: Any, home: str) -> Iterator[str]:
    """What the functions, methods and fields of a module or class say of their types."""
    for name, member in vars(thing).items():
        member = getattr(member, "__func__", member)
        if getattr(member, "__module__", None) != home:
            continue
        if inspect.isclass(member):
            yield from annotations(member, home)
        yield from (f"{name}.{part}: {kind}" for part, kind in getattr(member, "__annotations__", {}).items())


@pytest.mark.parametrize("home", MODULES)
def test_no_kernel_takes_a_module(home: str) -> None:
    found = list(annotations(import_module(home), home))
    assert found, "nothing was read"
    assert [one for one in found if re.search(r"\b(Module|Layer|TCN|WaveNet|LSTM|CharacterCNN)\b", one)] == []


def test_the_sources_are_in_the_package() -> None:
    room = Path(carryover.kernels.__file__).parent
    assert all(source.is_file() and room in source.parents for source in c_library.SOURCES)
    for source in c_library.SOURCES:
        for header in re.findall(r'#include "(\w+\.h)"', source.read_text(encoding="utf-8")):
            assert (source.parent / header).is_file(), header

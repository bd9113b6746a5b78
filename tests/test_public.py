"""What the package offers can be found: by `dir`, by completion, by a wrong name; and costs nothing until it is used."""

from __future__ import annotations

import rlcompleter
import subprocess
import sys

import pytest

import carryover
import carryover.models
import carryover.objectives


def test_dir_lists_what_is_offered() -> None:
    listed = dir(carryover)
    assert {*carryover.__all__, *carryover._ROOMS} <= set(listed)
    for name in listed:
        assert getattr(carryover, name) is not None or name in ("__doc__", "__annotations__")
    for package in (carryover.models, carryover.objectives):
        assert set(package.__all__) <= set(dir(package))


def test_completion() -> None:
    completer = rlcompleter.Completer({"carryover": carryover})
    for name in ("layers", "errors", "training", "TextClassifier", "load"):
        found = completer.complete(f"carryover.{name[:4]}", 0), completer.complete(f"carryover.{name[:4]}", 1)
        assert any(one and one.startswith(f"carryover.{name}") for one in found), found


def test_listing_loads_nothing() -> None:
    program = (
        "import sys, carryover; dir(carryover); print(sorted(m for m in ('torch', 'sklearn', 'numpy') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        carryover.laod  # noqa: B018

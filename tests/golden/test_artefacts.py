"""Artefacts of every release load, and answer what they answered then; those of a later one are refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carryover
from carryover import storage
from carryover.embeddings.vectors import WordVectors
from carryover.errors import BadData
from faults.poisons import forge
from golden.artefacts.make import HERE, answers

RELEASES = sorted(place for place in HERE.iterdir() if (place / "answers.json").is_file())
ARTEFACTS = [folder for release in RELEASES for folder in sorted(release.iterdir()) if folder.is_dir()]


def same(found: Any, golden: Any) -> bool:
    """Whether two JSON values agree, numbers to 1e-6."""
    if isinstance(golden, list):
        return len(found) == len(golden) and all(map(same, found, golden))
    if isinstance(golden, dict):
        return found.keys() == golden.keys() and all(same(found[key], golden[key]) for key in golden)
    return bool(np.isclose(found, golden, rtol=1e-6, atol=1e-6)) if isinstance(golden, float) else bool(found == golden)


def test_the_comparison_sees_a_difference() -> None:
    golden = {"a": [1.0, "x"]}
    assert same({"a": [1.0 + 1e-7, "x"]}, golden)
    assert not any(
        same(other, golden) for other in ({"a": [1.001, "x"]}, {"a": [1.0, "y"]}, {"a": [1.0]}, {"b": [1.0, "x"]})
    )


def test_there_is_one_of_every_kind() -> None:
    kinds = {folder.name.split("-")[0] for folder in ARTEFACTS}
    assert kinds == {"bilm", "lm", "task", "vectors"}
    assert sum(place.stat().st_size for folder in ARTEFACTS for place in folder.rglob("*")) < 300_000


@pytest.mark.parametrize("folder", ARTEFACTS, ids=lambda folder: f"{folder.parent.name} {folder.name}")
def test_an_artefact_of_a_release_answers_as_it_did(folder: Path) -> None:
    golden = json.loads((folder.parent / "answers.json").read_text(encoding="utf-8"))[folder.name]
    found = json.loads(json.dumps(answers(folder, folder.name.split("-")[0])))
    assert same(found, golden)


@pytest.mark.parametrize("folder", ARTEFACTS, ids=lambda folder: f"{folder.parent.name} {folder.name}")
def test_a_later_version_of_any_part_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    parts = [place for place in folder.glob("*.json") if place.name != "record.json"]
    schemas = [(place, found) for place in parts for found in re.findall(r'"carryover\.[a-z-]+/[0-9]"', place.read_text())]
    assert len({found for _, found in schemas}) >= 2
    for number, (place, found) in enumerate(schemas):
        later = shutil.copytree(folder, tmp_path / str(number))
        (later / place.name).write_text(place.read_text().replace(found, f'{found[:-2]}7"'))
        if place.name != storage.MANIFEST:
            forge(later)
        with pytest.raises(BadData, match=r"has format version 7, this carryover reads [12]; upgrade carryover"):
            WordVectors.load(later) if folder.name == "vectors" else carryover.load(later)

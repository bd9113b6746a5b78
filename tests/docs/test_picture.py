"""The picture of the README: made from a comparison's page, consistent with the text next to it, complete without a page around it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from carryover.compare.report import render
from compare.synthetic import result

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "pictures" / "learning-curves.svg"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "examples" / "picture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stands_alone(svg: str) -> None:
    ElementTree.fromstring(svg)
    assert set(re.findall(r"var\((--[\w-]+)\)", svg)) <= set(re.findall(r"(--[\w-]+):", svg)), "a colour is not in the file"
    assert not re.search(r'(?:href="|url\()(?!#)', svg), "the file refers to something outside itself"


def test_a_picture_of_any_comparison_stands_alone(script: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render(result(Path("runs/cmp"))), encoding="utf-8")
    assert script.main([str(page), str(tmp_path / "picture.svg")]) == 0
    svg = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    stands_alone(svg)
    assert "prefers-color-scheme: dark" in svg and 'aria-label="Learning curves, ' in svg
    with pytest.raises(ValueError, match="no learning curves"):
        script.picture("<html></html>")


def test_the_picture_is_small_and_stands_alone() -> None:
    assert PICTURE.stat().st_size < 60_000
    stands_alone(PICTURE.read_text(encoding="utf-8"))


def test_the_readme_tells_what_the_picture_shows() -> None:
    label = re.search(r'aria-label="([^"]*)"', PICTURE.read_text(encoding="utf-8"))
    assert label is not None
    told = (ROOT / "README.md").read_text(encoding="utf-8").partition("learning-curves.svg)")[2].partition("## Try it")[0]
    figures = re.findall(r"`(\w+)` (?:reaches )?(\d+\.\d) with (\d+)", " ".join(told.split()))
    assert len(figures) >= 3
    for rung, score, labels in figures:
        curve = label[1].partition(f"{rung}: ")[2].partition(";")[0]
        assert f"{score} with {labels} labels" in curve, (
            f"README has {score} for {rung} with {labels} labels, the picture {curve}"
        )

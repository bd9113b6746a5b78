"""Every runnable snippet of README and docs is executed, page by page, in an empty folder.

A fence marked `python` runs in one namespace a page, a fence marked `bash` in a shell with the environment's commands
on the path. A fence marked `python no-run` or `bash no-run` is for reading (it needs data or time that a test has not).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKING = [*PAGES, *sorted((ROOT / "benchmarks").rglob("*.md"))]
FENCE = re.compile(r"^```(python|bash)[ \t]*(no-run)?[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(page: Path) -> list[tuple[str, str, int]]:
    """(language, code, line) of every runnable fence of a page."""
    text = page.read_text(encoding="utf-8")
    return [(match[1], match[3], text[: match.start(3)].count("\n") + 1) for match in FENCE.finditer(text) if not match[2]]


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda p: p.stem)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARRYOVER_CACHE", str(tmp_path / "cache"))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    namespace: dict[str, object] = {"__name__": page.stem}
    for language, code, line in snippets(page):
        if language == "python":
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)
            continue
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (
            f"{page.name}:{line}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page is called: small letters, hyphens for spaces, no other signs."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{page.name} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to #{anchor}, which {linked.name} does not have"


def test_the_performance_page_is_one_screen() -> None:
    lines = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60, f"{len(lines)} lines: move how a figure was measured to benchmarks/results"

"""The page and the table: whole, self-contained, the same bytes every time, safe against what files are called."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from carryover.compare.cells import Cell, CellFailure
from carryover.compare.report import render
from carryover.compare.table import plain_table, print_table, rich_tables
from carryover.compare.verdict import points
from compare.synthetic import RUNGS, result


class Page(HTMLParser):
    """Tags must close, and everything that could reach outside is collected."""

    VOID = ("meta", "br", "path", "use", "stop", "rect", "circle", "image")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def whole():
    return result(Path("runs/cmp"))


@pytest.fixture(scope="module")
def page(whole) -> str:
    return render(whole)


def test_it_holds_verdict_scores_costs_and_method(whole, page: str) -> None:
    found = Page(page)
    for sentence in whole.verdict:
        assert sentence.replace("`", "") in found.text
    for rung in RUNGS:
        assert found.text.count(rung) > 5
    assert "the test split was read 100 times" in found.text
    assert "3 test texts also occur in the training data." in found.text
    assert "Labels saved" in found.text
    assert "5 min 12 s" in found.text


def test_it_needs_nothing_from_outside(page: str) -> None:
    found = Page(page)
    assert all(link.startswith("#") for link in found.links), found.links
    assert not {"script", "link", "iframe", "img", "image", "object", "embed"} & found.tags
    assert "url(http" not in page
    assert "@import" not in page
    assert re.search(r"default-src 'none'", page)
    assert len(found.ids) == len(set(found.ids)), "an id stands twice: the figures would fight over it"


def test_it_is_readable_in_the_dark_on_a_phone_and_by_a_machine(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert page.count('role="img" aria-label="Learning curves, accuracy in points of 100. features: ') == 2
    assert not re.search(r"(?:fill|stroke): #(?!fff)", page.split("</style>")[1]), "a colour of matplotlib's own was left"
    assert '<html lang="en">' in page
    assert 'scope="row"' in page


def test_same_cells_same_bytes(whole, page: str) -> None:
    assert render(whole) == page
    assert render(result(Path("runs/cmp"))) == page


def test_names_cannot_break_out(whole) -> None:
    evil = {**whole.data, "train_name": "<script>alert(1)</script>.tsv"}
    failure = CellFailure("full", 50, 0, "BadData", "</p><img src=x>", 65)
    text = render(dataclasses.replace(whole, data=evil, failures=[failure]))
    assert "<script>" not in text
    assert "<img" not in text
    Page(text)


def test_what_is_missing_is_said(whole) -> None:
    failure = CellFailure("full", 50, 0, "BadData", "it broke", 65)
    text = Page(render(dataclasses.replace(whole, missing=[Cell("full", "all", 4)], failures=[failure]))).text
    assert "1 cells have not run yet" in text
    assert "full with 50 labels, seed 0 failed: it broke" in text


@pytest.mark.parametrize("options", [{"rungs": ("features",)}, {"labels": {50: 50}}, {"seeds": 1}])
def test_small_comparisons_have_a_page_too(options: dict) -> None:
    small = result(Path("x"), **options)
    Page(render(small))
    assert plain_table(small)


def test_nothing_finished_has_a_page() -> None:
    from carryover.compare.analysis import Analysis
    from example_material import figure

    empty = dataclasses.replace(result(Path("x")), analysis=Analysis({}, {50: 50}, figure("accuracy")), results=[])
    assert "no cell is finished" in Page(render(empty)).text
    assert plain_table(empty) == ""
    json.dumps(empty.to_json(), allow_nan=False)


def test_plain_table_is_aligned(whole) -> None:
    lines = plain_table(whole).splitlines()
    table = lines[: 1 + len(RUNGS)]
    assert table[0].split()[:4] == ["rung", "50", "100", "200"]
    starts = [line.index("]") for line in table[1:]]
    assert len(set(starts)) == 1
    assert "\x1b" not in plain_table(whole)
    assert sum(line.count("*") for line in table) == 4


def test_decoration_only_on_a_terminal(whole) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pipe, terminal = io.StringIO(), Terminal()
    print_table(whole, pipe)
    assert pipe.getvalue().startswith("rung ")
    assert whole.verdict[0] in pipe.getvalue()
    print_table(whole, terminal)
    assert "━" in terminal.getvalue() or "─" in terminal.getvalue()
    assert [table.row_count for table in rich_tables(whole, 200)] == [len(RUNGS)]


@pytest.mark.parametrize("width", [24, 40, 60, 80, 100, 120, 200])
def test_no_score_is_cut_at_any_width(whole, width: int) -> None:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False)
    for table in rich_tables(whole, width):
        console.print(table)
    shown = stream.getvalue()
    assert max(len(line) for line in shown.splitlines()) <= width and "…" not in shown.replace("full", "")
    words = {word.strip("│ ") for line in shown.splitlines() for word in line.replace("┃", "│").split("│")}
    for point in whole.analysis.points.values():
        mean = points(point.score)
        assert any(word.split(" [")[0].rstrip("*~† ") == mean for word in words), (width, point.rung, point.budget)
    if width >= 100:
        assert "[" in shown, "intervals are shown where they fit"
    if width <= 60:
        assert "MiB" not in shown, "columns of costs go first"


def test_the_document(whole) -> None:
    document = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    assert next(iter(document)) == "schema"
    assert document["schema"] == "carryover.compare/1"
    assert document["verdict"] == whole.verdict
    assert document["looks_at_test"] == len(document["cells"]) == 100
    cell = document["cells"][0]
    assert cell["interval"][0] < cell["score"] < cell["interval"][1]
    wanted = {
        "rung",
        "budget",
        "labels",
        "seed",
        "score",
        "interval",
        "seconds",
        "pretraining_seconds",
        "prediction_milliseconds",
        "parameters",
        "peak_memory_mib",
        "predictions",
    }
    assert wanted <= set(cell)
    frozen = next(cell for cell in document["cells"] if cell["rung"] == "frozen")
    assert (cell["pretraining_seconds"], frozen["pretraining_seconds"]) == (0.0, 312.0)
    assert {row["separable"] for row in document["differences"]} == {True, False}


def test_error_reductions_are_against_scratch(whole, page: str) -> None:
    """Every rung but the baseline at every budget; the numbers are those of points and differences."""
    document = whole.to_json()
    found = document["error_reductions"]
    assert {row["baseline"] for row in found} == {"scratch"}
    assert [row["rung"] for row in found[::4]] == ["features", "static", "frozen", "full"] and len(found) == 16
    scores = {(row["rung"], row["budget"]): row["score"] for row in document["points"]}
    for row in found:
        before, after = scores["scratch", row["budget"]], scores[row["rung"], row["budget"]]
        assert (row["baseline_score"], row["score"]) == (before, after) and list(row["seeds"]) == [0, 1, 2, 3, 4]
        assert row["absolute"] == pytest.approx(after - before)
        assert row["relative"] == pytest.approx((after - before) / (1 - before))
        assert row["relative_low"] < row["relative"] < row["relative_high"]
    frozen = next(row for row in found if (row["rung"], row["budget"]) == ("frozen", 50))
    text = Page(page).text
    assert "Error reduction against scratch" in text
    assert f"{round(100 * frozen['relative'])} % fewer errors" in text


def test_error_reductions_without_that_rung() -> None:
    """Hand-made features are the next baseline; with a single rung there is nothing to say."""
    found = result(Path("x"), rungs=("features", "frozen")).to_json()["error_reductions"]
    assert {(row["baseline"], row["rung"]) for row in found} == {("features", "frozen")}
    for rungs in (("frozen",), ("features",), ("static", "full")):
        small = result(Path("x"), rungs=rungs)
        assert small.to_json()["error_reductions"] == []
        assert "Error reduction" not in render(small)


def test_error_reduction_of_a_baseline_without_errors() -> None:
    from carryover.compare.analysis import Analysis
    from example_material import figure

    right = np.ones((50, 2))
    wrong = right.copy()
    wrong[:5, 0] = 0
    counts = {Cell("scratch", 50, s): right for s in range(3)} | {Cell("frozen", 50, s): wrong for s in range(3)}
    (found,) = Analysis(counts, {50: 50}, figure("accuracy"), replicates=200).reductions
    assert found.absolute == pytest.approx(-0.1)
    assert (found.relative, found.relative_low, found.relative_high) == (None, None, None)


def test_what_is_trained_is_counted_at_the_largest_budget(whole) -> None:
    """As the parameters beside it are; of hand-made features both grow with the labels and are equal."""
    grown = [
        dataclasses.replace(row, parameters=100 * row.labels, trainable=100 * row.labels) if row.rung == "features" else row
        for row in whole.results
    ]
    largest = max(row.labels for row in grown)
    page = Page(render(dataclasses.replace(whole, results=grown)))
    assert f"{largest / 10:.3g} k{largest / 10:.3g} k trained" in page.text.replace("\n", "")

"""A comparison from Python: data frames, lists or files in; verdict, table and model out."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from html import escape
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from carryover.compare.best import train_best
from carryover.compare.plan import ComparePlan
from carryover.compare.result import BEST_FOLDER, CompareResult
from carryover.compare.run import compare as run_comparison
from carryover.errors import UsageError, check_fields
from carryover.storage import atomic_write
from carryover.tasks import TASKS

_TEXT_COLUMNS = "first,second"
"""Of pairs that were given as lists."""


class Comparison:
    """What a comparison found.

    verdict : its sentences, the first says whether raw text pays.
    table : a data frame of `rows()` where pandas is installed, else that list.
    page : the report as a file. result : everything, see `carryover.compare.CompareResult`.
    """

    def __init__(self, result: CompareResult, temporary: Path | None = None) -> None:
        self.result = result
        if temporary is not None:  # it goes when nobody has the result any more
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)

    @property
    def verdict(self) -> list[str]:
        return self.result.verdict

    @property
    def page(self) -> Path:
        return self.result.page

    def rows(self) -> list[dict[str, Any]]:
        """A row for each rung and budget: labels, score, its interval, how many seeds, and whether the verdict takes it."""
        analysis = self.result.analysis
        found = []
        for rung in analysis.rows:
            for budget in analysis.budgets:
                point = analysis.points.get((rung, budget))
                if point is None:
                    continue
                chosen = analysis.recommended(budget)
                found.append(
                    {
                        "rung": rung,
                        "budget": budget,
                        "labels": analysis.labels[budget],
                        "metric": analysis.metric.name,
                        "score": point.score,
                        "low": point.interval.low,
                        "high": point.interval.high,
                        "seeds": len(point.seeds),
                        "recommended": chosen is not None and chosen.rung == rung,
                    }
                )
        return found

    @property
    def table(self) -> Any:
        try:
            pandas = import_module("pandas")
        except ImportError:
            return self.rows()
        return pandas.DataFrame(self.rows())

    def best(self, budget: int | str | None = None) -> str | None:
        """The rung that the verdict takes with a budget, the largest by default; None where none beats the most frequent label.

        Raises UsageError for a budget that was not compared.
        """
        analysis = self.result.analysis
        budget = analysis.budgets[-1] if budget is None else budget
        if budget not in analysis.budgets:
            known = ", ".join(str(one) for one in analysis.budgets)
            raise UsageError(f"budget {budget!r} was not compared", repair=f"use {known}")
        chosen = analysis.recommended(budget)
        return None if chosen is None else chosen.rung

    def model(self) -> Any:
        """The recommended rung trained on all labels, ready to predict; trained now where `keep_best` did not do it.

        Raises UsageError where no rung is recommended.
        """
        from carryover.encoders.loading import load

        if train_best(self.result, quiet=True) is None:
            raise UsageError("no rung is recommended, so there is no best model", repair="collect more labels")
        return load(self.result.folder / BEST_FOLDER)

    def __repr__(self) -> str:
        return f"Comparison({self.verdict[0]!r})"

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.verdict)
        head = "".join(f"<th>{escape(name)}</th>" for name in ("rung", "labels", "score", "interval"))
        body = "".join(
            f"<tr><th>{escape(row['rung'])}{' ★' if row['recommended'] else ''}</th><td>{row['labels']:,}</td>"
            f"<td>{100 * row['score']:.1f}</td><td>{100 * row['low']:.1f} to {100 * row['high']:.1f}</td></tr>"
            for row in self.rows()
        )
        return f"<ul>{lines}</ul><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def compare_data(
    train: Any,
    test: Any = None,
    *,
    raw: Any = None,
    task: str = "classify",
    out: str | PathLike[str] | None = None,
    keep_best: bool = False,
    quiet: bool = True,
    **options: Any,
) -> Comparison:
    """Compare ways of answering a labelled task; `carryover.compare(...)` is this function.

    train, test : files, `builtin:NAME`, data frames with the columns `text_column` and `label_column`, or lists: of (text, label), of
        (words, tags) for the task "tag", of ((first, second), label) for "pair". Without `test` a fifth of `train` is set aside.
    raw : a file or a list of texts to pretrain on.
    out : the folder of the comparison, which the same call continues; without one it is temporary, and goes with the result.
    keep_best : train the recommended rung on all labels too; see `Comparison.model`.
    options : the fields of `carryover.compare.ComparePlan`, as the options of the command line: `rungs="features,frozen"`,
        `budgets="50,all"`, `seeds=3`, `metric`, `encoder`, …

    Raises UsageError with the nearest spelling for an unknown option, TypeError for data of another shape, and what
    `carryover.compare.run.compare` raises.
    """
    taken = {"task", "train", "test", "raw"}
    check_fields("compare", {name: value for name, value in options.items() if name not in taken}, ComparePlan)
    temporary = Path(tempfile.mkdtemp(prefix="carryover-")) if out is None else None
    try:
        result = _compared(task, {"train": train, "test": test, "raw": raw}, options, temporary, out, quiet)
        if keep_best and not result.missing and not result.failures:
            train_best(result, quiet=quiet)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Comparison(result, temporary)


def _compared(
    task: str, data: dict[str, Any], options: dict[str, Any], temporary: Path | None, out: Any, quiet: bool
) -> CompareResult:
    folder = Path(out) if temporary is None else temporary / "comparison"
    place = folder.with_name(folder.name + "-data")
    given: dict[str, Any] = {}
    for name in ("train", "test"):
        given[name], changed = _labelled(task, data[name], place / f"{name}.jsonl")
        options |= changed
    given["raw"] = _raw(data["raw"], place / "raw.txt")
    for name in ("rungs", "budgets"):
        if not isinstance(options.get(name, ""), str):
            options[name] = ",".join(map(str, options[name]))
    plan = ComparePlan(task=task, **{name: value for name, value in given.items() if value is not None}, **options)
    return run_comparison(plan, folder, quiet=quiet)


def _labelled(task: str, data: Any, place: Path) -> tuple[Any, dict[str, Any]]:
    """A file that holds the data, and the options that say how it is read; files stay what they are."""
    if data is None or isinstance(data, str | PathLike):
        return data, {}
    if "columns" in dir(data) and "to_dict" in dir(data):
        rows = [{str(name): _plain(value) for name, value in row.items()} for row in data.to_dict("records")]
        _write(place, rows)
        return place, {}
    rows = [TASKS[task].written_row(*_two(row, number)) for number, row in enumerate(data)] if task in TASKS else []
    _write(place, rows)
    two = bool(rows) and set(_TEXT_COLUMNS.split(",")) <= set(rows[0])
    return place, {"text_column": _TEXT_COLUMNS} if two else {}


def _two(row: Any, number: int) -> tuple[Any, Any]:
    if isinstance(row, str) or not isinstance(row, Iterable) or len(parts := list(row)) != 2:
        raise TypeError(f"row {number} of the data is {row!r:.60}: give pairs of an input and its label")
    return parts[0], parts[1]


def _plain(value: Any) -> Any:
    """A cell as JSON has it: NumPy's numbers as numbers, what is missing as null."""
    value = value.item() if "item" in dir(value) and "dtype" in dir(value) else value
    return None if value is None or value != value else value


def _raw(raw: Any, place: Path) -> Any:
    if raw is None or isinstance(raw, str | PathLike):
        return raw
    lines = [" ".join(str(text).split()) for text in raw]
    place.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(place, "".join(f"{line}\n" for line in lines))
    return place


def _write(place: Path, rows: list[dict[str, Any]]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(place, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

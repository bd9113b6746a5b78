"""From the artefact of a task to scores and predictions over files: what `evaluate` and `predict` do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from carryover.data.examples import Example, Labels, Source
from carryover.data.formats.choosing import choose_format, is_builtin
from carryover.data.formats.opening import read_lines
from carryover.data.formats.spooling import STANDARD_INPUT
from carryover.data.schemes import AUTO, PLAIN
from carryover.encoders.loading import require
from carryover.errors import BadData
from carryover.escaping import TableCell
from carryover.transfer.evaluation.examination import Examination, examine
from carryover.transfer.predicting import Predictor
from carryover.transfer.train import Columns, read_examples

ITEMS_AT_ONCE = 2048


def require_task(loaded: Any, folder: Path) -> Predictor:
    """The task model that was loaded. Raises UsageError when it is a pretrained one."""
    return require(loaded, Predictor, folder, but="not a trained task", repair="train one with `carryover train` first")  # type: ignore[type-abstract]


def trained_columns(predictor: Predictor, **given: Any) -> Columns:
    """The columns of the training files, with what is `given` (not None) in their place."""
    stored = {**predictor.record.get("columns", {}), "scheme": AUTO}  # the scheme is in the task itself
    return Columns(**{**stored, **{name: value for name, value in given.items() if value is not None}})


def examine_task(predictor: Predictor, test: str, *, rejects: Path | None = None, **columns: Any) -> Examination:
    """What a task model answers for the labelled examples of `test`.

    With `on_error="skip"` faulty rows go to `rejects`, and a label that the model cannot answer counts as one it missed
    instead of ending in BadData. Span tags of another scheme than that of the training data are converted.
    """
    given = trained_columns(predictor, **columns)
    examples = read_examples(predictor.task.name, test, given, rejects=rejects, like=predictor.task.scheme or PLAIN)
    for example in examples:
        predictor.example(example)
    if given.on_error != "skip":
        predictor.task.check(examples, test)
    found = examine(predictor, examples)
    predictor.say_cut(test, examples)
    return found


def evaluate_task(
    predictor: Predictor, folder: Path, test: str, *, rejects: Path | None = None, **columns: Any
) -> dict[str, Any]:
    """The same as the JSON document of the command; `folder` is where the model was loaded from."""
    return evaluation_document(examine_task(predictor, test, rejects=rejects, **columns), folder, test)


def evaluation_document(found: Examination, folder: Path, test: str) -> dict[str, Any]:
    """The JSON document of `carryover evaluate` for a task."""
    return {
        "schema": "carryover.evaluate/1",
        "folder": str(folder),
        "test": test,
        "examples": len(found.examples),
        "scores": found.scores,
        **found.to_json(),
    }


@dataclass(frozen=True)
class Items:
    """What is to be predicted for: examples in order, and how the file was read (`format` None for built-in data and series)."""

    source: str
    examples: list[Example[Any, Labels]]
    format: str | None
    columns: Columns


def items_to_predict(predictor: Predictor, source: str, *, rejects: Path | None = None, **columns: Any) -> Items:
    """The content of a file or, for `-`, of standard input, in order.

    A file that is a table, or columns, by its name, its beginning or `format` is read as in training, its labels passed over;
    anything else is one text, or one sentence, a line. Empty lines are empty texts then, so that answers stay in line. With
    `on_error` "skip" rows that cannot be read go to `rejects`. Raises InputMissing, BadData at the first row that cannot be read.
    """
    asked = {"on_error": "stop", **{name: value for name, value in columns.items() if value is not None}}
    given = trained_columns(predictor, **{**asked, "scheme": PLAIN})  # tags are passed over
    format = columns.get("format")
    if format is None and source == STANDARD_INPUT and columns.get("text_column") is not None:
        format = given.format  # a stream has no name that could tell
    items = _items(predictor, source, given, format, rejects)
    predictor.say_cut(source, items.examples)
    return items


def _items(predictor: Predictor, source: str, given: Columns, format: str | None, rejects: Path | None) -> Items:
    task = predictor.task

    def read(columns: Columns, name: str | None) -> Items:
        examples = read_examples(task.name, source, columns, require_labels=False, rejects=rejects)
        return Items(source, examples, name, columns)

    if is_builtin(source):
        return read(given, None)
    own = replace(given, format=format)
    if format is None and task.holds_examples(source, own):
        return read(own, None)
    if format != "text":
        # The name tells, and it need not be that of the training file.
        format = choose_format(source, format, task.reading, otherwise="text")
    if format != "text":
        return read(replace(given, format=format), format)
    lines = list(read_lines(source))
    if not lines:
        raise BadData("there is no line of text", path=source, repair="give a file or a stream with at least one line")
    examples = [task.item(line, predictor.tokenize, Source(source, number)) for number, line in lines]
    return Items(source, examples, format, given)


def prediction_rows(predictor: Predictor, items: ListOf[Example[Any, Labels]]) -> Iterator[dict[str, Any]]:
    """One row an item, in order: labels and the probability of each of them."""
    for start in range(0, len(items), ITEMS_AT_ONCE):
        some = items[start : start + ITEMS_AT_ONCE]
        for item, answer in zip(some, predictor.predictions(some), strict=True):
            yield predictor.task.answer_row(item, answer.words, answer.labels, answer.probabilities)


def prediction_cells(
    predictor: Predictor, rows: Iterable[Mapping[str, Any]], *, probabilities: bool = False
) -> Iterator[tuple[TableCell, ...]]:
    """Answers as rows of cells; see `Task.answer_cells`."""
    for row in rows:
        yield from predictor.task.answer_cells(row, probabilities=probabilities)

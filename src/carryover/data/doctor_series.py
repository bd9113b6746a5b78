"""What would spoil a result on series: gaps, copies, test series in the training data, channels that say nothing, rare classes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from carryover.data.columns import Columns
from carryover.data.doctor_report import ERROR, NOTE, WARNING, Case, Report
from carryover.data.examples import Example, Labels, Series
from carryover.data.formats.opening import FilePath
from carryover.data.formats.series.labelled import series_columns
from carryover.data.formats.series.reading import read_counted
from carryover.data.majority import majority_score

FEW_OF_A_LABEL = 5

Labelled = Example[Series, Labels]


def examine_series(files: dict[str, FilePath], columns: Columns) -> Report:
    """Examine files of series by their names, of which "raw", "train", "dev" and "test" are known.

    Figures of each: series, channels, lengths, missing values, labels and what the majority scores. Findings: faulty series,
    gaps, copies within and between files, constant channels, other channels than the first file, labels that are rare or
    unseen in training. Raises InputMissing, BadData, UsageError for a file that cannot be read at all.
    """
    report = Report(task="classify" if "train" in files else None)
    read: dict[str, list[Labelled]] = {}
    for name, path in files.items():
        read[name] = _examine_file(report, name, path, columns)
    _examine_channels(report, read)
    _examine_labels(report, read)
    for first, second in (("train", "dev"), ("train", "test"), ("dev", "test"), ("raw", "dev"), ("raw", "test")):
        if first in read and second in read:
            known: dict[Series, int] = {}
            for one in read[first]:
                known.setdefault(one.input, one.source.line)
            both = [
                _case(one, f"series of line {known[one.input]:,} of {first}") for one in read[second] if one.input in known
            ]
            report.add_cases(WARNING, f"{second}: series that also occur in {first}", both)
    return report


def _case(one: Labelled, note: str = "") -> Case:
    return Case(one.source.line, one.input.shown, note)


def _examine_file(report: Report, name: str, path: FilePath, columns: Columns) -> list[Labelled]:
    result, reading = read_counted(path, **{**series_columns(columns), "missing": "interpolate", "on_error": "skip"})
    examples = result.examples
    lengths = np.array([len(one.input) for one in examples])
    figures: dict[str, Any] = {
        "rows": result.rows,
        "channels": int(examples[0].input.values.shape[1]),
        "steps": int(lengths.sum()),
        "shortest": int(lengths.min()),
        "median_length": int(np.median(lengths)),
        "longest": int(lengths.max()),
        "missing_values": reading.filled_values,
    }
    report.figures[name] = figures
    if result.rejected:
        first = result.rejected[0]
        cases = [Case(one.line, one.text, one.reason) for one in result.rejected]
        report.add_cases(ERROR, f"{name}: faulty series, the first in line {first.line}: {first.reason}", cases)
    level, what = (ERROR, "refused") if columns.missing == "stop" and name != "raw" else (NOTE, "filled by interpolation")
    report.add(level, f"{name}: missing values, which are {what}", reading.filled_values)
    labels = Counter(label for one in examples for label in one.gold or ())
    if labels:
        figures["labels"] = len(labels)
        figures["labels_by_count"] = dict(labels.most_common())
    seen: dict[Series, Labelled] = {}
    copies, contrary = [], []
    for one in examples:
        before = seen.setdefault(one.input, one)
        if before is not one:
            copies.append(_case(one, f"repeats line {before.source.line:,}"))
            if before.gold != one.gold:
                contrary.append(_case(one, f"{one.gold} here, {before.gold} in line {before.source.line:,}"))
    report.add_cases(WARNING, f"{name}: copies of other series", copies)
    report.add_cases(WARNING, f"{name}: copies with different labels", contrary)
    every = np.concatenate([one.input.values for one in examples])
    constant = [Case(0, f"channel {number + 1}") for number in np.flatnonzero(every.min(axis=0) == every.max(axis=0))]
    report.add_cases(WARNING, f"{name}: channels with one value throughout", constant)
    return examples


def _examine_channels(report: Report, read: dict[str, list[Labelled]]) -> None:
    first = next(iter(read))
    wanted = report.figures[first]["channels"]
    for name in read:
        found = report.figures[name]["channels"]
        if found != wanted:
            report.add(ERROR, f"{name}: {found} channels where {first} has {wanted}", len(read[name]))


def _examine_labels(report: Report, read: dict[str, list[Labelled]]) -> None:
    train = [one for one in read.get("train", ()) if one.gold]
    known = Counter(label for one in train for label in one.gold or ())
    if len(known) == 1:
        report.add(ERROR, f"train: all series have the label {next(iter(known))!r}", len(train))
    rare = sorted(label for label, count in known.items() if count < FEW_OF_A_LABEL)
    cases = [Case(0, label, f"{known[label]} in train") for label in rare]
    report.add_cases(WARNING, f"train: labels with fewer than {FEW_OF_A_LABEL} series: {', '.join(rare[:5])}", cases)
    if not train:
        return
    others = [name for name in read if name in ("dev", "test")]
    for name in others or ["train"]:
        labelled = [one for one in read[name] if one.gold]
        unseen: list[Any] = [_case(one, str(one.gold[0])) for one in labelled if one.gold and one.gold[0] not in known]
        report.add_cases(ERROR, f"{name}: series whose label never occurs in train", unseen)
        if labelled:
            score = majority_score(train, labelled)
            report.figures[name]["majority"] = {
                "answer": score.answer, "accuracy": score.accuracy, "macro_f1": score.macro_f1, "span_f1": None,
                "counted_in": "train",
            }  # fmt: skip

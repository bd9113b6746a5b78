"""The labelled examples of a comparison: read, checked, split where no test file is given, and fingerprinted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from carryover.compare.examples import content, gold
from carryover.compare.ladder import RungTask
from carryover.compare.plan import ComparePlan
from carryover.compare.scoring import Metric, choose_metric
from carryover.data.long_words import count_cut, cut_sentence
from carryover.data.schemes import PLAIN, Like, Scheme, refuse_scheme
from carryover.data.splits import strata_of, stratified_split
from carryover.data.words import WordTokenizer
from carryover.errors import BadData

SPLIT_SEED = 0
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Problem:
    """Examples to learn from and to test on.

    `labels` are all that occur in training or test examples. `rejected` are the rows that were left out because
    the plan says so, `remarks` are sentences for the report.
    """

    task: str
    train: list[Any]
    test: list[Any]
    labels: tuple[str, ...]
    metric: Metric
    multi_label: bool
    rejected: tuple[Any, ...]
    remarks: tuple[str, ...]
    train_fingerprint: str
    test_fingerprint: str

    def gold(self, examples: Sequence[Any]) -> list[tuple[str, ...]]:
        """The labels of each text, or the tags of each sentence."""
        return [gold(example, self.task) for example in examples]

    @property
    def fitting_metric(self) -> str:
        """The metric of early stopping. Where every word has one tag, micro-F1 is accuracy."""
        return "accuracy" if self.metric.tagging and self.metric.name == "micro_f1" else self.metric.name

    def asked(self, class_weights: str) -> RungTask:
        """The task as rungs are asked it."""
        return RungTask(self.task, self.multi_label, self.fitting_metric, class_weights)

    @property
    def strata(self) -> str | None:
        """What the budgets of tagged sentences are stratified by, None where nothing."""
        return "span types" if self.metric.tagging and any(strata_of(self.train)) else None

    @cached_property
    def answerable(self) -> set[str]:
        """Labels of the training examples: no other can ever be answered."""
        return {label for example in self.train for label in gold(example, self.task)}

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The main metric, and for classification accuracy and macro-F1 whichever is the main one."""
        others = () if self.metric.tagging else ("accuracy", "macro_f1")
        return (
            self.metric,
            *(Metric(name, self.labels, multi_label=self.multi_label) for name in others if name != self.metric.name),
        )

    @property
    def token_counts(self) -> list[int] | None:
        """Numbers of tokens of the test sentences; None for texts."""
        return [len(example.input.tokens) for example in self.test] if self.task == "tag" else None


def load_problem(plan: ComparePlan) -> Problem:
    """Read what the plan names.

    Raises InputMissing, BadData (naming file and line) for what cannot be read, for fewer than two labels, for an empty
    test file, and for a test label that never occurs in training; with `on_error="skip"` the last is kept and counted as
    an error for every rung.
    """
    train_path = str(plan.train)
    train, rejected, scheme = _read(plan, train_path)
    _check_two_labels(train, plan.task, train_path)
    remarks = []
    if plan.test is None:
        test_path = train_path
        train, test = _set_aside(train)
        remarks.append(
            f"No test file was given: {TEST_SHARE:.0%} of {name_of(train_path)} ({len(test):,} examples, stratified, fixed "
            f"seed {SPLIT_SEED}) were set aside as the test split."
        )
    else:
        test_path = str(plan.test)
        test, also_rejected, _ = _read(plan, test_path, scheme or PLAIN)
        rejected += also_rejected
    for path, examples in ((train_path, train), (test_path, test)):
        if not examples:
            raise BadData("holds no labelled example", path=path, repair="give a file with labelled examples")
    train_labels = _check_two_labels(train, plan.task, train_path)
    remarks += _unseen_labels(plan, train_labels, test, test_path)
    remarks += _shared_examples(plan.task, train, test)
    remarks += _cut_words(plan.task, ((train_path, train), (test_path, test)))
    if rejected:
        remarks.append(f"{len(rejected):,} rows could not be used and were left out, as asked: see rejected.jsonl.")
    labels = tuple(sorted(train_labels | {label for example in test for label in gold(example, plan.task)}))
    multi_label = plan.multi_label is not None
    return Problem(
        task=plan.task,
        train=train,
        test=test,
        labels=labels,
        metric=choose_metric(
            plan.metric,
            labels,
            tagging=plan.task == "tag",
            multi_label=multi_label,
            gold=[gold(example, plan.task) for example in test],
        ),
        multi_label=multi_label,
        rejected=tuple(rejected),
        remarks=tuple(remarks),
        train_fingerprint=examples_fingerprint(plan.task, train),
        test_fingerprint=examples_fingerprint(plan.task, test),
    )


def _check_two_labels(examples: list[Any], task: str, path: str) -> set[str]:
    labels = {label for example in examples for label in gold(example, task)}
    if len(labels) < 2:
        found = f"only the label {min(labels)!r}" if labels else "no label at all"
        raise BadData(f"holds {found}", path=path, repair="give examples with at least two different labels")
    return labels


def examples_fingerprint(task: str, examples: Sequence[Any]) -> str:
    """SHA-256 over what the examples say, independent of file names, formats and line numbers."""
    digest = hashlib.sha256()
    for example in examples:
        seen = content(example, task)
        row = [list(seen) if task == "tag" else seen, list(gold(example, task))]
        digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def name_of(path: str | Path) -> str:
    """A file's name without its folders; the whole name of a built-in."""
    return str(path) if str(path).startswith("builtin:") else Path(path).name


def _read(plan: ComparePlan, path: str, like: Like = None) -> tuple[list[Any], list[Any], Scheme | None]:
    from carryover.data.formats.reading import read_tagged, read_texts

    if plan.task == "tag":
        tagged = read_tagged(
            path, label_column=plan.label_column, format=plan.format, on_error=plan.on_error, scheme=plan.scheme,
            like=like,
        )  # fmt: skip
        return list(tagged.examples), list(tagged.rejected), tagged.scheme
    refuse_scheme(plan.scheme)
    texts = read_texts(
        path,
        text_column=_column(plan.text_column),
        label_column="label" if plan.label_column is None else _column(plan.label_column),
        format=plan.format,
        on_error=plan.on_error,
        multi_label=plan.multi_label,
        coarse=plan.coarse,
    )
    return list(texts.examples), list(texts.rejected), None


def _column(value: str | int | None) -> Any:
    """`--text-column 0` on the command line means the first column, not one named 0."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _set_aside(examples: list[Any]) -> tuple[list[Any], list[Any]]:
    train, test = stratified_split(examples, (1 - TEST_SHARE, TEST_SHARE), SPLIT_SEED)
    return [examples[i] for i in train], [examples[i] for i in test]


def _unseen_labels(plan: ComparePlan, known: set[str], test: list[Any], path: str) -> list[str]:
    """Test labels that no training example has. An `I-x` is known when `B-x` is: spans of that type were seen."""
    from carryover.tasks.spans import is_span_scheme

    every = known | {label for example in test for label in gold(example, plan.task)}
    spans = plan.task == "tag" and plan.scheme != PLAIN and is_span_scheme(every)
    kinds = {label.partition("-")[2] for label in known} if spans else set()
    unseen: dict[str, int] = {}
    for example in test:
        for label in gold(example, plan.task):
            if label in known or (spans and label.partition("-")[2] in kinds):
                continue
            if plan.on_error == "stop":
                raise BadData(
                    f"test label {label!r} never occurs in {name_of(str(plan.train))}",
                    path=path,
                    line=example.source.line or None,
                    repair="correct it, give a training example with it, or use --on-error skip to count it as an error",
                )
            unseen[label] = unseen.get(label, 0) + 1
    if not unseen:
        return []
    listed = ", ".join(sorted(unseen)[:5]) + (", …" if len(unseen) > 5 else "")
    return [
        f"{sum(unseen.values()):,} test labels ({listed}) never occur in training; "
        "they stay and count as errors for every rung."
    ]


def _cut_words(task: str, files: Iterable[tuple[str, list[Any]]]) -> list[str]:
    from carryover.tasks import TASKS

    words_of, found = WordTokenizer().words, []
    for path, examples in files:
        words = [word for example in examples for word in TASKS[task].words(example, words_of)]
        if cut := count_cut(words):
            found.append(f"{name_of(path)}: {cut_sentence(cut, len(words))}.")
    return found


def _shared_examples(task: str, train: list[Any], test: list[Any]) -> list[str]:
    seen = {content(example, task) for example in train}
    count = sum(content(example, task) in seen for example in test)
    if not count:
        return []
    return [f"{count:,} of {len(test):,} test examples also stand in the training data: scores are that much too kind."]

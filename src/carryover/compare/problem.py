"""The labelled examples of a comparison: read, checked, split where no test file is given, and fingerprinted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from carryover.compare.ladder import RungTask
from carryover.compare.plan import ComparePlan
from carryover.compare.scoring import Figure, choose_figure
from carryover.data.long_words import count_cut, cut_sentence
from carryover.data.schemes import PLAIN, Like, Scheme, scheme_name
from carryover.data.splits import strata_of, stratified_split
from carryover.data.words import WordTokenizer
from carryover.errors import BadData
from carryover.tasks import TASKS, Task

SPLIT_SEED = 0
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Problem:
    """Examples to learn from and to test on.

    `labels` are all that occur in training or test examples, `question` is the task with them. `rejected` are the rows that were left out because
    the plan says so, `remarks` are sentences for the report.
    """

    task: str
    train: list[Any]
    test: list[Any]
    labels: tuple[str, ...]
    question: Task
    metric: Figure
    multi_label: bool
    rejected: tuple[Any, ...]
    remarks: tuple[str, ...]
    train_fingerprint: str
    test_fingerprint: str

    @cached_property
    def gold(self) -> list[Any]:
        """The right answers of the test examples."""
        return [self.question.gold(example) for example in self.test]

    @property
    def fitting_metric(self) -> str:
        """The metric of early stopping."""
        return self.question.fitting_score(self.metric.name)

    def asked(self, class_weights: str) -> RungTask:
        """The task as rungs are asked it."""
        return RungTask(self.task, self.multi_label, self.fitting_metric, class_weights)

    @property
    def has_words(self) -> bool:
        """Whether what encoders read of the examples is words."""
        from carryover.transfer.learners import learner_of

        return learner_of(self.train[0].input.words(str.split)).reads_words

    @property
    def strata(self) -> str | None:
        """What the budgets are stratified by where that is not the label itself, None where nothing."""
        return self.question.strata if self.question.strata and any(strata_of(self.train)) else None

    @cached_property
    def answerable(self) -> set[str]:
        """Labels of the training examples: no other can ever be answered."""
        return set(self.question.labels_of(self.train))

    @cached_property
    def metrics(self) -> tuple[Figure, ...]:
        """The main metric, and those that the task shows beside it."""
        return (
            self.metric,
            *(Figure(self.question, name) for name in self.question.beside if name != self.metric.name),
        )


def load_problem(plan: ComparePlan) -> Problem:
    """Read what the plan names.

    Raises InputMissing, BadData (naming file and line) for what cannot be read, for fewer than two labels, for an empty
    test file, and for a test label that never occurs in training; with `on_error="skip"` the last is kept and counted as
    an error for every rung.
    """
    kind, train_path = TASKS[plan.kind], str(plan.train)
    train, rejected, scheme = _read(plan, train_path)
    _check_two_labels(train, kind, train_path)
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
    train_labels = _check_two_labels(train, kind, train_path)
    labels = tuple(sorted({*train_labels, *kind.labels_of(test)}))
    multi_label = plan.multi_label is not None
    plain = PLAIN if scheme_name(plan.scheme) == PLAIN else None
    question = kind.of(labels, {"multi_label": multi_label, "scheme": plain, "figure": plan.metric})
    question.check(train, train_path)
    remarks += _unseen_labels(plan, question, train_labels, test, test_path)
    remarks += _shared_examples(train, test)
    remarks += _cut_words(kind, ((train_path, train), (test_path, test)))
    if rejected:
        remarks.append(f"{len(rejected):,} rows could not be used and were left out, as requested; see rejected.jsonl.")
    return Problem(
        task=plan.kind,
        train=train,
        test=test,
        labels=labels,
        question=question,
        metric=choose_figure(plan.metric, question, [kind.gold(example) for example in test], multi_label=multi_label),
        multi_label=multi_label,
        rejected=tuple(rejected),
        remarks=tuple(remarks),
        train_fingerprint=examples_fingerprint(kind, train),
        test_fingerprint=examples_fingerprint(kind, test),
    )


def _check_two_labels(examples: list[Any], task: type[Task], path: str) -> set[str]:
    labels = set(task.labels_of(examples))
    if len(labels) < 2:
        found = f"only the label {min(labels)!r}" if labels else "no label at all"
        raise BadData(f"holds {found}", path=path, repair="give examples with at least two different labels")
    return labels


def examples_fingerprint(task: type[Task], examples: Sequence[Any]) -> str:
    """SHA-256 over what the examples say, independent of file names, formats and line numbers."""
    digest = hashlib.sha256()
    for example in examples:
        row = list(task.row(example).values())
        digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def name_of(path: str | Path) -> str:
    """A file's name without its folders; the whole name of a built-in."""
    return str(path) if str(path).startswith("builtin:") else Path(path).name


def _read(plan: ComparePlan, path: str, like: Like = None) -> tuple[list[Any], list[Any], Scheme | None]:
    found = TASKS[plan.kind].read(path, plan.columns, like=like)
    return list(found.examples), list(found.rejected), found.scheme


def _set_aside(examples: list[Any]) -> tuple[list[Any], list[Any]]:
    train, test = stratified_split(examples, (1 - TEST_SHARE, TEST_SHARE), SPLIT_SEED)
    return [examples[i] for i in train], [examples[i] for i in test]


def _unseen_labels(plan: ComparePlan, task: Task, known: set[str], test: list[Any], path: str) -> list[str]:
    """Test labels that who learned from the training examples cannot answer."""
    unseen: dict[str, int] = {}
    for example in test:
        for label in task.gold(example):
            if task.is_known(label, known):
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
        "they are kept and count as errors for every rung."
    ]


def _cut_words(task: type[Task], files: Iterable[tuple[str, list[Any]]]) -> list[str]:
    words_of, found = WordTokenizer().words, []
    for path, examples in files:
        read = (step for example in examples for step in task.words(example, words_of))
        words = [word for word in read if isinstance(word, str)]  # not the steps of a series
        if cut := count_cut(words):
            found.append(f"{name_of(path)}: {cut_sentence(cut, len(words))}.")
    return found


def _shared_examples(train: list[Any], test: list[Any]) -> list[str]:
    seen = {example.input for example in train}
    count = sum(example.input in seen for example in test)
    if not count:
        return []
    return [f"{count:,} of {len(test):,} test examples also occur in the training data, so scores are too optimistic."]

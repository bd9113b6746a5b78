"""Look at the data before spending time on it: what would spoil a result, and what to expect of it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from carryover.data.formats.opening import Source, inner_suffix
from carryover.data.formats.reading import read_raw, read_tagged, read_texts
from carryover.data.formats.text import ReadResult, TaggedSentence, TextExample
from carryover.data.overlap import RawScan
from carryover.data.schemes import Scheme
from carryover.data.words import WordTokenizer
from carryover.errors import BadData, UsageError

ERROR, WARNING, NOTE = "error", "warning", "note"

FEW_OF_A_LABEL = 5
LONG_TEXT = 512  # words
_MOJIBAKE = re.compile("Ã[\x80-\xbf©¨¤¶¼\xad]|â€[™œ\x9d“”˜¦]|Â[\xa0-\xbf]|ï¿½")
_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

Example = TextExample | TaggedSentence


@dataclass(frozen=True)
class Finding:
    """`level` is "error" (results would be wrong), "warning" (look at it) or "note"; `count` is how many cases."""

    level: str
    message: str
    count: int


@dataclass
class Report:
    """What was found, and figures of every file."""

    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, level: str, message: str, count: int) -> None:
        """Note a case that occurs; nothing when `count` is 0."""
        if count:
            self.findings.append(Finding(level, message, count))

    @property
    def errors(self) -> int:
        return sum(finding.level == ERROR for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "carryover.doctor/1",
            "findings": [asdict(finding) for finding in self.findings],
            "files": self.figures,
        }

    def lines(self) -> list[str]:
        """The report for a terminal: a line of figures for each file, then the findings, the gravest first."""
        rows = []
        for name, figures in self.figures.items():
            shown = (
                f"{key.replace('_', ' ')} {_short(value)}" for key, value in figures.items() if not isinstance(value, dict)
            )
            rows.append(f"{name}: " + ", ".join(shown))
            if balance := figures.get("labels_by_count"):
                total = sum(balance.values())
                parts = [f"{label} {count} ({count / total:.0%})" for label, count in list(balance.items())[:12]]
                more = f" and {len(balance) - 12} more" if len(balance) > 12 else ""
                rows.append(f"{name} labels: " + ", ".join(parts) + more)
        order = (ERROR, WARNING, NOTE)
        for finding in sorted(self.findings, key=lambda one: order.index(one.level)):
            rows.append(f"{finding.level}: {finding.message} ({finding.count:,})")
        if not any(finding.level in (ERROR, WARNING) for finding in self.findings):
            rows.append("nothing alarming found")
        return rows


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.1%}" if isinstance(value, float) else str(value)


def examine(
    raw: Source | None = None,
    train: Source | None = None,
    dev: Source | None = None,
    test: Source | None = None,
    *,
    task: str | None = None,
    text_column: str | int = "text",
    label_column: str | int | None = None,
    format: str | None = None,
    multi_label: str | None = None,
    coarse: str | None = None,
) -> Report:
    """Examine raw text and labelled files together.

    Duplicates within a file, overlap of raw text or training data with dev and test, share of the words of each labelled
    file that raw text and training data know, balance of labels, labels unseen in training, encoding faults, lengths.
    Faulty rows are counted, not raised. Raw text is read once as a stream; memory grows by eight bytes a line and by the
    table of distinct words.

    `task` is "classify" or "tag"; without it the files' names tell (.conll, .conllu, .bio, .iob and .iob2 are tagged).
    Raises UsageError when there is nothing to examine, InputMissing and BadData when a file cannot be read at all.
    """
    given = {name: path for name, path in (("train", train), ("dev", dev), ("test", test)) if path is not None}
    if raw is None and not given:
        raise UsageError("there is nothing to examine", repair="give raw, train, dev or test")
    if task not in (None, "classify", "tag"):
        raise UsageError(f"task {task!r} is unknown", repair="use classify or tag")
    report = Report()
    files: dict[str, list[Example]] = {}
    schemes: dict[str, Scheme | None] = {}
    for name, path in given.items():
        tagged = (task or _guess_task(path, format)) == "tag"
        result: ReadResult[Any]
        if tagged:
            result = read_tagged(path, label_column=label_column, format=format, on_error="skip", require_labels=False)
        else:
            label: str | int = "label" if label_column is None else label_column
            result = read_texts(
                path, text_column=text_column, label_column=label, format=format, on_error="skip",
                multi_label=multi_label, coarse=coarse, require_labels=format != "text",
            )  # fmt: skip
        files[name] = list(result.examples)
        schemes[name] = result.scheme
        _examine_file(report, name, result)
    for first, second in (("train", "dev"), ("train", "test"), ("dev", "test")):
        if first in files and second in files:
            _examine_overlap(report, first, files[first], second, files[second])
            if first == "train":
                _examine_unseen(report, _kinds(files[first], schemes[first]), second, _kinds(files[second], schemes[second]))
    vocabularies = {name: Counter(word for words in _words(examples) for word in words) for name, examples in files.items()}
    if raw is not None:
        vocabularies["raw"] = _examine_raw(report, raw, files)
    for known in ("raw", "train"):
        for name in files:
            if known in vocabularies and known != name:
                _examine_coverage(report, name, vocabularies[name], known, vocabularies[known])
    return report


def _guess_task(path: Source, format: str | None) -> str:
    tagged = format in ("conll", "conllu") or (
        format is None and inner_suffix(path) in (".conll", ".conllu", ".conllup", ".bio", ".iob", ".iob2")
    )
    return "tag" if tagged else "classify"


def _examine_file(report: Report, name: str, result: ReadResult[Any]) -> None:
    """Rows, faults, lengths, duplicates and labels of one labelled file."""
    examples: list[Example] = result.examples
    lengths = np.array([len(words) for words in _words(examples)])
    figures: dict[str, Any] = {"rows": result.rows, "words": int(lengths.sum()), **_lengths(lengths)}
    report.figures[name] = figures
    if result.rejected:
        first = result.rejected[0]
        report.add(ERROR, f"{name}: faulty rows, the first in line {first.line}: {first.reason}", len(result.rejected))
    if isinstance(examples[0], TextExample):
        report.add(WARNING, f"{name}: texts longer than {LONG_TEXT} words", int((lengths > LONG_TEXT).sum()))
    _examine_characters(report, name, (_text(example) for example in examples))
    labels_of: dict[str, set[tuple[str, ...]]] = {}
    for example in examples:
        labels_of.setdefault(_normalised(_text(example)), set()).add(_labels(example))
    report.add(WARNING, f"{name}: duplicate texts", len(examples) - len(labels_of))
    contrary = sum(len(different) > 1 for different in labels_of.values())
    report.add(WARNING, f"{name}: texts that stand there with different labels", contrary)
    counts = _kinds(examples, result.scheme)
    if not counts:
        report.add(NOTE, f"{name}: rows without labels", len(examples))
        return
    figures["labels" if result.scheme is None else "span_types"] = len(counts)
    figures["labels_by_count"] = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    if len(counts) == 1 and result.scheme is None:
        report.add(ERROR, f"{name}: all examples have the label {next(iter(counts))!r}", len(examples))
    rare = [label for label, count in counts.items() if count < FEW_OF_A_LABEL]
    if name == "train":
        shown = ", ".join(sorted(rare)[:5]) + (" …" if len(rare) > 5 else "")
        report.add(WARNING, f"train: labels with fewer than {FEW_OF_A_LABEL} cases: {shown}", len(rare))
    top = max(counts.values())
    if len(counts) > 1 and top > 0.9 * sum(counts.values()):
        most = max(counts, key=lambda label: counts[label])
        report.add(WARNING, f"{name}: the label {most!r} makes {top / sum(counts.values()):.0%} of all", top)


def _lengths(lengths: np.ndarray) -> dict[str, int]:
    """Shortest, median, 95th percentile and longest, in words."""
    if not len(lengths):
        return {}
    return {
        "shortest": int(lengths.min()),
        "median_length": int(np.median(lengths)),
        "length_95%": int(np.percentile(lengths, 95)),
        "longest": int(lengths.max()),
    }


def _examine_characters(report: Report, name: str, texts: Iterable[str]) -> None:
    lost = wrong = control = composed = 0
    for text in texts:
        control += bool(_CONTROL.search(text))
        if not text.isascii():
            lost += "\ufffd" in text
            wrong += bool(_MOJIBAKE.search(text))
            composed += not unicodedata.is_normalized("NFC", text)
    report.add(WARNING, f"{name}: texts with U+FFFD, characters lost in an earlier conversion", lost)
    report.add(WARNING, f"{name}: texts that look decoded wrongly (such as Ã© for é)", wrong)
    report.add(WARNING, f"{name}: texts with control characters", control)
    report.add(NOTE, f"{name}: texts not in Unicode normal form C (the same word may be spelled in two ways)", composed)


def _examine_overlap(report: Report, first: str, some: list[Example], second: str, others: list[Example]) -> None:
    known = {_normalised(_text(example)) for example in some}
    both = sum(_normalised(_text(example)) in known for example in others)
    report.add(WARNING, f"{second}: texts that also stand in {first}", both)


def _examine_unseen(report: Report, train: Counter[str], name: str, labels: Counter[str]) -> None:
    unseen = {label: count for label, count in labels.items() if label not in train}
    if train and unseen:
        shown = ", ".join(repr(label) for label in sorted(unseen)[:5])
        report.add(ERROR, f"{name}: examples whose label never stands in train: {shown}", sum(unseen.values()))


def _examine_raw(report: Report, raw: Source, files: dict[str, list[Example]]) -> Counter[str]:
    """Stream the raw text once; its words."""
    held_out = {name: [_text(example) for example in examples] for name, examples in files.items()}
    scan = RawScan(held_out)
    tokenizer = WordTokenizer()
    vocabulary: Counter[str] = Counter()
    reading = _RawReading(read_raw(raw), vocabulary, tokenizer, scan)
    _examine_characters(report, "raw", reading)
    report.figures["raw"] = {
        "lines": reading.lines,
        "words": reading.words,
        "distinct_words": len(vocabulary),
        **_lengths(np.frombuffer(reading.lengths, dtype=np.int64)),
    }
    if reading.fault is not None:
        report.add(ERROR, f"raw: unreadable from here on: {reading.fault}", 1)
    report.add(WARNING, "raw: duplicate lines", scan.duplicate_lines())
    for name, found in scan.found().items():
        level = WARNING if name in ("dev", "test") else NOTE
        report.add(level, f"{name}: texts that stand in the raw text, whole or by a run of 8 words", found)
    return vocabulary


class _RawReading:
    """Iterates over the raw lines that hold text, counting words and overlaps on the way."""

    def __init__(
        self, lines: Iterator[tuple[int, str]], vocabulary: Counter[str], tokenizer: WordTokenizer, scan: RawScan
    ) -> None:
        self.source, self.vocabulary, self.tokenizer, self.scan = lines, vocabulary, tokenizer, scan
        self.lines = self.words = 0
        self.lengths = bytearray()
        self.fault: BadData | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for _, line in self.source:
                if line:
                    words = self.tokenizer.words(line)
                    self.lines += 1
                    self.words += len(words)
                    self.lengths += np.int64(len(words)).tobytes()
                    self.vocabulary.update(words)
                    self.scan.add(line)
                    yield line
        except BadData as error:
            if not self.lines:
                raise
            self.fault = error


def _examine_coverage(report: Report, name: str, words: Counter[str], known: str, vocabulary: Counter[str]) -> None:
    """Share of the words of a file, counted as often as they stand, that another one knows."""
    total = words.total()
    missing = sum(count for word, count in words.items() if word not in vocabulary)
    lower = {word.lower() for word in vocabulary}
    missing_in_any_case = sum(count for word, count in words.items() if word.lower() not in lower)
    share = 1 - missing / total
    report.figures[name][f"covered_by_{known}"] = share
    level = WARNING if known == "raw" and share < 0.8 else NOTE
    hint = ""
    if known == "raw" and missing > 2 * missing_in_any_case and share < 0.95:
        hint = f"; {1 - missing_in_any_case / total:.1%} if capitals are ignored"
    report.add(level, f"{name}: words that {known} does not hold; it covers {share:.1%}{hint}", missing)


def _text(example: Example) -> str:
    return example.text if isinstance(example, TextExample) else " ".join(example.tokens)


def _labels(example: Example) -> tuple[str, ...]:
    return example.labels if isinstance(example, TextExample) else example.tags


def _kinds(examples: list[Example], scheme: Scheme | None) -> Counter[str]:
    """How often each label stands there; of span tags, how many spans of each type."""
    labels = Counter(label for example in examples for label in _labels(example))
    if scheme is None:
        return labels
    return Counter({label[2:]: count for label, count in labels.items() if label.startswith("B-")})


def _words(examples: Sequence[Example]) -> Iterator[Sequence[str]]:
    tokenizer = WordTokenizer()
    for example in examples:
        yield tokenizer.words(example.text) if isinstance(example, TextExample) else example.tokens


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())

"""Look at the data before spending time on it: what would spoil a result, and what to expect of it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from carryover.data.columns import Columns
from carryover.data.doctor_characters import as_seen, examine_characters, examine_label_names, examine_quotes, without_case
from carryover.data.doctor_report import ERROR, NOTE, WARNING, Case, Finding, Report, times
from carryover.data.examples import Text
from carryover.data.formats.choosing import FORMATS, holds_tags
from carryover.data.formats.labelled import is_no_text
from carryover.data.formats.opening import FilePath, inner_suffix
from carryover.data.formats.reading import read_raw, read_tagged, read_texts
from carryover.data.formats.text import LabelledText, ReadResult, Tagged
from carryover.data.long_words import count_cut_occurrences, cut_sentence
from carryover.data.majority import majority_answers, majority_score
from carryover.data.metric_names import SKEWED
from carryover.data.overlap import RawScan
from carryover.data.schemes import AUTO, PLAIN, Like, Scheme, extract_spans, refuse_scheme
from carryover.data.words import WordTokenizer
from carryover.errors import BadData, UsageError

__all__ = ["ERROR", "NOTE", "WARNING", "Case", "Finding", "Report", "examine"]

FEW_OF_A_LABEL = 5
LONG_TEXT = 512  # words
SKEWED_TAGS = 0.9

Example = LabelledText | Tagged


def examine(
    raw: FilePath | None = None,
    train: FilePath | None = None,
    dev: FilePath | None = None,
    test: FilePath | None = None,
    *,
    raw_column: str | int = "text",
    raw_format: str | None = None,
    task: str | None = None,
    text_column: str | int = "text",
    label_column: str | int | None = None,
    format: str | None = None,
    multi_label: str | None = None,
    coarse: str | None = None,
    scheme: str = AUTO,
    series_column: str = "series",
    time_column: str | None = None,
    missing: str = "stop",
) -> Report:
    """Examine raw text and labelled files together.

    Duplicates within a file, overlap of raw text or training data with dev and test, share of the words of each labelled
    file that raw text and training data know, balance of labels and what the majority scores, labels that look alike or are
    unseen in training, encoding faults, lengths. Faulty rows are counted, not raised. Raw text is read once as a stream;
    memory grows by sixteen bytes a line and by the table of distinct words.

    `series_column`, `time_column` and `missing` are for files of series (see `doctor_series`).
    `task` is "classify" or "tag"; without it the files' names tell. `raw_column` and `raw_format` are for raw text that is no
    plain text.
    Raises UsageError when there is nothing to examine, InputMissing and BadData when a file cannot be read at all.
    """
    given = {name: path for name, path in (("train", train), ("dev", dev), ("test", test)) if path is not None}
    if raw is None and not given:
        raise UsageError("there is nothing to examine", repair="give raw, train, dev or test")
    if task not in (None, "classify", "tag"):
        raise UsageError(f"task {task!r} is unknown", repair="use classify or tag")
    if isinstance(text_column, str) and "," in text_column:
        first = text_column.partition(",")[0]
        raise UsageError(
            f"the columns {text_column} are two, and one is examined at a time", repair=f"give --text-column {first}"
        )
    columns = Columns(
        text_column=text_column,
        label_column=label_column,
        format=format,
        multi_label=multi_label,
        coarse=coarse,
        series_column=series_column,
        time_column=time_column,
        missing=missing,
    )
    if any(is_no_text(path, columns) for path in given.values() or (raw,) if path is not None):
        from carryover.data.doctor_series import examine_series

        raw_files = {} if raw is None else {"raw": raw}
        return examine_series({**raw_files, **given}, columns)
    tasks = {name: task or _guess_task(path, format) for name, path in given.items()}
    tagged = {name for name, its in tasks.items() if its == "tag"}
    if not tagged:
        refuse_scheme(scheme)
    report = Report(task=tasks.get("train"))
    files: dict[str, list[Example]] = {}
    schemes: dict[str, Scheme | None] = {}
    for name, path in given.items():
        result: ReadResult[Any]
        if name in tagged:
            like: Like = (schemes["train"] or PLAIN) if "train" in schemes else None
            result = read_tagged(
                path,
                label_column=label_column,
                format=format,
                on_error="skip",
                require_labels=False,
                scheme=scheme,
                like=like,
            )
        else:
            label: str | int = "label" if label_column is None else label_column
            result = read_texts(
                path, text_column=text_column, label_column=label, format=format, on_error="skip",
                multi_label=multi_label, coarse=coarse, require_labels=format != "text",
            )  # fmt: skip
        files[name] = list(result.examples)
        schemes[name] = result.scheme
        _examine_file(report, name, result, texts=name not in tagged)
        if format == "tsv" or (format is None and inner_suffix(path) in FORMATS["tsv"].suffixes):
            cells = ((one.source.line, cell) for one in files[name] for cell in (_text(one), *_labels(one)))
            examine_quotes(report, name, cells)
    _examine_majority(report, files, schemes)
    for first, second in (("train", "dev"), ("train", "test"), ("dev", "test")):
        if first in files and second in files:
            _examine_overlap(report, first, files[first], second, files[second])
            if first == "train":
                _examine_unseen(report, _kinds(files[first], schemes[first]), second, files[second], schemes[second])
    vocabularies = {name: Counter(word for words in _words(examples) for word in words) for name, examples in files.items()}
    if raw is not None:
        vocabularies["raw"] = _examine_raw(report, read_raw(raw, column=raw_column, format=raw_format), files)
    for name, vocabulary in vocabularies.items():
        cut = count_cut_occurrences(vocabulary)
        level = WARNING if cut > 0.01 * vocabulary.total() else NOTE  # a long web address is nothing to worry about
        report.add(level, f"{name}: {cut_sentence(cut, vocabulary.total())}", cut)
    for known in ("raw", "train"):
        for name in files:
            if known in vocabularies and known != name:
                _examine_coverage(report, name, vocabularies[name], known, vocabularies[known])
    return report


def _guess_task(path: FilePath, format: str | None) -> str:
    return "tag" if holds_tags(path, format) else "classify"


def _examine_file(report: Report, name: str, result: ReadResult[Any], *, texts: bool) -> None:
    """Rows, faults, lengths, duplicates and labels of one labelled file."""
    examples: list[Example] = result.examples
    lengths = np.array([len(words) for words in _words(examples)])
    figures: dict[str, Any] = {"rows": result.rows, "words": int(lengths.sum()), **_lengths(lengths)}
    report.figures[name] = figures
    if result.rejected:
        first = result.rejected[0]
        faulty = [Case(one.line, one.text, one.reason) for one in result.rejected]
        report.add_cases(ERROR, f"{name}: faulty rows, the first in line {first.line}: {first.reason}", faulty)
    if texts:
        long = [
            Case(one.source.line, _text(one), f"{length:,} words")
            for one, length in zip(examples, lengths, strict=True)
            if length > LONG_TEXT
        ]
        report.add_cases(WARNING, f"{name}: texts longer than {LONG_TEXT} words", long)
    examine_characters(report, name, ((one.source.line, _text(one)) for one in examples))
    _examine_duplicates(report, name, examples)
    _examine_labels(report, name, result, figures, texts)


def _examine_duplicates(report: Report, name: str, examples: list[Example]) -> None:
    first: dict[str, Example] = {}
    labels_of: dict[str, dict[tuple[str, ...], int]] = {}  # the line of each different labelling
    duplicates = []
    for example in examples:
        key = _normalised(_text(example))
        if key in first:
            duplicates.append(Case(example.source.line, _text(example), f"repeats line {first[key].source.line:,}"))
        first.setdefault(key, example)
        labels_of.setdefault(key, {}).setdefault(_labels(example), example.source.line)
    report.add_cases(WARNING, f"{name}: duplicate texts", duplicates)
    contrary = [
        Case(first[key].source.line, _text(first[key]), _difference(first[key], found))
        for key, found in labels_of.items()
        if len(found) > 1
    ]
    report.add_cases(WARNING, f"{name}: texts that occur with different labels", contrary)


def _examine_labels(report: Report, name: str, result: ReadResult[Any], figures: dict[str, Any], texts: bool) -> None:
    examples = result.examples
    counts = _kinds(examples, result.scheme)
    if not counts:
        what = "rows without labels" if result.scheme is None else "sentences without any span"
        report.add(NOTE, f"{name}: {what}", len(examples))
        return
    if not texts:
        bare = [Case(one.source.line, _text(one)) for one in examples if not one.gold]
        report.add_cases(ERROR, f"{name}: sentences without tags among others that have them", bare)
    first: dict[str, int] = {}
    for example in examples:
        for label in _labels(example):
            first.setdefault(label if result.scheme is None else label[2:], example.source.line)
    if result.scheme is not None:
        figures["scheme"] = str(result.scheme)
    figures["labels" if result.scheme is None else "span_types"] = len(counts)
    figures["labels_by_count"] = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    if len(counts) == 1 and result.scheme is None:
        report.add(ERROR, f"{name}: all examples have the label {next(iter(counts))!r}", len(examples))
    examine_label_names(report, name, counts, first)
    rare = sorted(label for label, count in counts.items() if count < FEW_OF_A_LABEL)
    if name == "train":
        shown = ", ".join(rare[:5]) + (" …" if len(rare) > 5 else "")
        cases = [Case(first[label], label, times(counts[label])) for label in rare]
        report.add_cases(WARNING, f"train: labels with fewer than {FEW_OF_A_LABEL} cases: {shown}", cases)
    most, top = max(counts.items(), key=lambda item: item[1])
    share = top / (len(examples) if texts else counts.total())
    if len(counts) > 1 and share > (SKEWED if texts else SKEWED_TAGS):
        hint = "; accuracy hides the others, so train and compare score by macro-F1" if texts else ""
        report.add(WARNING, f"{name}: the label {most!r} makes {share:.0%} of all{hint}", top)


def _examine_majority(report: Report, files: dict[str, list[Example]], schemes: dict[str, Scheme | None]) -> None:
    """What the most frequent label of the training examples scores, on every other file; without another on these."""
    labelled = {name: [one for one in examples if _labels(one)] for name, examples in files.items()}
    train = labelled.get("train", [])
    for name in [other for other in files if other != "train"] or list(files):
        test = labelled[name]
        if not train or not test or type(test[0].input) is not type(train[0].input):
            continue
        score = majority_score(train, test)
        spans = _span_f1(test, majority_answers(train, test)) if schemes[name] is not None else None
        report.figures[name]["majority"] = {
            "answer": score.answer, "accuracy": score.accuracy, "macro_f1": score.macro_f1, "span_f1": spans,
            "counted_in": "train",
        }  # fmt: skip


def _span_f1(examples: list[Example], answers: list[tuple[str, ...]]) -> float:
    gold = {(n, *span) for n, one in enumerate(examples) for span in extract_spans(_labels(one))}
    found = {(n, *span) for n, tags in enumerate(answers) for span in extract_spans(tags)}
    return 2 * len(gold & found) / max(1, len(gold) + len(found))


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


def _examine_overlap(report: Report, first: str, some: list[Example], second: str, others: list[Example]) -> None:
    known: dict[str, int] = {}
    for example in some:
        known.setdefault(_normalised(_text(example)), example.source.line)
    both = [
        Case(one.source.line, _text(one), f"line {known[key]:,} of {first}")
        for one in others
        if (key := _normalised(_text(one))) in known
    ]
    report.add_cases(WARNING, f"{second}: texts that also occur in {first}", both)


def _examine_unseen(report: Report, train: Counter[str], name: str, examples: list[Example], scheme: Scheme | None) -> None:
    alike = {key(label): label for key in (without_case, as_seen) for label in train}
    cases = []
    unseen: Counter[str] = Counter()
    for example in examples:
        for label in _kinds([example], scheme).elements() if train else ():
            if label not in train:
                unseen[label] += 1
                near = alike.get(as_seen(label)) or alike.get(without_case(label))
                cases.append(Case(example.source.line, label, f"train has {near!r}" if near else ""))
    shown = ", ".join(repr(label) for label in sorted(unseen)[:5])
    report.add_cases(ERROR, f"{name}: examples whose label never occurs in train: {shown}", cases)


def _examine_raw(report: Report, raw: Iterator[tuple[int, str]], files: dict[str, list[Example]]) -> Counter[str]:
    """Stream the raw text once; its words."""
    scan = RawScan({name: [_text(example) for example in examples] for name, examples in files.items()})
    tokenizer = WordTokenizer()
    vocabulary: Counter[str] = Counter()
    reading = _RawReading(raw, vocabulary, tokenizer, scan)
    examine_characters(report, "raw", reading)
    report.figures["raw"] = {
        "lines": len(reading.lengths),
        "words": sum(reading.lengths),
        "distinct_words": len(vocabulary),
        **_lengths(np.frombuffer(reading.lengths, dtype=np.int64)),
    }
    if reading.fault is not None:
        where = [Case(reading.fault.line or 0, "", reading.fault.message)]
        report.add_cases(ERROR, f"raw: unreadable from here on: {reading.fault}", where)
    repeated = [Case(line, "", f"repeats line {earlier:,}") for line, earlier in scan.duplicates()]
    report.add_cases(WARNING, "raw: duplicate lines", repeated)
    for name, found in scan.matches().items():
        level = WARNING if name in ("dev", "test") else NOTE
        cases = [
            Case(files[name][place].source.line, _text(files[name][place]), f"line {line:,} of raw") for place, line in found
        ]
        report.add_cases(level, f"{name}: texts that occur in the raw text, whole or by a run of 8 words", cases)
    return vocabulary


class _RawReading:
    """Iterates over the raw lines that hold text, counting words and overlaps on the way."""

    def __init__(
        self, lines: Iterator[tuple[int, str]], vocabulary: Counter[str], tokenizer: WordTokenizer, scan: RawScan
    ) -> None:
        self.source, self.vocabulary, self.tokenizer, self.scan = lines, vocabulary, tokenizer, scan
        self.lengths = array("q")
        self.fault: BadData | None = None

    def __iter__(self) -> Iterator[tuple[int, str]]:
        try:
            for number, line in self.source:
                if line:
                    words = self.tokenizer.words(line)
                    self.lengths.append(len(words))
                    self.vocabulary.update(words)
                    self.scan.add(line, number)
                    yield number, line
        except BadData as error:
            if not self.lengths:
                raise
            self.fault = error


def _examine_coverage(report: Report, name: str, words: Counter[str], known: str, vocabulary: Counter[str]) -> None:
    """Share of the words of a file, counted as often as they stand, that another one knows."""
    missing = Counter({word: count for word, count in words.items() if word not in vocabulary})
    lower = {word.lower() for word in vocabulary}
    missing_in_any_case = sum(count for word, count in missing.items() if word.lower() not in lower)
    total = max(1, words.total())
    share = 1 - missing.total() / total
    report.figures[name][f"covered_by_{known}"] = share
    level = WARNING if known == "raw" and share < 0.8 else NOTE
    hint = ""
    if known == "raw" and missing.total() > 2 * missing_in_any_case and share < 0.95:
        hint = f" ({missing_in_any_case / total:.1%} if capitals are ignored)"
    listed = [Case(0, word, times(count)) for word, count in missing.most_common()]
    shown = max(1 - share, 0.001) if missing else 0.0  # not 0.0% while a word is missing
    where = {"raw": "the raw text"}.get(known, known)
    message = f"{name}: word occurrences ({shown:.1%}) that are not in {where}{hint}"
    report.add(level, message, missing.total(), listed)


def _text(example: Example) -> str:
    return example.input.shown


def _labels(example: Example) -> tuple[str, ...]:
    return example.gold or ()


def _difference(example: Example, lines: dict[tuple[str, ...], int]) -> str:
    """How the labellings of one text differ; for tags at the first word where they do."""
    tokens = () if isinstance(example.input, Text) else example.input.tokens
    length = min(map(len, (tokens, *lines)))  # the same text may have other words, or no tags
    place = next((n for n in range(length) if len({tags[n] for tags in lines}) > 1), None)
    if place is None:
        return ", ".join(f"{'+'.join(labels) or 'no label'} in line {line:,}" for labels, line in lines.items())
    tags_at = ", ".join(f"{tags[place]} in line {line:,}" for tags, line in lines.items())
    return f"{tokens[place]!r}: {tags_at}"


def _kinds(examples: Sequence[Example], scheme: Scheme | None) -> Counter[str]:
    """How often each label occurs; of span tags, how many spans of each type."""
    labels = Counter(label for example in examples for label in _labels(example))
    if scheme is None:
        return labels
    return Counter({label[2:]: count for label, count in labels.items() if label.startswith("B-")})


def _words(examples: Sequence[Example]) -> Iterator[Sequence[str]]:
    tokenizer = WordTokenizer()
    for example in examples:
        yield example.input.words(tokenizer.words)


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())

"""Data that needs no file and no network, asked for by name wherever a file could be named.

==================== ============================================ ===================== ================================
name                 raw text                                     classification        tagging
==================== ============================================ ===================== ================================
`builtin:pydocs`     docstrings of Python and installed libraries which library it is    role of each token of a line of
                                                                                         code
`builtin:grammar`    sentences of a small generated language      topic of the sentence word class, with homographs
==================== ============================================ ===================== ================================

A part may follow the name: `/train`, `/valid` (or `/dev`) and `/test` give 70, 10 and 20 % of the labelled examples and 92,
4 and 4 % of the raw text; without one there is everything. `builtin:pydocs/code` is raw text for the tagging task: lines of
code, tokens apart, from other files than the tagged ones. The roles are divided by file, so that a name seen in training
does not tell the role in testing.

The generated language takes sizes: `builtin:grammar?raw=5000&labelled=800&words=300&seed=1` (these are also options one by
one; the defaults are in `grammar.GrammarSize`). Part and sizes combine: `builtin:grammar/train?raw=5000`.

`builtin:pydocs` is read from the environment the first time (some 20 seconds) and kept in the cache folder, one entry for
each combination of library versions. See `pydocs` and `pydocs_roles` for what is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from carryover.data import grammar, pydocs, pydocs_roles
from carryover.data.examples import Example, Labels, Source, Text, Words
from carryover.data.grammar import GrammarSize
from carryover.data.once import build_once
from carryover.data.splits import stratified_split
from carryover.errors import UsageError, nearest
from carryover.progress import say
from carryover.storage import atomic_folder, cache_folder, fingerprint, write_file

PREFIX = "builtin:"
NAMES = ("pydocs", "grammar")
PARTS = ("train", "valid", "test")
_SPELLINGS = {"dev": "valid", "validation": "valid", "heldout": "valid", "training": "train"}
_LABELLED_SHARES = (0.7, 0.1, 0.2)
_RAW_SHARE_HELD_OUT = 0.04
_SPLIT_SEED = 0
_LINES = "lines:"

# What is drawn for the tagging task: files by a hash of their names, and lines of each.
_CODE_FORMAT = 1
_TAGGED_FILES, _RAW_CODE_FILES = 0.08, 0.15
_LINES_OF_A_FILE = 40
_TAGGED_LINES = 6000
_LARGEST_CODE_FILE = 100_000


@dataclass(frozen=True)
class BuiltinName:
    """A name taken apart: data set, part ("" for everything) and the sizes of a generated one."""

    data: str
    part: str = ""
    size: GrammarSize = field(default_factory=GrammarSize)


def parse_name(name: str) -> BuiltinName:
    """Take a name apart, with or without `builtin:`. Raises UsageError naming the nearest spelling."""
    path, _, options = name.removeprefix(PREFIX).partition("?")
    data, _, part = path.partition("/")
    if data not in NAMES:
        close = get_close_matches(data, NAMES, n=1, cutoff=0.4)
        raise UsageError(
            f"no built-in data {name!r}",
            repair=f"did you mean {PREFIX}{close[0]}?" if close else f"there is {', '.join(PREFIX + one for one in NAMES)}",
        )
    part = _SPELLINGS.get(part, part)
    parts = (*PARTS, "code") if data == "pydocs" else PARTS
    if part and part not in parts:
        raise _unknown(name, f"part of {data}", part, parts)
    size = GrammarSize()
    for option in filter(None, options.split("&")):
        key, _, value = option.partition("=")
        if data != "grammar" or key not in asdict(size):
            raise _unknown(name, f"option of {data}", key, tuple(asdict(size)) if data == "grammar" else ())
        if not value.isascii() or not value.isdigit() or len(value) > 9 or (key != "seed" and int(value) < 1):
            raise UsageError(f"{name!r}: {key} is {value!r}", repair="give a whole number of 1 or more")
        size = replace(size, **{key: int(value)})
    return BuiltinName(data, part, size)


def raw_lines(name: str) -> Iterator[str]:
    """Lines of text; in `pydocs` a paragraph a line and a blank line after each docstring. Raises UsageError."""
    wanted = parse_name(name)
    if wanted.data == "grammar":
        for number, sentence in enumerate(grammar.raw_sentences(wanted.size)):
            if wanted.part in ("", _raw_part((number % 100 + 0.5) / 100)):
                yield sentence
        return
    stem = "code" if wanted.part == "code" else "raw"
    for part in [wanted.part] if wanted.part in PARTS else PARTS:
        with (pydocs_folder() / f"{stem}-{part}.txt").open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.removesuffix("\n")


def classified(name: str) -> list[Example[Text, Labels]]:
    """Texts with one label each. Raises UsageError for a name without such a task."""
    wanted, path = _labelled(name), f"builtin:{name}"
    if wanted.data == "grammar":
        examples = grammar.classified_sentences(wanted.size, path)
        return _part(examples, examples, wanted.part)
    rows = _rows("classify", wanted.part)
    return [Example(Text(row["text"]), (row["label"],), Source(path, line)) for line, row in enumerate(rows, start=1)]


def tagged(name: str) -> list[Example[Words, Labels]]:
    """Sentences with a tag for each word. Raises UsageError for a name without such a task."""
    wanted, path = _labelled(name), f"builtin:{name}"
    if wanted.data == "grammar":
        pairs = grammar.labelled_sentences(wanted.size)
        sentences = [
            Example(Words(tuple(word for word, _ in words)), tuple(tag for _, tag in words), Source(path, line))
            for line, (_, words) in enumerate(pairs, start=1)
        ]
        return _part(sentences, grammar.classified_sentences(wanted.size, path), wanted.part)
    rows = _rows("roles", wanted.part)
    return [
        Example(Words(tuple(row["tokens"])), tuple(row["tags"]), Source(path, line))
        for line, row in enumerate(rows, start=1)
    ]


def builtin_fingerprint(name: str) -> str:
    """Of the lines of raw text, whatever version, library or source they come from."""
    return lines_fingerprint(raw_lines(name))


def lines_fingerprint(lines: Iterable[str]) -> str:
    """SHA-256 of built-in content, with a mark before it."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return _LINES + digest.hexdigest()


def is_earlier_fingerprint(old: Any, new: Any) -> bool:
    """Whether `old` may be what version 0.1.0 stored for the built-in content of the fingerprint `new`: it covered the source
    that made the text, so that it says nothing of the text."""
    return isinstance(new, str) and new.startswith(_LINES) and isinstance(old, str) and not old.startswith(_LINES)


def pydocs_folder(*, quiet: bool = False) -> Path:
    """The cached texts and tasks of this environment, built when they are not there. Raises CannotWrite, DiskFault."""
    folder = cache_folder() / f"pydocs-{_environment_key()[:20]}"

    def build(place: Path) -> None:
        if not quiet:
            say(f"builtin:pydocs: reading the docstrings of {len(pydocs.installed())} packages, once for this environment")
        with atomic_folder(place) as temporary:
            write_pydocs(temporary)

    build_once(folder, build)
    return folder


def write_pydocs(folder: Path) -> None:
    """Read the environment and write `raw-*.txt`, `code-*.txt`, `classify-*.jsonl` and `roles-*.jsonl` into `folder`."""
    lines: dict[str, list[pydocs_roles.Line]] = {part: [] for part in PARTS}
    code: dict[str, list[str]] = {part: [] for part in PARTS}

    def look(source: pydocs.Source, text: str, tree: Any) -> None:
        # Two draws by the file's name: whether and for what its lines are used, and in which part.
        draw, part = _share(f"use {source.name}"), _share(f"part {source.name}")
        if draw > _TAGGED_FILES + _RAW_CODE_FILES or len(text) > _LARGEST_CODE_FILE:
            return
        if draw < _TAGGED_FILES:
            lines[_labelled_part(part)] += sorted(pydocs_roles.code_lines(text, tree), key=_line_hash)[:_LINES_OF_A_FILE]
        else:
            code[_raw_part(part)] += [*pydocs_roles.plain_lines(text), ""]

    passages = pydocs.read_passages(look)
    examples, labelled = pydocs.classification(passages)
    texts = [Example(Text(text), (library,)) for text, library in examples]
    for part, positions in zip(PARTS, stratified_split(texts, _LABELLED_SHARES, _SPLIT_SEED), strict=True):
        _write_rows(
            folder / f"classify-{part}.jsonl", [{"text": examples[i][0], "label": examples[i][1]} for i in positions]
        )
    raw: dict[str, list[str]] = {part: [] for part in PARTS}
    for paragraphs in pydocs.raw_passages(passages, labelled):
        raw[_raw_part(_share(paragraphs[0]))] += [*paragraphs, ""]
    tagged_lines = _chosen_lines(lines)
    shown = {" ".join(token for token, _ in line) for line in [*tagged_lines["valid"], *tagged_lines["test"]]}
    for part in PARTS:
        _write_lines(folder / f"raw-{part}.txt", raw[part])
        _write_lines(folder / f"code-{part}.txt", [line for line in code[part] if line not in shown])
        rows = [{"tokens": [t for t, _ in line], "tags": [r for _, r in line]} for line in tagged_lines[part]]
        _write_rows(folder / f"roles-{part}.jsonl", rows)


def _chosen_lines(lines: dict[str, list[pydocs_roles.Line]]) -> dict[str, list[pydocs_roles.Line]]:
    """Different lines, none in two parts, in an order by hash, as many of each part as its share of the whole."""
    met: set[str] = set()
    chosen = {}
    for part, share in zip(reversed(PARTS), reversed(_LABELLED_SHARES), strict=True):
        different = {" ".join(token for token, _ in line): line for line in sorted(lines[part], key=_line_hash)}
        kept = [line for text, line in different.items() if text not in met]
        chosen[part] = kept[: round(_TAGGED_LINES * share)]
        met.update(different)
    return chosen


def _labelled(name: str) -> BuiltinName:
    wanted = parse_name(name)
    if wanted.part == "code":
        raise UsageError(f"{name!r} is raw text without labels", repair="the labelled lines of code are builtin:pydocs")
    return wanted


def _part(items: list[Any], examples: list[Example[Text, Labels]], part: str) -> list[Any]:
    if not part:
        return items
    positions = stratified_split(examples, _LABELLED_SHARES, _SPLIT_SEED)[PARTS.index(part)]
    return [items[i] for i in positions]


def _rows(stem: str, part: str) -> list[dict[str, Any]]:
    texts = [(pydocs_folder() / f"{stem}-{one}.jsonl").read_text(encoding="utf-8") for one in ([part] if part else PARTS)]
    return [json.loads(line) for text in texts for line in text.split("\n") if line]


def _raw_part(share: float) -> str:
    """The part of raw text at a place between 0 and 1."""
    if share < 1 - 2 * _RAW_SHARE_HELD_OUT:
        return "train"
    return "valid" if share < 1 - _RAW_SHARE_HELD_OUT else "test"


def _labelled_part(share: float) -> str:
    if share < _LABELLED_SHARES[0]:
        return "train"
    return "valid" if share < _LABELLED_SHARES[0] + _LABELLED_SHARES[1] else "test"


def _share(text: str) -> float:
    """A number from [0, 1) drawn by a hash of a text."""
    return int.from_bytes(pydocs.hash_of(text)[:6], "big") / 2**48


def _line_hash(line: pydocs_roles.Line) -> bytes:
    return pydocs.hash_of(" ".join(token for token, _ in line))


def _environment_key() -> str:
    return fingerprint(*pydocs.environment(), _own_code(pydocs), _own_code(pydocs_roles), str(_CODE_FORMAT))


def _own_code(module: Any) -> str:
    """The source of a module: whoever changes the rules gets new text, not the cached one."""
    return Path(module.__file__).read_text(encoding="utf-8")


def _write_lines(path: Path, lines: list[str]) -> None:
    write_file(path, ["".join(line + "\n" for line in lines).encode()])


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    _write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows])


def _unknown(name: str, what: str, given: str, choices: tuple[str, ...]) -> UsageError:
    there = f"there is {', '.join(choices)}" if choices else "it has none"
    repair = nearest(given, choices, otherwise=there, cutoff=0.4)
    return UsageError(f"{name!r}: no {what} is called {given!r}", repair=repair)

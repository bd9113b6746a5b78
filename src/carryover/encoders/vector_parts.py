"""Vectors of a corpus in parts on the disk: memory does not follow the corpus, and a killed run continues where it was.

A part holds whole lines, as many as make `PART_BYTES` of vectors, and is below `.NAME.parts` next to the file NAME that
will be made of all of them. Its name is a hash of encoder, choice and words, so the same command finds what it did before,
from a pipe too, and a part of another text or model is never taken for it. Vectors that depend on what was read before
(`carry_rows`) cannot be entered in the middle: then every part is computed anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as ListOf
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from carryover import storage
from carryover.encoders.embed_lines import EmbeddedLine, Item, check_choice, cut_words, embed_lines, pieces_of, words_of
from carryover.encoders.encoder import Encoder
from carryover.errors import BadData, CannotWrite, CarryoverError
from carryover.progress import Progress, say

PART_BYTES = 32 << 20
MOST_LINES = 16_384
"""Of a part: empty lines and pooled ones take little room, yet their words are in memory."""
_FLOAT = 4
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which vectors are kept; see `carryover.encoders.embed_lines.embed_lines`."""

    layers: str = "mix"
    pool: str | None = None
    carry_rows: int | None = None
    precision: str = "float32"


@dataclass
class Parts:
    """What was computed: the files in order, and the sums over them. `shape` is that of one vector, [D] or [L+1, D].

    `made_from` is a hash of encoder, choice and all words: equal ones make the same file.
    """

    shape: tuple[int, ...]
    choice: Choice
    files: list[Path] = field(default_factory=list)
    lines: int = 0
    words: int = 0
    cut_words: int = 0
    long_lines: int = 0
    spelled_bytes: int = 0
    made_from: str = ""

    @property
    def vectors(self) -> int:
        """Their number: one a word, or pooled one a line."""
        return self.lines if self.choice.pool else self.words

    def tensors(self) -> Iterator[dict[str, np.ndarray]]:
        """`vectors` [vectors, …], `lengths` [lines] and `words` (bytes of JSON) of each part, one part in memory at a time."""
        for file in self.files:
            yield {name: tensor.numpy() for name, tensor in storage.load_tensors(file).items()}

    def arrays(self, name: str) -> Iterator[np.ndarray]:
        """One of the tensors of each part, the others left on the disk."""
        for file in self.files:
            with storage.open_tensors(file, "numpy") as stored:
                yield stored.get_tensor(name)

    def sentences(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """The words of every line with their vectors, [words, …], pooled […], read from the disk line by line."""
        for file in self.files:
            with storage.open_tensors(file, "numpy") as stored:
                vectors, start = stored.get_slice("vectors"), 0
                for number, words in enumerate(json.loads(stored.get_tensor("words").tobytes())):
                    if self.choice.pool is not None:
                        yield words, vectors[number]
                        continue
                    none = np.empty((0, *self.shape), np.float32)  # an empty slice at the end would be out of bounds
                    yield words, vectors[start : start + len(words)] if words else none
                    start += len(words)


def look_over(encoder: Encoder, lines: Iterable[Item], choice: Choice) -> Parts:
    """The sums and the hash of what `embedded_parts` would make of these lines, without a single vector."""
    check_choice(encoder, choice.layers, choice.pool)
    parts = _no_parts(encoder, choice)
    for group in _grouped((words_of(encoder, line) for line in lines), lambda words: _FLOAT * len(words)):
        _count(parts, encoder, group)
    return parts


def _no_parts(encoder: Encoder, choice: Choice) -> Parts:
    shape = (encoder.out_size,)
    made_from = f"{encoder.fingerprint()} {choice.layers} {choice.pool} {choice.carry_rows} {choice.precision}"
    return Parts((encoder.layer_count, *shape) if choice.layers == "all" else shape, choice, made_from=made_from)


def _count(parts: Parts, encoder: Encoder, group: list[list[str]]) -> None:
    for words in group:
        parts.made_from = storage.fingerprint(parts.made_from, *words)
        parts.words += len(words)
        parts.cut_words += cut_words(encoder, words)
        parts.long_lines += pieces_of(words) > 1
    parts.lines += len(group)


@contextmanager
def embedded_parts(
    path: Path, encoder: Encoder, lines: Iterable[Item], choice: Choice, *, quiet: bool = True
) -> Iterator[Parts]:
    """Compute what is missing of the parts for the file `path`, hand all of them out, and remove them after the block.

    After an error they stay, for the next run. Raises BadData when there is not one line, Busy when another run makes the
    same file, CannotWrite, DiskFault.
    """
    check_choice(encoder, choice.layers, choice.pool)
    folder = path.with_name(f".{path.name}.parts")
    with storage.writing(path):
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with storage.run_lock(folder):
            storage.sweep(folder)
            storage.recover_folder(path)  # what a run killed in its last step left beside the file
            parts = _no_parts(encoder, choice)
            _compute(folder, encoder, lines, parts, quiet)
            if not all(file.is_file() for file in parts.files):
                raise CannotWrite("was removed while it was being written", path=folder, repair="run the same command again")
            yield parts
            for file in folder.glob("*.safetensors"):
                file.unlink()
    finally:
        with suppress(OSError):
            folder.rmdir()  # unless parts are left


def _compute(folder: Path, encoder: Encoder, lines: Iterable[Item], parts: Parts, quiet: bool) -> None:
    choice, row = parts.choice, _FLOAT * int(np.prod(parts.shape))
    found_before, name_of_all = 0, parts.made_from
    embed = partial(embed_lines, encoder, layers=choice.layers, pool=choice.pool, precision=choice.precision)

    def size_of(words: ListOf[str]) -> int:
        return row if choice.pool else row * len(words)

    groups: Iterator[tuple[list[list[str]], Callable[[], Iterable[EmbeddedLine]]]]
    if choice.carry_rows is None:
        sentences = (words_of(encoder, line) for line in lines)
        groups = (
            (group, lambda group=group: embed(group))  # type: ignore[misc]
            for group in _grouped(sentences, size_of)
        )
    else:
        flow = embed(lines, carry_rows=choice.carry_rows)
        groups = (
            ([line.words for line in group], lambda group=group: group)  # type: ignore[misc]
            for group in _grouped(flow, lambda line: size_of(line.words))
        )
    with Progress("embedding", None, "words", quiet=quiet) as progress:
        for group, compute in groups:
            spelled = json.dumps(group, ensure_ascii=False).encode()
            file = folder / f"{storage.fingerprint(name_of_all, spelled)[:32]}.safetensors"
            words = sum(map(len, group))
            count = len(group) if choice.pool else words
            if choice.carry_rows is None and _is_whole(file, (count, *parts.shape)):
                found_before += words
            else:
                _save(file, compute(), spelled, group, parts)
            progress.advance(words)
            parts.files.append(file)
            _count(parts, encoder, group)
            parts.spelled_bytes += len(spelled)
    if not parts.lines:
        raise BadData("there is no line of text to embed", repair="give a file or a stream with at least one line")
    if found_before and not quiet:
        say(f"embedding: {found_before:,} of {parts.words:,} words were finished by an earlier run")


def _save(file: Path, lines: Iterable[EmbeddedLine], spelled: bytes, group: list[list[str]], parts: Parts) -> None:
    rows = [line.vectors.float().cpu() for line in lines]
    vectors = torch.stack(rows) if parts.choice.pool else torch.cat(rows)
    lengths = torch.tensor([len(words) for words in group], dtype=torch.int64)
    characters = torch.frombuffer(bytearray(spelled), dtype=torch.uint8)
    storage.save_tensors(file, {"vectors": vectors, "lengths": lengths, "words": characters})


def _is_whole(file: Path, shape: tuple[int, ...]) -> bool:
    """Whether a part of an earlier run can be used; a damaged one is computed again."""
    if not file.exists():
        return False
    try:
        return tuple(storage.load_tensors(file)["vectors"].shape) == shape
    except (CarryoverError, KeyError):
        return False


def _grouped(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Items in lists of about `PART_BYTES` of vectors and at most `MOST_LINES` lines."""
    group: list[T] = []
    held = 0
    for item in items:
        group.append(item)
        held += size(item)
        if held >= PART_BYTES or len(group) >= MOST_LINES:
            yield group
            group, held = [], 0
    if group:
        yield group

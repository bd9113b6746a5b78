"""Representations of a fixed language model, computed once and kept on disk, so that an epoch costs a head.

A sentence's vectors [W, L+1, 2P] do not depend on its neighbours, so they are stored by sentence: in packs below

    representations/<hash of encoder and coder>/<hash of the pack's sentences>/values.npy (float32, memory-mapped), index.npy

and a sentence is found by the hash of its words, whatever data set or budget it is part of. One process computes what is
missing while others wait for its lock; packs appear whole, are verified before their first use, and the longest unused ones
go when all together exceed the limit. What cannot be stored is computed again each time, and said so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from collections.abc import Sequence as ListOf
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from carryover import storage
from carryover.data.coding import TokenCoder
from carryover.encoders.language_model import LONG
from carryover.errors import BadData, Busy, CannotWrite, DiskFault, InputMissing, UsageError
from carryover.models.bilm import BiLanguageModel
from carryover.progress import Progress, say
from carryover.sequence import Sequence

Words = ListOf[str]

FORMAT = "1"
LIMIT_GIB = 4.0
_BATCH_TOKENS = 1024
_SENTENCES_AT_ONCE = 256
_IN_MEMORY = 2**30
_FEWEST_ROWS = 8
_INDEX = np.dtype([("key", "S32"), ("start", "<i8"), ("words", "<i8")])

# With fewer rows than a matrix product's tile its last bits depend on how many there are; with these beside it they do not.
_FILLER = [[f"{a}{b}{c}" for c in "aeiou"] for a, b in zip("bdfgklmn", "rlrlrlrl", strict=True)]


@torch.no_grad()
def represent(model: BiLanguageModel, coder: TokenCoder, sentences: ListOf[Words]) -> list[Tensor]:
    """Vectors of every sentence, [W, L+1, 2P] each, in the order given; the same whatever else is computed with them.

    `model` must be in evaluation mode. Sentences of similar length are computed together.
    """
    device = next(model.parameters()).device
    found: list[Tensor | None] = [None] * len(sentences)
    for positions in batches_by_length([len(sentence) + 2 for sentence in sentences], _BATCH_TOKENS):
        if len(sentences[positions[0]]) > LONG:  # such a sentence is a batch of its own
            alone = coder.batch([sentences[positions[0]]], borders=True).to(device)
            found[positions[0]] = model.long_representations(alone, LONG)
            continue
        rows = [list(sentences[position]) for position in positions]
        rows += _FILLER if len(rows) < _FEWEST_ROWS else []
        batch = coder.batch(rows, borders=True).to(device)
        for position, vectors in zip(positions, model.representations(batch).rows(), strict=False):
            found[position] = vectors
    return [vectors for vectors in found if vectors is not None]


def encoder_hash(model: BiLanguageModel, coder: TokenCoder) -> str:
    """Of everything that decides a representation: weights (without the output layer), configuration, coder, library."""
    parts: list[str | Tensor] = [FORMAT, torch.__version__, str(next(model.parameters()).device.type)]
    parts += [repr(model.config), repr(coder.to_json())]
    for name, tensor in model.state_dict().items():
        if not name.startswith("output."):
            parts += [name, tensor]
    return storage.fingerprint(*parts)


class Representations:
    """The vectors of a list of sentences, by position; what could not be kept is computed when it is asked for."""

    def __init__(
        self, rows: list[np.ndarray | None], sentences: ListOf[Words], model: BiLanguageModel, coder: TokenCoder
    ) -> None:
        self._rows, self._sentences, self._model, self._coder = rows, sentences, model, coder

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, start: int, stop: int) -> Representations:
        """Those of sentences start … stop−1."""
        return Representations(self._rows[start:stop], self._sentences[start:stop], self._model, self._coder)

    def batch(self, positions: ListOf[int], device: str | torch.device = "cpu") -> Sequence:
        """Side by side, [B, W, L+1, 2P]."""
        absent = [position for position in positions if self._rows[position] is None]
        made = represent(self._model, self._coder, [self._sentences[position] for position in absent])
        computed = {position: row.cpu().numpy() for position, row in zip(absent, made, strict=True)}
        rows = [computed.get(position, self._rows[position]) for position in positions]
        lengths = torch.tensor([len(self._sentences[position]) for position in positions], dtype=torch.int64)
        shape = (self._model.mixed_layers, self._model.out_size)
        values = torch.empty(len(rows), int(lengths.max()) if len(rows) else 0, *shape)
        target = values.numpy()
        for number, row in enumerate(rows):
            assert row is not None
            target[number, : len(row)] = row
            target[number, len(row) :] = 0
        return Sequence(values, lengths).to(device)


@dataclass(frozen=True)
class _Place:
    values: np.ndarray  # [words, L+1, 2P], memory-mapped when it stands in a pack
    start: int
    words: int
    pack: Path | None = None


class RepresentationCache:
    """All stored representations of one language model.

    `folder` None is the user's cache folder; `limit_gib` None is `$CARRYOVER_CACHE_LIMIT` or 4.
    """

    def __init__(
        self, model: BiLanguageModel, coder: TokenCoder, *, folder: Path | None = None, limit_gib: float | None = None
    ) -> None:
        self.model, self.coder = model, coder
        self.root = (storage.cache_folder() if folder is None else Path(folder)) / "representations"
        self.home = self.root / encoder_hash(model, coder)[:32]
        if limit_gib is None:
            limit_gib = _limit_from_environment()
        self.limit = int(limit_gib * 2**30)
        self.shape = (model.mixed_layers, model.out_size)
        self._known: dict[bytes, _Place] = {}
        self._opened: set[str] = set()

    def get(self, sentences: ListOf[Words], *, quiet: bool = True) -> Representations:
        """The vectors of all sentences, from the disk where they stand there, else computed and stored first."""
        keys = [sentence_key(sentence) for sentence in sentences]
        self._open_packs()
        missing = {key: sentence for key, sentence in zip(keys, sentences, strict=True) if key not in self._known}
        if missing:
            size = self._bytes(missing)
            try:
                if size > self.limit:
                    raise CannotWrite(
                        f"they take {size / 2**30:.2f} GiB and the limit is {self.limit / 2**30:.2f} GiB",
                        repair="raise the limit",
                    )
                self._add(missing, set(keys), quiet)
            except (CannotWrite, DiskFault) as error:
                small = size <= _IN_MEMORY
                where = "in memory only" if small else "nowhere and computed anew in every epoch"
                say(f"representations cannot be stored in {self.root} and are kept {where}: {error}")
                if small:
                    rows = represent(self.model, self.coder, list(missing.values()))
                    self._known |= {
                        key: _Place(row.cpu().numpy(), 0, len(row)) for key, row in zip(missing, rows, strict=True)
                    }
        places = [self._known.get(key) for key in keys]
        for pack in {place.pack for place in places if place is not None and place.pack is not None}:
            with suppress(OSError):
                os.utime(pack)  # used now: the last to go
        rows_found = [None if place is None else place.values[place.start : place.start + place.words] for place in places]
        return Representations(rows_found, sentences, self.model, self.coder)

    def _bytes(self, sentences: dict[bytes, Words]) -> int:
        return 4 * self.shape[0] * self.shape[1] * sum(map(len, sentences.values()))

    def _add(self, missing: dict[bytes, Words], wanted: set[bytes], quiet: bool) -> None:
        with _waiting_lock(self.home):
            storage.sweep(self.home)
            self._open_packs()  # another process may have stored them while this one waited
            missing = {key: sentence for key, sentence in missing.items() if key not in self._known}
            if not missing:
                return
            self._make_room(self._bytes(missing), wanted)
            self._write(missing, quiet)
            self._open_packs()

    def _write(self, missing: dict[bytes, Words], quiet: bool) -> None:
        """One pack of sentences, ordered by length as they are computed, written as they come."""
        ordered = sorted(missing.items(), key=lambda item: len(item[1]))
        index = np.zeros(len(ordered), _INDEX)
        index["key"] = [key for key, _ in ordered]
        index["words"] = [len(sentence) for _, sentence in ordered]
        index["start"] = np.cumsum(index["words"]) - index["words"]
        total = int(index["words"].sum())
        rest = [np.zeros((1, *self.shape), np.float32)] if total == 0 else []  # an empty file could not be mapped

        def parts(progress: Progress) -> Iterator[bytes | memoryview]:
            head = BytesIO()
            description = {"descr": "<f4", "fortran_order": False, "shape": (total + len(rest), *self.shape)}
            np.lib.format.write_array_header_1_0(head, description)
            yield head.getvalue()
            for first in range(0, len(ordered), _SENTENCES_AT_ONCE):
                sentences = [sentence for _, sentence in ordered[first : first + _SENTENCES_AT_ONCE]]
                for row in represent(self.model, self.coder, sentences):
                    yield row.cpu().numpy().astype("<f4").data if len(row) else b""
                progress.advance(sum(map(len, sentences)))
            yield from (row.data for row in rest)

        name = hashlib.sha256(b"".join(missing)).hexdigest()[:32]
        with (
            Progress("computing representations", total, "words", quiet) as progress,
            storage.atomic_folder(self.home / name) as temporary,
        ):
            storage.save_array(temporary / "index.npy", index)
            storage.write_file(temporary / "values.npy", parts(progress))

    def _open_packs(self) -> None:
        """Take in packs that were not seen before; a damaged one is removed and will be computed again."""
        for pack in sorted(self.home.glob("[0-9a-f]*")):
            if pack.name in self._opened:
                continue
            try:
                storage.verify_manifest(pack)
                index = np.load(pack / "index.npy", allow_pickle=False)
                values = np.load(pack / "values.npy", mmap_mode="r", allow_pickle=False)
                if index.dtype != _INDEX or values.dtype != np.float32 or values.shape[1:] != self.shape:
                    raise BadData(
                        f"holds {values.dtype} {values.shape}, expected float32 [words, {self.shape}]",
                        path=pack,
                        repair="remove it",
                    )
            except (BadData, InputMissing, OSError, ValueError) as error:
                if pack.exists():
                    say(f"a pack of cached representations is damaged and computed again: {error}")
                    shutil.rmtree(pack, ignore_errors=True)
                continue
            self._opened.add(pack.name)
            for key, start, words in zip(index["key"], index["start"].tolist(), index["words"].tolist(), strict=True):
                self._known.setdefault(bytes(key), _Place(values, start, words, pack))

    def _make_room(self, needed: int, wanted: set[bytes]) -> None:
        """Remove the longest unused packs of any encoder until `needed` bytes fit, sparing what is wanted right now."""
        spared = {self._known[key].pack for key in wanted if key in self._known}
        packs = []
        for pack in self.root.glob("*/[0-9a-f]*"):
            with suppress(OSError):
                size = sum(file.stat().st_size for file in pack.iterdir())
                packs.append((pack.stat().st_mtime, size, pack))
        used = sum(size for _, size, _ in packs)
        for _, size, pack in sorted(packs):
            if used + needed <= self.limit:
                return
            if pack not in spared:
                storage.remove_folder(pack)
                used -= size
                if pack.parent == self.home:
                    self._forget(pack)

    def _forget(self, pack: Path) -> None:
        # A mapped file lives on while it is mapped, but the next process could not find these sentences again.
        self._opened.discard(pack.name)
        self._known = {key: place for key, place in self._known.items() if place.pack != pack}


def _limit_from_environment() -> float:
    text = os.environ.get("CARRYOVER_CACHE_LIMIT", str(LIMIT_GIB))
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"CARRYOVER_CACHE_LIMIT is {text!r}", repair="give a number of GiB") from error


def sentence_key(words: Words) -> bytes:
    """Hash of a sentence, ASCII so that numpy strips no byte of it."""
    return hashlib.sha256("\x1f".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32].encode()


def batches_by_length(lengths: ListOf[int], tokens: int) -> Iterator[list[int]]:
    """Positions of items of similar length, at most `tokens` padded words together; a longer item comes alone."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if batch and (len(batch) + 1) * max(lengths[position], 1) > tokens:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


@contextmanager
def _waiting_lock(folder: Path) -> Iterator[None]:
    """`run_lock`, waiting as long as another live process has it."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(storage.run_lock(folder))
                break
            except Busy:
                time.sleep(0.05)
        yield

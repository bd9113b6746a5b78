"""Vectors of a fixed encoder, computed once and kept on disk, so that an epoch costs a head.

A sentence's vectors [W, L, D] do not depend on its neighbours, so they are stored by sentence: in packs below

    representations/<fingerprint of the encoder>/<hash of the pack's sentences>/values.npy (float32, memory-mapped), index.npy

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
from carryover.encoders.encoder import LONG, Encoder, Words
from carryover.errors import BadData, Busy, CannotWrite, DiskFault, InputMissing, UsageError
from carryover.progress import Progress, say
from carryover.sequence import Sequence

LIMIT_GIB = 4.0
_BATCH_TOKENS = 1024
_SENTENCES_AT_ONCE = 256
_IN_MEMORY = 2**30
_INDEX = np.dtype([("key", "S32"), ("start", "<i8"), ("words", "<i8")])


def represent(encoder: Encoder, sentences: ListOf[Words]) -> list[Tensor]:
    """Vectors of every sentence, [W, L, D] each, in the order given; the same whatever else is computed with them."""
    return encoder.embed(sentences, batch_tokens=_BATCH_TOKENS, longest=LONG)


class Representations:
    """The vectors of a list of sentences, by position; what could not be kept is computed when it is asked for."""

    def __init__(self, rows: list[np.ndarray | None], sentences: ListOf[Words], encoder: Encoder) -> None:
        self._rows, self._sentences, self._encoder = rows, sentences, encoder

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, start: int, stop: int) -> Representations:
        """Those of sentences start … stop−1."""
        return Representations(self._rows[start:stop], self._sentences[start:stop], self._encoder)

    def batch(self, positions: ListOf[int], device: str | torch.device = "cpu") -> Sequence:
        """Side by side, [B, W, L, D]."""
        absent = [position for position in positions if self._rows[position] is None]
        made = represent(self._encoder, [self._sentences[position] for position in absent])
        computed = {position: row.cpu().numpy() for position, row in zip(absent, made, strict=True)}
        rows = [computed.get(position, self._rows[position]) for position in positions]
        lengths = torch.tensor([len(self._sentences[position]) for position in positions], dtype=torch.int64)
        shape = (self._encoder.layer_count, self._encoder.out_size)
        values = torch.empty(len(rows), int(lengths.max()) if len(rows) else 0, *shape)
        target = values.numpy()
        for number, row in enumerate(rows):
            assert row is not None
            target[number, : len(row)] = row
            target[number, len(row) :] = 0
        return Sequence(values, lengths).to(device)


@dataclass(frozen=True)
class _Place:
    values: np.ndarray  # [words, L, D], memory-mapped when it is in a pack
    start: int
    words: int
    pack: Path | None = None


class RepresentationCache:
    """All stored representations of one encoder.

    `folder` None is the user's cache folder; `limit_gib` None is `$CARRYOVER_CACHE_LIMIT` or 4.
    """

    def __init__(self, encoder: Encoder, *, folder: Path | None = None, limit_gib: float | None = None) -> None:
        self.encoder = encoder
        self.root = (storage.cache_folder() if folder is None else Path(folder)) / "representations"
        self.home = self.root / encoder.fingerprint()[:32]
        if limit_gib is None:
            limit_gib = _limit_from_environment()
        self.limit = int(limit_gib * 2**30)
        self.shape = (encoder.layer_count, encoder.out_size)
        self._known: dict[bytes, _Place] = {}
        self._opened: set[str] = set()

    def get(self, sentences: ListOf[Words], *, quiet: bool = True) -> Representations:
        """The vectors of all sentences, from the disk where they stand there, else computed and stored first."""
        keys = [self.encoder.key(sentence) for sentence in sentences]
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
                where = "kept in memory only" if small else "recomputed in every epoch"
                say(f"representations cannot be stored in {self.root} and are {where}: {error}")
                if small:
                    rows = represent(self.encoder, list(missing.values()))
                    self._known |= {
                        key: _Place(row.cpu().numpy(), 0, len(row)) for key, row in zip(missing, rows, strict=True)
                    }
        places = [self._known.get(key) for key in keys]
        for pack in {place.pack for place in places if place is not None and place.pack is not None}:
            with suppress(OSError):
                os.utime(pack)  # used now: the last to go
        rows_found = [None if place is None else place.values[place.start : place.start + place.words] for place in places]
        return Representations(rows_found, sentences, self.encoder)

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
                for row in represent(self.encoder, sentences):
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
                    say(f"a pack of cached representations is damaged; computing it again: {error}")
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

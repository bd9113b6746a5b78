"""Contextual vectors of a stream of lines: computed chunk by chunk, in order, in memory that does not grow."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from carryover.errors import BadData, UsageError
from carryover.progress import Progress
from carryover.storage import replace_file, writing
from carryover.training.loading import LanguageModel

LAYERS = ("mix", "top", "all")
LINES_AT_ONCE = 256
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class EmbeddedLine:
    """The words of a line and their vectors: [words, D], or [words, L+1, D] when all layers are kept."""

    words: list[str]
    vectors: Tensor


def embed_lines(encoder: LanguageModel, lines: Iterable[str], *, layers: str = "mix") -> Iterator[EmbeddedLine]:
    """Vectors of every line, in order. `layers` is "mix" (mean over all), "top" or "all"; an empty line has no words."""
    if layers not in LAYERS:
        raise UsageError(f"layers {layers!r} is unknown", repair=f"use one of {', '.join(LAYERS)}")
    for chunk in _chunks(lines):
        sentences = [encoder.coder.tokenize(line) for line in chunk]
        for words, vectors in zip(sentences, encoder.embed(sentences), strict=True):
            yield EmbeddedLine(words, _choose(vectors, layers))


def save_embedded(path: Path, embedded: Iterable[EmbeddedLine], *, layers: str, quiet: bool = True) -> dict[str, int]:
    """Write vectors to a safetensors file, whole or not at all, and return how many there are.

    `vectors` float32 [words of all lines, D] (or [.., L+1, D]), `lengths` int64 [lines]: the words of line i follow those
    of line i−1; `words` uint8 are the words themselves, JSON as UTF-8. (As metadata they would run into the limit that
    readers set to a header.) Raises UsageError when the name ends otherwise, BadData when there is not one line,
    CannotWrite, DiskFault.
    """
    if path.suffix != ".safetensors":
        raise UsageError(
            f"cannot write vectors as {path.suffix or 'a file without ending'}", path=path, repair="use .safetensors"
        )
    words: list[list[str]] = []
    shape: list[int] = []
    with tempfile.TemporaryFile() as body, Progress("embedding", None, "words", quiet=quiet) as progress:
        for line in embedded:
            words.append(line.words)
            shape = list(line.vectors.shape[1:])
            with writing(Path(tempfile.gettempdir())):
                body.write(line.vectors.float().contiguous().cpu().numpy().tobytes())
            progress.advance(len(line.words))
        if not words:
            raise BadData("there is no line of text to embed", repair="give a file or a stream with at least one line")
        lengths = [len(row) for row in words]
        total, size = sum(lengths), body.tell()
        spelled = json.dumps(words, ensure_ascii=False).encode()
        first, second = 8 * len(words), 8 * len(words) + size
        header = {
            "__metadata__": {"schema": "carryover.vectors/1", "layers": layers},
            "lengths": {"dtype": "I64", "shape": [len(words)], "data_offsets": [0, first]},
            "vectors": {"dtype": "F32", "shape": [total, *shape], "data_offsets": [first, second]},
            "words": {"dtype": "U8", "shape": [len(spelled)], "data_offsets": [second, second + len(spelled)]},
        }
        text = json.dumps(header, ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        front = struct.pack("<Q", len(text)) + text + struct.pack(f"<{len(lengths)}q", *lengths)
        body.seek(0)
        replace_file(path, _parts(front, body, spelled), len(front) + size + len(spelled))
    return {"lines": len(words), "words": total, "size": shape[-1] if shape else 0}


def _choose(vectors: Tensor, layers: str) -> Tensor:
    if layers == "mix":
        return vectors.mean(1)
    return vectors[:, -1] if layers == "top" else vectors


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == LINES_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _parts(front: bytes, body: BinaryIO, end: bytes) -> Iterator[bytes]:
    yield front
    while part := body.read(_COPY_BYTES):
        yield part
    yield end

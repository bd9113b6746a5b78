"""Contextual vectors of a stream of lines: computed chunk by chunk, in order, in memory that does not grow."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from carryover.data.coding import count_cut
from carryover.errors import BadData, UsageError
from carryover.layers.lstm import LSTMState
from carryover.models.bilm import BiLanguageModelState
from carryover.progress import Progress
from carryover.storage import replace_file, writing
from carryover.training.loading import LanguageModel

LAYERS = ("mix", "top", "all")
LINES_AT_ONCE = 256
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class EmbeddedLine:
    """The words of a line and their vectors: [words, D], or [words, L+1, D] when all layers are kept.

    `cut` of the words are longer than what a model of characters reads of a word; their ends are not seen.
    """

    words: list[str]
    vectors: Tensor
    cut: int = 0


def embed_lines(
    encoder: LanguageModel, lines: Iterable[str], *, layers: str = "mix", carry_rows: int | None = None
) -> Iterator[EmbeddedLine]:
    """Vectors of every line, in order. `layers` is "mix" (mean over all), "top" or "all"; an empty line has no words.

    With `carry_rows` so many lines at a time are a batch of `embed_carrying`: line i goes on from line i − `carry_rows`.
    """
    if layers not in LAYERS:
        raise UsageError(f"layers {layers!r} is unknown", repair=f"use one of {', '.join(LAYERS)}")
    if carry_rows is not None and carry_rows < 1:
        raise UsageError(f"a batch of {carry_rows} lines cannot be read", repair="give at least 1")
    read: list[list[str]] = []  # the batch whose vectors come next

    def batches() -> Iterator[list[list[str]]]:
        for chunk in _chunks(lines, carry_rows or LINES_AT_ONCE):
            read[:] = [encoder.coder.tokenize(line) for line in chunk]
            yield read

    computed = map(encoder.embed, batches()) if carry_rows is None else embed_carrying(encoder, batches())
    for found in computed:
        for words, vectors in zip(read, found, strict=True):
            cut = count_cut(words) if encoder.coder.kind == "characters" else 0
            yield EmbeddedLine(words, _choose(vectors, layers), cut)


def embed_carrying(encoder: LanguageModel, batches: Iterable[ListOf[ListOf[str]]]) -> Iterator[list[Tensor]]:
    """All layers' vectors of batches of sentences, [words, L+1, 2P] each, as the published programs compute them.

    They never reset the state of their LSTMs: row b of a batch goes on from row b of the last batch that had one, forward
    from the sentence's end, backward from its beginning, and only the first batch begins with zeros. So the vectors depend
    on all that was read before, and on how it was cut into batches; `LanguageModel.embed` knows neither.
    """
    state: BiLanguageModelState | None = None
    parameter = next(encoder.model.parameters())
    for sentences in batches:
        with torch.inference_mode():
            rows = len(sentences)
            missing = rows - (0 if state is None else len(state[0][0].hidden))
            if missing > 0:
                zeros = encoder.model.initial_state(missing, device=parameter.device, dtype=parameter.dtype)
                state = zeros if state is None else _each(lambda *parts: torch.cat(parts), state, zeros)
            assert state is not None
            batch = encoder.coder.batch(sentences, borders=True).to(parameter.device)
            mine, others = _rows(state, 0, rows), _rows(state, rows, None)
            vectors, mine = encoder.model.continue_representations(batch, mine)
            state = _each(lambda *parts: torch.cat(parts), mine, others)
            found = [row.clone() for row in vectors.rows()]
        yield found


def _rows(state: BiLanguageModelState, first: int, stop: int | None) -> BiLanguageModelState:
    return _each(lambda part: part[first:stop], state)


def _each(function: Callable[..., Tensor], *states: BiLanguageModelState) -> BiLanguageModelState:
    """`function` of the tensors that stand at the same place of all states."""
    return tuple(
        (
            LSTMState(*(function(*parts) for parts in zip(*(layer[0] for layer in layers), strict=True))),
            LSTMState(*(function(*parts) for parts in zip(*(layer[1] for layer in layers), strict=True))),
        )
        for layers in zip(*states, strict=True)
    )


def save_embedded(path: Path, embedded: Iterable[EmbeddedLine], *, layers: str, quiet: bool = True) -> dict[str, int]:
    """Write vectors to a safetensors file, whole or not at all, and return how many there are.

    `vectors` float32 [words of all lines, D] (or [.., L+1, D]), `lengths` int64 [lines]: the words of line i follow those
    of line i−1; `words` uint8 are the words themselves, JSON as UTF-8. (As metadata they would run into the limit that
    readers set to a header.) `cut_words` of the answer counts words of which only the beginning was read.

    Raises UsageError when the name ends otherwise, BadData when there is not one line,
    CannotWrite, DiskFault.
    """
    if path.suffix != ".safetensors":
        raise UsageError(
            f"cannot write vectors as {path.suffix or 'a file without ending'}", path=path, repair="use .safetensors"
        )
    words: list[list[str]] = []
    shape: list[int] = []
    cut = 0
    with tempfile.TemporaryFile() as body, Progress("embedding", None, "words", quiet=quiet) as progress:
        for line in embedded:
            words.append(line.words)
            cut += line.cut
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
    return {"lines": len(words), "words": total, "size": shape[-1] if shape else 0, "cut_words": cut}


def _choose(vectors: Tensor, layers: str) -> Tensor:
    if layers == "mix":
        return vectors.mean(1)
    return vectors[:, -1] if layers == "top" else vectors


def _chunks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _parts(front: bytes, body: BinaryIO, end: bytes) -> Iterator[bytes]:
    yield front
    while part := body.read(_COPY_BYTES):
        yield part
    yield end

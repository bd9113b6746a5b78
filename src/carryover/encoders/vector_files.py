"""Contextual vectors of a corpus as one file: safetensors, NPZ, HDF5 in the layout of published dumps, or Parquet.

    .safetensors, .npz   `vectors` float32 [words of all lines, D] (all layers [.., L+1, D], pooled one row a line), `lengths`
                         int64 [lines]: the words of line i follow those of line i−1; `words` uint8: the words of all lines,
                         JSON as UTF-8. (As metadata they would run into the limit that readers set to a header.)
    .hdf5, .h5           a data set for every line, named by its number from 0: [L+1, words, D] for all layers, else
                         [words, D]; and `sentence_to_index`, one string of JSON: words joined by blanks → number
    .parquet, .pq        a row for every line: `line`, `words`, `vectors` (lists)

The file is whole or absent. Its bytes follow from model, text and choice alone, but for HDF5 and Parquet, whose libraries
write down their versions.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from carryover import storage
from carryover.encoders.embed_lines import Item
from carryover.encoders.encoder import Encoder
from carryover.encoders.vector_parts import Choice, Parts, embedded_parts, look_over
from carryover.errors import ExtraMissing, UsageError
from carryover.progress import say
from carryover.storage.hdf5 import load_h5py, new_hdf5

SCHEMA = "carryover.vectors/1"
SENTENCES = "sentence_to_index"
_MADE_FROM = "made_from"
_FIRST_OF_ALL = (1980, 1, 1, 0, 0, 0)  # a time for files in an archive that never changes


@dataclass(frozen=True)
class Reread:
    """Lines that are read from their source every time they are asked for."""

    read: Callable[[], Iterator[Item]]

    def __iter__(self) -> Iterator[Item]:
        return self.read()


def save_embedded(
    path: Path,
    encoder: Encoder,
    lines: Iterable[Item],
    *,
    layers: str = "mix",
    pool: str | None = None,
    carry_rows: int | None = None,
    precision: str = "float32",
    quiet: bool = True,
) -> dict[str, int]:
    """Embed `lines` into the file `path`, in the format that its name asks for; how many lines and words there were.

    Killed or failed, the same call continues with what was done (but with `carry_rows`); where the file is already there from
    the same model, choice and lines, and `lines` can be read twice, it reports that and stops. `cut_words` of the answer counts
    words of which only the beginning was read, `long_lines` lines that were read in pieces.

    Raises UsageError for another ending, ExtraMissing without the package of the format, BadData when there is not one
    line, Busy, CannotWrite, DiskFault.
    """
    write = _writer(path)
    choice = Choice(layers=layers, pool=pool, carry_rows=carry_rows, precision=precision)
    before = made_from(path)
    if before is not None and iter(lines) is not lines:
        seen = look_over(encoder, lines, choice)
        if seen.made_from == before:
            if not quiet:
                say(f"{path}: finished before with the same model, options and text; remove it to run again")
            return _counted(seen)
    with embedded_parts(path, encoder, lines, choice, quiet=quiet) as parts:
        write(path, parts)
        return _counted(parts)


def _counted(parts: Parts) -> dict[str, int]:
    counted = {"lines": parts.lines, "words": parts.words, "size": parts.shape[-1]}
    return {**counted, "cut_words": parts.cut_words, "long_lines": parts.long_lines}


def made_from(path: Path) -> str | None:
    """What a finished file says that it was made from (`Parts.made_from`); None where there is none, or nothing is said."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy") as stored:
                found: dict[str, Any] = stored.metadata()
        elif path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                found = json.loads(archive.comment)
        elif path.suffix in (".hdf5", ".h5"):
            with load_h5py(path).File(path, "r") as file:
                found = dict(file.attrs)
        else:
            metadata = _load_pyarrow(path)[1].read_schema(path).metadata
            found = {name.decode(): value.decode() for name, value in metadata.items()}
        return str(found[_MADE_FROM])
    except Exception:  # no file, or another program's: it is replaced
        return None


def _writer(path: Path) -> Callable[[Path, Parts], None]:
    writers = {
        ".safetensors": _write_safetensors, ".npz": _write_npz, ".hdf5": _write_hdf5, ".h5": _write_hdf5,
        ".parquet": _write_parquet, ".pq": _write_parquet,
    }  # fmt: skip
    if path.suffix not in writers:
        raise UsageError(
            f"cannot write vectors as {path.suffix or 'a file without ending'}",
            path=path,
            repair="use .safetensors, .npz, .hdf5 or .parquet",
        )
    write = writers[path.suffix]
    if write is _write_hdf5:
        load_h5py(path)
    elif write is _write_parquet:
        _load_pyarrow(path)
    return write


def _metadata(parts: Parts) -> dict[str, str]:
    choice = parts.choice
    pool = {"pool": choice.pool} if choice.pool else {}
    return {
        "schema": SCHEMA, "layers": choice.layers, **pool, "precision": choice.precision, _MADE_FROM: parts.made_from
    }  # fmt: skip


# ---------------------------------------------------------------------- three arrays


def _write_safetensors(path: Path, parts: Parts) -> None:
    header: dict[str, Any] = {"__metadata__": _metadata(parts)}
    start = 0
    for name, dtype, shape in _arrays(parts):
        end = start + dtype.itemsize * int(np.prod(shape))
        kind = {"<i8": "I64", "<f4": "F32", "|u1": "U8"}[dtype.str]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    front = struct.pack("<Q", len(text)) + text

    def content() -> Iterator[bytes | memoryview]:
        yield front
        for name, _, _ in _arrays(parts):
            yield from _pieces(parts, name)

    storage.replace_file(path, content(), len(front) + start)


def _write_npz(path: Path, parts: Parts) -> None:
    with (
        storage.atomic_file(path) as temporary,
        storage.OutputFile(temporary) as output,
        zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.comment = json.dumps(_metadata(parts)).encode()
        for name, dtype, shape in _arrays(parts):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": dtype.str, "fortran_order": False, "shape": shape})
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _FIRST_OF_ALL), "w", force_zip64=True) as file:
                file.write(head.getvalue())
                for piece in _pieces(parts, name):
                    file.write(piece)


def _arrays(parts: Parts) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    """Name, type and shape of each, in their order in the file: the widest numbers first, so that all are aligned."""
    spelled = parts.spelled_bytes
    return [
        ("lengths", np.dtype("<i8"), (parts.lines,)),
        ("vectors", np.dtype("<f4"), (parts.vectors, *parts.shape)),
        ("words", np.dtype("u1"), (spelled,)),
    ]


def _pieces(parts: Parts, name: str) -> Iterator[bytes | memoryview]:
    """The bytes of one array, part by part. The lists of words of the parts become one list."""
    last = len(parts.files) - 1
    for number, array in enumerate(parts.arrays(name)):
        if name != "words":
            yield array.tobytes()
            continue
        # [[a]] [[b]] → [[a], [b]]: as many signs as before, so that the size is the sum of the parts'.
        yield (b"" if number else b"[") + array.tobytes()[1:-1] + (b"]" if number == last else b", ")


# ---------------------------------------------------------------------- a piece for every line


def _write_hdf5(path: Path, parts: Parts) -> None:
    places: dict[str, str] = {}
    with storage.atomic_file(path) as temporary, new_hdf5(temporary) as file:
        file.describe(_metadata(parts))
        for number, (words, vectors) in enumerate(parts.sentences()):
            # [words, L+1, D] → [L+1, words, D]
            ordered = vectors.swapaxes(0, 1) if vectors.ndim == 3 else vectors
            file.add(str(number), np.ascontiguousarray(ordered, np.float32))
            places[" ".join(words)] = str(number)
        file.add_text(SENTENCES, json.dumps(places, ensure_ascii=False))


def _write_parquet(path: Path, parts: Parts) -> None:
    pyarrow, parquet = _load_pyarrow(path)
    kind = pyarrow.float32()
    for size in reversed(parts.shape):
        kind = pyarrow.list_(kind, size)
    if not parts.choice.pool:
        kind = pyarrow.list_(kind)
    columns = [("line", pyarrow.int64()), ("words", pyarrow.list_(pyarrow.string())), ("vectors", kind)]
    schema = pyarrow.schema(columns, metadata=_metadata(parts))
    line = 0
    with (
        storage.atomic_file(path) as temporary,
        storage.OutputFile(temporary) as output,
        parquet.ParquetWriter(output, schema, use_dictionary=False) as writer,
    ):
        for part in parts.tensors():
            words = json.loads(part["words"].tobytes())
            column = pyarrow.array(part["vectors"].reshape(-1))
            for size in reversed(parts.shape):
                column = pyarrow.FixedSizeListArray.from_arrays(column, size)
            if not parts.choice.pool:
                offsets = np.concatenate([[0], np.cumsum(part["lengths"])]).astype(np.int32)
                column = pyarrow.ListArray.from_arrays(pyarrow.array(offsets), column)
            numbers = pyarrow.array(range(line, line + len(words)), pyarrow.int64())
            spelled = pyarrow.array(words, pyarrow.list_(pyarrow.string()))
            writer.write_table(pyarrow.Table.from_arrays([numbers, spelled, column], schema=schema))
            line += len(words)


def _load_pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ExtraMissing("Parquet needs pyarrow", path=path, repair="pip install carryover[hub]") from error
    return pyarrow, parquet

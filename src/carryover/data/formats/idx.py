"""The idx format of LeCun's MNIST files: one array of any number of axes, plain, gzip or xz."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carryover.data.formats.opening import FilePath, open_bytes
from carryover.errors import BadData, InputMissing

_KINDS = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PIECE = 1 << 20
_LARGEST = 4 << 30  # bytes
_AGAIN = "fetch the file again"


class LabelledImages(NamedTuple):
    """Images [N, height, width] of bytes (0 is black) and the class of each, [N] from 0 to 9."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def read_idx(path: FilePath) -> NDArray[Any]:
    """The array of an idx file, in native byte order.

    Four bytes stand first: 0, 0, the type of number, the number of axes; then every axis's length as a big-endian 32-bit
    integer; then the numbers, the last axis fastest. Raises InputMissing, or BadData when any of this does not hold or
    numbers are missing or too many; no more memory is taken than the file has bytes.
    """
    with open_bytes(path) as stream:
        head = stream.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _KINDS or not 1 <= head[3] <= 8:
            raise BadData(f"is not an idx file: it begins with {head.hex(' ') or 'nothing'}", path=path, repair=_AGAIN)
        axes = stream.read(4 * head[3])
        if len(axes) < 4 * head[3]:
            raise BadData(f"ends within its header of {head[3]} axes", path=path, repair=_AGAIN)
        shape = tuple(int(length) for length in np.frombuffer(axes, ">u4"))
        kind = np.dtype(_KINDS[head[2]])
        wanted = prod(shape) * kind.itemsize
        if wanted > _LARGEST:
            raise BadData(f"announces an array of {wanted:,} bytes, shape {list(shape)}", path=path, repair=_AGAIN)
        content = _read(stream, wanted + 1)
    if len(content) != wanted:
        found = "more" if len(content) > wanted else f"{len(content):,}"
        raise BadData(
            f"announces shape {list(shape)}, which is {wanted:,} bytes, and holds {found}", path=path, repair=_AGAIN
        )
    return np.frombuffer(content, kind).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def read_labelled_images(folder: FilePath, part: str) -> LabelledImages:
    """All images of a part ("train" or "t10k") with their labels: `PART…-images-idx3-ubyte` and `PART…-labels-idx1-ubyte`.

    Each may end in .gz or .xz; several such files, as `train-part0-…`, are set one after the other in the order of their
    names. Raises InputMissing naming the files that were looked for, BadData when images and labels do not fit.
    """
    folder = Path(folder)
    images = [read_idx(path) for path in _parts(folder, part, "images-idx3-ubyte")]
    labels = [read_idx(path) for path in _parts(folder, part, "labels-idx1-ubyte")]
    for array, axes in [*((array, 3) for array in images), *((array, 1) for array in labels)]:
        if array.dtype != np.uint8 or array.ndim != axes or array.shape[1:] != images[0].shape[1:][: axes - 1]:
            raise BadData(
                f"an array of {part} has shape {list(array.shape)} and type {array.dtype}, expected bytes and {axes} axes",
                path=folder,
                repair="put the files of one data set there",
            )
    if [len(array) for array in images] != [len(array) for array in labels]:
        counts = f"{[len(array) for array in images]} images and {[len(array) for array in labels]} labels"
        raise BadData(f"the files of {part} hold {counts}", path=folder, repair="put the files of one data set there")
    found = LabelledImages(np.concatenate(images), np.concatenate(labels))
    if not len(found.labels) or found.labels.max() > 9:
        wrong = "no images" if not len(found.labels) else f"a label {found.labels.max()}; labels are 0 to 9"
        raise BadData(f"the files of {part} hold {wrong}", path=folder, repair="put the files of MNIST there")
    return found


def _parts(folder: Path, part: str, kind: str) -> list[Path]:
    found = sorted(path for path in folder.glob(f"{part}*-{kind}*") if path.is_file()) if folder.is_dir() else []
    if not found:
        raise InputMissing(
            "there is no such file", path=folder / f"{part}-{kind}.gz", repair="put the four files of MNIST there"
        )
    return found


def _read(stream: IO[bytes], most: int) -> bytes:
    """Up to `most` bytes, piece by piece: a header that lies makes nobody reserve memory for it."""
    pieces, left = [], most
    while left and (piece := stream.read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)

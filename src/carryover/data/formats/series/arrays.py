"""Arrays of numpy: `.npy` holds values, `.npz` values with labels and lengths. Nothing stored is ever executed.

    values   [N, T] or [N, T, C]   numbers; NaN where one is missing
    lengths  [N]                   optional: steps of each series, what follows them is not read
    labels   [N]                   optional: strings or whole numbers

A `.npy` file is such `values`, or [T], one series of one channel.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryover.data.formats.opening import FilePath, inner_suffix, open_file
from carryover.data.formats.series.parts import LARGEST, Row, label_of_number
from carryover.data.formats.text import Faulty
from carryover.errors import BadData, nearest

KEYS = ("values", "lengths", "labels")
_LARGEST = 4 << 30  # bytes of all arrays of a file
_AGAIN = "write it again with numpy.savez"


def read_arrays(path: FilePath) -> Iterator[Row | Faulty]:
    """All series of the file, numbered from 1 in place of lines.

    Raises BadData naming the array that is missing, unknown, or of another shape or type.
    """
    arrays = _load(path)
    values = arrays["values"]
    if values.dtype.kind not in "fiub":
        raise _wrong(path, f"the array values holds {values.dtype}", "give numbers")
    if values.ndim == 1 and len(arrays) == 1:
        values = values[None]
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3:
        raise _wrong(
            path, f"the array values has shape {list(values.shape)}", "give [series, steps] or [series, steps, channels]"
        )
    count, steps, _ = values.shape
    lengths = _lengths(path, arrays.get("lengths"), count, steps)
    labels = _labels(path, arrays.get("labels"), count)
    for place in range(count):
        found = values[place, : lengths[place]].astype(np.float64)
        raw = f"series {place + 1}"
        if (np.abs(found) > LARGEST).any():
            fault = BadData(
                "holds infinity or a number that is too large",
                path=path,
                line=place + 1,
                repair="correct it, or write NaN where it is missing",
            )
            yield Faulty(fault, raw)
            continue
        yield Row(found, None if labels is None else labels[place], place + 1, raw)


def _load(path: FilePath) -> dict[str, NDArray[Any]]:
    try:
        with open_file(path) as stream:
            content = stream.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise _wrong(path, f"the file is larger than {_LARGEST >> 30} GiB", "split it")
        if content.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                if sum(part.file_size for part in packed.infolist()) > _LARGEST:
                    raise _wrong(path, f"its arrays take more than {_LARGEST >> 30} GiB", "split it")
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {"values": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except MemoryError as error:
        raise _wrong(path, "the arrays do not fit into memory", "split the file") from error
    except (ValueError, EOFError, OSError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            reason = "cannot be read without executing what is stored in it (pickled objects), or is not a numpy file"
            raise _wrong(path, reason, "save numbers and strings, not objects: for unequal lengths see lengths") from error
        raise _wrong(path, f"is not a sound {inner_suffix(path) or 'numpy'} file ({str(error)[:120]})", _AGAIN) from error
    unknown = [name for name in arrays if name not in KEYS]
    if unknown:
        raise _wrong(path, f"an array {unknown[0]!r}", f"{nearest(unknown[0], KEYS)} Arrays are named {', '.join(KEYS)}")
    if "values" not in arrays:
        raise _wrong(path, "no array 'values'", f"arrays are named {', '.join(KEYS)}")
    return arrays


def _lengths(path: FilePath, found: NDArray[Any] | None, count: int, steps: int) -> list[int]:
    if found is None:
        return [steps] * count
    if found.shape != (count,) or found.dtype.kind not in "iu":
        shape = f"shape {list(found.shape)} of {found.dtype}"
        raise _wrong(path, f"the array lengths has {shape}", f"give one whole number for each of the {count} series")
    wrong = np.flatnonzero((found < 1) | (found > steps))
    if len(wrong):
        place = int(wrong[0])
        raise _wrong(
            path, f"the length of series {place + 1} is {int(found[place])}", f"give 1 to {steps}, the steps of values"
        )
    return [int(length) for length in found]


def _labels(path: FilePath, found: NDArray[Any] | None, count: int) -> list[str | None] | None:
    if found is None:
        return None
    whole = found.dtype.kind in "iub" or (found.dtype.kind == "f" and bool((found == np.floor(found)).all()))
    if found.shape != (count,) or not (whole or found.dtype.kind == "U"):
        shape = f"shape {list(found.shape)} of {found.dtype}"
        raise _wrong(
            path, f"the array labels has {shape}", f"give a string or a whole number for each of the {count} series"
        )
    return [(label_of_number(one.item()) if whole else str(one).strip()) or None for one in found]


def _wrong(path: FilePath, message: str, repair: str) -> BadData:
    return BadData(message, path=path, repair=repair)

"""HDF5 files: those of somebody else, of which only the data sets asked for are read, and new ones.

Reading: the data sets are checked before a byte of them is read.
An HDF5 file may name other files (external links, external storage, virtual data sets), ask for a filter that is a
library to load, and claim sizes that it does not hold. None of that is followed.

Writing: the HDF5 library does not survive a write that fails; on a full disk it crashes the process when the file is closed.
So a failure never reaches it (see `_LastingFile`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from carryover import storage
from carryover.errors import BadData, CarryoverError, ExtraMissing, InputMissing

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}  # those that are part of HDF5
_MOST_DEFLATE_SAVES = 1032  # times: the limit of its format
_MOST_OBJECTS = 10_000


def load_h5py(path: Path) -> Any:
    """The module. Raises ExtraMissing where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise ExtraMissing("HDF5 files need h5py", path=path, repair="pip install carryover[published]") from error
    return h5py


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file to read from. Raises InputMissing or BadData, also for what fails while the block reads on."""
    h5py = load_h5py(path)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputMissing(f"cannot be read: {error.strerror}", path=path, repair="check the path") from error
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except CarryoverError:
        raise
    except Exception as error:  # h5py answers damage with OSError, RuntimeError, KeyError, ValueError, …
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadData(f"is not a whole HDF5 file: {message}", path=path, repair="fetch it again") from error


def data_sets(file: Any) -> list[str]:
    """Names of all data sets that are reached without leaving the file, sorted. Raises BadData for far too many objects."""
    h5py = load_h5py(Path(file.filename))
    found: list[str] = []
    seen = {file["/"].id}
    waiting: list[tuple[str, Any]] = [("", file)]
    while waiting:
        path, group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            inner = group[name]
            if isinstance(inner, h5py.Dataset):
                found.append(f"{path}{name}")
            elif isinstance(inner, h5py.Group) and inner.id not in seen:  # groups may hold each other
                seen.add(inner.id)
                waiting.append((f"{path}{name}/", inner))
            if len(found) + len(seen) > _MOST_OBJECTS:
                raise BadData(f"holds more than {_MOST_OBJECTS} objects", path=file.filename, repair="is it the right file?")
    return sorted(found)


def read_arrays(file: Any, shapes: Mapping[str, tuple[int, ...]], asked_by: Path) -> dict[str, np.ndarray]:
    """The data sets named in `shapes` as float32 arrays. `asked_by` is the file that decided the shapes.

    Raises BadData naming the first that is missing, of another shape, not of numbers, not stored in the file itself, or
    that holds a value which is not finite.
    """
    return {name: _read_array(file, name, shape, asked_by) for name, shape in shapes.items()}


def _read_array(file: Any, name: str, shape: tuple[int, ...], asked_by: Path) -> np.ndarray:
    path = file.filename
    h5py = load_h5py(Path(path))
    found = file if _is_inside(h5py, file, name) else None
    found = None if found is None else file[name]
    if not isinstance(found, h5py.Dataset):
        raise BadData(
            f"has no data set {name!r}, which {asked_by} asks for", path=path, repair="give options and weights of one model"
        )
    if found.shape != shape:
        held = None if found.shape is None else list(found.shape)
        raise BadData(
            f"data set {name!r} has shape {held}, {asked_by} asks for {list(shape)}",
            path=path,
            repair="give options and weights of one model",
        )
    if found.dtype.kind != "f" or found.dtype.itemsize > 8:
        raise BadData(f"data set {name!r} is of {found.dtype}, expected float32", path=path, repair="fetch it again")
    _check_storage(found, name, path)
    array = np.asarray(found[...]).astype(np.float32)
    if not np.isfinite(array).all():
        raise BadData(f"data set {name!r} holds a value that is not finite", path=path, repair="fetch it again")
    return array


def _is_inside(h5py: Any, file: Any, name: str) -> bool:
    """Whether every step of the way to `name` is a link within the file."""
    place = file
    for part in name.split("/"):
        if not isinstance(place, h5py.Group) or not isinstance(place.get(part, getlink=True), h5py.HardLink):
            return False
        place = place[part]
    return True


def _check_storage(found: Any, name: str, path: str) -> None:
    """Refuse what lies in other files, what needs a foreign filter, and what claims more than the file holds."""
    if found.external or found.is_virtual:
        raise BadData(
            f"data set {name!r} is stored in another file", path=path, repair="fetch a file that contains all its data"
        )
    properties = found.id.get_create_plist()
    filters = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
    for number in filters:
        if number not in _FILTERS:
            raise BadData(
                f"data set {name!r} is packed with filter {number}, known are {', '.join(_FILTERS.values())}",
                path=path,
                repair="pack it without that filter",
            )
    size, stored = found.dtype.itemsize * found.size, found.id.get_storage_size()
    if size > stored * (_MOST_DEFLATE_SAVES if filters else 1):
        raise BadData(f"data set {name!r} claims {size} bytes and holds {stored}", path=path, repair="fetch it again")


# Writing ----------------------------------------------------------------------------------------------------------------


@contextmanager
def new_hdf5(path: Path) -> Iterator[NewFile]:
    """A new HDF5 file at `path`. Raises OSError where the system fails to write, ExtraMissing without h5py."""
    h5py = load_h5py(path)
    with storage.OutputFile(path) as output:
        lasting = _LastingFile(output)
        with h5py.File(lasting, "w") as file:
            yield NewFile(file, lasting.check)
        lasting.check()


class NewFile:
    """What can be put into a new HDF5 file. Every method raises OSError as soon as something could not be written."""

    def __init__(self, file: Any, check: Callable[[], None]) -> None:
        self._file, self._check = file, check

    def describe(self, attributes: Mapping[str, str]) -> None:
        """Attributes of the file."""
        self._file.attrs.update(attributes)
        self._check()

    def add(self, name: str, array: np.ndarray) -> None:
        """A data set of numbers; the same array makes the same bytes whenever it is written."""
        self._file.create_dataset(name, data=array, track_times=False)
        self._check()

    def add_text(self, name: str, text: str) -> None:
        """A data set of one string."""
        kind = load_h5py(Path(name)).string_dtype()
        self._file.create_dataset(name, (1,), dtype=kind, track_times=False)[0] = text
        self._check()


class _LastingFile:
    """A file whose reads and writes never fail: from the first failure on it lives on in memory, and `check` raises that.

    The library asks for places of the file by `seek`. What it writes after a failure is little, its own tables, since
    nothing is added to the file any more; it is kept so that the library finds it when it reads it again.
    """

    def __init__(self, output: storage.OutputFile) -> None:
        self._output = output
        self._position = self._end = 0
        self._kept: list[tuple[int, bytes]] = []
        self._error: BaseException | None = None

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (self._end if whence == os.SEEK_END else self._position if whence == os.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if not self._succeeds(lambda: (self._output.seek(self._position), self._output.write(data))):
            self._kept.append((self._position, bytes(data)))
        self._position += size
        self._end = max(self._end, self._position)
        return size

    def read(self, size: int) -> bytes:
        found = bytearray(size)
        self.readinto(found)
        return bytes(found)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start, stop = self._position, self._position + len(view)
        view[:] = bytes(len(view))
        self._succeeds(lambda: (self._output.seek(start), self._output.readinto(view)), again=True)
        for place, data in self._kept:
            first, last = max(start, place), min(stop, place + len(data))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        self._position = stop
        return len(view)

    def truncate(self, size: int) -> int:
        self._succeeds(lambda: self._output.truncate(size))
        self._end = size
        return size

    def flush(self) -> None:
        """Every write is handed to the system at once."""

    def _succeeds(self, action: Callable[[], object], *, again: bool = False) -> bool:
        """Whether an action was done; after a failure only what is to be tried `again`. A signal may raise within it too."""
        if self._error is not None and not again:
            return False
        try:
            action()
        except BaseException as error:
            self._error = self._error or error
            return False
        return True

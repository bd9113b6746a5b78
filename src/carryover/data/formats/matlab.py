"""MATLAB files of version 5 (the ordinary `.mat`): numeric arrays, and cell arrays of them.

Written out here because every reader must survive any damage: `scipy.io.loadmat` ended the process (SIGSEGV) on a file of
which single bytes were changed. FilePath of the format: MathWorks, "MAT-File Format", chapter 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carryover.data.formats.opening import FilePath, open_bytes
from carryover.errors import BadData

Array = NDArray[Any]

_HEADER = 128
_LARGEST = 512 << 20  # bytes, compressed or not
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_MATRIX, _COMPRESSED, _CELL, _COMPLEX = 14, 15, 1, 0x0800
_MOST_AXES = 32


class _Fault(Exception):
    """What is wrong with the bytes; becomes BadData with the file's name."""


class _Element(NamedTuple):
    kind: int
    content: memoryview


def read_matlab(path: FilePath, names: tuple[str, ...]) -> dict[str, Array | list[Array]]:
    """The variables `names` of a file: a numeric one as an array, a cell array as a list of its arrays, first axis fastest.

    Other variables are passed over. Raises InputMissing, or BadData when the file is no MATLAB 5 file, is damaged, lacks
    a variable or holds something else in it than real numbers.
    """
    with open_bytes(path) as stream:
        content = stream.read(_LARGEST + 1)
    try:
        return _read(content, names)
    except _Fault as fault:
        raise BadData(f"is not a readable MATLAB 5 file: {fault}", path=path, repair="fetch the file again") from fault


def _read(content: bytes, names: tuple[str, ...]) -> dict[str, Array | list[Array]]:
    if len(content) > _LARGEST:
        raise _Fault(f"it is longer than {_LARGEST:,} bytes")
    if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
        raise _Fault("its header is missing" + (" (MATLAB 7.3 files are HDF5)" if content[512:516] == b"\x89HDF" else ""))
    order = "<" if content[126:128] == b"IM" else ">"
    if (version := int(np.frombuffer(content[124:126], order + "u2")[0])) != 0x0100:
        raise _Fault(f"its version is {version:#06x}")
    found: dict[str, Array | list[Array]] = {}
    left = _LARGEST
    for element in _elements(memoryview(content)[_HEADER:], order):
        if element.kind == _COMPRESSED:
            element = _unpack(element.content, order, left)
            left -= len(element.content)
        if element.kind != _MATRIX:
            raise _Fault(f"a variable has data type {element.kind}")
        name, value = _variable(element.content, order, names)
        if name in names:
            found[name] = value
    for name in names:
        if name not in found:
            raise _Fault(f"it holds no variable {name!r}")
    return found


def _unpack(content: memoryview, order: str, most: int) -> _Element:
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(content, most + 1)
    except zlib.error as error:
        raise _Fault(f"a variable cannot be unpacked ({error})") from error
    if len(plain) > most or not unpacking.eof:
        raise _Fault("a variable is cut short or unpacks to too many bytes")
    elements = list(_elements(memoryview(plain), order))
    if len(elements) != 1:
        raise _Fault(f"a packed part holds {len(elements)} variables")
    return elements[0]


def _elements(content: memoryview, order: str) -> Iterator[_Element]:
    """The tagged pieces of a stretch of bytes, one after the other."""
    place = 0
    while place < len(content):
        if len(content) - place < 8:
            raise _Fault(f"{len(content) - place} bytes found where 8 were expected")
        kind, size = (int(number) for number in np.frombuffer(content[place : place + 8], order + "u4"))
        begin, padding = place + 8, 8
        if kind >> 16:  # the short form: type, size and at most four bytes of content in one
            kind, size, begin = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise _Fault(f"a short piece announces {size} bytes")
            place += 8
        else:
            padding = 1 if kind == _COMPRESSED else 8
            place = begin + -(-size // padding) * padding
        if begin + size > len(content):
            raise _Fault(f"a piece announces {size:,} bytes, {len(content) - begin:,} are left")
        yield _Element(kind, content[begin : begin + size])


def _variable(content: memoryview, order: str, names: tuple[str, ...]) -> tuple[str, Array | list[Array]]:
    """Name and value of a matrix; the value of one that nobody asked for is not looked at."""
    flags, shape, name, rest = _matrix_head(content, order)
    if name not in names:
        return name, []
    if flags & 0xFF != _CELL:
        return name, _numbers(flags, shape, rest, order)
    if prod(shape) != len(rest):
        raise _Fault(f"a cell array of shape {list(shape)} holds {len(rest):,} arrays")
    values = []
    for element in rest:
        if element.kind != _MATRIX:
            raise _Fault(f"a cell holds data type {element.kind}")
        if not len(element.content):
            values.append(np.zeros((0, 0)))
            continue
        inner_flags, inner_shape, _, inner = _matrix_head(element.content, order)
        values.append(_numbers(inner_flags, inner_shape, inner, order))
    return name, values


def _matrix_head(content: memoryview, order: str) -> tuple[int, tuple[int, ...], str, list[_Element]]:
    elements = list(_elements(content, order))
    if len(elements) < 3 or elements[0].kind != 6 or len(elements[0].content) != 8 or elements[1].kind != 5:
        raise _Fault("a variable lacks its flags, shape or name")
    flags = int(np.frombuffer(elements[0].content, order + "u4")[0])
    if len(elements[1].content) % 4 or not 8 <= len(elements[1].content) <= 4 * _MOST_AXES:
        raise _Fault(f"a shape takes {len(elements[1].content)} bytes")
    shape = tuple(int(length) for length in np.frombuffer(elements[1].content, order + "i4"))
    if min(shape) < 0:
        raise _Fault(f"a shape is {list(shape)}")
    return flags, shape, bytes(elements[2].content).decode("latin-1"), elements[3:]


def _numbers(flags: int, shape: tuple[int, ...], rest: list[_Element], order: str) -> Array:
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX:
        raise _Fault(f"a variable is of class {flags & 0xFF}{' and complex' if flags & _COMPLEX else ''}, not real numbers")
    if len(rest) != 1 or rest[0].kind not in _NUMBERS:
        raise _Fault("an array's numbers are missing or of an unknown type")
    kind = np.dtype(order + _NUMBERS[rest[0].kind])
    if len(rest[0].content) != prod(shape) * kind.itemsize:
        wanted = prod(shape) * kind.itemsize
        raise _Fault(f"an array of shape {list(shape)} takes {wanted:,} bytes and has {len(rest[0].content):,}")
    stored = np.frombuffer(rest[0].content, kind).reshape(shape, order="F")
    with np.errstate(all="ignore"):  # numbers are stored as small as they fit, and a damaged file may say otherwise
        return np.ascontiguousarray(stored.astype(_CLASSES[flags & 0xFF]))

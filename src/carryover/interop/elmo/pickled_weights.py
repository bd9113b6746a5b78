"""Tar archives and pickled weights of somebody else, read in memory: nothing is unpacked to the disk, nothing is executed."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from carryover.errors import BadData, CarryoverError, InputMissing

_MOST_FILES = 10_000
_GROWTH, _ROOM = 100, 64 << 20
"""An archive may unpack to this multiple of its size plus this number of bytes; weights hardly shrink at all."""


class _Limited(io.RawIOBase):
    """A stream that ends in an error after `limit` bytes, before they are read."""

    def __init__(self, stream: gzip.GzipFile, limit: int, path: Path) -> None:
        self.stream, self.left, self.limit, self.path = stream, limit, limit, path

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self.left:
            raise BadData(f"unpacks to more than {self.limit >> 20} MiB", path=self.path, repair="is it the right file?")
        found = self.stream.read(size)
        self.left -= len(found)
        return found


def read_archive(path: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, bytes], list[str]]:
    """Content of the wanted files of a `.tar.gz`, by name, and the names of the others.

    Raises InputMissing, BadData when the archive is damaged, holds a link, a device, a name that leads outside, a name
    twice, or unpacks to far more than it weighs.
    """
    found: dict[str, bytes] = {}
    others: list[str] = []
    try:
        limit = _GROWTH * path.stat().st_size + _ROOM
        with gzip.open(path) as stream, tarfile.open(fileobj=_Limited(stream, limit, path), mode="r|") as archive:
            for member in archive:
                name = _checked_name(member, path)
                if member.isdir():
                    continue
                if name in found or name in others or len(found) + len(others) >= _MOST_FILES:
                    raise BadData(
                        f"holds {name!r} twice, or more than {_MOST_FILES} files", path=path, repair="fetch it again"
                    )
                content = archive.extractfile(member) if wanted(name) else None
                if content is None:
                    others.append(name)
                else:
                    found[name] = content.read()
    except CarryoverError:
        raise
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError, ValueError, MemoryError) as error:
        raise BadData(f"is not a whole .tar.gz archive ({error})", path=path, repair="fetch it again") from error
    except OSError as error:
        raise InputMissing(f"cannot be read: {error.strerror or error}", path=path, repair="check the path") from error
    return found, others


def _checked_name(member: tarfile.TarInfo, path: Path) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise BadData(f"holds {member.name[:80]!r}, which leads outside", path=path, repair="do not trust this file")
    if not (member.isreg() or member.isdir()):
        raise BadData(f"holds {member.name[:80]!r}, which is not a plain file", path=path, repair="do not trust this file")
    return str(name)


def read_pickled_weights(data: bytes, path: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a state dictionary saved by PyTorch, as `torch.load(weights_only=True)` reads them.

    Nothing else is ever tried: a file that holds anything but tensors is refused. `name` says which part of `path` this
    is. Raises BadData.
    """
    said = f"{name} " if name else ""
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as inner:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in inner.infolist()):
                    raise BadData(f"{said}is packed, which PyTorch never does", path=path, repair="do not trust this file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats: they are why this is called
            found: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except CarryoverError:
        raise
    except Exception as error:  # whatever a forged pickle makes the reader stumble over
        first = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadData(
            f"{said}does not load as weights and nothing else: {first}", path=path, repair="do not trust this file"
        ) from error
    if not isinstance(found, dict):
        raise BadData(f"{said}holds a {type(found).__name__}, expected named tensors", path=path, repair="fetch it again")
    for key, tensor in found.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise BadData(f"{said}holds {str(key)[:80]!r}, which is not a tensor", path=path, repair="fetch it again")
    return dict(found)

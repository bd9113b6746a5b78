"""The content of gzip and xz files: members one after another are one, zeros behind them padding, all else is an error."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any

GZIP, XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"
_AT_ONCE = 1 << 16
_NEW: dict[bytes, Callable[[], Any]] = {
    GZIP: lambda: zlib.decompressobj(wbits=31),
    XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
}


class JunkBehind(ValueError):
    """Something else follows the compressed data."""


def unpacked(packed: IO[bytes], start: bytes) -> IO[bytes]:
    """What a file holds that begins with `start`: its content unpacked, or itself where that is no compression."""
    for magic in _NEW:
        if start.startswith(magic):
            return io.BufferedReader(_Members(packed, magic), _AT_ONCE)
    return packed


class _Members(io.RawIOBase):
    """Raises EOFError where the file ends too early, zlib.error and lzma.LZMAError where it is damaged, JunkBehind."""

    def __init__(self, packed: IO[bytes], magic: bytes) -> None:
        self._packed, self._magic = packed, magic
        self._member: Any = None
        self._input = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = b""
        while not found and self._open_member():
            if not self._input and getattr(self._member, "needs_input", True):
                self._input = self._packed.read(_AT_ONCE)
                if not self._input:
                    raise EOFError("it ends too early")
            found = self._member.decompress(self._input, len(buffer))
            behind = self._member.unused_data
            self._input = behind if self._member.eof else getattr(self._member, "unconsumed_tail", b"")
        buffer[: len(found)] = found
        return len(found)

    def _open_member(self) -> bool:
        """Whether there is a member to read on in."""
        if self._member is not None and not self._member.eof:
            return True
        first = self._member is None
        while not (waiting := self._input.lstrip(b"" if first else b"\0")):
            self._input = self._packed.read(_AT_ONCE)
            if not self._input:
                return False
        self._input = waiting
        if len(self._input) < len(self._magic):
            self._input += self._packed.read(_AT_ONCE)
        if not first and not self._input.startswith(self._magic):
            raise JunkBehind(repr(self._input[:8])[1:])
        self._member = _NEW[self._magic]()
        return True

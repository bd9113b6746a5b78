"""Files and folders that are whole or absent.

Every write goes the same way: into a temporary name on the same file system, flushed to the disk, renamed over the old
one, and the folder flushed too.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from carryover.errors import BadData, InputMissing, check_schema
from carryover.storage import faults
from carryover.storage.faults import writing

MANIFEST = "manifest.json"
_MANIFEST_SCHEMA = "carryover.manifest/1"
_PARTIAL = ".partial-"
_REPLACED = ".replaced-"
_PIECE = 8 << 20
_SMALL = 1 << 16
_LARGEST_JSON = 256 << 20  # bytes; what Python makes of them is ten times as large


def atomic_write(path: Path, data: bytes | str) -> None:
    """Put `data` (see `to_bytes`) at `path`, whole or not at all. Raises CannotWrite, DiskFault."""
    data = to_bytes(data)
    replace_file(Path(path), [data], len(data))


def replace_file(path: Path, parts: Iterable[bytes | memoryview], size: int) -> None:
    """`atomic_write` of a content that comes in parts of `size` bytes together."""
    with _replacing(path, size) as temporary:
        write_file(temporary, parts)


def to_bytes(text: bytes | str) -> bytes:
    r"""Text as UTF-8. A byte of a file name that was not UTF-8 is spelled `\udce9`, which is what it reads back as from JSON."""
    return text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` for a library that writes files itself; what it wrote takes the place, whole.

    On any error in the block `path` stays as it was. Raises CannotWrite, DiskFault.
    """
    with _replacing(Path(path)) as temporary:
        yield temporary
        faults.flush_file(temporary)


@contextmanager
def _replacing(path: Path, size: int = 0) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block has written and flushed it, removed on any error."""
    with writing(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path, _PARTIAL)
        try:
            yield temporary
            faults.crash_point("file rename")
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        faults.crash_point("file renamed")
        faults.flush_folder(path.parent)


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """A new file of the joined `parts`, on the disk when this returns. Raises OSError; see `writing`."""
    with path.open("wb", buffering=0) as file:
        faults.crash_point("file made")
        small = bytearray()  # many small tensors make one write
        for part in parts:
            if len(small) + memoryview(part).nbytes <= _SMALL:
                small += part
                continue
            write_all(file, small)
            write_all(file, part)
            small = bytearray()
        write_all(file, small)
        faults.flush(file.fileno())
    faults.crash_point("file flushed")


def write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    """Write every byte to an unbuffered file, in pieces. Raises OSError; see `writing`."""
    rest = memoryview(data).cast("B")
    while len(rest):
        rest = rest[faults.write_some(file, rest[:_PIECE]) :]
        faults.crash_point("file written")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place, whole, when the block ends without an error.

    Every file in it is listed with its SHA-256 in `manifest.json`, flushed, and only then renamed; an old folder of that
    name is replaced with all its content. On any error the temporary folder is removed and `path` stays as it was.
    Raises CannotWrite, DiskFault.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(path)
        temporary = temporary_name(path, _PARTIAL)
        temporary.mkdir()
    try:
        faults.crash_point("folder made")
        with writing(path):
            yield temporary
        size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
        with writing(path, size):
            write_manifest(temporary)
            for file in sorted(temporary.rglob("*")):
                faults.flush_folder(file) if file.is_dir() else faults.flush_file(file)
            faults.flush_folder(temporary)
            faults.crash_point("folder flushed")
            _take_place(temporary, path)
            faults.flush_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_folder(path: Path) -> None:
    """Remove a folder so that a kill in between leaves nothing that looks like one: renamed away first."""
    with writing(path):
        away = temporary_name(path, _PARTIAL)
        path.rename(away)
        faults.crash_point("folder removal")
        shutil.rmtree(away, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Clear what killed processes left beside `path`, a folder or a file; where one died between its two renames, put the old one back."""
    for rest in sorted(path.parent.glob(f".{glob.escape(path.name)}{_REPLACED}*")):
        if path.exists():
            shutil.rmtree(rest, ignore_errors=True)
        elif _maker_is_dead(rest):
            rest.rename(path)
    for rest in path.parent.glob(f".{glob.escape(path.name)}{_PARTIAL}*"):
        if _maker_is_dead(rest):
            shutil.rmtree(rest, ignore_errors=True) if rest.is_dir() else rest.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Clear every temporary file and folder in `folder` whose maker is dead."""
    for rest in folder.glob(f".*{_PARTIAL}*"):
        if _maker_is_dead(rest):
            shutil.rmtree(rest, ignore_errors=True) if rest.is_dir() else rest.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a name is one of those that `temporary_name` makes."""
    return path.name.startswith(".") and (_PARTIAL in path.name or _REPLACED in path.name)


def write_manifest(folder: Path) -> None:
    """List every file of `folder` (but the manifest) with size and SHA-256 in `manifest.json`."""
    files = {
        file.relative_to(folder).as_posix(): {"sha256": file_digest(file), "size": file.stat().st_size}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / MANIFEST
    }
    text = json.dumps({"schema": _MANIFEST_SCHEMA, "files": files}, indent=1, sort_keys=True)
    write_file(folder / MANIFEST, [text.encode()])


def verify_manifest(folder: Path) -> None:
    """Raise BadData naming the first file that is missing or differs in a byte; InputMissing without a manifest."""
    root = os.path.realpath(folder)
    if not Path(os.path.realpath(folder / MANIFEST)).is_relative_to(root):
        raise BadData("is a link to outside the folder", path=folder / MANIFEST, repair="put a copy of it in its place")
    manifest = read_json(folder / MANIFEST)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if isinstance(manifest, dict):
        check_schema("the manifest", manifest.get("schema"), _MANIFEST_SCHEMA, path=folder / MANIFEST)
    if not isinstance(files, dict):
        raise BadData("is not a manifest", path=folder / MANIFEST, repair="restore the folder from a copy")
    for name, entry in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts or not isinstance(entry, dict):
            raise BadData(
                f"lists {name!r}, which is outside the folder",
                path=folder / MANIFEST,
                repair="restore the folder from a copy",
            )
        file = folder / name
        if not Path(os.path.realpath(file)).is_relative_to(root):
            raise BadData("is a link to outside the folder", path=file, repair="put a copy of the file in its place")
        if not file.is_file():
            raise BadData("is listed in the manifest and missing", path=file, repair="restore the folder from a copy")
        try:
            size, wanted = file.stat().st_size, entry.get("size")
            digest = file_digest(file) if size == wanted else ""
        except OSError as error:
            raise InputMissing(f"cannot be read: {error.strerror}", path=file, repair="check the disk") from error
        if digest != entry.get("sha256"):
            found = f"SHA-256 {digest[:12]}…" if digest else f"{size} bytes"
            stored = f"{str(entry.get('sha256'))[:12]}…" if digest else f"{wanted}"
            raise BadData(f"is damaged: {found}, manifest says {stored}", path=file, repair="restore the folder from a copy")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """The JSON document at `path`. Raises InputMissing, or BadData with the line."""
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise BadData(
                f"is {path.stat().st_size} bytes long, more than {_LARGEST_JSON}", path=path, repair="restore it from a copy"
            )
        return json.loads(path.read_bytes().decode())
    except json.JSONDecodeError as error:
        raise BadData(f"is not JSON: {error.msg}", path=path, line=error.lineno, repair="restore it from a copy") from error
    except UnicodeDecodeError as error:
        raise BadData(
            f"is not UTF-8: {error.reason} at byte {error.start}", path=path, repair="restore it from a copy"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadData(f"is not JSON that can be read: {error}", path=path, repair="restore it from a copy") from error
    except OSError as error:
        raise InputMissing(f"cannot be read: {error.strerror}", path=path, repair="check the path") from error


def cache_folder() -> Path:
    """Where caches live: `$CARRYOVER_CACHE`, else the user's cache folder of this platform."""
    chosen = os.environ.get("CARRYOVER_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("carryover", appauthor=False))


def _take_place(temporary: Path, path: Path) -> None:
    faults.crash_point("folder rename")
    if not path.exists():
        try:
            temporary.rename(path)
            faults.crash_point("folder renamed")
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise  # otherwise another writer came first, and there is a folder to be replaced
    old = temporary
    if not _exchange(temporary, path):
        old = temporary_name(path, _REPLACED)
        path.rename(old)
        faults.crash_point("folder half renamed")  # `recover_folder` puts the old one back after a death here
        try:
            temporary.rename(path)
        except OSError:
            old.rename(path)
            raise
    faults.crash_point("folder renamed")
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, as Linux can (renameat2 with RENAME_EXCHANGE). False where that is not possible."""
    import ctypes

    try:
        library = ctypes.CDLL(None, use_errno=True)
        here, exchange = -100, 2
        return bool(library.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)
    except (AttributeError, OSError, TypeError):
        return False


def temporary_name(path: Path, mark: str = _PARTIAL) -> Path:
    """A hidden name beside `path` that says who made it, so that what a dead process left can be told and cleared."""
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return path.with_name(f".{path.name}{mark}{host}-{os.getpid()}-{secrets.token_hex(4)}")


def _maker_is_dead(temporary: Path) -> bool:
    """Whether the process that named this temporary file or folder ran on this host and is gone."""
    host, process = temporary.name.rsplit("-", 3)[1:3]
    same = host == hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return same and process.isdigit() and not alive(int(process))


def alive(process: int) -> bool:
    """Whether a process of this id runs on this host."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

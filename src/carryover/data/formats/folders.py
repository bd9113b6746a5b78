"""A text in many files: a folder of them, or a pattern such as `thesis/**/*.tex`, read one after another by name."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from carryover.data.formats.opening import FilePath
from carryover.data.formats.spooling import STANDARD_INPUT
from carryover.errors import BadData, InputMissing

_SIGNS = frozenset("*?[")


def text_files(path: FilePath) -> list[Path]:
    """The files behind a name, in the order of their names.

    A file is itself, a folder all files in it and in the folders below but for those whose name begins with a dot, a
    pattern (`*`, `?`, `[…]`, and `**` for any folders) what it fits. Raises InputMissing where there is none.
    """
    name = str(path)
    if name == STANDARD_INPUT or not (Path(path).is_dir() or is_pattern(path)):
        return [Path(path)]
    if Path(path).is_dir():
        found, repair = _files_below(Path(path)), "name a folder of text files"
    else:
        found = [Path(one) for one in glob.glob(name, recursive=True) if Path(one).is_file()]  # noqa: PTH207
        repair = "check the pattern; ** stands for any folders"
    if not found:
        raise InputMissing("there is no file here", path=path, repair=repair)
    return sorted(found)


def is_pattern(path: FilePath) -> bool:
    """Whether the name stands for the files it fits: it has signs of a pattern and is no file's own."""
    return not _SIGNS.isdisjoint(str(path)) and not Path(path).exists()


def read_files(
    path: FilePath, read: Callable[[Path], Iterator[tuple[int, str]]], *, exact: bool
) -> Iterator[tuple[int, str]]:
    """The lines that `read` gives of all files behind a name as (line number in its file, line), an empty line between two.

    `exact` keeps the white space around a line. Empty files are passed over. Raises InputMissing, BadData with file and line
    at the first fault, which in a folder may be a file that is no text, and BadData when there was no text at all.
    """
    files = text_files(path)
    many = len(files) > 1 or files[0] != Path(path)
    empty, between = True, False
    for file in files:
        number, blank = 0, True
        try:
            for number, line in read(file):
                if between:
                    yield 0, ""
                    between = False
                blank = blank and not line.strip()
                yield number, line if exact else line.strip()
        except BadData as error:
            if not many:
                raise
            raise BadData(error.message, path=error.path, line=error.line, repair=_choose(path, files)) from error
        empty, between = empty and blank, between or number > 0
    if empty:
        raise BadData(
            "the files hold no text" if many else "the file holds no text", path=path, repair="is it the right one?"
        )


def _files_below(folder: Path) -> list[Path]:
    def fault(error: OSError) -> None:
        raise InputMissing(
            f"cannot be read ({error.strerror or error})", path=error.filename, repair="check its permissions"
        ) from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=fault):
        folders[:] = [one for one in folders if not one.startswith(".")]
        found += [Path(parent) / one for one in files if not one.startswith(".")]
    return found


def _choose(path: FilePath, files: list[Path]) -> str:
    """How to leave out what is no text."""
    suffixes = Counter(file.suffix for file in files if file.suffix)
    usual = suffixes.most_common(1)[0][0] if suffixes else ".txt"
    where = Path(path) if Path(path).is_dir() else Path(path).parent
    return f"save it as UTF-8, or name the text files by a pattern in quotes, such as '{where}/**/*{usual}'"

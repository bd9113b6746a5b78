"""Where finished cells live: one folder a cell, and the error a cell ended in until it succeeds.

    OUT/cells/CELL/cell.json    what came out, its schema first; an experiment may keep more beside it

What a folder holds when an experiment is continued is found out here: finished cells are kept, damaged ones are done again.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from carryover.errors import BadData, CarryoverError
from carryover.progress import say
from carryover.storage import atomic_write, read_json

CELL_FILE = "cell.json"
AGAIN = "remove the cell's folder to run it again"


class NamedCell(Protocol):
    """One trial of an experiment. Its text is shown to the user."""

    @property
    def name(self) -> str:
        """Name of its folder."""


C = TypeVar("C", bound=NamedCell)
R = TypeVar("R")


class CellStore(ABC, Generic[C, R]):
    """Cells `C` of one experiment under `folder`, and what came out of each, an `R`."""

    schema: ClassVar[str]
    failure_schema: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, cell: C) -> Path:
        """The folder of a cell."""
        return self.folder / "cells" / cell.name

    @abstractmethod
    def failure_path(self, cell: C) -> Path:
        """The file of the error that the cell ended in."""

    @abstractmethod
    def holds(self, cell: C) -> bool:
        """Whether the cell was finished; what is stored may be damaged."""

    @abstractmethod
    def read(self, cell: C) -> R:
        """A finished cell. Raises InputMissing or BadData naming the file that is missing or damaged."""

    def finished(self, cell: C) -> bool:
        """Whether the cell is stored and sound. A damaged one is said aloud and counts as absent: it is done again."""
        if not self.holds(cell):
            return False
        try:
            self.read(cell)
        except CarryoverError as error:
            say(f"{error}; running {cell} again")
            return False
        return True

    def unfinished(self, cells: Iterable[C]) -> list[C]:
        """What is left to do, in the order given."""
        return [cell for cell in cells if not self.finished(cell)]

    def note_failure(self, cell: C, document: Mapping[str, Any]) -> None:
        """Store the error that a cell ended in, whole or not at all."""
        content = {"schema": self.failure_schema, **document}
        atomic_write(self.failure_path(cell), json.dumps(content, ensure_ascii=False, indent=1))

    def failure(self, cell: C) -> dict[str, Any] | None:
        """The error that a cell ended in, None where it did not."""
        path = self.failure_path(cell)
        if not path.is_file():
            return None
        document: dict[str, Any] = read_json(path)
        document.pop("schema", None)
        return document

    def forget_failure(self, cell: C) -> None:
        self.failure_path(cell).unlink(missing_ok=True)

    @classmethod
    def document(cls, folder: Path) -> dict[str, Any]:
        """The content of a finished cell's `cell.json`, without its schema. Raises BadData for anything else in its place."""
        path = folder / CELL_FILE
        found = read_json(path)
        if not isinstance(found, dict) or found.pop("schema", None) != cls.schema:
            raise BadData(f"is not a cell of format {cls.schema}", path=path, repair=AGAIN)
        return found

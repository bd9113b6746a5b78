"""Rows of CSV files, which may span lines; a quote that was left open does not swallow the rows behind it."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from itertools import islice

from carryover.data.formats.opening import BadLine, FilePath, scan_lines
from carryover.errors import BadData
from carryover.progress import say

MANY_LINES = 100
"""Lines of one row that are worth a word."""
_ROWS = 1000  # by whose values a row is known again

_Line = tuple[int, str | BadLine]
_REPAIR = 'close the quote; put cells with quotes in quotes and double them: ""'


class _LeftOpen(Exception):
    """The row that is being read has swallowed others."""


def csv_rows(path: FilePath) -> Iterator[tuple[int, list[str] | BadData, str]]:
    """Rows by RFC 4180 as (line of its first, cells or the fault, the row as it was); `;` for `,` is noticed.

    A quoted cell may span lines. Where these look like whole rows of the file, by their number of cells and by values that
    repeat in a column, the quote was left open: the line it is in is the fault, and reading continues with the next line. Of any
    other faulty row each line is a fault, so that rows are counted by lines. A row of more than 100 lines is pointed out once.
    """
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long texts
    lines = scan_lines(path)
    waiting: deque[_Line] = deque(islice(lines, 1))
    delimiter = ","
    if waiting and isinstance(waiting[0][1], str) and ";" in waiting[0][1] and "," not in waiting[0][1]:
        delimiter = ";"
    dialect = csv.reader((), delimiter=delimiter, strict=True).dialect  # made once: a reader of a row then costs little
    seen = _Seen(delimiter)
    taken: list[_Line] = []  # the lines of the row that is being read
    told = False

    def feed() -> Iterator[str]:
        while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
            taken.append(line)
            if len(taken) > MANY_LINES and len(taken) & (len(taken) - 1) == 0 and seen.holds_rows(taken):
                raise _LeftOpen  # now, and not when all of the file is in memory
            yield _shown(line[1]) + "\n"

    reader = csv.reader(feed(), dialect)
    while True:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            return
        begin, text = line
        if isinstance(text, str):
            whole: list[str] | None
            if '"' not in text:
                whole = text.split(delimiter)
            else:
                try:
                    whole = next(csv.reader((text,), dialect))
                except csv.Error:
                    whole = None  # it may continue in the next line
            if whole is not None:
                if len(whole) > 1 or text.strip():
                    if seen.rows < _ROWS:
                        seen.add(whole)
                    yield begin, whole, text
                continue
        waiting.appendleft(line)
        reason = ""
        try:
            cells = next(reader)
        except csv.Error as error:
            reason = "a quoted cell that begins here never ends" if "unexpected end" in str(error) else str(error)
        except _LeftOpen:
            reason = "a quoted cell that begins here does not end"
        if len(taken) > 1 and seen.holds_rows(taken, closed=not reason):
            waiting.extendleft(reversed(taken[1:]))
            reason = reason or f"the quoted cell that begins here spans {len(taken)} lines that look like rows"
            yield begin, BadData(reason, path=path, line=begin, repair=_REPAIR), _shown(text)
        elif reason or any(isinstance(line, BadLine) for _, line in taken):
            yield from _faults(taken, reason, path)
        else:
            if len(taken) == 1 and seen.rows < _ROWS:
                seen.add(cells)
            if len(taken) > MANY_LINES and not told:
                told = True
                say(f"{path}:{begin}: a row of {len(taken):,} lines; if a quote was left open there, it holds other rows")
            yield begin, cells, "\n".join(_shown(line) for _, line in taken)
            taken.clear()
            continue
        taken.clear()
        reader = csv.reader(feed(), dialect)


def _faults(taken: list[_Line], reason: str, path: FilePath) -> Iterator[tuple[int, BadData, str]]:
    """A fault for each line of a faulty row, that line first which is to blame."""
    begin = taken[0][0]
    cause, fault = next(((place, text) for place, text in taken if isinstance(text, BadLine)), (begin, None))
    blamed = fault or BadData(reason, path=path, line=begin, repair=_REPAIR)
    yield cause, blamed, next(_shown(text) for place, text in taken if place == cause)
    for place, text in taken:
        if place != cause:
            other = BadData(f"belongs to the faulty row of line {begin}", path=path, line=place, repair="correct that row")
            yield place, other, _shown(text)


def _shown(line: str | BadLine) -> str:
    return line.text if isinstance(line, BadLine) else line


class _Seen:
    """What rows of the file look like: their width, and values met in each column."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self.columns: list[set[str]] = []
        self.rows = 0

    def add(self, cells: list[str]) -> None:
        if not self.columns:
            self.columns = [set() for _ in cells]
        self.rows += 1
        for values, cell in zip(self.columns, cells, strict=False):
            values.add(cell)

    def holds_rows(self, taken: list[_Line], *, closed: bool = False) -> bool:
        """Whether half of the lines behind the first look like rows: by width, and by a column whose values repeat.

        Where the quote is `closed`, what follows it on the last line belongs to the row, whatever it looks like.
        """
        lines = [line for _, line in taken[1:] if isinstance(line, str)]
        if closed and lines:
            if self._is_whole_but_for_its_quote(taken[0][1]):
                return True
            lines[-1] = lines[-1].partition('"')[0]
        behind = [line.split(self.delimiter) for line in lines]
        wide = [cells for cells in behind if len(cells) == len(self.columns) > 1]
        if 2 * len(wide) < max(1, len(behind)):
            return False
        for values, *cells in zip(self.columns, *wide, strict=True):
            known = sum(cell in values for cell in cells)
            if 2 * max(known, len(cells) - len(set(cells))) >= max(1, len(behind)):
                return True
        return False

    def _is_whole_but_for_its_quote(self, line: str | BadLine) -> bool:
        """Whether the line has all cells of a row, and behind the cell with the quote a last one that is known."""
        before, _, behind = _shown(line).partition('"')
        cells = behind.split(self.delimiter)
        return 1 < len(cells) == len(self.columns) - before.count(self.delimiter) and cells[-1] in self.columns[-1]

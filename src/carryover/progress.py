"""How long work takes, told on standard error: a bar on a terminal, a plain line now and then in a pipe, or silence."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from carryover.escaping import printable

_SECONDS_BETWEEN_LINES = 10.0


def say(message: str) -> None:
    """One line on standard error, whatever foreign text is in it. Work continues if that is closed, full or gone."""
    stream = sys.stderr
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = printable(message).encode(encoding, "backslashreplace").decode(encoding)
    with suppress(OSError, ValueError):
        print(line, file=stream, flush=True)


class Progress:
    """Work done so far with its rate, the time left and the latest figures.

    `total` is the whole amount in `unit` (None when unknown) and `done` what an earlier session did of it: that counts as
    done, but not for the rate. A context manager; `close` ends the bar, or prints the last plain line.
    """

    def __init__(self, label: str, total: int | None, unit: str = "tokens", quiet: bool = False, *, done: int = 0) -> None:
        self.label, self.total, self.unit, self.quiet = label, total, unit, quiet
        self.done = self.before = done
        self.figures: dict[str, float] = {}
        self._start = self._shown = time.monotonic()
        self._bar: Any = None
        if not quiet and sys.stderr is not None and sys.stderr.isatty():
            self._bar = _bar(label, total, done)

    def advance(self, amount: int, **figures: float) -> None:
        """`amount` more units are done; `figures` (loss, perplexity, …) are shown beside the rate."""
        self.done += amount
        self.figures.update(figures)
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self.done, figures=self._describe())
        elif not self.quiet and time.monotonic() - self._shown >= _SECONDS_BETWEEN_LINES:
            self._line()

    def rate(self) -> float:
        """Units a second in this session."""
        return (self.done - self.before) / max(time.monotonic() - self._start, 1e-9)

    def seconds_left(self) -> float | None:
        """Estimated from the rate; None while nothing is known."""
        if self.total is None or self.done == self.before:
            return None
        return max(self.total - self.done, 0) / self.rate()

    def close(self) -> None:
        """End the display. Safe to call twice."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None
        elif not self.quiet and self.done > self.before:
            self._line()
        self.quiet = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _line(self) -> None:
        self._shown = time.monotonic()
        share = f"{self.done:,}" + ("" if not self.total else f" of {self.total:,} ({self.done / self.total:.0%})")
        say(f"{self.label}: {share} {self.unit}, {self._describe()}")

    def _describe(self) -> str:
        rate = self.rate()
        parts = [f"{rate:,.0f} {self.unit}/s" if rate >= 1 else f"{1 / max(rate, 1e-9):,.0f} s for one of the {self.unit}"]
        left = self.seconds_left()
        if left is not None:
            parts.append(f"{duration(left)} left")
        parts += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.figures.items()]
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _bar(label: str, total: int | None, done: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[figures]}"))
    bar = RichProgress(*columns, console=Console(stderr=True), transient=False)
    task = bar.add_task(label, total=total, completed=done, figures="")
    bar.start()
    return bar, task

"""Progress speaks to a pipe in plain lines, seldom, and is silent when told so."""

from __future__ import annotations

import io

import pytest

from carryover import progress
from carryover.progress import Progress, duration, say


class Clock:
    """A time that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_a_line_every_ten_seconds_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with Progress("pretraining", 10_000, done=1000) as shown:
        for _ in range(25):
            clock.now += 1
            shown.advance(100, held_out_perplexity=123.456)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # after 10 s, after 20 s, and at the end
    assert lines[0] == (
        "pretraining: 2,000 of 10,000 (20%) tokens, 100 tokens/s, 1 min 20 s left, held out perplexity 123.5"
    )


def test_quiet_is_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    with Progress("reading", None, quiet=True) as shown:
        clock.now += 100
        shown.advance(5)
    assert capsys.readouterr().err == ""


def test_nothing_is_estimated_from_nothing() -> None:
    shown = Progress("reading", None, quiet=True)
    assert shown.seconds_left() is None
    shown = Progress("reading", 10, quiet=True, done=10)
    assert shown.seconds_left() is None


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", screen)
    with Progress("pretraining", 100) as shown:
        shown.advance(50, loss=2.5)
    assert "pretraining" in screen.getvalue() and "50%" in screen.getvalue() and "loss 2.5" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (7380, "2 h 03 min")]
)
def test_durations_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_say_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")

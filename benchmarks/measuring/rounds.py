"""Contestants compared, then timed in turn, round by round in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Run = Callable[[], list[Tensor]]
Times = dict[str, dict[str, list[float]]]
CLOCKS: dict[str, Callable[[], float]] = {"seconds": time.perf_counter, "processor_seconds": time.process_time}


def times(runs: Mapping[str, Callable[[], Any]], rounds: int) -> Times:
    """Clock → contestant → what each round took; every round goes through all, forwards and backwards by turns."""
    taken: Times = {clock: {label: [] for label in runs} for clock in CLOCKS}
    for number in range(rounds + 1):
        for label in list(runs) if number % 2 else list(runs)[::-1]:
            before = {clock: read() for clock, read in CLOCKS.items()}
            runs[label]()
            if number:  # the first round warms up
                for clock, read in CLOCKS.items():
                    taken[clock][label].append(read() - before[clock])
    return taken


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}


def ratio(taken: Times, peer: str, ours: str, clock: str) -> dict[str, float]:
    """Spread over the rounds of how many times as long as `ours` the `peer` took."""
    return spread([theirs / own for theirs, own in zip(taken[clock][peer], taken[clock][ours], strict=True)])


def tell(name: str, found: dict[str, float]) -> None:
    print(f"{name}: {found['median']:.2f} ({found['smallest']:.2f} … {found['largest']:.2f})", flush=True)


def largest_difference(name: str, runs: Mapping[str, Run], reference: str, tolerance: float) -> float:
    """Largest relative distance of any contestant's results from those of `reference`, as far as both give as many.

    Ends the program when it exceeds `tolerance`.
    """
    with_name = {label: run() for label, run in runs.items()}
    worst = 0.0
    for label, results in with_name.items():
        for found, expected in zip(results, with_name[reference], strict=False):
            distance = float(((found.to(expected.dtype) - expected).norm() / expected.norm()).detach())
            if found.shape != expected.shape or not distance <= tolerance:
                raise SystemExit(
                    f"{name}: {label} and {reference} differ by {distance:.1e} of their size: nothing to report"
                )
            worst = max(worst, distance)
    return worst

"""What a comparison found, one small record a finding: points of curves, differences, labels saved, gains, errors removed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from carryover.compare.statistics import Interval

Budget = int | str


@dataclass(frozen=True)
class Point:
    """A rung's mean score at one budget over the seeds that are finished."""

    rung: str
    budget: Budget
    labels: int
    seeds: tuple[int, ...]
    score: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """Score of `first` less score of `second` at one budget, over the seeds both have."""

    budget: Budget
    labels: int
    first: str
    second: str
    seeds: tuple[int, ...]
    difference: float
    interval: Interval

    @property
    def separable(self) -> bool:
        return not self.interval.contains(0.0)

    def turned(self) -> Difference:
        """The same with the two rungs exchanged."""
        interval = Interval(-self.interval.high, -self.interval.low)
        return Difference(self.budget, self.labels, self.second, self.first, self.seeds, -self.difference, interval)


@dataclass(frozen=True)
class Saving:
    """How many labels `reference` needs for the score that `rung` has with `labels`.

    None stands for more than `most`, the largest budget at which the reference was measured; a limit equal to `least`,
    the smallest one, means at most that. Both curves are taken over the same `seeds`. `supported` says that the whole
    interval lies above `labels` and that the rung beats the majority there.
    """

    rung: str
    labels: int
    reference: str
    equivalent: float | None
    low: float | None
    high: float | None
    least: int
    most: int
    supported: bool
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Gain:
    """What more labels gave a rung at the end of its curve: from the largest budget that is at most half of the last one.

    Where no budget is that small it is from the smallest one, and `per_doubling` is the gain of the whole step then, which is
    less than a doubling: nothing is extrapolated. Both ends are taken over the same `seeds`.
    """

    rung: str
    from_labels: int
    to_labels: int
    per_doubling: float
    interval: Interval
    doublings: float = 1.0
    seeds: tuple[int, ...] = ()

    @property
    def supported(self) -> bool:
        return self.interval.low > 0


@dataclass(frozen=True)
class Reduction:
    """How much of the errors of `baseline` a rung takes away at one budget, over the seeds both have.

    With errors 1 − score: `absolute` is the score of `rung` less that of `baseline`, `relative` the share of the
    baseline's errors, absolute / (1 − baseline score), as published tables give it (Peters et al. 2018, table 1); negative
    where the rung errs more. `relative` and its limits are None where the baseline has no errors to lose in some replicate: a
    share of nothing is no number.
    """

    budget: Budget
    labels: int
    baseline: str
    rung: str
    seeds: tuple[int, ...]
    baseline_score: float
    score: float
    absolute: float
    interval: Interval
    relative: float | None
    relative_low: float | None
    relative_high: float | None


def plain(value: Any) -> dict[str, Any]:
    """A finding as plain values for JSON."""
    row = asdict(value)
    if "interval" in row:
        row["interval"] = value.interval.to_json()
    return row

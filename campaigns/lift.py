"""Lift with an interval that may be looked at every day, and acted on at any look.

An ordinary interval holds for one look: whoever looks daily and stops at the first that leaves out zero is wrong far
more often than it says. These are confidence sequences: with 95 % chance *all* of them, at all looks together, hold
what they estimate. The bound is the two-sided normal mixture (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon,
Annals of Statistics 49, 2021), used with estimated variances as asymptotic confidence sequences (Waudby-Smith, Arbour,
Sinha, Kennedy and Ramdas, Annals of Statistics 52, 2024). Its clock is the number of people of whom there is anything
to count. The price is width: about three standard errors instead of two.

Two groups are compared by everybody who was assigned to them, opened or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Final, Literal

ALPHA: Final = 0.05
MIN_PEOPLE: Final = 30
"""People in a group below which nothing is told."""
MIN_ACTIVE: Final = 20
"""People with something to count, in both groups, below which nothing is told."""
MIN_ACTIVE_EXPECTED: Final = 5
"""As many of them as the smaller group must be expected to have by its size: below, a normal bound says too much."""
_MIXING: Final = 25.0
"""Fixed before any data, as it must be: the interval is narrowest, for its evidence, at some 200 active people."""

Verdict = Literal["gain", "loss", "open"]


@dataclass(frozen=True)
class Sample:
    """One group: its people, the sum and the sum of squares of what each comes to, and how many come to anything."""

    people: int
    total: float
    squares: float
    active: int

    @property
    def mean(self) -> float:
        return self.total / self.people if self.people else 0.0

    @property
    def variance(self) -> float:
        """Of what one person comes to."""
        if self.people < 2:
            return 0.0
        return max(0.0, (self.squares - self.total**2 / self.people) / (self.people - 1))


@dataclass(frozen=True)
class Lift:
    """How much more a person of the first group comes to: the estimate and the ends of its interval.

    `base` is the mean of the group it is held against; `share` is the confidence, 0 to 1.
    """

    difference: float
    low: float
    high: float
    base: float
    share: float

    @property
    def verdict(self) -> Verdict:
        """Whether the interval leaves out zero; `open` says that nothing can be claimed."""
        if self.low > 0:
            return "gain"
        return "loss" if self.high < 0 else "open"

    @property
    def relative(self) -> float | None:
        """The estimate as a share of the other group's mean; None where that is not above zero."""
        return self.difference / self.base if self.base > 0 else None


@dataclass(frozen=True)
class Compared:
    """Two groups side by side. `lift` is None where there is not enough data, and `missing` says what is missing."""

    first: str
    against: str
    lift: Lift | None
    missing: str | None


def compare(
    first: tuple[str, Sample], against: tuple[str, Sample], *, alpha: float = ALPHA, of: int = 1, active: str = "buyers"
) -> Compared:
    """The lift of the first group over the other, once there is enough to tell it by.

    `of` so many comparisons are shown side by side: each gets its part of `alpha`, so that all of them together are
    wrong no more often (Bonferroni). `active` is what people who come to something are called.
    """
    (name, ours), (other, theirs) = first, against
    missing = _missing(ours, theirs, active)
    return Compared(name, other, None if missing else lift(ours, theirs, alpha / of), missing)


def lift(ours: Sample, theirs: Sample, alpha: float = ALPHA) -> Lift:
    """The difference of the means with its confidence sequence at this look. Groups must not be empty."""
    difference = ours.mean - theirs.mean
    width = standard_errors(ours.active + theirs.active, alpha) * sqrt(_variance(ours, theirs))
    return Lift(difference, difference - width, difference + width, theirs.mean, 1 - alpha)


def standard_errors(active: int, alpha: float = ALPHA) -> float:
    """Half the interval's width in standard errors, with so many active people; infinite with none."""
    if not active:
        return float("inf")
    known = active / _MIXING
    return sqrt((1 + 1 / known) * log((known + 1) / alpha**2))


def _variance(ours: Sample, theirs: Sample) -> float:
    """Of the difference: by each group's own or by their common one, the larger. A group without a buyer has none."""
    apart = ours.variance / ours.people + theirs.variance / theirs.people
    both = Sample(
        ours.people + theirs.people, ours.total + theirs.total, ours.squares + theirs.squares,
        ours.active + theirs.active,
    )  # fmt: skip
    return max(apart, both.variance * (1 / ours.people + 1 / theirs.people))


def _missing(ours: Sample, theirs: Sample, active: str) -> str | None:
    smaller = min(ours.people, theirs.people)
    if smaller < MIN_PEOPLE:
        return f"{smaller} people in the smaller group; at least {MIN_PEOPLE} are needed"
    seen = ours.active + theirs.active
    wanted = max(MIN_ACTIVE, ceil(MIN_ACTIVE_EXPECTED * (ours.people + theirs.people) / smaller))
    if seen < wanted:
        return f"{seen} {active} so far; at least {wanted} are needed"
    return None

"""Lift with an interval that may be looked at every day, and acted on at any look.

An ordinary interval holds for one look: whoever looks daily and stops at the first that leaves out zero is wrong far
more often than it says. These are confidence sequences: with 95 % chance *all* of them, at all looks together, hold
what they estimate. The bound is the two-sided normal mixture (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon,
Annals of Statistics 49, 2021), used with estimated variances as asymptotic confidence sequences (Waudby-Smith, Arbour,
Sinha, Kennedy and Ramdas, Annals of Statistics 52, 2024). Its clock is the number of people of whom there is anything
to count. The price is width: about three standard errors instead of two.

Two groups are compared by everybody who was assigned to them, opened or not. Chance gives one of them a few more of
those who order anyway; what people did before the mail tells how many, and it is taken off again (`adjusted`).
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
MIN_ADJUSTED: Final = 100
"""People in a group below which the slope is mostly chance, and nothing is adjusted."""
_MIXING: Final = 25.0
"""Fixed before any data, as it must be: the interval is narrowest, for its evidence, at some 200 active people."""

Verdict = Literal["gain", "loss", "open"]


@dataclass(frozen=True)
class Past:
    """What a group's people did before the mail, one number each, in any unit: sums over people.

    `total` and `squares` are of that number, `product` of it times what the person comes to.
    """

    total: float
    squares: float
    product: float


@dataclass(frozen=True)
class Sample:
    """One group: its people, the sum and the sum of squares of what each comes to, and how many come to anything.

    `past` is what is known of them from before the mail, None where nothing is.
    """

    people: int
    total: float
    squares: float
    active: int
    past: Past | None = None

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
    """Two groups side by side. `lift` is None where there is not enough data, and `missing` says what is missing.

    `plain` is the lift as the groups' means tell it, where `lift` is adjusted by what people did before; else None.
    """

    first: str
    against: str
    lift: Lift | None
    missing: str | None
    plain: Lift | None = None

    @property
    def narrowed(self) -> float:
        """By which share of its width the interval got narrower by adjusting; 0 where nothing was adjusted."""
        if self.lift is None or self.plain is None or self.plain.high <= self.plain.low:
            return 0.0
        return 1 - (self.lift.high - self.lift.low) / (self.plain.high - self.plain.low)


def compare(
    first: tuple[str, Sample], against: tuple[str, Sample], *, alpha: float = ALPHA, of: int = 1, active: str = "buyers"
) -> Compared:
    """The lift of the first group over the other, once there is enough to tell it by.

    It is adjusted wherever the past of enough people is known, whatever comes out of it: to choose between two
    estimates by what they say would be a second look. `of` so many comparisons are shown side by side: each gets its
    part of `alpha`, so that all of them together are wrong no more often (Bonferroni). `active` is what people who come
    to something are called.
    """
    (name, ours), (other, theirs) = first, against
    missing = _missing(ours, theirs, active)
    if missing:
        return Compared(name, other, None, missing)
    plain, even = lift(ours, theirs, alpha / of), adjusted(ours, theirs)
    return Compared(name, other, lift(*even, alpha / of), None, plain) if even else Compared(name, other, plain, None)


def lift(ours: Sample, theirs: Sample, alpha: float = ALPHA) -> Lift:
    """The difference of the means with its confidence sequence at this look. Groups must not be empty."""
    difference = ours.mean - theirs.mean
    width = standard_errors(ours.active + theirs.active, alpha) * sqrt(_variance(ours, theirs))
    return Lift(difference, difference - width, difference + width, theirs.mean, 1 - alpha)


def adjusted(ours: Sample, theirs: Sample) -> tuple[Sample, Sample] | None:
    """The groups as if both were people of the same past on average; None where too little is known.

    From each person's result is taken off the slope times how far their past lies from everybody's mean (CUPED: Deng,
    Xu, Kohavi and Walker, WSDM 2013). No mail changes what was before it, so the difference stays what it estimates.
    The slope makes the variance of the difference least; with groups drawn by lot it is in the limit that of Lin's
    regression with interactions (Annals of Applied Statistics 7, 2013), which is then never worse than no adjustment,
    also where groups are of unlike size and the effect hangs on the past. That confidence sequences hold for adjusted
    means too is in Waudby-Smith et al. (2024).
    """
    if ours.past is None or theirs.past is None or min(ours.people, theirs.people) < MIN_ADJUSTED:
        return None
    spread = _spread(ours, ours.past) + _spread(theirs, theirs.past)
    if spread <= 0:
        return None
    slope = (_together(ours, ours.past) + _together(theirs, theirs.past)) / spread
    centre = (ours.past.total + theirs.past.total) / (ours.people + theirs.people)
    return _shifted(ours, ours.past, slope, centre), _shifted(theirs, theirs.past, slope, centre)


def standard_errors(active: int, alpha: float = ALPHA) -> float:
    """Half the interval's width in standard errors, with so many active people; infinite with none."""
    if not active:
        return float("inf")
    known = active / _MIXING
    return sqrt((1 + 1 / known) * log((known + 1) / alpha**2))


def _spread(group: Sample, past: Past) -> float:
    """The variance of the mean of the group's past."""
    return (past.squares - past.total**2 / group.people) / (group.people - 1) / group.people


def _together(group: Sample, past: Past) -> float:
    """The covariance of that mean with the mean of what its people come to."""
    return (past.product - past.total * group.total / group.people) / (group.people - 1) / group.people


def _shifted(group: Sample, past: Past, slope: float, centre: float) -> Sample:
    """The group with slope × (past − centre) taken off each person's result. A slope costs one degree of freedom."""
    off = past.total - group.people * centre
    off_squared = past.squares - 2 * centre * past.total + group.people * centre**2
    total = group.total - slope * off
    squares = group.squares - 2 * slope * (past.product - centre * group.total) + slope**2 * off_squared
    apart = max(0.0, squares - total**2 / group.people) * (group.people - 1) / (group.people - 2)
    return Sample(group.people, total, apart + total**2 / group.people, group.active)


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

"""What another policy would have earned, told from the log of the one that ran: IPS, SNIPS and doubly robust.

The log must hold, for every decision, the true probability with which its offer was shown. A row's weight is how much
likelier the other policy shows that offer. Estimators: inverse propensity scoring (Horvitz and Thompson 1952), its
self-normalised form (Swaminathan and Joachims 2015), and doubly robust (Dudik, Langford and Li 2011). Intervals are
bootstrap BCa (Efron 1987) over persons, since the decisions of one person are alike. Whoever asks beyond what the log
can tell gets an error by name and never a number.

Decisions that fill several slots at once count as one row, with the joint probability of all they show.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from base.errors import LatebindError
from workers.evaluation import Array, Interval, Whole

Estimator = Literal["ips", "snips", "doubly_robust"]
DRAWS: Final = 1_000
MIN_EFFECTIVE: Final = 100.0
"""Persons that the weights must leave, as if all counted alike; below it no interval keeps what it says."""
MAX_UNSUPPORTED: Final = 0.02
"""The share of the other policy's choices that the log can never hold, above which it is not judged from it."""
MAX_GROUPS: Final = 10_000
"""Above so many persons, groups of persons are drawn: just as valid, and bounded in time."""
_CELLS_A_STEP: Final = 2_000_000


class PoorOverlap(LatebindError):
    """The log does not hold enough of what the other policy would do; the message says what is missing."""


class GreedyLog(PoorOverlap):
    """Every decision of the log was certain, so it says nothing of what was not shown."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """Decisions on record, a row each; all arrays have one length, at least 1.

    persons: whose it was; the unit that intervals draw. rewards: what came of it, 0/1 or cents.
    propensities: above 0 to 1, the probability with which the policy of the log showed what it showed.
    target: 0 to 1, the probability with which the other policy shows the same.
    unsupported: 0 to 1, the share of the other policy's choices which the policy of the log never makes there; None
    where it was not kept: then certain decisions alone tell of it. For doubly robust `predicted` is a model's reward
    of what was shown and `predicted_target` its mean under the other policy; the model must not have seen these rows.
    """

    persons: Whole
    rewards: Array
    propensities: Array
    target: Array
    unsupported: Array | None = None
    predicted: Array | None = None
    predicted_target: Array | None = None

    def __post_init__(self) -> None:
        rows = len(self.rewards)
        if not rows:
            raise ValueError("rewards: the log is empty")
        for name in ("persons", "propensities", "target", "unsupported", "predicted", "predicted_target"):
            column = getattr(self, name)
            if column is not None and len(column) != rows:
                raise ValueError(f"{name}: has {len(column)} rows where rewards has {rows}")
            if column is not None and not np.all(np.isfinite(column)):
                raise ValueError(f"{name}: holds what is no number")
        if not np.all(np.isfinite(self.rewards)):
            raise ValueError("rewards: holds what is no number")
        if np.any(self.propensities <= 0) or np.any(self.propensities > 1):
            raise ValueError("propensities: must be above 0 and at most 1; what was shown had a chance")
        if np.any(self.target < 0) or np.any(self.target > 1):
            raise ValueError("target: must be probabilities from 0 to 1")
        if (self.predicted is None) != (self.predicted_target is None):
            raise ValueError("predicted: and predicted_target go together")

    @cached_property
    def weights(self) -> Array:
        """How much likelier the other policy shows what was shown; 1 on average where the log holds all it does."""
        return self.target / self.propensities

    @cached_property
    def group(self) -> Whole:
        """Each row's person as a number from 0."""
        _, numbers = np.unique(self.persons, return_inverse=True)
        return np.asarray(numbers, dtype=np.int64)


@dataclass(frozen=True)
class Overlap:
    """How much of the other policy the log holds.

    effective: Kish's effective sample size over persons. unsupported: share of the other policy's choices the log can
    never hold. mean_weight: 1 if it holds all of them, and its standard error over persons.
    """

    persons: int
    effective: float
    unsupported: float
    mean_weight: float
    mean_weight_error: float
    largest_weight: float


@dataclass(frozen=True)
class Estimate:
    """The other policy's mean reward a decision, its gain over the policy of the log, and how far the log reaches.

    `gain` is of the same draws, so its interval is narrower than two intervals side by side would say.
    """

    estimator: Estimator
    value: Interval
    gain: Interval
    logged: float
    overlap: Overlap


@dataclass(frozen=True)
class Terms:
    """An estimate before its interval: a ratio of two means, as sums over each person."""

    numerators: Array
    denominators: Array


def overlap(log: Log) -> Overlap:
    """How much of the other policy the log holds, without judging it."""
    by_person = np.bincount(log.group, weights=log.weights)
    squares = float((by_person**2).sum())
    terms = _sums(log, log.weights, np.ones(len(log.rewards)))
    return Overlap(
        persons=len(by_person),
        effective=float(by_person.sum() ** 2) / squares if squares else 0.0,
        unsupported=float(np.mean(_unsupported(log))),
        mean_weight=float(np.mean(log.weights)),
        mean_weight_error=float(np.sqrt((_influence(terms) ** 2).sum())),
        largest_weight=float(log.weights.max()),
    )


def check_overlap(
    log: Log, *, min_effective: float = MIN_EFFECTIVE, max_unsupported: float = MAX_UNSUPPORTED
) -> Overlap:
    """The overlap, where it is enough to judge by. Raises GreedyLog or PoorOverlap."""
    if np.all(log.propensities >= 1):
        raise GreedyLog("The log is of certain choices: what was not shown had no chance, so nothing is known of it.")
    found = overlap(log)
    if found.unsupported > max_unsupported:
        raise PoorOverlap(
            f"{found.unsupported:.1%} of what the policy would show had no chance in the log;"
            f" at most {max_unsupported:.1%} may."
        )
    if found.effective < min_effective:
        raise PoorOverlap(
            f"The effective sample size is {found.effective:.0f} of {found.persons} persons;"
            f" at least {min_effective:.0f} are wanted."
        )
    # Four standard errors: a sound log passes, and one that lacks choices shows it in the mean weight first.
    if abs(found.mean_weight - 1) > max(0.02, 4 * found.mean_weight_error):
        raise PoorOverlap(
            f"The mean weight is {found.mean_weight:.3f} where it should be 1: the propensities are not those of the"
            " policy that ran, or the log lacks what the policy would show."
        )
    return found


def ips(log: Log, seed: int = 0, **limits: float) -> Estimate:
    """Inverse propensity scoring: unbiased, and as noisy as the weights.

    `limits` go to `check_overlap`; raises as it does, and so do the other two.
    """
    return _estimate("ips", log, seed, limits)


def snips(log: Log, seed: int = 0, **limits: float) -> Estimate:
    """Self-normalised: a little bias, less noise, never outside the range of the rewards."""
    return _estimate("snips", log, seed, limits)


def doubly_robust(log: Log, seed: int = 0, **limits: float) -> Estimate:
    """A model's prediction, put right by the weighted rest. Raises ValueError without predictions."""
    return _estimate("doubly_robust", log, seed, limits)


def difference(first: Log, second: Log, estimator: Estimator, seed: int = 0, **limits: float) -> Interval:
    """What the policy of `first` earns above that of `second`, both targets over the same rows of one log.

    Raises ValueError for two logs and as `check_overlap` for either.
    """
    if not (np.array_equal(first.persons, second.persons) and np.array_equal(first.rewards, second.rewards)):
        raise ValueError("second: must be over the same rows as first")
    check_overlap(first, **limits)
    check_overlap(second, **limits)
    own, other = terms(first, estimator), terms(second, estimator)
    return _Draws(own, other, seed).difference()


def terms(log: Log, estimator: Estimator) -> Terms:
    """The sums over persons that an estimate is a ratio of."""
    weights, ones = log.weights, np.ones(len(log.rewards))
    if estimator == "ips":
        return _sums(log, weights * log.rewards, ones)
    if estimator == "snips":
        return _sums(log, weights * log.rewards, weights)
    if log.predicted is None or log.predicted_target is None:
        raise ValueError("predicted: doubly robust needs a model's rewards")
    return _sums(log, log.predicted_target + weights * (log.rewards - log.predicted), ones)


def _estimate(estimator: Estimator, log: Log, seed: int, limits: dict[str, float]) -> Estimate:
    found = check_overlap(log, **limits)
    logged = _sums(log, log.rewards, np.ones(len(log.rewards)))
    draws = _Draws(terms(log, estimator), logged, seed)
    return Estimate(
        estimator=estimator, value=draws.first(), gain=draws.difference(), logged=_ratio(logged), overlap=found
    )


def _unsupported(log: Log) -> Array:
    """Per row, the share of the other policy's choices without a chance. A certain choice left none to the others."""
    if log.unsupported is not None:
        return log.unsupported
    return np.where(log.propensities >= 1, 1 - log.target, 0.0)


def _sums(log: Log, numerators: Array, denominators: Array) -> Terms:
    return _added(log.group, numerators, denominators)


def _added(group: Whole, numerators: Array, denominators: Array) -> Terms:
    tops, bottoms = (np.bincount(group, weights=column) for column in (numerators, denominators))
    return Terms(tops.astype(np.float64), bottoms.astype(np.float64))


def _ratio(own: Terms) -> float:
    return float(own.numerators.sum() / own.denominators.sum())


def _influence(own: Terms) -> Array:
    """How far each person moves the ratio (its linear part)."""
    moved: Array = (own.numerators - _ratio(own) * own.denominators) / own.denominators.sum()
    return moved


class _Draws:
    """Two ratios of means for each of DRAWS draws of persons with replacement: the same persons for both."""

    def __init__(self, first: Terms, second: Terms, seed: int) -> None:
        self._ratios = _ratio(first), _ratio(second)
        groups = _grouped(first), _grouped(second)
        self._influence = _influence(groups[0]), _influence(groups[1])
        columns = [column for own in groups for column in (own.numerators, own.denominators)]
        sums = _drawn(np.column_stack(columns), seed)
        # A draw of persons whom the other policy never serves has no ratio; it counts as earning nothing.
        tops, bottoms = sums[:, (0, 2)], sums[:, (1, 3)]
        self._drawn = np.divide(tops, bottoms, out=np.zeros(tops.shape), where=bottoms != 0)

    def first(self) -> Interval:
        """The first ratio."""
        return _interval(self._ratios[0], self._drawn[:, 0], self._influence[0])

    def difference(self) -> Interval:
        """The first ratio less the second."""
        return _interval(
            self._ratios[0] - self._ratios[1],
            self._drawn[:, 0] - self._drawn[:, 1],
            self._influence[0] - self._influence[1],
        )


def _drawn(columns: Array, seed: int) -> Array:
    """The sums of the columns (persons, n) over each draw of as many persons: (DRAWS, n)."""
    random = np.random.default_rng(seed)
    size = len(columns)
    step = max(1, _CELLS_A_STEP // size)
    found = []
    for start in range(0, DRAWS, step):
        draws = min(step, DRAWS - start)
        places = random.integers(0, size, (draws, size), dtype=np.int32) + np.arange(draws)[:, None] * size
        times = np.bincount(places.ravel(), minlength=draws * size).reshape(draws, size)
        # A column at a time: for so narrow a product the library's threads cost more than they do.
        found.append(np.column_stack([times.astype(np.float64) @ column for column in columns.T]))
    return np.concatenate(found)


def _interval(value: float, drawn: Array, influence: Array) -> Interval:
    """A value with its 95 % BCa interval, by its draws and how far each person moves it."""
    spread = float((influence**2).sum())
    if not spread:
        return Interval(value, value, value)
    drawn = np.sort(drawn)
    skew = float((influence**3).sum()) / (6 * spread**1.5)
    # Half of the ties lie below. Kept off 0 and 1, where the normal distribution has no point.
    below = (np.searchsorted(drawn, value, "left") + np.searchsorted(drawn, value, "right")) / (2 * len(drawn))
    offset = NormalDist().inv_cdf(min(max(float(below), 1 / len(drawn)), 1 - 1 / len(drawn)))
    low, high = (float(np.quantile(drawn, _moved(share, offset, skew))) for share in (0.025, 0.975))
    return Interval(value, low, high)


def _moved(share: float, offset: float, skew: float) -> float:
    """The quantile that BCa reads in place of a share: put right for bias and for skewness."""
    point = offset + NormalDist().inv_cdf(share)
    return NormalDist().cdf(offset + point / max(1 - skew * point, 0.1))


def _grouped(own: Terms) -> Terms:
    """The sums over at most MAX_GROUPS groups of persons."""
    persons = len(own.numerators)
    if persons <= MAX_GROUPS:
        return own
    # A fixed shuffle: neighbours in order of their numbers may be alike.
    group = np.random.default_rng(persons).permutation(persons) % MAX_GROUPS
    return _added(group, own.numerators, own.denominators)

"""How good probabilities and choices are: AUC, log-loss, Brier, calibration error, hit rates and their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]

BINS: Final = 15
DRAWS: Final = 1000
_LEAST: Final = 1e-12


@dataclass(frozen=True)
class Interval:
    """A figure with the 2.5 % and 97.5 % points of its bootstrap distribution."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability curve: how many, what was promised on average, what came true."""

    count: int
    predicted: float
    observed: float


def auc(outcomes: Array, scores: Array) -> float:
    """The chance that a random positive scores above a random negative, ties counting half. NaN with one class only."""
    positives = float(outcomes.sum())
    negatives = len(outcomes) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(counts) - (counts - 1) / 2
    ranks = float(middle_rank[inverse][outcomes > 0].sum())
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(outcomes: Array, probabilities: Array) -> float:
    """Mean negative log-likelihood in nats."""
    p = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return float(-np.mean(outcomes * np.log(p) + (1 - outcomes) * np.log1p(-p)))


def brier(outcomes: Array, probabilities: Array) -> float:
    """Mean squared distance of promise and outcome."""
    return float(np.mean((probabilities - outcomes) ** 2))


def reliability(outcomes: Array, probabilities: Array, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of about equal mass in order of probability; equal probabilities are never split between bins."""
    values, inverse, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    place = np.minimum((middle * bins / len(probabilities)).astype(np.int64), bins - 1)
    hits = np.bincount(inverse, weights=outcomes, minlength=len(values))
    rows = []
    for index in np.unique(place).tolist():
        chosen = place == index
        count = int(counts[chosen].sum())
        promised = float((values[chosen] * counts[chosen]).sum())
        rows.append(Bin(count=count, predicted=promised / count, observed=float(hits[chosen].sum()) / count))
    return tuple(rows)


def calibration_error(outcomes: Array, probabilities: Array, bins: int = BINS) -> float:
    """ECE: the mean distance of promise and outcome over `reliability`'s bins, weighted by their mass."""
    rows = reliability(outcomes, probabilities, bins)
    return sum(row.count * abs(row.predicted - row.observed) for row in rows) / sum(row.count for row in rows)


def gains(outcomes: Array, scores: Array, steps: int = 10) -> tuple[tuple[float, float, float], ...]:
    """By tenths of the rows, best scores first: share of rows, share of what came true in them, and how many times
    chance that is."""
    order, total = np.argsort(-scores, kind="stable"), max(1.0, float(outcomes.sum()))
    found = np.cumsum(outcomes[order])
    rows = []
    for step in range(1, steps + 1):
        count = max(1, round(len(scores) * step / steps))
        share, caught = count / len(scores), float(found[count - 1]) / total
        rows.append((share, caught, caught / share))
    return tuple(rows)


def hits(scores: Array, outcomes: Array, sizes: Whole) -> Array:
    """For each group of consecutive rows 1.0 if its best-scored row came true, else 0.0; the first wins a tie."""
    starts = np.r_[0, np.cumsum(sizes)[:-1]]
    best = np.maximum.reduceat(scores, starts)
    is_best = scores == np.repeat(best, sizes)
    first = np.minimum.reduceat(np.where(is_best, np.arange(len(scores)), len(scores)), starts)
    return outcomes[first].astype(np.float64)


def paired_difference(ours: Array, theirs: Array, owners: Whole, seed: int = 0, draws: int = DRAWS) -> Interval:
    """Mean of `ours - theirs` with its bootstrap interval; whole owners are drawn, since one owner's rows are alike."""
    _, inverse = np.unique(owners, return_inverse=True)
    sums = np.bincount(inverse, weights=ours - theirs)
    counts = np.bincount(inverse).astype(np.float64)
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        chosen = random.integers(0, len(sums), len(sums))
        means[draw] = sums[chosen].sum() / counts[chosen].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(np.mean(ours - theirs)), float(low), float(high))

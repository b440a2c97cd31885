"""Opens with their candidates in consecutive rows, and what the protocols ask of a ranking of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers import evaluation
from workers.evaluation import Array, Interval, Whole

Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Open:
    """One open: who, when, about what (0: nothing in particular), and a row for each candidate.

    `rivals` has a column for each rival's score.
    """

    person: int
    day: int
    subject: int
    features: Matrix
    outcomes: Array
    rivals: Array


@dataclass(frozen=True)
class Opens:
    """Many opens. `sizes`, `persons`, `days` and `subjects` are per open, the others per row."""

    features: Matrix
    outcomes: Array
    rivals: Array
    sizes: Whole
    persons: Whole
    days: Whole
    subjects: Whole

    @classmethod
    def joined(cls, opens: Iterable[Open]) -> Opens:
        """The opens in their order; at least one."""
        told = list(opens)
        return cls(
            features=np.concatenate([one.features for one in told]),
            outcomes=np.concatenate([one.outcomes for one in told]).astype(np.float64),
            rivals=np.concatenate([one.rivals for one in told]),
            sizes=np.array([len(one.outcomes) for one in told]),
            persons=np.array([one.person for one in told]),
            days=np.array([one.day for one in told]),
            subjects=np.array([one.subject for one in told]),
        )

    def per_row(self, column: Any) -> Any:
        """A column per open as one per row."""
        return np.repeat(column, self.sizes)

    def any(self, values: Array) -> Array:
        """Of each open the largest of its rows."""
        return np.asarray(np.maximum.reduceat(values, self._starts))

    def sums(self, values: Array) -> Array:
        """Of each open the sum of its rows."""
        return np.asarray(np.add.reduceat(values, self._starts))

    def hits(self, scores: Array) -> Array:
        """For each open 1.0 if its best-scored candidate came true."""
        return evaluation.hits(scores, self.outcomes, self.sizes)

    def chosen(self, which: np.ndarray[Any, np.dtype[np.bool_]]) -> Opens:
        """Some of the opens."""
        rows = np.repeat(which, self.sizes)
        return Opens(
            self.features[rows],
            self.outcomes[rows],
            self.rivals[rows],
            self.sizes[which],
            self.persons[which],
            self.days[which],
            self.subjects[which],
        )

    @property
    def _starts(self) -> Whole:
        return np.asarray(np.r_[0, np.cumsum(self.sizes)[:-1]], dtype=np.int64)


def rate(hits: Array, owners: Whole) -> Interval:
    """A mean with its interval over owners."""
    return evaluation.paired_difference(hits, np.zeros(len(hits)), owners)


def ratio(said: Array, true: Array, owners: Whole, seed: int = 0) -> Interval:
    """What was promised for each that came true, with its interval over owners."""
    _, inverse = np.unique(owners, return_inverse=True)
    above, below = (np.bincount(inverse, weights=values) for values in (said, true))
    random = np.random.default_rng(seed)
    drawn = np.empty(evaluation.DRAWS)
    for draw in range(len(drawn)):
        chosen = random.integers(0, len(above), len(above))
        drawn[draw] = above[chosen].sum() / max(below[chosen].sum(), 1e-9)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(said.sum() / true.sum()), float(low), float(high))

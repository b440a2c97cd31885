"""What everybody buys, day by day, so that it can be told as it stood at any moment: popular, rising, begun anew.

Orders are told in any order, then counted once. What is told of a moment counts the days before it and nothing after
it; the past fades with a half-life of FADE_DAYS, so that what was popular in summer does not speak for winter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from signals.candidates import SEASON_DAYS, strongest

FADE_DAYS: Final = 28.0
KNOWN_DAYS: Final = 28
"""Who is known for less has not had the time to leave a category out."""

PRIOR_ORDERS: Final = 50.0
"""A recent share is drawn towards the share of all time as if so many purchases spoke for that."""

PRIOR_DAYS: Final = 1000.0
"""A rate of beginners is drawn towards that of all categories as if so many days of one person spoke for that."""

RIDGE: Final = 200.0
"""How strongly weights between categories are drawn to nothing, in people who bought one of them."""

LEANINGS_KEPT: Final = 40
MOST_PEOPLE: Final = 50_000
"""People whose purchases the weights between categories are learnt from."""

Table = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Standing:
    """The categories at one moment. `popularity`: share of all purchases, the recent ones counting more.

    `trend`: by how many powers of two that share stands above the share of all time. `starts`: of those who had not
    bought the category for twelve weeks, the share that buys it on a day.
    """

    popularity: dict[int, float]
    trend: dict[int, float]
    starts: dict[int, float]


class Trade:
    """The orders of all people by day and category, for `days` whole days from day `first` on."""

    def __init__(self, categories: Sequence[int], first: int, days: int) -> None:
        self.categories = tuple(categories)
        self._places = {category: place for place, category in enumerate(self.categories)}
        self._first, self._days = first, days
        shape = (days + 1, len(self.categories))
        self._orders, self._begun, self._reach = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._people = np.zeros(days + 1)
        self._told: dict[int, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)

    def tell(self, person: int, day: int, categories: Iterable[int]) -> None:
        """One order. Days outside the table and categories that it has not are left out."""
        at = day - self._first
        if 0 <= at < self._days:
            self._told[person].append((at, tuple({self._places[c] for c in categories if c in self._places})))

    def counted(self) -> Trade:
        """Count what was told. Afterwards moments can be asked for."""
        for orders in self._told.values():
            self._count(sorted(orders))
        np.cumsum(self._reach, axis=0, out=self._reach)
        np.cumsum(self._people, out=self._people)
        return self

    def at(self, day: int) -> Standing:
        """The categories as they stood when a day began."""
        upto = min(max(day - self._first, 0), self._days)
        fading = np.exp2((np.arange(upto) - (upto - 1)) / FADE_DAYS)
        ever = self._orders[:upto].sum(axis=0)
        share = ever / max(ever.sum(), 1.0)
        recent = fading @ self._orders[:upto]
        popularity = (recent + PRIOR_ORDERS * share) / (recent.sum() + PRIOR_ORDERS)
        rising = np.log2(np.divide(popularity, share, out=np.ones_like(share), where=share > 0))
        begun, idle = fading @ self._begun[:upto], fading @ (self._people[:upto, None] - self._reach[:upto])
        usual = begun.sum() / max(idle.sum(), 1.0)
        starts = (begun + PRIOR_DAYS * usual) / (idle + PRIOR_DAYS)
        return Standing(*(self._named(column) for column in (popularity, rising, starts)))

    def leanings(self, day: int) -> dict[int, dict[int, float]]:
        """Category -> {category bought: weight}: what buying one in the twelve weeks before a day says of the other.

        The weights are those of the regression that tells each category from all others (EASE: Steck, "Embarrassingly
        Shallow Autoencoders for Sparse Data", WWW 2019), so what goes with everything counts once; some are negative.
        """
        until = day - self._first
        together = np.zeros((len(self.categories), len(self.categories)))
        for person in sorted(self._told)[:MOST_PEOPLE]:
            bought = {
                place for at, places in self._told[person] if until - SEASON_DAYS <= at < until for place in places
            }
            together[np.ix_(held := sorted(bought), held)] += 1
        inverse = np.linalg.inv(together + RIDGE * np.eye(len(together)))
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        return {
            category: dict(strongest(zip(weights[:, place].tolist(), self.categories, strict=True), LEANINGS_KEPT))
            for place, category in enumerate(self.categories)
        }

    def _named(self, column: Table) -> dict[int, float]:
        return dict(zip(self.categories, column.tolist(), strict=True))

    def _count(self, orders: list[tuple[int, tuple[int, ...]]]) -> None:
        """One person's orders. Who bought something counts as having bought it for the twelve weeks after it."""
        known = orders[0][0] + KNOWN_DAYS
        until: dict[int, int] = {}
        here = known
        for day, places in orders:
            end = min(day + SEASON_DAYS + 1, self._days)
            if (begin := max(day + 1, here)) < end:
                self._people[begin] += 1
                self._people[end] -= 1
                here = end
            for place in places:
                before = until.get(place, 0)
                self._orders[day, place] += 1
                self._begun[day, place] += day >= known and before <= day
                if (begin := max(day + 1, known, before)) < end:
                    self._reach[begin, place] += 1
                    self._reach[end, place] -= 1
                until[place] = max(before, end)

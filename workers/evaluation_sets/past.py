"""What was known of a retail year when a day began: the states of households, and the tables of all of them.

Everything is as of that day. Tables that change slowly (what goes together) are made anew each month of thirty days.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from signals.candidates import SEASON_DAYS, CandidateContext, transposed
from signals.fold import advance, fold_all
from signals.foldevent import FoldEvent
from signals.moments import unix_ms
from signals.state import ProfileState
from workers.evaluation_sets.retail import Retail, day_of, moment
from workers.market import Baskets, complements
from workers.trade import Standing, Trade

MONTH: Final = 30
TAKEN_FADE_DAYS: Final = 120.0
POPULAR_DAYS: Final = 28
_CHUNK: Final = 20_000

Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]


class Walk:
    """One household's state, day after day; days must not go back."""

    def __init__(self, orders: Sequence[FoldEvent]) -> None:
        self._orders = orders
        self._times = [order.time_ms for order in orders]
        self._state, self._done = ProfileState(), 0

    def at(self, day: int) -> ProfileState:
        """The state when the day began."""
        upto = bisect_left(self._times, unix_ms(moment(day)))
        if upto > self._done:
            new = self._orders[self._done : upto]
            self._state = advance(self._state, new) or fold_all(self._orders[:upto])
            self._done = upto
        return self._state


@dataclass(frozen=True)
class Together:
    """What goes with what, of one month: as an open reads it, and the plain cosine that a rival goes by."""

    after: dict[int, dict[int, float]]
    leads: dict[int, dict[int, float]]
    cosine: Array


class Past:
    """The year, to be asked for any day of it."""

    def __init__(self, retail: Retail, days: int = 366) -> None:
        self.retail = retail
        self.candidates = retail.candidates
        self.place = {category: place for place, category in enumerate(self.candidates)}
        self._trade = Trade(self.candidates, first=0, days=days)
        rows, baskets = [], []
        for household, orders in retail.orders.items():
            for order in orders:
                day, categories = day_of(order.time_ms), {line.category for line in order.lines}
                self._trade.tell(household, day, categories)
                places = [self.place[category] for category in categories if category in self.place]
                baskets.append((day, places))
                rows += [(household, day, place) for place in places]
        self._trade.counted()
        self._baskets = sorted(baskets, key=lambda basket: basket[0])
        self._keep(rows)
        self.standing = cache(self._trade.at)
        self.together = cache(self._together)
        self.context = cache(self._context)
        self.popular = cache(self._popular)
        self.taken = cache(self._taken)

    def of_others(self, retail: Retail) -> Past:
        """The same tables of everybody, beside other households' orders: whom an open is of, among the same public."""
        found = copy(self)
        found.retail = retail
        found._keep([
            (household, day_of(order.time_ms), self.place[category])
            for household, orders in retail.orders.items()
            for order in orders
            for category in {line.category for line in order.lines} & self.place.keys()
        ])  # fmt: skip
        return found

    def _keep(self, rows: list[tuple[int, int, int]]) -> None:
        """Who bought what on which day: household, day and the candidate's place."""
        self._bought = np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)
        self._owners = self._bought[:, 0]

    def month(self, day: int) -> Together:
        """What goes together, as of the beginning of the day's month."""
        return self.together(max(MONTH, day // MONTH * MONTH))

    def orders(self, household: int, begin: int, end: int) -> Whole:
        """For each candidate the household's orders with it on days begin to below end."""
        own = self._bought[slice(*np.searchsorted(self._owners, [household, household + 1]))]
        days = own[:, 1]
        return np.bincount(own[(days >= begin) & (days < end), 2], minlength=len(self.candidates))

    def also_bought(self, household: int, day: int) -> Array:
        """A rival's score: what the baskets hold that also hold what the household bought in twelve weeks."""
        return np.asarray(self.month(day).cosine @ np.log1p(self.orders(household, day - SEASON_DAYS, day)))

    def _together(self, day: int) -> Together:
        chunks = list(self._rows(day))
        count = np.zeros((len(self.candidates), len(self.candidates)))
        for chunk in chunks:
            count += chunk.T @ chunk
        size = np.sqrt(np.diag(count)) + 1e-9
        cosine = count / size[:, None] / size
        np.fill_diagonal(cosine, 0.0)
        return Together(transposed(complements(chunks, self.candidates)), self._trade.leanings(day), cosine)

    def _rows(self, day: int) -> Iterator[Baskets]:
        told = self._baskets[: bisect_left(self._baskets, day, key=lambda basket: basket[0])]
        for start in range(0, len(told), _CHUNK):
            matrix = np.zeros((min(_CHUNK, len(told) - start), len(self.candidates)), dtype=np.float32)
            for row, (_, places) in enumerate(told[start : start + _CHUNK]):
                matrix[row, places] = 1.0
            yield matrix

    def _context(self, day: int, category: int, products: int | None = None) -> CandidateContext:
        together = self.month(day)
        standing: Standing = self.standing(day)
        return CandidateContext(
            category=category,
            popularity=standing.popularity.get(category, 0.0),
            after=together.after.get(category, {}),
            trend=standing.trend.get(category),
            starts=standing.starts.get(category),
            taken=self.taken(day).get(category, 0.0),
            products=products,
            leads=together.leads.get(category, {}),
        )

    def _popular(self, day: int) -> Array:
        """A rival's score: how many households bought each candidate in four weeks."""
        chosen = (self._bought[:, 1] >= day - POPULAR_DAYS) & (self._bought[:, 1] < day)
        pairs = np.unique(self._bought[chosen][:, [0, 2]], axis=0)
        return np.bincount(pairs[:, 1], minlength=len(self.candidates)).astype(np.float64)

    def _taken(self, day: int) -> dict[int, float]:
        """How many coupons of each category were used so far, the recent ones counting more."""
        counts: dict[int, float] = defaultdict(float)
        for used in self.retail.redemptions:
            if used.day < day:
                counts[used.category] += 2.0 ** ((used.day - day) / TAKEN_FADE_DAYS)
        return counts

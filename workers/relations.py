"""Learning what stored orders say of products and categories (render/relations.py): one pass over everybody's orders.

Orders count as they stand: net of returns and cancellations, and what was marked as a gift or as somebody else's is no
evidence of need (it still counts as bought). Sensitive categories are left out of everything.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.clock import Clock
from base.db import Sessions, transaction
from campaigns import relations
from render.relations import (
    LEAST_PEOPLE,
    MAX_PRODUCTS,
    MAX_UNITS,
    Interval,
    Learnt,
    Together,
)
from signals.catalog import Categories, sensitive
from signals.histories import history
from signals.moments import unix_ms
from signals.orders import Placement, resolve
from signals.sealingkeys import leaving_out

LOOK_BACK: Final = timedelta(days=730)
"""Orders that are learnt from."""
COUNTED: Final = timedelta(days=30)
"""Orders that counts of people are made of."""
LEAST_TOGETHER: Final = 30
"""Orders that must hold both of a pair."""
LEAST_LIFT: Final = 1.2
"""How many times likelier the other must be, for sure: the lower end of the interval of the lift."""
STRICT_Z: Final = 3.3
"""Of the interval of a lift, two-sided 99.9 %: of 400 categories 160,000 pairs are looked at."""
KEPT: Final = 20
"""Complements of a category, and products bought with another."""
LEAST_GAPS: Final = 30
"""Times a category must have been bought again before its interval is learnt."""
MOST_GAP_DAYS: Final = 730
PAIRED: Final = 1_000
"""Products that are looked at in pairs, the most bought ones."""
PEOPLE_AT_ONCE: Final = 500
DAY_MS: Final = 86_400_000
_PEOPLE: Final = text("""
    SELECT root_id, array_agg(id ORDER BY id) AS members FROM profile WHERE erased_at IS NULL
      AND root_id IN (SELECT p.root_id FROM profile p JOIN event e ON e.profile_id = p.id
                      WHERE e.order_id IS NOT NULL AND e.event_time >= :since)
    GROUP BY root_id ORDER BY root_id
""")


class Tally:
    """Counts over people's orders. `add` everybody, then `learnt`."""

    def __init__(self, until: datetime, hidden: frozenset[int]) -> None:
        """Orders before `until` count; `hidden` are the sensitive categories."""
        self._until_ms = unix_ms(until)
        self._from_ms = unix_ms(until - LOOK_BACK)
        self._counted_ms = unix_ms(until - COUNTED)
        self._hidden = hidden
        self._orders = 0
        self._holding: Counter[int] = Counter()
        self._both: Counter[tuple[int, int]] = Counter()
        self._gaps: dict[int, Counter[int]] = {}
        self._waits: dict[int, Counter[int]] = {}
        self._units: dict[int, list[int]] = {}
        self._buyers: Counter[str] = Counter()
        self._numbers: dict[str, int] = {}
        self._bought: list[array[int]] = []

    def add(self, placements: Iterable[Placement]) -> None:
        """One person's orders, in any order."""
        days: dict[int, set[int]] = {}
        products: set[str] = set()
        for placement in placements:
            if placement.void or not self._from_ms <= placement.time_ms < self._until_ms:
                continue
            self._orders += 1
            own = [line for line in placement.lines if not line.gift]
            categories = {line.category for line in own} - self._hidden - {0}
            self._holding.update(categories)
            ordered = sorted(categories)
            self._both.update((one, other) for place, one in enumerate(ordered) for other in ordered[place + 1 :])
            for category in categories:
                days.setdefault(category, set()).add(placement.time_ms // DAY_MS)
            for line in own:
                if line.category in categories:
                    self._add_units(line.category, line.quantity)
            if placement.time_ms >= self._counted_ms:
                products |= {line.product for line in placement.lines if line.product}
        for category, bought in days.items():
            self._add_gaps(category, sorted(bought))
        self._buyers.update(products)
        if len(products) > 1:
            self._bought.append(array("L", (self._numbers.setdefault(name, len(self._numbers)) for name in products)))

    def _add_units(self, category: int, quantity: int) -> None:
        lines = self._units.setdefault(category, [0] * MAX_UNITS)
        for units in range(min(quantity, MAX_UNITS)):
            lines[units] += 1

    def _add_gaps(self, category: int, days: Sequence[int]) -> None:
        gaps = self._gaps.setdefault(category, Counter())
        gaps.update(min(later - earlier, MOST_GAP_DAYS) for earlier, later in pairwise(days))
        waits = self._waits.setdefault(category, Counter())
        waits[min(self._until_ms // DAY_MS - days[-1], MOST_GAP_DAYS)] += 1

    def learnt(self) -> Learnt:
        """What was found."""
        intervals = ((category, self._interval(category)) for category in sorted(self._gaps))
        most = [name for name, people in self._buyers.most_common(MAX_PRODUCTS) if people >= LEAST_PEOPLE]
        return Learnt(
            from_ms=self._from_ms,
            counted_from_ms=self._counted_ms,
            until_ms=self._until_ms,
            orders=self._orders,
            complements=self._complements(),
            intervals={category: found for category, found in intervals if found is not None},
            units={category: tuple(lines) for category, lines in sorted(self._units.items())},
            buyers={name: self._buyers[name] for name in sorted(most)},
            together=self._together(),
        )

    def _complements(self) -> dict[int, tuple[Together, ...]]:
        found: dict[int, list[tuple[float, Together]]] = {}
        for (one, other), support in self._both.items():
            if support < LEAST_TOGETHER:
                continue
            lift = support * self._orders / (self._holding[one] * self._holding[other])
            surely = math.exp(math.log(lift) - STRICT_Z * self._spread(one, other, support))
            if surely < LEAST_LIFT:
                continue
            for bought, goes in ((one, other), (other, one)):
                found.setdefault(bought, []).append((surely, Together(goes, support, round(lift, 3))))
        return {
            category: tuple(pair for _, pair in sorted(pairs, key=lambda kept: (-kept[0], kept[1].other))[:KEPT])
            for category, pairs in sorted(found.items())
        }

    def _spread(self, one: int, other: int, support: int) -> float:
        """The standard error of the logarithm of a lift, by the delta method for shares of one sample of orders."""
        parts = 1 / support - 1 / self._holding[one] - 1 / self._holding[other] + 1 / self._orders
        return math.sqrt(max(parts, 0.0)) or 1 / math.sqrt(support)

    def _interval(self, category: int) -> Interval | None:
        """The median gap of those who come back, by Kaplan and Meier: whoever still waits counts as long as they do.

        Some never come back. The curve levels off at their share, and the median is taken of what is above it: the day
        by which half of those who return have returned.
        """
        gaps, waits = self._gaps[category], self._waits[category]
        returned = gaps.total()
        if returned < LEAST_GAPS:
            return None
        at_risk, waiting = returned + waits.total(), 1.0
        curve: list[tuple[int, float]] = []
        for day in range(MOST_GAP_DAYS + 1):
            if gaps[day] and at_risk:
                waiting *= 1 - gaps[day] / at_risk
                curve.append((day, waiting))
            at_risk -= gaps[day] + waits[day]
        halfway = 1 - (1 - waiting) / 2
        return Interval(next(day for day, left in curve if left <= halfway + 1e-12), returned)

    def _together(self) -> dict[str, dict[str, int]]:
        """Product -> {other: people who bought both}, among the products that most people bought."""
        most = sorted(self._buyers, key=lambda name: (-self._buyers[name], name))[:PAIRED]
        names = {self._numbers[name]: name for name in most if name in self._numbers}
        both: Counter[tuple[int, int]] = Counter()
        for bought in self._bought:
            own = sorted(number for number in bought if number in names)
            both.update((one, other) for place, one in enumerate(own) for other in own[place + 1 :])
        pairs: dict[str, list[tuple[int, str]]] = {}
        for (one, other), people in both.items():
            if people >= LEAST_PEOPLE:
                pairs.setdefault(names[one], []).append((-people, names[other]))
                pairs.setdefault(names[other], []).append((-people, names[one]))
        return {
            name: {other: -fewer for fewer, other in sorted(pairs[name])[:KEPT]} for name in sorted(pairs)
        }  # fmt: skip


class RelationsLearner:
    """Learns anew when that is due, and has opens read it."""

    def __init__(self, sessions: Sessions, blobs: FolderBlobs, clock: Clock) -> None:
        self._sessions = sessions
        self._blobs = blobs
        self._clock = clock

    def run(self, *, is_asked: bool = False) -> str | None:
        """Learn if it is due, or if a person asked; the hash of the new artefact. Raises Unavailable."""
        now = self._clock.now()
        with transaction(self._sessions) as session:
            if not is_asked and not relations.is_due(session, now):
                return None
        learnt = learn(self._sessions, now)
        with transaction(self._sessions) as session:
            return relations.keep(session, self._blobs, learnt, now)


def learn(sessions: Sessions, now: datetime) -> Learnt:
    """Everything that stored orders say now. Reads in small transactions, so that nobody waits. Raises Unavailable."""
    categories = Categories(sessions)
    categories.learn((), create=False)
    with transaction(sessions) as session:
        # Who ever ordered is one statement, and may take longer than a page would wait for one.
        session.execute(text("SET LOCAL statement_timeout = 0"))
        tally = Tally(now, sensitive(session))
        people = [list(row.members) for row in session.execute(_PEOPLE, {"since": now - LOOK_BACK})]
    for members in _portions(people):
        with transaction(sessions) as session:
            for profile in members:
                with leaving_out(profile=profile[0]):
                    tally.add(_placements(session, profile, categories))
    return tally.learnt()


def _placements(session: Session, members: list[int], categories: Categories) -> Iterable[Placement]:
    events = [entry.event for entry in history(session, members, categories) if entry.folds]
    return resolve(events).placements.values()


def _portions(people: list[list[int]]) -> Iterator[list[list[int]]]:
    for start in range(0, len(people), PEOPLE_AT_ONCE):
        yield people[start : start + PEOPLE_AT_ONCE]

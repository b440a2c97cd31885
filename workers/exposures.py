"""Exposures: offers that somebody saw, with what was known of the person then, and whether they took them.

An exposure is one slot of one decision whose picture a person or a proxy fetched, or an undecided client in whose open
a person clicked afterwards. What machines fetched, what fell back to less than was decided and what an earlier open of
the mail had shown already is none. What was offered in a call or a chat is one if it is known what the person said. It
counts from when it was first seen, and only once its window has closed, with some days for orders that arrive late.

**Taken** is an exposure whose category was bought within the window, or that the person said yes to. An order's
category goes to the last exposure of that category before it, by event time: so it is joined once, however late and
however often the order is told. Offers without a category teach nothing and are left out. Of an order that was changed
since, or of which goods came back, the categories count that are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from render.model import Model
from signals.moments import unix_ms
from signals.signal import ORDER_COMPLETED
from workers.showings import (
    CHUNK,
    ID_SPAN,
    Archive,
    Doubles,
    Errand,
    Flags,
    Floats,
    Showings,
    Span,
    Whole,
    elsewhere,
    showings,
)
from workers.timetable import OUTCOME

LATE: Final = timedelta(days=2)
"""Orders may arrive so long after their window has closed."""
REACH: Final = timedelta(weeks=26)
"""How far back exposures are learnt from."""
MOST: Final = 200_000
"""Decisions that are looked at unless told otherwise; of more an even part, drawn by their ids, which are hashes."""
APART: Final = 20_000
"""From so many decisions on, several processes read them; for fewer, starting those takes longer than reading."""
SHARES: Final = 4
"""Shares for each process, so that none waits long for the last."""
LEAST_CHANCE: Final = 0.05
"""A choice that was less likely than this weighs as if it had been this likely: 20 times a certain one."""


@dataclass(frozen=True)
class Exposures:
    """Rows in order of when they were seen. `chances`: how likely the choice was, 0 to 1, as it was logged.

    `positions`: the slot's place in its mail, from 0. `said`: the probability that was logged with it, NaN for none.
    """

    features: Floats
    outcomes: Floats
    chances: Doubles
    positions: Whole
    roots: Whole
    seen_ms: Whole
    said: Doubles
    offers: Whole

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def weights(self) -> Doubles:
        """What each row counts for, so that all rows together look as if each choice had been as likely as any."""
        return 1.0 / np.maximum(self.chances, LEAST_CHANCE)

    @property
    def evidence(self) -> dict[int, int]:
        """Offer -> how often it was seen."""
        return dict(Counter(self.offers.tolist()))

    def part(self, chosen: Any) -> Exposures:
        """The rows of a mask or slice."""
        return Exposures(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Readers:
    """So many processes that read decisions, each with a connection of its own to the same database."""

    database_url: str
    processes: int


_COUNT = text("""
    SELECT count(*) FROM decision WHERE at >= :begin AND at < :end AND lane = 'live' AND rung IN ('model', 'rules')
""")
_ORDERS = text("""
    SELECT p.root_id, e.event_time, coalesce(e.left_category_ids, e.category_ids) AS category_ids
    FROM event e JOIN profile p ON p.id = e.profile_id
    WHERE p.root_id = ANY(:roots) AND e.name = :name AND e.folds AND e.event_time >= :begin AND e.event_time < :end
      AND NOT e.void
""")


def closed_before(now: datetime) -> datetime:
    """The moment before which whatever was seen has its outcome."""
    return now - OUTCOME - LATE


def exposures(
    session: Session,
    archive: Archive,
    model: Model,
    now: datetime,
    since: datetime | None = None,
    decided_by: str | None = None,
    *,
    most: int = MOST,
    readers: Readers | None = None,
) -> Exposures:
    """What people saw since a moment (REACH before `now`), each with its outcome; of at most `most` decisions.

    `model` names what everybody shares, popularity and complements; its trees are not asked. `decided_by` takes the
    decisions of one model only. `readers` read large numbers side by side, and come to the same rows.
    """
    begin, end = since or now - REACH, closed_before(now)
    count = session.scalar(_COUNT, {"begin": begin, "end": end}) or 0
    span = Span(begin, end, 0, ID_SPAN * most // count if count > most else ID_SPAN, decided_by)
    if readers is None or readers.processes < 2 or min(count, most) < APART:
        found = showings(session, archive, model, span)
    else:
        found = _beside(readers, archive, model, span)
    taken = _taken(found, lambda roots: orders_of(session, roots, begin, now))
    return Exposures(
        outcomes=taken.astype(np.float32),
        **{name: getattr(found, name) for name in Exposures.__dataclass_fields__ if name != "outcomes"},
    )


def _beside(readers: Readers, archive: Archive, model: Model, span: Span) -> Showings:
    data = msgspec.msgpack.encode(model.artefact)
    errands = [Errand(readers.database_url, archive, data, share) for share in span.shares(readers.processes * SHARES)]
    # Spawned, not forked: the parent may hold threads and connections.
    with ProcessPoolExecutor(readers.processes, mp_context=get_context("spawn")) as pool:
        return Showings.joined(list(pool.map(elsewhere, errands)))


Orders = Iterator[tuple[int, int, list[int]]]


def bought(
    session: Session, roots: Whole, at_ms: Sequence[float], categories: Sequence[float], begin: datetime, now: datetime
) -> Doubles:
    """Whether each row's person bought of its category within the window after it, whoever else may claim the order."""
    found = np.zeros(len(roots), dtype=np.float64)
    window_ms = OUTCOME // timedelta(milliseconds=1)
    places: dict[int, list[int]] = {}
    for place, root in enumerate(roots.tolist()):
        places.setdefault(root, []).append(place)
    everybody = np.unique(roots)
    for start in range(0, len(everybody), CHUNK):
        for root, told_ms, of in orders_of(session, everybody[start : start + CHUNK], begin, now):
            for place in places[root]:
                if categories[place] in of and 0 < told_ms - at_ms[place] <= window_ms:
                    found[place] = 1.0
    return found


def orders_of(session: Session, roots: Whole, begin: datetime, now: datetime) -> Orders:
    """The orders of some people: root, when, and of which categories they are by now."""
    given = {"roots": roots.tolist(), "name": ORDER_COMPLETED, "begin": begin, "end": now}
    for row in session.execute(_ORDERS, given):
        yield row.root_id, unix_ms(row.event_time), list(row.category_ids or ())


def _taken(shown: Showings, orders: Callable[[Whole], Orders]) -> Flags:
    """Which rows were taken: said yes to, or bought. Each category of each order goes to the last showing of it to that
    person before it.

    `orders` are asked for some hundred people at a time.
    """
    taken = shown.agreed.copy()
    if not len(shown):
        return taken
    categories, of_category = np.unique(shown.categories, return_inverse=True)
    roots, of_root = np.unique(shown.roots, return_inverse=True)
    # Rows of one person and category lie together, in order of time: the last before an order is one search away.
    pairs = of_root.astype(np.int64) * len(categories) + of_category
    places, of_place = np.unique(pairs, return_inverse=True)
    first = int(shown.seen_ms[0])
    width = int(shown.seen_ms[-1]) - first + 2
    keys = of_place.astype(np.int64) * width + (shown.seen_ms - first)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    window_ms = OUTCOME // timedelta(milliseconds=1)
    for start in range(0, len(roots), CHUNK):
        part = roots[start : start + CHUNK]
        told = [(root, at, one) for root, at, found in orders(part) for one in set(found)]
        if not told:
            continue
        root, at_ms, category = np.array(told, dtype=np.int64).T
        at_category = np.searchsorted(categories, category).clip(max=len(categories) - 1)
        pair = np.searchsorted(roots, root) * len(categories) + at_category
        place = np.searchsorted(places, pair).clip(max=len(places) - 1)
        known = (categories[at_category] == category) & (places[place] == pair) & (at_ms > first)
        place, at_ms = place[known], at_ms[known]
        found_at = np.searchsorted(keys, place * width + np.minimum(at_ms - first, width - 1)) - 1
        row = order[found_at]
        waited = at_ms - shown.seen_ms[row]
        is_it = (of_place[row] == place) & (waited > 0) & (waited <= window_ms)
        taken[row[is_it]] = True
    return taken

"""Lives to learn from: what was known of a person at a moment, and what they did in the ninety days after it.

Every person's stored signals are folded in order, stopping at each snapshot; the features come from the function that
scoring calls. Snapshots lie four weeks apart. The windows of all that is learnt from have closed before the one
snapshot that is tested on, and that one's window closes at the training's as-of time: nothing later is looked at.

Bounded: at most MOST_PROFILES people (workers/examples.py), MOST_SNAPSHOTS snapshots.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from render.plain import without
from signals.catalog import Categories, sensitive
from signals.fold import advance, fold_all
from signals.foldevent import FoldEvent
from signals.histories import history
from signals.moments import unix_ms
from signals.personal import Rows, matrix, person_row
from signals.sealingkeys import leaving_out
from signals.signal import ORDER_COMPLETED
from signals.state import ProfileState
from workers.examples import people

HORIZON: Final = timedelta(days=90)
SOON: Final = timedelta(days=30)
STEP: Final = timedelta(days=28)
BASE: Final = timedelta(days=56)
"""What must lie before the first snapshot, so that somebody is known by then."""
MOST_SNAPSHOTS: Final = 6
CATEGORIES: Final = 16
DAY_MS: Final = 86_400_000
Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Lives:
    """Rows of people at moments. `next_days` until the next order, HORIZON without one; `spent` cents net within
    HORIZON; `new_soon`, `new` categories never bought before, within SOON and HORIZON. `profiles` for intervals."""

    features: Rows
    next_days: Numbers
    spent: Numbers
    new_soon: Numbers
    new: Numbers
    profiles: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.profiles)


@dataclass(frozen=True)
class Calendar:
    """The moments of a training as of `as_of`: the snapshots to learn from, oldest first, and the one to test on."""

    train: tuple[datetime, ...]
    test: datetime
    as_of: datetime

    @classmethod
    def before(cls, as_of: datetime, first_order: datetime | None) -> Calendar:
        """As many snapshots as fit after the first order. Raises InvalidInput when none does."""
        newest = as_of - 2 * HORIZON
        found = [newest - number * STEP for number in range(MOST_SNAPSHOTS)]
        train = tuple(sorted(at for at in found if first_order is not None and at >= first_order + BASE))
        if not train:
            least = (2 * HORIZON + BASE).days
            raise InvalidInput("events", f"must reach back at least {least} days of orders to learn people's future")
        return cls(train, as_of - HORIZON, as_of)


_FIRST = text("SELECT min(event_time) FROM event WHERE name = :name AND folds AND event_time < :until")
_WIDEST = text("""
    SELECT category FROM event e JOIN profile p ON p.id = e.profile_id CROSS JOIN unnest(e.category_ids) AS category
    WHERE e.name = :name AND e.folds AND e.event_time < :until
      AND category NOT IN (SELECT id FROM category WHERE sensitive)
    GROUP BY category ORDER BY count(DISTINCT p.root_id) DESC, category LIMIT :most
""")
_MEMBERS = text("SELECT root_id, id FROM profile WHERE root_id = ANY(:roots) ORDER BY root_id, id")


def calendar(session: Session, as_of: datetime) -> Calendar:
    """The moments of a training as of `as_of`. Raises InvalidInput when the orders do not reach back far enough."""
    return Calendar.before(as_of, session.scalar(_FIRST, {"name": ORDER_COMPLETED, "until": as_of}))


def widest(session: Session, until: datetime) -> tuple[int, ...]:
    """The categories that most people had bought by a moment, none of them sensitive."""
    return tuple(session.scalars(_WIDEST, {"name": ORDER_COMPLETED, "until": until, "most": CATEGORIES}))


def collect(
    session: Session, known: Categories, dates: Calendar, categories: tuple[int, ...]
) -> tuple[Lives, Lives, int]:
    """The rows to learn from, those to test on, and how many people they are of."""
    hidden = sensitive(session)
    roots = people(session)
    members: dict[int, list[int]] = {}
    for row in session.execute(_MEMBERS, {"roots": list(roots)}):
        members.setdefault(row.root_id, []).append(row.id)
    train: list[_Row] = []
    test: list[_Row] = []
    for root in roots:
        with leaving_out(profile=root):
            told = [entry.event for entry in history(session, members[root], known) if entry.folds]
            if _refuses(told):
                continue
            for at, found in replayed(root, told, dates, hidden, categories):
                (test if at == dates.test else train).append(found)
    return _lives(train, categories), _lives(test, categories), len(roots)


def _refuses(events: Sequence[FoldEvent]) -> bool:
    """Whether the last word of a person on profiling is no: then nothing is learnt from them."""
    words = (event.consent["profiling"] for event in reversed(events) if "profiling" in event.consent)
    return not next(words, True)


@dataclass(frozen=True, slots=True)
class _Row:
    profile: int
    features: list[float]
    next_days: float
    spent: float
    new_soon: float
    new: float


def replayed(
    profile: int, events: Sequence[FoldEvent], dates: Calendar, hidden: frozenset[int], categories: tuple[int, ...]
) -> Iterator[tuple[datetime, _Row]]:
    """One person's rows: their signals in canonical order, stopped at each snapshot after their first order."""
    times = [event.time_ms for event in events]
    moments = sorted({at for start in (*dates.train, dates.test) for at in (start, start + HORIZON)})
    states: dict[datetime, ProfileState] = {}
    state, done = ProfileState(), 0
    for at in moments:
        upto = bisect_left(times, unix_ms(at))
        if upto > done:
            state = advance(state, events[done:upto]) or fold_all(events[:upto])
            done = upto
        states[at] = without(state, hidden)
    for start in (*dates.train, dates.test):
        before, after = states[start], states[start + HORIZON]
        if not before.orders or before.erased:
            continue
        orders = [event for event in events if event.kind == "order" and event.time_ms >= unix_ms(start)]
        first_ms = orders[0].time_ms if orders else unix_ms(start + HORIZON)
        soon = {
            line.category for event in orders if event.time_ms < unix_ms(start + SOON) for line in event.lines
        } - hidden  # fmt: skip
        known = before.categories.keys()
        yield (
            start,
            _Row(
                profile=profile,
                features=person_row(before, start, categories),
                next_days=min((first_ms - unix_ms(start)) / DAY_MS, float(HORIZON.days)),
                spent=float(max(0, after.order_cents - before.order_cents)),
                new_soon=float(len(soon - known - {0})),
                new=float(len(after.categories.keys() - known)),
            ),
        )


def _lives(rows: Sequence[_Row], categories: tuple[int, ...]) -> Lives:
    def column(name: str) -> Numbers:
        return np.array([getattr(row, name) for row in rows], dtype=np.float64)

    return Lives(
        features=matrix([row.features for row in rows], categories),
        next_days=column("next_days"),
        spent=column("spent"),
        new_soon=column("new_soon"),
        new=column("new"),
        profiles=np.array([row.profile for row in rows], dtype=np.int64),
    )

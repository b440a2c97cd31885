"""Examples to learn from: what was known of a person at a moment, and what they bought in the week after it.

Every person's stored signals are folded again in order, stopping at each snapshot; the state there is what an open at
that moment would have read, and its features come from the very function the open calls. Nothing after the snapshot is
looked at but the outcome.

Rules of sampling, so that memory and time stay bounded: at most MOST_PROFILES people, drawn by a hash of their id; for
training and calibration TRAIN_CANDIDATES of the candidate categories per snapshot, drawn evenly (never by outcome, so
probabilities stay true); for the test all of them.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from base import db
from base.vault import Vault
from render.plain import without
from render.plan import KINDS
from signals.candidates import MODEL_FEATURES, CandidateContext, candidate_matrix, transposed
from signals.catalog import Categories, sensitive
from signals.fold import advance, fold_all
from signals.histories import Told, history
from signals.moments import unix_ms
from signals.sealingkeys import leaving_out
from signals.state import ProfileState
from workers.market import Market
from workers.timetable import PARTS, Part, Snapshot, Timetable
from workers.trade import Standing

MOST_PROFILES: Final = 4_000
CANDIDATES: Final = 60
TRAIN_CANDIDATES: Final = 12
FAVOURITE_DAYS: Final = timedelta(days=84)
KIND: Final = KINDS.index("replacement")
"""Past purchases were nobody's offers; the model learns the need, and sees every candidate as the plainest kind."""

Floats = np.ndarray[Any, np.dtype[np.float32]]
Whole = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Examples:
    """Rows of one part, grouped by snapshot in consecutive rows.

    `outcomes` 0 or 1; `sizes` rows per snapshot; `profiles` and `at_ms` per snapshot; `categories` per row.
    `favourite`: orders with the row's category in the 84 days before the snapshot, counted from the signals.
    """

    features: Floats
    outcomes: Floats
    sizes: Whole
    profiles: Whole
    at_ms: Whole
    categories: Whole
    favourite: Floats

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """Several lots as one, in their order."""
        if not parts:
            whole, floats = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
            return cls(floats.reshape(0, len(MODEL_FEATURES)), floats, whole, whole, whole, whole, floats)
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True)
class Lesson:
    """What one process needs to replay its share of the people; plain values, so that it can be handed over."""

    database_url: str
    pii_keys: Mapping[int, bytes] = field(repr=False)
    profiles: tuple[int, ...]
    timetable: Timetable
    contexts: tuple[tuple[CandidateContext, ...], ...]
    """The candidates as they stood when each week of the timetable began."""


def contexts(
    market: Market, standing: Standing, leanings: Mapping[int, Mapping[int, float]]
) -> tuple[CandidateContext, ...]:
    """The candidate categories as the model will see them at an open: no price is shown, so none is learnt."""
    after = transposed(market.complements)
    return tuple(
        CandidateContext(
            category=category,
            kind=KIND,
            popularity=standing.popularity.get(category, 0.0),
            after=after.get(category, {}),
            trend=standing.trend.get(category),
            starts=standing.starts.get(category),
            leads=leanings.get(category, {}),
        )
        for category in market.candidates(CANDIDATES)
    )


_PEOPLE = text("""
    SELECT p.id FROM profile p WHERE p.id = p.root_id AND p.erased_at IS NULL
      AND EXISTS (
        SELECT 1 FROM event e JOIN profile m ON m.id = e.profile_id WHERE m.root_id = p.id AND e.order_id IS NOT NULL
      )
    ORDER BY sha256(('people' || p.id)::bytea) LIMIT :most
""")
_MEMBERS = text("SELECT root_id, id FROM profile WHERE root_id = ANY(:roots) ORDER BY root_id, id")


def people(session: Session, most: int = MOST_PROFILES) -> tuple[int, ...]:
    """The roots to learn from: all who ever ordered, or that many of them drawn by a hash of their id."""
    return tuple(session.scalars(_PEOPLE, {"most": most}))


def collect(lesson: Lesson) -> dict[Part, Examples]:
    """Replay the people of a lesson. Runs in a process of its own, with a connection of its own."""
    vault = Vault(lesson.pii_keys)
    engine = db.connect(lesson.database_url, vault=vault, pool_size=1, statement_ms=0, application="latebind train")
    try:
        sessions = db.sessions(engine)
        categories = Categories(sessions)
        categories.learn((), create=False)
        lots: dict[Part, list[Examples]] = {part: [] for part in PARTS}
        with db.transaction(sessions) as session:
            hidden = sensitive(session)
            members: dict[int, list[int]] = {}
            for row in session.execute(_MEMBERS, {"roots": list(lesson.profiles)}):
                members.setdefault(row.root_id, []).append(row.id)
            for root in lesson.profiles:
                with leaving_out(profile=root):
                    told = [entry for entry in history(session, members[root], categories) if entry.folds]
                    for part, lot in replay(root, told, lesson.timetable, lesson.contexts, hidden):
                        lots[part].append(lot)
        return {part: Examples.joined(found) for part, found in lots.items()}
    finally:
        engine.dispose()


def replay(
    profile: int,
    told: Sequence[Told],
    timetable: Timetable,
    candidates: Sequence[Sequence[CandidateContext]],
    hidden: frozenset[int],
) -> Iterable[tuple[Part, Examples]]:
    """One person's examples: their signals in canonical order, stopped at each snapshot after their first order.

    `candidates` as they stood in each week of the timetable.
    """
    events = [entry.event for entry in told]
    times = [event.time_ms for event in events]
    bought = [(e.time_ms, frozenset(line.category for line in e.lines)) for e in events if e.kind == "order"]
    bought_ms = [time_ms for time_ms, _ in bought]
    state, done = ProfileState(), 0
    for snapshot in timetable.snapshots(profile):
        at_ms = unix_ms(snapshot.at)
        upto = bisect_left(times, at_ms)
        if upto > done:
            state = advance(state, events[done:upto]) or fold_all(events[:upto])
            done = upto
        if not state.orders or state.erased:
            continue
        seen = _drawn(profile, snapshot, candidates[snapshot.week])
        before = bought[bisect_left(bought_ms, unix_ms(snapshot.at - FAVOURITE_DAYS)) : bisect_left(bought_ms, at_ms)]
        later = bought[bisect_left(bought_ms, at_ms) : bisect_left(bought_ms, unix_ms(snapshot.closes))]
        yield snapshot.part, _examples(profile, snapshot.at, without(state, hidden), seen, before, later)


def _drawn(profile: int, snapshot: Snapshot, candidates: Sequence[CandidateContext]) -> Sequence[CandidateContext]:
    if snapshot.part == "test" or len(candidates) <= TRAIN_CANDIDATES:
        return candidates
    return random.Random(f"candidates:{profile}:{snapshot.week}").sample(list(candidates), TRAIN_CANDIDATES)


def _examples(
    profile: int,
    at: datetime,
    state: ProfileState,
    candidates: Sequence[CandidateContext],
    before: Sequence[tuple[int, frozenset[int]]],
    later: Sequence[tuple[int, frozenset[int]]],
) -> Examples:
    counts = Counter(category for _, categories in before for category in categories)
    outcome = frozenset().union(*(categories for _, categories in later))
    numbers = [candidate.category for candidate in candidates]
    return Examples(
        features=candidate_matrix(state, candidates, at),
        outcomes=np.array([number in outcome for number in numbers], dtype=np.float32),
        sizes=np.array([len(numbers)]),
        profiles=np.array([profile]),
        at_ms=np.array([unix_ms(at)]),
        categories=np.array(numbers),
        favourite=np.array([counts[number] for number in numbers], dtype=np.float32),
    )

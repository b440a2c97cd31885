"""Exposures: offers that somebody saw, with what was known of the person then, and whether they took them.

An exposure is one slot of one decision whose picture a person or a proxy fetched, or an undecided client in whose open
a person clicked afterwards. What machines fetched, what fell back to less than was decided and what an earlier open of
the mail had shown already is none. What was offered in a call or a chat is one if it is known what the person said. It
counts from when it was first seen, and only once its window has closed, with some days for orders that arrive late.

**Taken** is an exposure whose category was bought within the window, or that the person said yes to. An order's
category goes to the last exposure of that category before it, by event time: so it is joined once, however late and
however often the order is told. Offers without a category teach nothing and are left out, as are orders that were
cancelled.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.blobs import Blobs
from base.errors import LatebindError
from base.ids import TEST_BIT
from base.logs import logger
from campaigns import plans
from campaigns.recorded import records
from render.eligibility import Situation
from render.model import Model
from render.plan import Plan
from render.record import DecisionRecord, SlotRecord
from render.replay import facts_of, moment
from render.scoring import contexts
from signals.candidates import MODEL_FEATURES, candidate_matrix
from signals.moments import unix_ms
from signals.signal import ORDER_COMPLETED
from workers.outcomes import CORRECTIONS
from workers.timetable import OUTCOME

Floats = np.ndarray[Any, np.dtype[np.float32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]

LATE: Final = timedelta(days=2)
"""Orders may arrive so long after their window has closed."""
REACH: Final = timedelta(weeks=26)
"""How far back exposures are learnt from."""
MOST: Final = 200_000
"""Decisions that are looked at; of more an even part, drawn by their ids, which are hashes."""
LEAST_CHANCE: Final = 0.05
"""A choice that was less likely than this weighs as if it had been this likely: 20 times a certain one."""
POSITIONS: Final = 4
"""Places in a mail that are told apart; further ones count as the last."""
CHUNK: Final = 500
_ID_SPAN: Final = 1 << 32


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
class Archive:
    """Where records lie: the blobs with their plans, and the key that unwraps the people's keys."""

    blobs: Blobs
    wrapping_key: bytes


@dataclass
class _Row:
    root: int
    offer: int
    category: int
    seen_ms: int
    chance: float
    position: int
    said: float
    features: Floats
    taken: bool = False


_SEEN = text("""
    SELECT f.decision_id AS id, f.decision_at AS at, f.slot, min(f.at) AS seen_at
    FROM "fetch" f
    JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at
    WHERE d.at >= :begin AND d.at < :end AND f.at < :end
      AND d.lane = 'live' AND d.occurrence < :test AND d.rung IN ('model', 'rules') AND NOT d.lost
      AND d.personal IS NOT NULL AND d.id < :bound
      AND (CAST(:model AS text) IS NULL OR d.model_hash = :model)
      AND f.lane = 'live' AND f.slot < 255 AND f.rung NOT IN ('static', 'default')
      AND (f.fetch_class IN ('person', 'proxy') OR f.fetch_class = 'undecided' AND EXISTS (
          SELECT FROM click c WHERE c.decision_id = f.decision_id AND c.fetch_class = 'person' AND c.at >= f.at
      ))
    GROUP BY f.decision_id, f.decision_at, f.slot ORDER BY min(f.at), f.decision_id, f.slot
""")
_ANSWERED = text("""
    SELECT d.id, d.at, c.slot, c.outcome = 'taken' AS taken
    FROM click c
    JOIN decision d ON d.id = c.decision_id AND d.at = c.decision_at
    WHERE d.at >= :begin AND d.at < :end AND c.outcome IN ('taken', 'refused')
      AND d.lane = 'live' AND d.rung IN ('model', 'rules') AND NOT d.lost AND d.personal IS NOT NULL AND d.id < :bound
    ORDER BY d.at, d.id, c.slot
""")
_COUNT = text("""
    SELECT count(*) FROM decision WHERE at >= :begin AND at < :end AND lane = 'live' AND rung IN ('model', 'rules')
""")
_DECISIONS = text("""
    SELECT d.id, d.profile_id, p.root_id, d.plan_hash, d.public, d.personal
    FROM decision d JOIN profile p ON p.id = d.profile_id
    WHERE d.id = ANY(:ids) AND d.at >= :begin AND d.at < :end
""")
_ORDERS = text("""
    SELECT p.root_id, e.event_time, e.category_ids
    FROM event e JOIN profile p ON p.id = e.profile_id
    WHERE p.root_id = ANY(:roots) AND e.name = :name AND e.folds AND e.event_time >= :begin AND e.event_time < :end
      AND NOT EXISTS (
        SELECT FROM event c JOIN profile m ON m.id = c.profile_id
        WHERE m.root_id = p.root_id AND c.order_id = e.order_id AND lower(c.name) = ANY(:cancelled)
      )
    ORDER BY p.root_id, e.event_time, e.id
""")
CANCELLED: Final = tuple(name for name in CORRECTIONS if "cancel" in name)


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
) -> Exposures:
    """What people saw since a moment (REACH before `now`), each with its outcome.

    `model` names what everybody shares, popularity and complements; its trees are not asked. `decided_by` takes the
    decisions of one model only.
    """
    begin, end = since or now - REACH, closed_before(now)
    count = session.scalar(_COUNT, {"begin": begin, "end": end}) or 0
    bound = f"{_ID_SPAN * MOST // count:08x}" if count > MOST else "g"
    window = {"begin": begin, "end": end}
    seen: dict[str, dict[int, datetime]] = {}
    for row in session.execute(_SEEN, window | {"bound": bound, "test": TEST_BIT, "model": decided_by}):
        seen.setdefault(row.id, {})[row.slot] = row.seen_at
    agreed: set[tuple[str, int]] = set()
    for row in session.execute(_ANSWERED, window | {"bound": bound}):
        seen.setdefault(row.id, {})[row.slot] = row.at
        agreed.update([(row.id, row.slot)] if row.taken else ())
    rows: list[_Row] = []
    known: dict[str, Plan] = {}
    ids = list(seen)
    for start in range(0, len(ids), CHUNK):
        found = session.execute(_DECISIONS, window | {"ids": ids[start : start + CHUNK]}).all()
        for row, record in records(session, found, archive.wrapping_key):
            rows += _shown(archive, known, record, row.root_id, seen[row.id], agreed, model)
    rows.sort(key=lambda one: (one.seen_ms, one.root, one.position))
    _join(rows, _orders(session, rows, begin, now))
    return _columns(rows)


def _shown(
    archive: Archive,
    known: dict[str, Plan],
    record: DecisionRecord,
    root: int,
    seen: Mapping[int, datetime],
    agreed: Collection[tuple[str, int]],
    model: Model,
) -> Iterator[_Row]:
    """The slots of one decision that were seen for the first time, with an offer of a category."""
    try:
        if record.plan not in known:
            known[record.plan] = plans.load(archive.blobs, record.plan)
        plan = known[record.plan]
        at = Situation(plan, facts_of(replace(record, model=model.hash), model), moment(record.at_ms))
    except (LatebindError, ValueError) as error:
        logger(__name__).warning("a decision teaches nothing", decision=record.id, reason=str(error)[:200])
        return
    places = {slot.index: place for place, slot in enumerate(plan.slots)}
    shown = [slot for slot in record.slots if slot.slot in seen and slot.slot in places and _teaches(plan, slot)]
    offers = [plan.offer_by_id[slot.offer] for slot in shown]
    candidates = contexts(at, offers) if offers else []
    if not candidates:
        return
    matrix = candidate_matrix(at.plain, candidates, at.now)
    for slot, candidate, features in zip(shown, candidates, matrix, strict=True):
        if candidate.category and candidate.category not in plan.sensitive:
            said = next((one.probability for one in slot.candidates if one.offer == slot.offer), None)
            yield _Row(
                root=root,
                offer=slot.offer,
                category=candidate.category,
                seen_ms=unix_ms(seen[slot.slot]),
                chance=slot.propensity,
                position=min(places[slot.slot], POSITIONS - 1),
                said=float("nan") if said is None else said,
                features=features,
                taken=(record.id, slot.slot) in agreed,
            )


def _teaches(plan: Plan, slot: SlotRecord) -> bool:
    return not slot.held and slot.offer in plan.offer_by_id and slot.offer not in plan.default_ids


def _orders(
    session: Session, rows: Sequence[_Row], begin: datetime, now: datetime
) -> Mapping[int, list[tuple[int, list[int]]]]:
    """Root -> its orders in order of time: when, and of which categories."""
    found: dict[int, list[tuple[int, list[int]]]] = {}
    roots = sorted({row.root for row in rows})
    given = {"name": ORDER_COMPLETED, "begin": begin, "end": now, "cancelled": list(CANCELLED)}
    for start in range(0, len(roots), CHUNK):
        for row in session.execute(_ORDERS, given | {"roots": roots[start : start + CHUNK]}):
            found.setdefault(row.root_id, []).append((unix_ms(row.event_time), list(row.category_ids or ())))
    return found


def _join(rows: Sequence[_Row], orders: Mapping[int, list[tuple[int, list[int]]]]) -> None:
    """Mark what was taken: each category of each order goes to the last exposure of it that came before."""
    by_place: dict[tuple[int, int], list[_Row]] = {}
    for row in rows:
        by_place.setdefault((row.root, row.category), []).append(row)
    window_ms = OUTCOME // timedelta(milliseconds=1)
    for root, placed in orders.items():
        for at_ms, categories in placed:
            for category in set(categories):
                shown = by_place.get((root, category), [])
                index = bisect_left(shown, at_ms, key=lambda one: one.seen_ms)
                if index and at_ms - shown[index - 1].seen_ms <= window_ms:
                    shown[index - 1].taken = True


def _columns(rows: Sequence[_Row]) -> Exposures:
    width = len(MODEL_FEATURES)
    return Exposures(
        features=np.array([row.features for row in rows], dtype=np.float32).reshape(len(rows), width),
        outcomes=np.array([row.taken for row in rows], dtype=np.float32),
        chances=np.array([row.chance for row in rows], dtype=np.float64),
        positions=np.array([row.position for row in rows], dtype=np.int64),
        roots=np.array([row.root for row in rows], dtype=np.int64),
        seen_ms=np.array([row.seen_ms for row in rows], dtype=np.int64),
        said=np.array([row.said for row in rows], dtype=np.float64),
        offers=np.array([row.offer for row in rows], dtype=np.int64),
    )

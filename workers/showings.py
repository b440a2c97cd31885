"""Showings: what one share of the recorded decisions showed, as the columns that training learns from.

Records are streamed from the database, some hundred at a time, and nothing is kept of one but its row of numbers. So
memory goes with the rows that come out (some 230 bytes each) and not with the records. Shares are ranges of the
decisions' ids, which are hashes: each may be read by a process of its own, and together they are the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.orm import Session

from base import db
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

Floats = np.ndarray[Any, np.dtype[np.float32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

POSITIONS: Final = 4
"""Places in a mail that are told apart; further ones count as the last."""
CHUNK: Final = 500
ID_SPAN: Final = 1 << 32
"""Ids are told apart by their first eight hexadecimal digits."""
_ORDER_DIGITS: Final = 15


@dataclass(frozen=True)
class Archive:
    """Where records lie: the blobs with their plans, and the key that unwraps the people's keys."""

    blobs: Blobs
    wrapping_key: bytes


@dataclass(frozen=True)
class Span:
    """Which decisions: made from `begin` on, seen before `end`, ids from `low` to below `high` of ID_SPAN, and if
    `decided_by` is given by that model only."""

    begin: datetime
    end: datetime
    low: int = 0
    high: int = ID_SPAN
    decided_by: str | None = None

    def shares(self, count: int) -> list[Span]:
        """So many spans that together are this one."""
        cuts = [self.low + (self.high - self.low) * number // count for number in range(count + 1)]
        return [
            Span(self.begin, self.end, low, high, self.decided_by)
            for low, high in pairwise(cuts)
        ]  # fmt: skip


@dataclass(frozen=True)
class Errand:
    """What another process needs to read its share; plain values, so that it can be handed over."""

    database_url: str
    archive: Archive
    model: bytes
    span: Span


@dataclass(frozen=True)
class Showings:
    """Offers of a category that were seen, a row each.

    `decisions`: the ids' first digits, which settle the order. `agreed`: whether the person said yes to it in a call.
    """

    features: Floats
    chances: Doubles
    positions: Whole
    roots: Whole
    seen_ms: Whole
    said: Doubles
    offers: Whole
    categories: Whole
    decisions: Whole
    agreed: Flags

    def __len__(self) -> int:
        return len(self.roots)

    @classmethod
    def joined(cls, lots: Sequence[Showings]) -> Showings:
        """Several lots as one, in order of when they were seen; the same whatever shares they were read in."""
        columns = {name: np.concatenate([getattr(lot, name) for lot in lots]) for name in cls.__dataclass_fields__}
        order = np.lexsort([columns[name] for name in ("positions", "decisions", "roots", "seen_ms")])
        return cls(**{name: column[order] for name, column in columns.items()})


_SEEN = text("""
    SELECT d.id, d.profile_id, p.root_id, d.public, d.personal, s.slots, s.moments, s.agreed
    FROM (
        SELECT one.id, one.at, array_agg(one.slot) AS slots, array_agg(one.seen_at) AS moments,
               array_agg(one.agreed) AS agreed
        FROM (
            SELECT shown.id, shown.at, shown.slot, min(shown.seen_at) AS seen_at, bool_or(shown.agreed) AS agreed
            FROM (
                SELECT f.decision_id AS id, f.decision_at AS at, f.slot, f.at AS seen_at, false AS agreed
                FROM "fetch" f
                WHERE f.decision_at >= :begin AND f.decision_at < :end AND f.at < :end
                  AND f.decision_id >= :low AND f.decision_id < :high
                  AND f.lane = 'live' AND f.slot < 255 AND f.rung NOT IN ('static', 'default')
                  AND (f.fetch_class IN ('person', 'proxy') OR f.fetch_class = 'undecided' AND EXISTS (
                      SELECT FROM click c
                      WHERE c.decision_id = f.decision_id AND c.fetch_class = 'person' AND c.at >= f.at
                  ))
                UNION ALL
                SELECT c.decision_id, c.decision_at, c.slot, c.decision_at, c.outcome = 'taken'
                FROM click c
                WHERE c.decision_at >= :begin AND c.decision_at < :end
                  AND c.decision_id >= :low AND c.decision_id < :high AND c.outcome IN ('taken', 'refused')
            ) shown
            GROUP BY shown.id, shown.at, shown.slot
        ) one
        GROUP BY one.id, one.at
    ) s
    JOIN decision d ON d.id = s.id AND d.at = s.at
    JOIN profile p ON p.id = d.profile_id
    WHERE d.at >= :begin AND d.at < :end AND d.id >= :low AND d.id < :high
      AND d.lane = 'live' AND d.occurrence < :test AND d.rung IN ('model', 'rules') AND NOT d.lost
      AND d.personal IS NOT NULL AND (CAST(:model AS text) IS NULL OR d.model_hash = :model)
""")


def elsewhere(errand: Errand) -> Showings:
    """Read a share. Runs in a process of its own, with a connection of its own."""
    engine = db.connect(errand.database_url, pool_size=1, statement_ms=0, application="latebind train")
    try:
        with db.transaction(db.sessions(engine)) as session:
            return showings(session, errand.archive, Model.load(errand.model), errand.span)
    finally:
        engine.dispose()


def showings(session: Session, archive: Archive, model: Model, span: Span) -> Showings:
    """What the decisions of a span showed to somebody, in no order yet."""
    # All rows are wanted, so the plan must be the cheapest for all of them and not for the first.
    session.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
    given = {
        "begin": span.begin, "end": span.end, "low": f"{span.low:08x}",
        "high": "g" if span.high >= ID_SPAN else f"{span.high:08x}", "test": TEST_BIT, "model": span.decided_by,
    }  # fmt: skip
    found = session.execute(_SEEN, given, execution_options={"stream_results": True, "max_row_buffer": CHUNK})
    lots, known = [_columns([], [])], dict[str, Plan]()
    for part in found.partitions(CHUNK):
        rows: list[tuple[float, ...]] = []
        features: list[Floats] = []
        for row, record in records(session, part, archive.wrapping_key):
            told = zip(row.moments, row.agreed, strict=True)
            seen = dict(zip(row.slots, told, strict=True))
            for numbers, matrix in _shown(archive, known, record, row.root_id, seen, model):
                rows.append(numbers)
                features.append(matrix)
        lots.append(_columns(rows, features))
    return Showings.joined(lots)


def _shown(
    archive: Archive,
    known: dict[str, Plan],
    record: DecisionRecord,
    root: int,
    seen: Mapping[int, tuple[datetime, bool]],
    model: Model,
) -> Iterator[tuple[tuple[float, ...], Floats]]:
    """The slots of one decision that were seen for the first time, with an offer of a category: numbers, features."""
    try:
        if record.plan not in known:
            known[record.plan] = plans.load(archive.blobs, record.plan)
        plan = known[record.plan]
        facts = facts_of(replace(record, model=model.hash, relations=None), model)
        at = Situation(plan, facts, moment(record.at_ms))
    except (LatebindError, ValueError) as error:
        logger(__name__).warning("a decision teaches nothing", decision=record.id, reason=str(error)[:200])
        return
    places = {slot.index: place for place, slot in enumerate(plan.slots)}
    shown = [slot for slot in record.slots if slot.slot in seen and slot.slot in places and _teaches(plan, slot)]
    candidates = contexts(at, [plan.offer_by_id[slot.offer] for slot in shown]) if shown else []
    if not candidates:
        return
    matrix = candidate_matrix(at.plain, candidates, at.now)
    for slot, candidate, features in zip(shown, candidates, matrix, strict=True):
        if candidate.category and candidate.category not in plan.sensitive:
            said = next((one.probability for one in slot.candidates if one.offer == slot.offer), None)
            yield (
                (
                    slot.propensity,
                    min(places[slot.slot], POSITIONS - 1),
                    root,
                    unix_ms(seen[slot.slot][0]),
                    float("nan") if said is None else said,
                    slot.offer,
                    candidate.category,
                    int(record.id[:_ORDER_DIGITS], 16),
                    seen[slot.slot][1],
                ),
                features,
            )


def _teaches(plan: Plan, slot: SlotRecord) -> bool:
    return not slot.held and slot.offer in plan.offer_by_id and slot.offer not in plan.default_ids


def _columns(rows: Sequence[tuple[float, ...]], features: Sequence[Floats]) -> Showings:
    """The columns of some rows; their numbers are in the order of the fields."""
    columns: Sequence[Sequence[float]] = list(zip(*rows, strict=True)) or [()] * 9
    chances, positions, roots, seen_ms, said, offers, categories, decisions, agreed = columns
    return Showings(
        features=np.array(features, dtype=np.float32).reshape(len(features), len(MODEL_FEATURES)),
        chances=np.array(chances, dtype=np.float64),
        positions=np.array(positions, dtype=np.int64),
        roots=np.array(roots, dtype=np.int64),
        seen_ms=np.array(seen_ms, dtype=np.int64),
        said=np.array(said, dtype=np.float64),
        offers=np.array(offers, dtype=np.int64),
        categories=np.array(categories, dtype=np.int64),
        decisions=np.array(decisions, dtype=np.int64),
        agreed=np.array(agreed, dtype=np.bool_),
    )

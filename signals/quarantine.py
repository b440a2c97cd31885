"""Signals that were refused and can be taken after all: the plan was mended, or a source is trusted with more.

A refused signal is read again as it came then: its time, the correction of its sender's clock and the address it came
to are those of its arrival; what may be said is judged by what holds now. Doing it again changes nothing: the signal
has its own id, or one made of its number in the list.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from base.db import transaction
from base.errors import Conflict, InvalidInput, NotFound
from signals.events import RejectedEvent
from signals.intake import Intake, admit
from signals.reading import Status
from signals.signal import Arrival
from signals.sources import Source, sender

AT_ONCE: Final = 500
"""Signals that one request takes again."""

Why = Literal["plan", "untrusted", "invalid"]
REPLAYABLE: Final[tuple[Why, ...]] = ("plan", "untrusted", "invalid")
"""Reasons that may pass; an item of a feed is no signal."""


def replay(intake: Intake, number: int, now: datetime) -> Status:
    """Take a refused signal once more; what became of it. One that is refused again is listed with the new reason.

    Raises NotFound, Conflict where it cannot be taken again, Unavailable; doing it again is safe.
    """
    with transaction(intake.sessions) as session:
        row = session.get(RejectedEvent, number)
        source = session.get(Source, row.source_id) if row is not None else None
        if row is None or source is None:
            raise NotFound("refused signal", number)
        if not row.whole or row.reason not in REPLAYABLE:
            raise Conflict("It cannot be taken again: only the beginning of it is kept, or it is no signal.")
        said_by, body, at = sender(source), _named(row), row.at
        arrival = Arrival(at, timedelta(milliseconds=row.skew_ms), row.call)
    intake.reader.plans.renew()
    reading = intake.reader.read(said_by, [body], arrival)
    if reading.refusals:
        refusal = reading.refusals[0]
        intake.settle(partial(_still_refused, number, refusal.reason, refusal.field, refusal.message))
        return "rejected"
    (outcome,) = admit(intake, said_by, replace(reading, now=now, is_listed=True))
    if outcome.status == "rejected":
        intake.settle(partial(_still_refused, number, "invalid", outcome.field, outcome.message))
        return "rejected"
    intake.settle(partial(_replayed, number, now))
    return outcome.status


def waiting(
    session: Session, *, source: int | None = None, name: str | None = None, limit: int = AT_ONCE
) -> Sequence[int]:
    """The quarantined signals that can be taken again, of a source, of a name: those never tried, the oldest first,
    then those tried longest ago, so that none keeps the others from their turn."""
    query = select(RejectedEvent.id).where(
        RejectedEvent.reason == "plan", RejectedEvent.whole, RejectedEvent.replayed_at.is_(None)
    )
    if source is not None:
        query = query.where(RejectedEvent.source_id == source)
    if name is not None:
        query = query.where(RejectedEvent.name == name)
    order = RejectedEvent.tried_at.asc().nulls_first(), RejectedEvent.id
    return session.scalars(query.order_by(*order).limit(limit)).all()


def _named(row: RejectedEvent) -> bytes:
    """The body with an id by which it counts once. Content and time give one; without either, its number does."""
    body = row.body.encode()
    try:
        raw: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body
    if not isinstance(raw, dict) or any(raw.get(name) for name in ("messageId", "timestamp", "originalTimestamp")):
        return body
    return msgspec.json.encode(raw | {"messageId": f"refused-{row.id}"})


def _still_refused(number: int, reason: str, field: str, message: str, session: Session) -> None:
    row = session.get(RejectedEvent, number)
    if row is not None:
        row.reason, row.field, row.message = reason, field[:200], message[:500]


def _replayed(number: int, now: datetime, session: Session) -> None:
    row = session.get(RejectedEvent, number)
    if row is not None:
        row.replayed_at = row.replayed_at or now


def _tried(numbers: Collection[int], now: datetime, session: Session) -> None:
    session.execute(update(RejectedEvent).where(RejectedEvent.id.in_(numbers)).values(tried_at=now))


def replay_all(intake: Intake, numbers: Sequence[int], now: datetime) -> dict[Status, int]:
    """Take these again; how many came to what. One that cannot be is passed over."""
    counts: dict[Status, int] = {}
    intake.settle(partial(_tried, numbers, now))
    for number in numbers:
        try:
            status = replay(intake, number, now)
        except (NotFound, Conflict, InvalidInput):
            continue
        counts[status] = counts.get(status, 0) + 1
    return counts

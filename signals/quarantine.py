"""Signals that were refused and can be taken after all: the plan was mended, or a source is trusted with more.

A refused signal is read again as it came then: its time, the correction of its sender's clock and the address it came
to are those of its arrival; what may be said is judged by what holds now. Doing it again changes nothing: the signal
has its own id, or one made of its number in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Session, defer

from base.db import transaction
from base.errors import Conflict, InvalidInput, NotFound, Unavailable
from signals import stream
from signals.events import Event, RejectedEvent
from signals.intake import Intake, admit
from signals.reading import Status
from signals.signal import Arrival
from signals.sources import Sender, Source, sender

AT_ONCE: Final = 500
"""Signals that one request takes again."""

Why = Literal["plan", "untrusted", "invalid"]
REPLAYABLE: Final[tuple[Why, ...]] = ("plan", "untrusted", "invalid")
"""Reasons that may pass; an item of a feed is no signal."""
Along = Callable[[Session, int, Status], None]
"""What is done in the transaction that keeps what became of a signal, given by its number in the list."""


def replay(intake: Intake, number: int, now: datetime, along: Along = lambda session, number, status: None) -> Status:
    """Take a refused signal once more; what became of it. One that is refused again is listed with the new reason,
    unless it was taken meanwhile.

    Until `along` is done, it is listed as not taken. Raises NotFound, Conflict where it cannot be taken again,
    Unavailable; doing it again is safe.
    """
    with transaction(intake.sessions) as session:
        row = stream.refused(session, number)
        source = session.get(Source, row.source_id)
        if source is None:
            raise NotFound("source", row.source_id)
        if stream.is_damaged(row):
            raise Conflict("It cannot be taken again: it is damaged where it is stored.")
        if not row.whole or row.reason not in REPLAYABLE:
            raise Conflict("It cannot be taken again: only the beginning of it is kept, or it is no signal.")
        said_by, body, arrival = sender(source), _named(row), _arrival(row)
    intake.reader.plans.renew()
    reading = intake.reader.read(said_by, [body], arrival)
    if reading.refusals:
        refusal = reading.refusals[0]
        intake.settle(partial(_still_refused, number, refusal.reason, refusal.field, refusal.message, along))
        return "rejected"
    try:
        (outcome,) = admit(intake, said_by, replace(reading, now=now, is_listed=True))
    except Unavailable:
        # It may be stored all the same, and opens are told of it later.
        intake.settle(partial(_replayed_if_stored, number, said_by, reading.items[0].signal.message_id, now, along))
        raise
    if outcome.status == "rejected":
        intake.settle(partial(_still_refused, number, "invalid", outcome.field, outcome.message, along))
        return "rejected"
    intake.settle(partial(_replayed, number, now, outcome.status, along))
    return outcome.status


def fault(intake: Intake, session: Session, row: RejectedEvent) -> InvalidInput | None:
    """What would refuse this signal if it were taken once more now; None where nothing would. Changes nothing."""
    intake.reader.plans.renew()
    return intake.reader.fault(sender(session.get_one(Source, row.source_id)), _named(row), _arrival(row))


def stored(intake: Intake, session: Session, row: RejectedEvent) -> Event | None:
    """What is stored of a signal that was taken once more, its body aside; None where nothing is."""
    try:
        name = intake.reader.name(_named(row), _arrival(row))
    except InvalidInput:
        return None
    query = select(Event).where(Event.source_id == row.source_id, Event.message_id == name)
    return session.scalar(query.options(defer(Event.body)))


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


def _arrival(row: RejectedEvent) -> Arrival:
    return Arrival(row.at, timedelta(milliseconds=row.skew_ms), row.call)


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


def _still_refused(number: int, reason: str, field: str, message: str, along: Along, session: Session) -> None:
    row = session.get(RejectedEvent, number)
    if row is not None and row.replayed_at is None:
        row.reason, row.field, row.message = reason, field[:200], message[:500]
    along(session, number, "rejected")


def _replayed(number: int, now: datetime, status: Status, along: Along, session: Session) -> None:
    row = session.get(RejectedEvent, number)
    if row is not None:
        row.replayed_at = row.replayed_at or now
    along(session, number, status)


def _replayed_if_stored(
    number: int, said_by: Sender, message_id: str, now: datetime, along: Along, session: Session
) -> None:
    stored = Event.source_id == said_by.id, Event.message_id == message_id, Event.received_at == now
    if session.scalar(select(Event.id).where(*stored)) is not None:
        _replayed(number, now, "accepted", along, session)


def _tried(numbers: Collection[int], now: datetime, begun: Callable[[Session], None], session: Session) -> None:
    session.execute(update(RejectedEvent).where(RejectedEvent.id.in_(numbers)).values(tried_at=now))
    begun(session)


def replay_all(
    intake: Intake,
    numbers: Sequence[int],
    now: datetime,
    *,
    begun: Callable[[Session], None] = lambda session: None,
    along: Along = lambda session, number, status: None,
) -> dict[Status, int]:
    """Take these again; how many came to what. One that cannot be is passed over.

    `begun` is done in the transaction that notes that they are tried, before the first of them.
    """
    counts: dict[Status, int] = {}
    intake.settle(partial(_tried, numbers, now, begun))
    for number in numbers:
        try:
            status = replay(intake, number, now, along)
        except (NotFound, Conflict, InvalidInput):
            continue
        counts[status] = counts.get(status, 0) + 1
    return counts

"""Signals that we tell ourselves of a profile we know: a consent withdrawn in a mail, a word of support staff."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from signals import belonging, outbox
from signals.folding import Standing, published
from signals.intake import Intake, absorb, moved, publish, regroup, stored_states
from signals.journal import find
from signals.reading import Item, Outcome, Reading
from signals.signal import Arrival
from signals.sources import Sender


def tell(
    intake: Intake,
    sender: Sender,
    profile: int,
    event: str,
    properties: Mapping[str, Any],
    *,
    at: datetime,
    now: datetime,
    message_id: str,
) -> Outcome | None:
    """Store one `track` call about this profile, fold and publish it, as if a server had sent it.

    `message_id` makes it idempotent: the same fact told twice counts once. None when there is no such profile or it
    was erased. Raises InvalidInput naming the property, Unavailable when a store is away.
    """
    call = {
        "type": "track",
        "event": event,
        "messageId": message_id,
        "timestamp": at.isoformat(),
        "properties": dict(properties),
    }
    reading = intake.reader.read(sender, [msgspec.json.encode(call)], Arrival(now, known=True))
    if reading.refusals:
        raise InvalidInput(reading.refusals[0].field, reading.refusals[0].message)
    settled = intake.settle(partial(_told, intake, sender, profile, reading))
    if settled is None:
        return None
    outcome, standings, notes = settled
    states = published(standings)
    if not states:
        states = intake.settle(lambda session: stored_states(session, [profile]))
    publish(intake, states)
    intake.told(notes)
    regroup(intake, moved(standings) if standings else {profile}, now)
    return outcome


def _told(
    intake: Intake, sender: Sender, profile: int, reading: Reading, session: Session
) -> tuple[Outcome, list[Standing], list[int]] | None:
    root = belonging.living(session, [profile]).get(profile)
    if root is None:
        return None
    item: Item = reading.items[0]
    item.known = belonging.member(profile, root)
    if find(session, sender, [item.signal.message_id]):
        return Outcome("duplicate"), [], []
    standings = absorb(session, intake, sender, [item], reading.now)
    return Outcome("accepted"), standings, outbox.note(session, [entry.root.id for entry in standings])

"""A locked campaign: nothing that is written of it changes, and nothing is published, until somebody unlocks it.

What protects readers goes on under a lock: pausing, cancelling, the kill switch, withdrawing an offer.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import Conflict
from campaigns import admin_log, people
from campaigns.admin_log import Actor
from campaigns.models.campaign import Campaign


def lock(session: Session, row: Campaign, now: datetime, by: Actor) -> None:
    """Let nobody change the campaign. Raises Conflict when it is locked already."""
    refuse(row)
    before = admin_log.snapshot(row)
    row.locked_at, row.locked_by = now, people.name_of(session, by.user_id, by.name)
    session.flush()
    admin_log.record(session, by, "lock", "campaign", row.id, now, before=before, after=admin_log.snapshot(row))


def unlock(session: Session, row: Campaign, now: datetime, by: Actor) -> None:
    """Let it be changed again. Raises Conflict when it is not locked."""
    if row.locked_at is None:
        raise Conflict("The campaign is not locked.")
    before = admin_log.snapshot(row)
    row.locked_at = row.locked_by = None
    session.flush()
    admin_log.record(session, by, "unlock", "campaign", row.id, now, before=before, after=admin_log.snapshot(row))


def refuse(row: Campaign) -> None:
    """Raises Conflict when the campaign is locked, naming who locked it."""
    if row.locked_at is not None:
        raise Conflict(f"The campaign “{row.name}” is locked by {row.locked_by}: unlock it to change it.")


def refuse_message(session: Session, message_id: int) -> None:
    """Raises Conflict when a campaign that sends the message is locked."""
    query = select(Campaign).where(Campaign.message_id == message_id, Campaign.locked_at.is_not(None))
    for row in session.scalars(query.order_by(Campaign.id).limit(1)):
        refuse(row)

"""Moves of the ledger that people make: what became of a mail of unknown outcome, and what failed is sent again."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput, NotFound
from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.models.delivery import Delivery

RESOLUTIONS: Final = ("accepted", "failed", "queued")


def resolve(session: Session, delivery_id: int, outcome: str, now: datetime, by: Actor) -> None:
    """A person's word on a row that is unknown: it was "accepted", it "failed", or send it again ("queued").

    Raises Conflict when the row is not unknown (any more).
    """
    if outcome not in RESOLUTIONS:
        raise InvalidInput("outcome", f"must be one of {', '.join(RESOLUTIONS)}")
    row = session.get(Delivery, delivery_id, with_for_update=True)
    if row is None:
        raise NotFound("delivery", delivery_id)
    if row.state != "unknown":
        raise Conflict(f"The delivery is {row.state}, not unknown.")
    row.state, row.reason, row.handing = outcome, "settled by a person", False
    row.settled_at = None if outcome == "queued" else now
    if outcome == "accepted":
        row.sent_at = row.sent_at or now
    if outcome == "queued":
        row.enqueued_at = None
        session.execute(_REOPEN, {"campaign": row.campaign_id, "occurrence": row.occurrence})
        session.execute(_REOPEN_CAMPAIGN, {"campaign": row.campaign_id})
    admin_log.record(
        session, by, "resolve", "delivery", delivery_id, now, before={"state": "unknown"}, after={"state": outcome}
    )


_REOPEN: Final = text("""
    UPDATE occurrence SET state = 'sending', finished_at = NULL
    WHERE campaign_id = :campaign AND number = :occurrence AND state = 'finished'
""")

_REOPEN_CAMPAIGN: Final = text("UPDATE campaign SET state = 'sending' WHERE id = :campaign AND state = 'finished'")

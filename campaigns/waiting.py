"""What of a campaign waits for a time, and why: for another try, for room within a limit, for its own hour.

Also what waits until the claim of a sender that stopped runs out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import tally
from campaigns.deliveries import LEASE, SILENT


@dataclass(frozen=True, slots=True)
class Waiting:
    """Mails that wait for one reason: how many, what the server most often said, when the first is tried."""

    state: str
    reason: str
    number: int
    reply: str | None
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Stopped:
    """Mails of senders that do not report any more: how many, how many of them may have been handed over, when the
    last of their claims runs out. Then those are tried again, and these become unknown."""

    number: int
    handing: int
    next_at: datetime


def stopped(session: Session, campaign_id: int, now: datetime) -> Stopped | None:
    """What senders hold that have stopped, test mails too; None where there is nothing such."""
    told = {"campaign": campaign_id, "before": now + LEASE - SILENT}
    number, handing, next_at = session.execute(_STOPPED, told).one()
    return Stopped(number, handing, next_at) if number else None


def put_off(session: Session, campaign_id: int) -> list[Waiting]:
    """What waits for a time and why, the most first: for another try, or for room within a limit.

    The server's words and the time are those of the first thousand of a reason.
    """
    found = []
    for (state, reason), number in tally.counts(session, campaign_id).items():
        if state == "deferred" or (state == "queued" and reason):
            row = session.execute(_FIRST, {"campaign": campaign_id, "state": state, "reason": reason, "test": TEST_BIT})
            reply, next_at = row.one()
            if next_at is not None:
                found.append(Waiting(state, reason, number, reply if state == "deferred" else None, next_at))
    return sorted(found, key=lambda one: (-one.number, one.reason))


_STOPPED: Final = text("""
    SELECT count(*), count(*) FILTER (WHERE handing), max(lease_until) FROM delivery
    WHERE state = 'claimed' AND lease_until < :before AND campaign_id = :campaign
""")

_FIRST: Final = text("""
    SELECT mode() WITHIN GROUP (ORDER BY reply), min(not_before) FROM (
        SELECT reply, not_before FROM delivery
        WHERE campaign_id = :campaign AND state = :state AND coalesce(reason, '') = :reason AND occurrence < :test
        ORDER BY id LIMIT 1000
    ) AS first
""")

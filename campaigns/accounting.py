"""What the delivery ledger says: how many rows are in each state and why, and the rows themselves by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import tally
from campaigns.deliveries import is_our_fault
from campaigns.models.delivery import DELIVERY_STATES, Delivery

MAX_LISTED: Final = 5_000
NOT_SENT: Final = tuple(state for state in DELIVERY_STATES if state != "accepted")
"""States of rows of people who were not sent the mail, or not surely."""


def account(session: Session, campaign_id: int, occurrence: int | None = None) -> dict[str, int]:
    """How many rows are in each state, of a run or of all runs that are no tests; the states add up to the audience."""
    found = dict.fromkeys(DELIVERY_STATES, 0)
    for (state, _), number in tally.counts(session, campaign_id, occurrence).items():
        found[state] += number
    return found


def is_taken_since(session: Session, campaign_id: int, since: datetime) -> bool:
    """Whether a server took a mail of a campaign, tests apart, at or after a moment."""
    query = select(Delivery.id).where(
        Delivery.campaign_id == campaign_id,
        Delivery.occurrence < TEST_BIT,
        Delivery.state == "accepted",
        Delivery.sent_at >= since,
    )
    return session.scalar(query.limit(1)) is not None


def reasons(session: Session, campaign_id: int, occurrence: int | None = None) -> dict[str, dict[str, int]]:
    """Per state how many rows have which reason, the most first; rows without one are not in it."""
    found: dict[str, dict[str, int]] = {}
    for (state, reason), number in tally.counts(session, campaign_id, occurrence).items():
        if reason:
            found.setdefault(state, {})[reason] = number
    return found


def unsent(session: Session, campaign_id: int) -> int:
    """How many mails failed here, before any server was asked to take them."""
    failed = reasons(session, campaign_id).get("failed", {})
    return sum(number for reason, number in failed.items() if is_our_fault(reason))


def listing(
    session: Session,
    campaign_id: int,
    *,
    occurrence: int | None = None,
    states: Sequence[str] = (),
    reason: str | None = None,
    after: int = 0,
    limit: int = 50,
) -> list[Delivery]:
    """Rows by id, at most `limit` and 5,000; `after` pages on. No page takes longer because the ledger is large."""
    wanted = {
        "campaign": campaign_id, "occurrence": occurrence, "test": TEST_BIT, "states": list(states) or None,
        "reason": reason, "after": after, "limit": min(limit, MAX_LISTED),
    }  # fmt: skip
    ids = session.scalars(_LISTED, wanted).all()
    return list(session.scalars(select(Delivery).where(Delivery.id.in_(ids)).order_by(Delivery.id)))


# The first rows of each state and reason that there is, by the index, and of those the first.
_LISTED: Final = text("""
    SELECT d.id FROM (
        SELECT DISTINCT state, reason FROM delivery_count
        WHERE campaign_id = :campaign
          AND (CAST(:states AS text[]) IS NULL OR state = ANY(CAST(:states AS text[])))
          AND (CAST(:reason AS text) IS NULL OR reason = :reason)
    ) AS kind CROSS JOIN LATERAL (
        SELECT r.id FROM delivery r
        WHERE r.campaign_id = :campaign AND r.state = kind.state AND coalesce(r.reason, '') = kind.reason
          AND r.id > :after AND CASE
              WHEN CAST(:occurrence AS bigint) IS NULL THEN r.occurrence < :test ELSE r.occurrence = :occurrence END
        ORDER BY r.id LIMIT :limit
    ) AS d
    ORDER BY d.id LIMIT :limit
""")

"""What the delivery ledger says: how many rows are in each state and why, and the rows themselves by page."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import tally
from campaigns.deliveries import is_our_fault
from campaigns.models.delivery import DELIVERY_STATES, Delivery

MAX_LISTED: Final = 5_000


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


def kinds(
    session: Session, campaign_id: int, occurrence: int | None = None, *, state: str = "", reason: str | None = None
) -> dict[tuple[str, str], int]:
    """How many rows of a part of the ledger, or those of them with a reason, have which state and reason.

    `state`: a state, "" for all or "not_sent" for all but accepted; and of the failed "unsent" for those that failed
    here, before a server or gateway was asked to take them, "refused" for the others. By state, the most first; a row
    without a reason has "".
    """
    found = tally.counts(session, campaign_id, occurrence)
    return {kind: number for kind, number in found.items() if _is_in(state, *kind) and reason in (None, kind[1])}


def _is_in(part: str, state: str, reason: str) -> bool:
    match part:
        case "":
            return True
        case "not_sent":
            return state != "accepted"
        case "refused" | "unsent":
            return state == "failed" and is_our_fault(reason) == (part == "unsent")
    return state == part


def unsent(session: Session, campaign_id: int) -> int:
    """How many mails failed here, before any server was asked to take them."""
    return sum(kinds(session, campaign_id, state="unsent").values())


def listing(
    session: Session,
    campaign_id: int,
    *,
    occurrence: int | None = None,
    state: str = "",
    reason: str | None = None,
    after: int = 0,
    limit: int = 50,
) -> list[Delivery]:
    """Rows by id, at most `limit` and 5,000, of a state or part as in `kinds`; `after` pages on.

    No page takes longer because the ledger is large.
    """
    listed = kinds(session, campaign_id, occurrence, state=state, reason=reason)
    wanted = {
        "campaign": campaign_id, "occurrence": occurrence, "test": TEST_BIT, "states": [kind[0] for kind in listed],
        "reasons": [kind[1] for kind in listed], "after": after, "limit": min(limit, MAX_LISTED),
    }  # fmt: skip
    ids = session.scalars(_LISTED, wanted).all()
    return list(session.scalars(select(Delivery).where(Delivery.id.in_(ids)).order_by(Delivery.id)))


# The first rows of each state and reason that there is, by the index, and of those the first.
_LISTED: Final = text("""
    SELECT d.id FROM unnest(CAST(:states AS text[]), CAST(:reasons AS text[])) AS kind (state, reason)
    CROSS JOIN LATERAL (
        SELECT r.id FROM delivery r
        WHERE r.campaign_id = :campaign AND r.state = kind.state AND coalesce(r.reason, '') = kind.reason
          AND r.id > :after AND CASE
              WHEN CAST(:occurrence AS bigint) IS NULL THEN r.occurrence < :test ELSE r.occurrence = :occurrence END
        ORDER BY r.id LIMIT :limit
    ) AS d
    ORDER BY d.id LIMIT :limit
""")

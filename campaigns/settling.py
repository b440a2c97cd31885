"""Moves of the ledger that people make: what became of a mail of unknown outcome, and what failed is sent again."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput, NotFound
from base.ids import TEST_BIT
from campaigns import accounting, admin_log, deliveries, sweeping
from campaigns.admin_log import Actor
from campaigns.campaigns import campaign as campaign_of
from campaigns.models.delivery import Delivery
from campaigns.models.sending import DeliveryRetry

RETRIED: Final = ("sending", "paused", "finished")
"""States of a campaign whose failed mails can be sent again."""
MAX_AGAIN: Final = 50_000
"""Mails that are sent again at a time, so that it ends within a request; the rest the next time."""
RESOLUTIONS: Final = ("accepted", "failed", "queued")


def resolve(session: Session, delivery_id: int, outcome: str, now: datetime, by: Actor) -> None:
    """A person's word on a row that is unknown: it was "accepted", it "failed", or send it again ("queued").

    What is sent again keeps what it said, as what failed does: it may have been taken all the same. Raises Conflict
    when the row is not unknown (any more).
    """
    if outcome not in RESOLUTIONS:
        raise InvalidInput("outcome", f"must be one of {', '.join(RESOLUTIONS)}")
    row = session.get(Delivery, delivery_id, with_for_update=True)
    if row is None:
        raise NotFound("delivery", delivery_id)
    if row.state != "unknown":
        raise Conflict(f"The delivery is {row.state}, not unknown.")
    if outcome == "queued":
        told = {"reason": row.reason, "reply": row.reply, "attempts": row.attempts}
        session.add(DeliveryRetry(delivery_id=delivery_id, at=now, by=by.name, **told))
    row.state, row.reason, row.handing = outcome, deliveries.SETTLED, False
    row.settled_at = None if outcome == "queued" else now
    if outcome == "accepted":
        row.sent_at = row.sent_at or now
    if outcome == "queued":
        row.enqueued_at = None
        sweeping.reopen(session, row.campaign_id, [row.occurrence])
    admin_log.record(
        session, by, "resolve", "delivery", delivery_id, now, before={"state": "unknown"}, after={"state": outcome}
    )


def send_again(
    session: Session, campaign_id: int, now: datetime, by: Actor, *, state: str = "failed", reason: str | None = None
) -> int:
    """Send a campaign to those of its people whose mail failed, or only those with a reason; returns how many.

    `state`: "failed" for all of them, "refused" or "unsent" for those (`accounting.kinds`). Only failed rows
    are moved: what a server took, or may have taken, is never sent again. What each said is kept with who had it sent
    again. Consent and suppression are looked at anew when it leaves. A campaign that has finished goes on; a paused one
    stays paused. At most MAX_AGAIN are moved, the first before the others. Raises Conflict when it never began, or was
    cancelled.
    """
    campaign = campaign_of(session, campaign_id)
    # Before its rows: whoever cancels it meanwhile waits, or is seen.
    session.refresh(campaign, with_for_update={"key_share": True})
    if campaign.state not in RETRIED:
        raise Conflict(
            f"The campaign is {campaign.state}; mails are sent again only when it has begun and is not over."
        )
    reasons = [kind[1] for kind in accounting.kinds(session, campaign_id, state=state, reason=reason)]
    told = {"campaign": campaign_id, "reasons": reasons, "test": TEST_BIT, "now": now, "by": by.name, "most": MAX_AGAIN}
    rows = session.execute(_SEND_AGAIN, told).all()
    runs, judged = [row.occurrence for row in rows], sum(not deliveries.is_our_fault(row.reason) for row in rows)
    if not runs:
        return 0
    sweeping.reopen(session, campaign_id, set(runs))
    session.refresh(campaign)
    # They are tried anew, so they are judged anew.
    campaign.judged_failures = max(0, campaign.judged_failures - judged)
    campaign.judged_tries = max(0, campaign.judged_tries - judged)
    after = {"mails": len(runs)} | ({} if state == "failed" else {"state": state})
    after |= {} if reason is None else {"reason": reason}
    admin_log.record(session, by, "send again", "campaign", campaign_id, now, after=after)
    return len(runs)


def retries(session: Session, delivery_id: int) -> list[DeliveryRetry]:
    """What a delivery said each time before a person had it sent again, the first first."""
    query = select(DeliveryRetry).where(DeliveryRetry.delivery_id == delivery_id).order_by(DeliveryRetry.id)
    return list(session.scalars(query))


# A row that is locked by another who does the same has been moved when the lock is free, and is left alone.
_SEND_AGAIN: Final = text("""
    WITH failed AS MATERIALIZED (
        SELECT id, reason, reply, attempts FROM delivery
        WHERE campaign_id = :campaign AND state = 'failed' AND occurrence < :test
          AND coalesce(reason, '') = ANY(CAST(:reasons AS text[]))
        ORDER BY id LIMIT :most FOR UPDATE
    ), kept AS (
        INSERT INTO delivery_retry (delivery_id, at, reason, reply, attempts, by)
        SELECT id, :now, reason, reply, attempts, :by FROM failed
    )
    UPDATE delivery d SET state = 'queued', reason = NULL, reply = NULL, attempts = 0, handing = false,
        settled_at = NULL, not_before = NULL, waits_for = NULL, enqueued_at = NULL
    FROM failed f WHERE d.id = f.id
    RETURNING d.occurrence, f.reason
""")

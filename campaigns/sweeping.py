"""Bringing back what is stuck in the ledger, and reopening runs and campaigns whose rows wait again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import troubles
from campaigns.deliveries import SENDER_LOST

MAX_SKIPPED: Final = 20_000
"""Rows of cancelled campaigns that are skipped in one round."""


def sweep(session: Session, now: datetime) -> dict[str, int]:
    """Bring back what is stuck, and say how much of each: expired claims, mails whose time has come, cancelled rows.

    Of cancelled campaigns a piece is skipped at a time, and their runs that are due are cancelled. One campaign after
    the other, so that none is held up by another's error. The caller commits.
    """
    swept = Counter({"unknown": 0, "requeued": 0, "due": 0, "cancelled": 0})
    for campaign in session.scalars(_STUCK, {"now": now, "test": TEST_BIT}).all():
        with troubles.apart(session, campaign, now, "its mails that wait cannot be brought back"):
            swept.update(_sweep(session, campaign, MAX_SKIPPED - swept["cancelled"], now))
    return dict(swept)


def _sweep(session: Session, campaign: int, most: int, now: datetime) -> dict[str, int]:
    told = {"campaign": campaign, "now": now, "test": TEST_BIT}
    expired = session.execute(_EXPIRE, told).all()
    due = session.execute(_DUE, told).all()
    _bring_back(session, campaign, {row.occurrence for row in due if row.occurrence < TEST_BIT})
    session.execute(_CANCEL_RUNS, told)
    gone = session.execute(_CANCELLED, told | {"most": most})
    return {
        "unknown": sum(row.state == "unknown" for row in expired),
        "requeued": sum(row.state == "queued" for row in expired),
        "due": len(due),
        "cancelled": len(gone.all()),
    }


def reopen(session: Session, campaign_id: int, runs: Collection[int]) -> None:
    """Have runs go on that had ended, and their campaign, when rows of them wait again. The caller commits."""
    # The campaign first, as everybody does who changes both; whoever is ending it is waited for.
    told = {"campaign": campaign_id}
    session.execute(_LOCK_CAMPAIGN, told)
    session.execute(_REOPEN_CAMPAIGN, told)
    session.execute(_REOPEN, told | {"runs": sorted(runs)})


def _bring_back(session: Session, campaign: int, runs: Collection[int]) -> None:
    """Reopen those of the runs that have ended: a row of theirs was given up as unknown, and its sender came back."""
    ended = session.scalars(_ENDED, {"campaign": campaign, "runs": sorted(runs)}).all() if runs else []
    if ended:
        reopen(session, campaign, ended)


_STUCK: Final = text("""
    SELECT campaign_id FROM delivery WHERE state = 'claimed' AND lease_until < :now
    UNION SELECT campaign_id FROM delivery WHERE state = 'deferred' AND not_before <= :now
    UNION SELECT c.id FROM campaign c WHERE c.state = 'cancelled' AND (
        EXISTS (
            SELECT 1 FROM delivery d
            WHERE d.campaign_id = c.id AND d.state IN ('queued', 'deferred') AND d.occurrence < :test
        )
        OR EXISTS (SELECT 1 FROM occurrence o WHERE o.campaign_id = c.id AND o.state = 'due' AND o.number < :test)
    )
    ORDER BY 1
""")

_EXPIRE: Final = text(f"""
    UPDATE delivery SET
        state = CASE WHEN handing THEN 'unknown' ELSE 'queued' END,
        reason = CASE WHEN handing THEN '{SENDER_LOST}' END,
        settled_at = CASE WHEN handing THEN :now ::timestamptz END,
        handing = false, lease_until = NULL, enqueued_at = NULL
    WHERE campaign_id = :campaign AND state = 'claimed' AND lease_until < :now
    RETURNING state
""")  # noqa: S608 - of constants alone

_DUE: Final = text("""
    UPDATE delivery SET state = 'queued', not_before = NULL, enqueued_at = NULL
    WHERE campaign_id = :campaign AND state = 'deferred' AND not_before <= :now RETURNING occurrence
""")

# As an inner query the piece might be taken again for each row, and so be larger than it may.
_CANCELLED: Final = text("""
    WITH piece AS MATERIALIZED (
        SELECT d.id FROM delivery d JOIN campaign c ON c.id = d.campaign_id
        WHERE c.id = :campaign AND c.state = 'cancelled' AND d.state IN ('queued', 'deferred') AND d.occurrence < :test
        LIMIT :most FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE delivery SET state = 'skipped', reason = 'cancelled', settled_at = :now
    FROM piece WHERE delivery.id = piece.id
    RETURNING delivery.id
""")

# One that is being frozen is left alone: what that makes is cancelled the next time.
_CANCEL_RUNS: Final = text("""
    UPDATE occurrence SET state = 'cancelled'
    WHERE (campaign_id, number) IN (
        SELECT o.campaign_id, o.number FROM occurrence o JOIN campaign c ON c.id = o.campaign_id
        WHERE c.id = :campaign AND c.state = 'cancelled' AND o.state = 'due' AND o.number < :test
        FOR UPDATE OF o SKIP LOCKED
    )
""")

_ENDED: Final = text("""
    SELECT number FROM occurrence
    WHERE campaign_id = :campaign AND number = ANY(CAST(:runs AS bigint[])) AND state = 'finished'
""")

_LOCK_CAMPAIGN: Final = text("SELECT 1 FROM campaign WHERE id = :campaign FOR NO KEY UPDATE")

_REOPEN_CAMPAIGN: Final = text("UPDATE campaign SET state = 'sending' WHERE id = :campaign AND state = 'finished'")

_REOPEN: Final = text("""
    UPDATE occurrence SET state = 'sending', finished_at = NULL
    WHERE campaign_id = :campaign AND number = ANY(CAST(:runs AS bigint[])) AND state = 'finished'
""")

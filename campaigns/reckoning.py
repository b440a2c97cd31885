"""Results that need everybody's signals (success, arms, profit, exits, guard), counted ahead where that takes long.

What a campaign changed is counted from the ledger and the stored signals of everybody who was mailed, and who they are
now. Up to LIVE mails a page counts that itself. Of larger campaigns a worker counts it again and again, and pages show
the newest count with the moment it is as of; it is whole, as a page would have counted it then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import DateTime, Integer, Text, func, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import Unavailable
from base.ids import TEST_BIT
from campaigns import accounting

LIVE: Final = 2_000
"""Accepted mails up to which a page counts for itself: some 0.1 s."""
FRESH: Final = ((timedelta(days=2), timedelta(minutes=5)), (timedelta(days=40), timedelta(hours=1)))
"""Until so long after the newest run was fixed it is counted so often; after that daily."""
RARELY: Final = timedelta(days=1)
RETRY_SECONDS: Final = 60
MAX_DUE: Final = 20
Value = TypeVar("Value")


class Reckoning(Model):
    """One result of a campaign as it was counted at a moment."""

    __tablename__ = "reckoning"

    campaign_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    what: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    document: Mapped[Any] = mapped_column(JSONB, nullable=False)


class NotCounted(Unavailable):
    """A large campaign's result that was not counted yet."""

    def __init__(self) -> None:
        super().__init__("The count of this campaign's results", RETRY_SECONDS)


def is_large(session: Session, campaign_id: int) -> bool:
    """Whether a campaign's results are counted ahead."""
    return accounting.account(session, campaign_id)["accepted"] > LIVE


def reckoned(
    session: Session,
    campaign_id: int,
    what: str,
    kind: Any,
    count: Callable[[], Value],
    anew: datetime | None = None,
) -> Value:
    """A result, of type `kind`: counted now if the campaign is small, else the newest count.

    Raises NotCounted before the first.

    `anew`: counted now in any case, and kept as of that moment.
    """
    if anew is None:
        if not is_large(session, campaign_id):
            return count()
        row = session.get(Reckoning, (campaign_id, what))
        if row is None:
            raise NotCounted
        found: Value = msgspec.convert(row.document, kind)
        return found
    value = count()
    kept = insert(Reckoning).values(
        campaign_id=campaign_id, what=what, at=anew, document=msgspec.to_builtins(value, str_keys=True)
    )
    changed = {name: kept.excluded[name] for name in ("at", "document")}
    session.execute(kept.on_conflict_do_update(index_elements=[Reckoning.campaign_id, Reckoning.what], set_=changed))
    return value


def as_of(session: Session, campaign_id: int) -> datetime | None:
    """The moment of the oldest of a campaign's newest counts; None where pages count for themselves."""
    if not is_large(session, campaign_id):
        return None
    return session.scalar(select(func.min(Reckoning.at)).where(Reckoning.campaign_id == campaign_id))


def due(session: Session, now: datetime) -> Sequence[int]:
    """The campaigns whose results are to be counted now, those that waited longest first."""
    given = {
        "test": TEST_BIT, "live": LIVE, "now": now, "most": MAX_DUE, "rarely": RARELY,
        "young": FRESH[0][0], "often": FRESH[0][1], "grown": FRESH[1][0], "hourly": FRESH[1][1],
    }  # fmt: skip
    return session.scalars(_DUE, given).all()


# A definition that was named since the last count is counted at once.
_DUE: Final = text("""
    SELECT large.campaign_id
    FROM (
        SELECT campaign_id FROM delivery_count WHERE state = 'accepted' AND occurrence < :test
        GROUP BY campaign_id HAVING sum(number) > :live
    ) large
    CROSS JOIN LATERAL (
        SELECT max(o.frozen_at) AS run FROM occurrence o
        WHERE o.campaign_id = large.campaign_id AND o.number < :test
    ) newest
    LEFT JOIN LATERAL (
        SELECT min(r.at) AS counted FROM reckoning r WHERE r.campaign_id = large.campaign_id
    ) last ON true
    WHERE last.counted IS NULL
       OR last.counted <= :now - CASE
            WHEN newest.run > :now - CAST(:young AS interval) THEN CAST(:often AS interval)
            WHEN newest.run > :now - CAST(:grown AS interval) THEN CAST(:hourly AS interval)
            ELSE CAST(:rarely AS interval) END
       OR EXISTS (SELECT FROM campaign_goal g WHERE g.campaign_id = large.campaign_id AND g.named_at > last.counted)
       OR EXISTS (SELECT FROM profit_terms t WHERE t.campaign_id = large.campaign_id AND t.named_at > last.counted)
    ORDER BY last.counted NULLS FIRST, large.campaign_id LIMIT :most
""")

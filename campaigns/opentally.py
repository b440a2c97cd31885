"""The kept counts of what happened at opens: results add up a few rows, however many opens there were.

Triggers of the tables by month count every row that comes, moves or goes, in the same transaction (migration 0035): a
fetch that is told another class in hindsight, a decision that is stored late and rows that expire are all counted, and
nobody can forget to. Changes are rows of their own, so that recorders do not wait for each other; now and then a piece
of them is folded into the one row of each name. People are counted once a run: `sight_count` has how often somebody
was, surely or possibly, seen at a mail or at an offer, under the name their records are kept by, and only coming to be
seen, or ceasing to be, counts. `rebuild` counts the records themselves.
"""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Final

from sqlalchemy import BigInteger, Boolean, Identity, Index, Integer, Text, Uuid, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model

_LOCK: Final = 6_024_002
"""The advisory lock of those who fold or rebuild."""
PIECE: Final = 10_000
"""Changes that are folded at once."""


class OpenCount(Model):
    """A change of one count of a campaign, or the sum of earlier changes (`folded`).

    `what` and `name` are those of `campaigns.expired.WHAT`, and three more: *ms* (fetches by the time they took, in ms
    to a tenth), *orders* and *cents* (credited orders and what they came to, by offer, "/" and currency).
    """

    __tablename__ = "open_count"
    __table_args__ = (
        Index("open_count_name", "campaign_id", "what", "name"),
        Index("open_count_new", "id", postgresql_where=text("NOT folded")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(Integer)
    what: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    number: Mapped[int] = mapped_column(BigInteger)
    folded: Mapped[bool] = mapped_column(Boolean, server_default="false")


class SightCount(Model):
    """How many fetches of somebody in one run were of which kind; offer 0: of the mail, else those that showed it."""

    __tablename__ = "sight_count"

    campaign_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    occurrence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    subject_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    offer_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    surely: Mapped[int] = mapped_column(Integer)
    possibly: Mapped[int] = mapped_column(Integer)
    machine: Mapped[int] = mapped_column(Integer)


def counts(session: Session, campaign_id: int) -> Counter[tuple[str, str]]:
    """What the records of a campaign's runs that are no tests come to: (what, name) -> number."""
    rows = session.execute(_COUNTS, {"campaign": campaign_id})
    return Counter({(row.what, row.name): int(row.number) for row in rows})


def fold(session: Session, most: int = PIECE) -> int:
    """Add the oldest changes, at most so many, to the rows that have their counts; how many. The caller commits."""
    if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}):
        return 0
    return int(session.scalar(_FOLD, {"most": most}) or 0)


def rebuild(session: Session, campaign_id: int) -> None:
    """Count a campaign's records anew. Recorders wait meanwhile, opens do not. The caller commits."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    # Whoever stores records has counted them before this is granted, or counts them after it is given back.
    session.execute(text("LOCK TABLE open_count, sight_count IN SHARE ROW EXCLUSIVE MODE"))
    for table in ("open_count", "sight_count"):
        session.execute(text(f"DELETE FROM {table} WHERE campaign_id = :campaign"), {"campaign": campaign_id})  # noqa: S608
    session.execute(text("SELECT recount_opens(:campaign)"), {"campaign": campaign_id})


_COUNTS: Final = text("""
    SELECT what, name, sum(number) AS number FROM open_count WHERE campaign_id = :campaign
    GROUP BY what, name HAVING sum(number) <> 0
""")
# What others add meanwhile is not seen and not taken: it is folded the next time.
_FOLD: Final = text("""
    WITH piece AS MATERIALIZED (
        SELECT id, campaign_id, what, name FROM open_count WHERE NOT folded ORDER BY id LIMIT :most
    ), before AS (
        SELECT k.id FROM (SELECT DISTINCT campaign_id, what, name FROM piece) g CROSS JOIN LATERAL (
            -- One look-up each: the offset keeps the planner from reading all counts instead.
            SELECT c.id FROM open_count c
            WHERE c.campaign_id = g.campaign_id AND c.what = g.what AND c.name = g.name AND c.folded OFFSET 0
        ) k
    ), gone AS (
        DELETE FROM open_count WHERE id IN (SELECT id FROM piece UNION ALL SELECT id FROM before)
        RETURNING campaign_id, what, name, number
    ), kept AS (
        INSERT INTO open_count (campaign_id, what, name, number, folded)
        SELECT campaign_id, what, name, sum(number), true FROM gone GROUP BY 1, 2, 3 HAVING sum(number) <> 0
    )
    SELECT count(*) FROM piece
""")

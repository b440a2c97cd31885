"""The kept counts of the ledger: how many rows of a run are in a state for a reason, without counting rows.

A trigger of the ledger writes what every statement changes as rows of their own, in the same transaction: whoever moves
a row cannot forget to count it, and nobody waits for another's lock. A count is the sum of those rows; now and then
they are folded into one. `rebuild` counts the ledger itself.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT

OPEN: Final = ("queued", "claimed", "deferred")
"""States of rows of which something is still to come."""
_LOCK: Final = 6_024_001
"""The advisory lock of those who fold or rebuild."""


def counts(session: Session, campaign_id: int, occurrence: int | None = None) -> dict[tuple[str, str], int]:
    """How many rows are in a state for a reason ("": none), of a run or of all runs that are no tests."""
    rows = session.execute(_COUNTS, {"campaign": campaign_id, "occurrence": occurrence, "test": TEST_BIT})
    return {(row.state, row.reason): int(row.number) for row in rows}


def fold(session: Session) -> int:
    """Make one row of each count that has new ones; returns how many rows went. The caller commits."""
    if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}):
        return 0
    return int(session.scalar(_FOLD) or 0)


def rebuild(session: Session, campaign_id: int) -> None:
    """Count a campaign's rows anew. The caller commits."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    session.execute(_REBUILD, {"campaign": campaign_id})


_COUNTS: Final = text("""
    SELECT state, reason, sum(number) AS number FROM delivery_count
    WHERE campaign_id = :campaign AND CASE
        WHEN CAST(:occurrence AS bigint) IS NULL THEN occurrence < :test ELSE occurrence = :occurrence END
    GROUP BY state, reason HAVING sum(number) <> 0 ORDER BY state, sum(number) DESC, reason
""")

# What others add meanwhile is not seen and not taken: it is folded the next time.
_FOLD: Final = text("""
    WITH grown AS (
        SELECT DISTINCT campaign_id, occurrence FROM delivery_count WHERE NOT folded
    ), gone AS (
        DELETE FROM delivery_count c USING grown g
        WHERE c.campaign_id = g.campaign_id AND c.occurrence = g.occurrence
        RETURNING c.campaign_id, c.occurrence, c.state, c.reason, c.number
    ), kept AS (
        INSERT INTO delivery_count (campaign_id, occurrence, state, reason, number, folded)
        SELECT campaign_id, occurrence, state, reason, sum(number), true FROM gone
        GROUP BY 1, 2, 3, 4 HAVING sum(number) <> 0
    )
    SELECT count(*) FROM gone
""")

# One statement sees one moment: moves that are under way are in neither the rows that go nor those that come.
_REBUILD: Final = text("""
    WITH gone AS (DELETE FROM delivery_count WHERE campaign_id = :campaign)
    INSERT INTO delivery_count (campaign_id, occurrence, state, reason, number, folded)
    SELECT campaign_id, occurrence, state, coalesce(reason, ''), count(*), true FROM delivery
    WHERE campaign_id = :campaign GROUP BY 1, 2, 3, 4
""")

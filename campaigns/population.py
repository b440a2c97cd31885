"""The profiles a rule describes, as SQL: those who have a state, which are persons (roots of merges) not erased."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from campaigns import rulebook
from signals import rules_sql
from signals.profiles import ProfileStateRow

READ: Final = ("profile", "profile_state", "identifier", "event", "holdout_assignment")
"""The large tables that a question about people reads."""


def matching(session: Session, rule: Mapping[str, Any], now: datetime, field: str = "audience") -> Select[int]:
    """A query of the ids of all persons who fit the rule now. Raises InvalidInput naming the path in the rule."""
    read = rulebook.check(session, rule, "audience", field)
    refresh_statistics(session)
    return select(ProfileStateRow.profile_id).where(rules_sql.where(read, now))


def misplaced(session: Session, segment: int, now: datetime) -> dict[int, bool]:
    """The persons whose state does not say of a segment what its rule does, by number: whether they fit.

    One pass over the states. Raises InvalidInput naming the path in the rule.
    """
    read = rulebook.check(session, {"segment": segment}, "audience", "rule")
    refresh_statistics(session)
    fits = rules_sql.where(read, now)
    query = (
        select(ProfileStateRow.profile_id, fits.label("fits"))
        .where(fits != ProfileStateRow.document["segments"].contains([segment]))
        .order_by(ProfileStateRow.profile_id)
    )
    return {row.profile_id: row.fits for row in session.execute(query)}


def refresh_statistics(session: Session) -> None:
    """Let the planner see tables that grew much since it last looked, once a session.

    Right after a bulk load its idea of them is empty, and it compares all people with all: minutes instead of a second.
    The server would look by itself, up to a minute later; the threshold here is its own (a tenth, and 50 rows). Its
    count of new rows comes seconds late, so a table's size tells too. What somebody looks at just then is left to them.
    """
    if session.info.get(_LOOKED):
        return
    session.info[_LOOKED] = True
    stale = session.scalars(_STALE, {"names": list(READ)}).all()
    for name in stale:
        session.execute(text(f'ANALYZE (SKIP_LOCKED) "{name}"'))


_LOOKED: Final = "statistics looked at"
_STALE: Final = text("""
    SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    WHERE s.relname = ANY(:names) AND s.schemaname = current_schema()
      AND (s.n_mod_since_analyze > 50 + 0.1 * greatest(c.reltuples, 0)
           OR c.reltuples < 0 AND pg_relation_size(c.oid) > 0
           OR pg_relation_size(c.oid) > (10 + 1.1 * c.relpages) * current_setting('block_size')::int)
    ORDER BY s.relname
""")

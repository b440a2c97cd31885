"""Segments as opens know them: who is in one is found here by its rule and written into the states that opens read.

A rule at an open cannot ask the database, so it asks the state for membership. Kept up are the segments that offers and
suppression rules name; the schedule loop does it every minute, and for a segment that is newly named at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import cast as sql_cast
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from sqlalchemy.types import Text

from base.db import transaction
from campaigns.models import Campaign, Offer, Segment
from campaigns.population import matching
from campaigns.segments import names
from signals.intake import Intake
from signals.membership import assign

MOST: Final = 200
"""Segments kept up; it is also what one state holds."""


def named(session: Session) -> list[int]:
    """The segments that an open may be asked for, at most MOST: those which offers and suppression rules name."""
    rules = (Offer.legal, Offer.relevant, Offer.beneficial)
    spoken = or_(*(sql_cast(rule, Text).contains('"segment"') for rule in rules))
    found: set[int] = set()
    for row in session.execute(select(*rules).where(Offer.archived_at.is_(None), spoken)):
        found |= names(list(row))
    for rule in session.scalars(select(Campaign.suppress).where(Campaign.suppress.is_not(None))):
        found |= names(rule)
    return list(session.scalars(select(Segment.id).where(Segment.id.in_(found)).order_by(Segment.id).limit(MOST)))


def keep_up(intake: Intake, wanted: Iterable[int], now: datetime) -> int:
    """Write who is in these segments now; returns how many states changed. Raises Unavailable."""
    changed = 0
    for segment in wanted:
        with transaction(intake.sessions) as session:
            members = list(session.scalars(matching(session, {"segment": segment}, now, "rule")))
        changed += assign(intake, segment, members, now)
    return changed

"""A person's own hour: the hour of the day, by their clocks, in which they usually click in mails.

It is the hour in which a person did so on most days of the last half year, if on three days at least; of equal ones the
earlier. Clicks told as a machine's or a test's tell no habit, and opens tell none at all: of the fetches that look like
a person's too many are not (docs/observed-fetches.md).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    CTE,
    Date,
    Integer,
    Select,
    Text,
    cast,
    column,
    extract,
    func,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased

from campaigns.opens import Click
from signals.profiles import Profile

SINCE: Final = timedelta(days=180)
LEAST_DAYS: Final = 3
"""Days on which somebody must have been there in an hour for it to be theirs."""
UNKNOWN: Final = -1
"""Stands for the hour of who has none."""
_PERSON: Final = "person"
_SAID: Final = ("taken", "refused")


def own_hours(found: CTE, now: datetime) -> CTE:
    """Of people with their zones (`profile_id`, `zone`) those who have an hour of their own: (profile_id, hour)."""
    # A zone that the database does not know by this name is told by UTC instead of ending the statement.
    known = select(column("name", Text)).select_from(table("pg_timezone_names", column("name", Text))).cte("told_zone")
    clicked = _clicked(found, known, now).subquery("clicked")
    hour = cast(extract("hour", clicked.c.local), Integer)
    days = func.count(func.distinct(cast(clicked.c.local, Date)))
    usual = (
        select(clicked.c.profile_id, hour.label("hour"), days.label("days"))
        .group_by(clicked.c.profile_id, hour)
        .having(days >= LEAST_DAYS)
        .subquery("usual")
    )
    return (
        select(usual.c.profile_id, usual.c.hour)
        .ext(distinct_on(usual.c.profile_id))
        .order_by(usual.c.profile_id, usual.c.days.desc(), usual.c.hour)
        .cte("own_hour")
    )


def _clicked(found: CTE, known: CTE, now: datetime) -> Select[Any]:
    """When people clicked, by their clocks."""
    member = aliased(Profile)
    zone = func.coalesce(known.c.name, "UTC")
    return (
        select(found.c.profile_id, func.timezone(zone, Click.at).label("local"))
        .join(member, member.root_id == found.c.profile_id)
        .join(Click, Click.profile_id == member.id)
        .outerjoin(known, known.c.name == found.c.zone)
        .where(Click.at > now - SINCE, Click.at <= now, Click.fetch_class == _PERSON, Click.outcome.not_in(_SAID))
    )

"""Who is in a segment now: its people, a page at a time, by the number of their profile.

They are found by the segment's rule, as its count and its exports are: states say who is in a segment only of those
that opens ask for. A page goes on after a number and reads forward along the states from there, first a few of them,
then twice as many, until it is full or a second is over. So it costs the same anywhere in a million people; where few
fit, it ends early and says how far it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from base.clock import monotonic
from base.errors import Conflict
from campaigns import customers
from campaigns.customers import Name
from campaigns.population import matching
from campaigns.segments import EDIT_SECONDS, in_time, segment
from signals.profiles import ProfileStateRow

MOST: Final = 50
"""People of one page."""
LOOKED_THROUGH: Final = 50_000
"""States that are looked through at first, of whom the rule is asked."""
SECONDS: Final = 1.0
"""When so long was looked, a page ends where it came to."""
TOO_LONG: Final = f"Who is in it takes longer than {EDIT_SECONDS} s to find. It is counted all the same, once a day."


@dataclass(frozen=True)
class Member:
    """One who is in a segment; `names` are the newest identifier of each kind, the strongest first."""

    profile: int
    name: str
    names: list[Name]


@dataclass(frozen=True)
class Page:
    """People of a segment. `following` is the number after which others may come, None at the end."""

    people: list[Member]
    following: int | None


def members(
    session: Session, segment_id: int, now: datetime, *, after: int = 0, most: int = MOST, named: bool = True
) -> Page:
    """At most `most` people of a segment, of those with a higher number than `after`; `named`: by their names too.

    Raises NotFound, InvalidInput where its rule does not hold any more, Conflict where finding them takes too long.
    """
    found, following = _found(session, segment(session, segment_id).id, now, after, most)
    names = customers.display_names(session, found) if named else {}
    known = customers.known_by(session, found)
    return Page(
        [Member(one, names.get(one) or customers.display_name(None, one), known[one]) for one in found], following
    )


def _found(session: Session, segment_id: int, now: datetime, after: int, most: int) -> tuple[list[int], int | None]:
    fits = matching(session, {"segment": segment_id}, now, "segment").order_by(ProfileStateRow.profile_id)
    found: list[int] = []
    end, width, until = after, LOOKED_THROUGH, monotonic() + SECONDS
    while True:
        last, looked = _ahead(session, end, width)
        ahead = fits.where(ProfileStateRow.profile_id > end, ProfileStateRow.profile_id <= last)
        more = _in_time(session, ahead.limit(most + 1 - len(found)))
        if more is None:
            if end == after:
                raise Conflict(TOO_LONG)
            return found, end
        found += more
        if len(found) > most:
            return found[:most], found[most - 1]
        if looked < width:
            return found, None
        end, width = last, 2 * width
        if monotonic() >= until:
            return found, end


def _in_time(session: Session, query: Select[int]) -> Sequence[int] | None:
    return in_time(session, lambda: session.scalars(query).all())


def _ahead(session: Session, after: int, width: int) -> tuple[int, int]:
    """The number of the last of the next so many states, and how many there are."""
    ordered = select(ProfileStateRow.profile_id).where(ProfileStateRow.profile_id > after)
    ahead = ordered.order_by(ProfileStateRow.profile_id).limit(width).subquery()
    row = session.execute(select(func.max(ahead.c.profile_id), func.count()).select_from(ahead)).one()
    return row[0] or after, row[1]

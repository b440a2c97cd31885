"""Segments as opens know them: who is in one is found here by its rule and written into the states that opens read.

A rule at an open cannot ask the database, so it asks the state for membership. Kept up are the segments that offers and
suppression rules name. Every signal tells by itself whom it brings into them (`signals/livesegments.py`); everybody is
gone through every minute, for what time and history windows change, and for a segment that is newly named at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import Final

from redis import RedisError
from sqlalchemy import cast as sql_cast
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from sqlalchemy.types import Text

from base import logs
from base.db import is_away, transaction
from base.errors import InvalidInput, reason
from campaigns import leftaside, rulebook
from campaigns.leftaside import LeftAside
from campaigns.models import Campaign, Offer, Segment
from campaigns.population import misplaced
from campaigns.segments import names
from signals import livesegments
from signals.intake import Intake
from signals.membership import pieces

MOST: Final = livesegments.SEGMENTS
"""Segments kept up; it is also what one state holds."""
_log = logs.logger(__name__)


def named(session: Session) -> list[int]:
    """The segments that an open may be asked for, at most MOST: those which offers and suppression rules name."""
    found: set[int] = set()
    for _, mentioned in _mentions(session):
        found |= mentioned
    for rule in session.scalars(select(Campaign.suppress).where(Campaign.suppress.is_not(None))):
        found |= names(rule)
    return list(session.scalars(select(Segment.id).where(Segment.id.in_(found)).order_by(Segment.id).limit(MOST)))


def _mentions(session: Session) -> Iterator[tuple[int, set[int]]]:
    """The offers whose rules name segments, and which."""
    rules = (Offer.legal, Offer.relevant, Offer.beneficial)
    spoken = or_(*(sql_cast(rule, Text).contains('"segment"') for rule in rules))
    for number, *own in session.execute(select(Offer.id, *rules).where(Offer.archived_at.is_(None), spoken)):
        yield number, names(own)


def asking(session: Session, segments: Collection[int]) -> list[int]:
    """The campaigns that are to go out, or do, whose opens ask for one of these segments."""
    wanted = set(segments)
    offers = {number for number, mentioned in _mentions(session) if mentioned & wanted}
    rows = session.execute(
        select(Campaign.id, Campaign.slots, Campaign.suppress).where(Campaign.state.in_(("scheduled", "sending")))
    )
    return [
        row.id
        for row in rows
        if names(row.suppress) & wanted or any(offers & {slot["default"], *slot["offers"]} for slot in row.slots)
    ]


def left_aside(session: Session) -> list[LeftAside]:
    """The segments that an open may be asked for and that are left aside."""
    return leftaside.standing(session, named(session))


def check(session: Session, campaign: Campaign) -> None:
    """Whether it can be told who is in the segments that a campaign's opens ask for. Raises InvalidInput naming one."""
    offers = {number for slot in campaign.slots for number in (slot["default"], *slot["offers"])}
    wanted = names(campaign.suppress)
    for number, mentioned in _mentions(session):
        if number in offers:
            wanted |= mentioned
    for segment in sorted(wanted):
        rulebook.check(session, {"segment": segment}, "audience", f"segment {segment}")
    for one in leftaside.standing(session, wanted - livesegments.written(session)):
        raise InvalidInput(f"segment {one.id}", f"nobody was told yet who is in it: {one.why}")


def follow(session: Session, wanted: Iterable[int]) -> None:
    """Have signals tell whom they bring into these segments, and into no others. The caller commits."""
    rules = {}
    for segment in wanted:
        try:
            rules[segment] = rulebook.expanded(session, {"segment": segment}, "rule")
        except InvalidInput:
            continue  # It does not read any more; going through everybody says so.
    livesegments.follow(session, rules)


def going_through(intake: Intake, wanted: Iterable[int], now: Callable[[], datetime]) -> Iterator[int]:
    """Write who is in these segments now, a piece of some 0.1 s at a time; yields how many states a piece changed.

    A segment that fails is left aside, whatever its error is, and the others go on. Raises Unavailable, RedisError.
    """
    for segment in wanted:
        try:
            yield from _through(intake, segment, now)
        except RedisError:
            raise
        except Exception as error:
            if is_away(error):
                raise
            _log.error("a segment is left aside", segment=segment, error=reason(error))
            with transaction(intake.sessions) as session:
                leftaside.note(session, segment, reason(error), now())


def _through(intake: Intake, segment: int, now: Callable[[], datetime]) -> Iterator[int]:
    with transaction(intake.sessions) as session:
        rule = rulebook.expanded(session, {"segment": segment}, "rule")
        fits = misplaced(session, segment, now())
    yield 0
    yield from pieces(intake, segment, fits, now)
    with transaction(intake.sessions) as session:
        livesegments.tell_written(session, segment, rule)
        leftaside.over(session, segment, now())

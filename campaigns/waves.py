"""Recipients' clocks: which zone each person of an audience is in, and the instant at which their mail may leave.

The instants of a run are worked out once a zone (there are some six hundred) and joined to the people in SQL, so that a
million of them cost one statement. A person's zone is what their profile's trait `timezone` says, else what their
newest signals came with (`context.timezone`), else the campaign's; what names no IANA zone as IANA spells it (`GMT-8`,
"") says nothing, and the next is asked. The ledger keeps the zone and what told it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.orm import Session, aliased

from base.ids import TEST_BIT
from campaigns import habits, timing, wallclock, windows
from campaigns.models.campaign import Campaign
from campaigns.models.delivery import Delivery
from campaigns.timing import Timing
from signals.events import Event
from signals.profiles import Profile, ProfileStateRow

HOUR_PAST: Final = "hour_past"
"""The reason of those who get no mail because its hour was over where they are."""
GRACE: Final = timedelta(minutes=30)
"""An hour that has been over for less is not missed: its mails go at once."""
RECENT: Final = timedelta(days=90)
"""How long a zone that signals came with is believed."""
NEWEST: Final = 20
"""Signals of a person, the newest, that are looked through for a zone."""
FROM_PROFILE, FROM_SIGNALS, FROM_CAMPAIGN = "profile", "signals", "campaign"
MAX_WAVES: Final = 60


@dataclass(frozen=True, slots=True)
class Waves:
    """When the mails of a run may leave, a zone and hour each; None where they may not any more.

    The hour is habits.UNKNOWN for the scheduled time; others are there only where people's own hours count. `zone` is
    the campaign's.
    """

    zone: str
    moments: dict[tuple[str, int], datetime | None]
    since: datetime
    own_hours: bool


def begins(plan: Timing, wall: datetime, at: datetime) -> datetime:
    """When a run begins: at its instant, or where it goes by recipients' clocks, with the first of them."""
    if plan.clocks == "campaign":
        return at
    first = wall.replace(hour=0, minute=0, second=0, microsecond=0) if plan.own_hours else wall
    return min(wallclock.read(first, zone).at for zone in wallclock.zones())


def placed(plan: Timing, wall: datetime, at: datetime, now: datetime) -> datetime:
    """When a run begins that is given its time now: not before now, so that it is not late from the outset."""
    return max(begins(plan, wall, at), now)


def waves(campaign: Campaign, wall: datetime | None, now: datetime) -> Waves | None:
    """The waves of a run that shows `wall` on recipients' clocks; None where nothing goes by theirs."""
    plan = timing.of(campaign.timing)
    windowed = plan.window is not None and plan.window.clocks == "recipient"
    if plan.clocks == "campaign" and not windowed:
        return None
    own = campaign.timezone if wallclock.is_zone(campaign.timezone) else "UTC"
    meant = wall if plan.clocks == "recipient" else None
    own_hours = plan.own_hours and meant is not None
    hours = {habits.UNKNOWN: meant}
    if own_hours and meant is not None:
        hours |= {hour: meant.replace(hour=hour, minute=0, second=0, microsecond=0) for hour in range(24)}
    moments = {
        (zone, hour): _moment(plan, time, zone, own, now) for zone in wallclock.zones() for hour, time in hours.items()
    }
    return Waves(own, moments, now - RECENT, own_hours)


def opening(campaign: Campaign, now: datetime) -> datetime | None:
    """When the mails of a run may leave that goes by no recipient's clock; None for at once."""
    at = windows.opening(timing.of(campaign.timing).window, campaign.timezone, now)
    return at if at > now else None


def zoned(query: Select[Any], who: CTE, plan: Waves) -> Select[Any]:
    """The query of people (`who` joined to their states) with each one's `zone` and `zone_from`."""
    trait = ProfileStateRow.document[("traits", "timezone")].as_string()
    names = literal(list(wallclock.zones()), ARRAY(Text))
    known = select(func.unnest(names).label("name")).cte("zone_name")
    member = aliased(Profile)
    newest = (
        select(Event.figures[("context", "timezone")].as_string().label("zone"), Event.event_time)
        .join(member, member.id == Event.profile_id)
        .where(member.root_id == who.c.profile_id, Event.event_time > plan.since, known.c.name.is_(None))
        .order_by(Event.event_time.desc())
        .limit(NEWEST)
        .correlate(who, known)
        .subquery("newest")
    )
    heard = (
        select(newest.c.zone)
        .where(newest.c.zone == any_(names))
        .order_by(newest.c.event_time.desc())
        .limit(1)
        .lateral("heard")
    )
    told = (
        (known.c.name.is_not(None), literal(FROM_PROFILE)),
        (heard.c.zone.is_not(None), literal(FROM_SIGNALS)),
    )
    return (
        query.add_columns(
            func.coalesce(known.c.name, heard.c.zone, plan.zone).label("zone"),
            case(*told, else_=literal(FROM_CAMPAIGN)).label("zone_from"),
        )
        .outerjoin(known, known.c.name == trait)
        .outerjoin(heard, literal(True))
    )


def moments(plan: Waves) -> CTE:
    """The zones and hours with the instants of their mails, as a table (zone, hour, at)."""
    made = func.unnest(
        bindparam("wave_zones", [zone for zone, _ in plan.moments], ARRAY(Text), unique=True),
        bindparam("wave_hours", [hour for _, hour in plan.moments], ARRAY(Integer), unique=True),
        bindparam("wave_moments", list(plan.moments.values()), ARRAY(DateTime(timezone=True)), unique=True),
    ).table_valued(column("zone", Text), column("hour", Integer), column("at", DateTime(timezone=True)))
    listed = made.render_derived(name="listed")
    return select(listed.c.zone, listed.c.hour, listed.c.at).cte("moment")


def timed(query: Select[Any], found: CTE, moments: CTE, plan: Waves, now: datetime) -> Select[Any]:
    """The query of people with their zones (`found`), and when each one's mail may leave as `not_before`."""
    hour: ColumnElement[int] = literal(habits.UNKNOWN)
    if plan.own_hours:
        own = habits.own_hours(found, now)
        query = query.outerjoin(own, own.c.profile_id == found.c.profile_id)
        hour = func.coalesce(own.c.hour, habits.UNKNOWN)
    return query.add_columns(moments.c.at.label("not_before")).join(
        moments, and_(moments.c.zone == found.c.zone, moments.c.hour == hour)
    )


@dataclass(frozen=True, slots=True)
class Wave:
    """The mails of a run that leave from one instant on: how many are settled, how many wait, how many zones."""

    at: datetime
    mails: int
    waiting: int
    zones: tuple[str, ...]
    unknown: int


def listing(session: Session, campaign_id: int) -> Sequence[Wave]:
    """The waves of a campaign's newest run that goes by recipients' clocks, by their instants; at most 60.

    `unknown` of the mails go by the campaign's zone, because nobody told that of the recipient.
    """
    of_campaign = (Delivery.campaign_id == campaign_id, Delivery.occurrence < TEST_BIT)
    newest = select(func.max(Delivery.occurrence)).where(*of_campaign).scalar_subquery()
    waits = Delivery.state.in_(("queued", "claimed", "deferred"))
    at = func.coalesce(Delivery.sent_at, Delivery.not_before, Delivery.created_at)
    hour = cast("ColumnElement[datetime]", func.date_trunc("hour", at))
    query = (
        select(
            func.min(at),
            func.count(),
            func.count().filter(waits),
            func.array_agg(func.distinct(Delivery.zone)),
            func.count().filter(Delivery.zone_from == FROM_CAMPAIGN),
        )
        .where(*of_campaign, Delivery.occurrence == newest, Delivery.zone.is_not(None), Delivery.state != "skipped")
        .group_by(hour)
        .order_by(hour)
        .limit(MAX_WAVES)
    )
    return [Wave(row[0], row[1], row[2], tuple(sorted(row[3])), row[4]) for row in session.execute(query)]


def _moment(plan: Timing, wall: datetime | None, zone: str, own: str, now: datetime) -> datetime | None:
    """When a mail may leave to somebody in a zone; None where its hour is over and the campaign does without."""
    at = now if wall is None else wallclock.read(wall, zone).at
    if wall is not None and at < now - GRACE:
        if plan.passed == "skip":
            return None
        at = now if plan.passed == "now" else _next_day(wall, zone, at, now)
    window = plan.window
    return windows.opening(window, own if window is None or window.clocks == "campaign" else zone, at)


def _next_day(wall: datetime, zone: str, at: datetime, now: datetime) -> datetime:
    """The wall time of the first day on which it is not over."""
    days = max(1, (now - GRACE - at).days)
    while (at := wallclock.read(wall + timedelta(days=days), zone).at) < now - GRACE:
        days += 1
    return at

"""The runs of a campaign: when one begins, which comes after it, and what becomes of one that could not begin in time.

Whoever calls holds the lock of the run's row, so that of several schedule loops one moves it and makes the next.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import count
from typing import Final

import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import joining, timing, triggers, wallclock, waves
from campaigns.campaigns import Replenish
from campaigns.models.campaign import Campaign, Occurrence
from campaigns.timing import DAYS, Repeat
from campaigns.wallclock import WallTime

ASKED, SKIPPED = "asked", "skipped"
"""What `Occurrence.missed` says of a run that was late: a person was asked, or it was left out."""
MAX_LISTED: Final = 12
"""Runs on a page."""


@dataclass(frozen=True, slots=True)
class Next:
    """When the run after one begins; `wall` is the wall time where it goes by the calendar."""

    due_at: datetime
    wall: datetime | None


def place(session: Session, campaign: Campaign, meant: WallTime, number: int, now: datetime) -> None:
    """Have the next run begin at a wall time: the run that is due is moved, else the one of this number is made."""
    due_at = waves.placed(timing.of(campaign.timing), meant.wall, meant.at, now)
    moved = session.execute(
        update(Occurrence)
        .where(Occurrence.campaign_id == campaign.id, Occurrence.state == "due", Occurrence.number < TEST_BIT)
        .values(due_at=due_at, wall=meant.wall, missed=None)
        .returning(Occurrence.number)
    ).all()
    if not moved:
        session.add(Occurrence(campaign_id=campaign.id, number=number, state="due", due_at=due_at, wall=meant.wall))
        session.flush()


def follow(session: Session, campaign: Campaign, run: Occurrence, now: datetime) -> Next | None:
    """Make the run after this one: the next of its times that is still to come, unless the campaign ends before."""
    coming = after(campaign, run, now)
    if coming is not None:
        session.add(
            Occurrence(
                campaign_id=campaign.id, number=run.number + 1, state="due", due_at=coming.due_at, wall=coming.wall
            )
        )
        session.flush()
    return coming


def after(campaign: Campaign, run: Occurrence, now: datetime) -> Next | None:
    """When the run after one begins that is still to come; None when the campaign ends before, or comes once."""
    if campaign.repeat is not None:
        return _by_calendar(campaign, msgspec.convert(campaign.repeat, Repeat), run, now)
    if campaign.replenish is not None:
        step = timedelta(days=msgspec.convert(campaign.replenish, Replenish).every_days)
    elif campaign.trigger is not None:
        step = triggers.LOOK_EVERY
    elif joining.takes_in(campaign):
        step = joining.LOOK_EVERY
    else:
        return None
    due_at = run.due_at + step * max(1, (now - run.due_at) // step + 1)
    if campaign.ends_at is None or due_at < campaign.ends_at:
        return Next(due_at, None)
    # Whoever came since the look before is met at the end.
    return Next(campaign.ends_at, None) if waits(campaign) and now < campaign.ends_at else None


def look_again(campaign: Campaign, now: datetime) -> datetime:
    """When it is looked again for people who were not there now, the last time at the end."""
    coming = now + (joining.LOOK_EVERY if campaign.trigger is None else triggers.LOOK_EVERY)
    return coming if campaign.ends_at is None else min(coming, campaign.ends_at)


def walls(repeat: Repeat, first: datetime) -> Iterator[datetime]:
    """The wall times by the calendar, from the first on; there is no end to them but that of the calendar."""
    if repeat.every == "month":
        for number in count(0, repeat.each):
            year, month = divmod(first.year * 12 + first.month - 1 + number, 12)
            if year > date.max.year:
                return
            day = min(first.day, monthrange(year, month + 1)[1])
            yield first.replace(year=year, month=month + 1, day=day)
    monday = first - timedelta(days=first.weekday())
    days = sorted(DAYS.index(day) for day in repeat.days) or [first.weekday()]
    for number in count(0, repeat.each):
        try:
            if repeat.every == "day":
                yield first + timedelta(days=number)
                continue
            week = [monday + timedelta(weeks=number, days=day) for day in days]
        except OverflowError:
            return
        yield from (wall for wall in week if wall >= first)


def scheduled(campaign: Campaign) -> WallTime | None:
    """The wall time a campaign is scheduled for, with the instant that was kept with it; None while it is not."""
    if campaign.due_at is None:
        return None
    zone = campaign.due_zone or campaign.timezone
    if campaign.due_wall is None:
        return wallclock.of_instant(campaign.due_at, zone)
    return wallclock.told(campaign.due_wall, zone, campaign.due_at)


def upcoming(campaign: Campaign, now: datetime, most: int) -> list[WallTime]:
    """The next wall times of a recurring campaign that is scheduled, for its page."""
    if campaign.repeat is None or campaign.due_wall is None:
        return []
    found: list[WallTime] = []
    for wall in walls(msgspec.convert(campaign.repeat, Repeat), campaign.due_wall):
        meant = wallclock.read(wall, campaign.due_zone or campaign.timezone)
        if len(found) == most or (campaign.ends_at is not None and meant.at >= campaign.ends_at):
            return found
        if meant.at >= now:
            found.append(meant)
    return found


def is_late(campaign: Campaign, run: Occurrence, now: datetime) -> bool:
    """Whether a run could not begin within the time that the campaign gives it, and nobody has decided on it since."""
    is_look = campaign.trigger is not None or (joining.takes_in(campaign) and run.number > 1)
    if is_look or run.missed == ASKED:
        return False
    missed = timing.of(campaign.timing).missed
    return missed.late != "send" and now - run.due_at > timedelta(minutes=missed.after_minutes)


def asks(campaign: Campaign) -> bool:
    """Whether a person decides on a run that is late."""
    return timing.of(campaign.timing).missed.late == "ask"


def late_words(run: Occurrence, now: datetime) -> str:
    """What a person is told of a late run when asked."""
    late = now - run.due_at
    hours, minutes = divmod(int(late.total_seconds()) // 60, 60)
    words = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    return (
        f"It was to begin on {run.due_at:%-d %b %Y at %H:%M} UTC, and nothing ran then: it is {words} late. "
        "Resume it to send it nevertheless, or leave this run out."
    )


def waits(campaign: Campaign) -> bool:
    """Whether a run begins only when there is somebody for it."""
    return campaign.trigger is not None or joining.takes_in(campaign)


def is_spent(session: Session, campaign: Campaign, run: Occurrence) -> bool:
    """Whether a campaign that mails its audience once has done so in another run."""
    if campaign.kind != "broadcast" or joining.takes_in(campaign):
        return False
    query = select(Occurrence.number).where(
        Occurrence.campaign_id == campaign.id,
        Occurrence.number != run.number,
        Occurrence.number < TEST_BIT,
        Occurrence.frozen_at.is_not(None),
    )
    return session.scalar(query.limit(1)) is not None


def passes_over(campaign: Campaign, run: Occurrence) -> bool:
    """Whether a run only notes who is there already, because newcomers alone are mailed."""
    return campaign.kind == "evergreen" and run.number == 1 and timing.of(campaign.timing).newcomers_only


def leave_out(session: Session, campaign: Campaign, run: Occurrence, now: datetime) -> None:
    """End a run that nobody is mailed by, and make the one after it."""
    run.state, run.missed, run.finished_at = "cancelled", SKIPPED, now
    follow(session, campaign, run, now)


def decided(session: Session, campaign_id: int, now: datetime) -> None:
    """Note of a run whose time has come that a person knows it is late and wants it."""
    session.execute(
        update(Occurrence)
        .where(
            Occurrence.campaign_id == campaign_id,
            Occurrence.state == "due",
            Occurrence.due_at <= now,
            Occurrence.number < TEST_BIT,
        )
        .values(missed=ASKED)
    )


def asked(session: Session, campaign_id: int) -> bool:
    """Whether a late run waits for a person's word."""
    query = select(Occurrence.number).where(
        Occurrence.campaign_id == campaign_id,
        Occurrence.state == "due",
        Occurrence.missed == ASKED,
        Occurrence.number < TEST_BIT,
    )
    return session.scalar(query.limit(1)) is not None


def listing(session: Session, campaign_id: int) -> list[Occurrence]:
    """The newest runs that are no tests, the last first."""
    query = (
        select(Occurrence)
        .where(Occurrence.campaign_id == campaign_id, Occurrence.number < TEST_BIT)
        .order_by(Occurrence.number.desc())
    )
    return list(session.scalars(query.limit(MAX_LISTED)))


def _by_calendar(campaign: Campaign, repeat: Repeat, run: Occurrence, now: datetime) -> Next | None:
    zone = campaign.due_zone or campaign.timezone
    if campaign.due_wall is None or run.wall is None or (repeat.times is not None and run.number >= repeat.times):
        return None
    plan = timing.of(campaign.timing)
    for wall in walls(repeat, campaign.due_wall):
        if wall <= run.wall:
            continue
        meant = wallclock.read(wall, zone)
        due_at = waves.begins(plan, wall, meant.at)
        if campaign.ends_at is not None and meant.at >= campaign.ends_at:
            return None
        if due_at > now:
            return Next(due_at, wall)
    return None

"""Send windows: the stretch of allowed time that holds a moment, or the next one, and the rows that senders ask.

A stretch is written as two instants a campaign and zone. Claims compare them with the present moment, so that mails
stop and go on by themselves, to the second, also while no schedule loop runs; the loop only writes the next stretch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns import timing, wallclock
from campaigns.models.campaign import Campaign
from campaigns.models.timing import OpenHours
from campaigns.timing import DAYS, Window

EVERYWHERE: Final = ""
"""The zone of hours that hold for all recipients of a campaign."""
_LOOK: Final = 15
"""Days looked through: a day of the week comes twice in it, should one be lost to clocks that are put forward."""
IS_OPEN: Final = """
    (c.timing -> 'window' ->> 'clocks' IS NULL OR EXISTS (
        SELECT 1 FROM open_hours o
        WHERE o.campaign_id = c.id AND o.opens_at <= :now AND :now < o.closes_at AND o.zone =
            CASE c.timing -> 'window' ->> 'clocks' WHEN 'recipient' THEN coalesce(d.zone, c.timezone) ELSE '' END
    ))
"""
"""Whether the send window of a campaign `c` is open for a delivery `d`, in SQL. Without a stretch it is not."""
_LASTING: Final = ("scheduled", "sending", "paused")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Allowed time, from the first instant to just before the last."""

    opens_at: datetime
    closes_at: datetime

    def holds(self, at: datetime) -> bool:
        """Whether mails may leave at that instant."""
        return self.opens_at <= at < self.closes_at


def following(window: Window, zone: str, at: datetime) -> Stretch:
    """The stretch that holds an instant, else the next one, by the clocks of a zone."""
    begin = timedelta(minutes=timing.minutes(window.begin, "timing.window.begin"))
    until = timedelta(minutes=timing.minutes(window.until, "timing.window.until"))
    midnight = at.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    for number in range(_LOOK):
        day = midnight + timedelta(days=number)
        if DAYS[day.weekday()] not in window.days:
            continue
        stretch = Stretch(wallclock.read(day + begin, zone).at, wallclock.read(day + until, zone).at)
        if stretch.opens_at < stretch.closes_at and at < stretch.closes_at:
            return stretch
    raise ValueError(f"no day of {window.days} within {_LOOK} days")


def opening(window: Window | None, zone: str, at: datetime) -> datetime:
    """The first instant at or after one at which mails may leave."""
    return at if window is None else max(at, following(window, zone, at).opens_at)


def keep(session: Session, now: datetime) -> None:
    """Write the stretches that are wanted and not there, or over; those of campaigns that are over go.

    Several loops may do it at once: they write the same. A campaign that somebody changes at that moment comes the next
    time, for what was read of it may be over. The caller commits.
    """
    session.execute(
        delete(OpenHours).where(
            OpenHours.campaign_id.in_(
                select(Campaign.id).where(
                    Campaign.id.in_(select(OpenHours.campaign_id)), Campaign.state.not_in(_LASTING)
                )
            )
        )
    )
    windowed = Campaign.timing[("window", "clocks")].as_string()
    lasting = select(Campaign).where(Campaign.state.in_(_LASTING), windowed.is_not(None)).order_by(Campaign.id)
    for campaign in session.scalars(lasting):
        _keep(session, campaign, now)


def forget(session: Session, campaign_id: int) -> None:
    """Let go of the stretches of a campaign whose hours were changed; nothing leaves until they are written anew."""
    session.execute(delete(OpenHours).where(OpenHours.campaign_id == campaign_id))


def closed_until(campaign: Campaign, now: datetime) -> datetime | None:
    """When a campaign's hours begin again; None where they hold now, or go by recipients' clocks, or there are none."""
    window = timing.of(campaign.timing).window
    if window is None or window.clocks == "recipient":
        return None
    stretch = following(window, campaign.timezone, now)
    return None if stretch.holds(now) else stretch.opens_at


def _keep(session: Session, campaign: Campaign, now: datetime) -> None:
    window = timing.of(campaign.timing).window
    if window is None:
        return
    wanted = {zone: zone for zone in wallclock.zones()} if window.clocks == "recipient" else {}
    wanted = wanted or {EVERYWHERE: campaign.timezone}
    lasting = select(OpenHours.zone).where(OpenHours.campaign_id == campaign.id, OpenHours.closes_at > now)
    there = set(session.scalars(lasting))
    missing = [zone for zone in wanted if zone not in there]
    if not missing:
        return
    # Held, it is not changed before the commit; whoever changes it then lets go of what is written here.
    held = select(Campaign.timing, Campaign.timezone).where(Campaign.id == campaign.id)
    if session.execute(held.with_for_update(read=True, skip_locked=True)).first() != (
        campaign.timing,
        campaign.timezone,
    ):
        return
    rows = []
    for zone in missing:
        stretch = following(window, wanted[zone], now)
        rows.append((campaign.id, zone, stretch.opens_at, stretch.closes_at))
    statement = insert(OpenHours).values(rows)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["campaign_id", "zone"],
            set_={"opens_at": statement.excluded.opens_at, "closes_at": statement.excluded.closes_at},
        )
    )

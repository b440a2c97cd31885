"""How tests of timing schedule, let time pass, and look at what became of it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import select

from campaigns import transitions
from campaigns.models import Delivery, Occurrence
from campaigns.timing import Timing
from signals.scores import assign
from tests.campaigns.shop import MANAGER, Shop
from workers.schedule import Scheduler
from workers.sending import Sender


def wall(time: str) -> datetime:
    """A wall time, which has no zone."""
    return datetime.fromisoformat(time)


MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NINE = wall("2026-03-04T09:00")
"""A Wednesday, two days after the tests' present."""
MEMBERS = {"all": [{"field": "score", "name": "best", "op": ">=", "value": 0.5}]}
BY_CLOCKS = Timing(clocks="recipient")


def at_wall(shop: Shop, campaign: int, wall: datetime, zone: str = "Europe/Vienna") -> None:
    """Schedule a campaign for a wall time."""
    with shop.sessions.begin() as session:
        transitions.schedule(session, campaign, wall, shop.now, MANAGER, timezone=zone, is_sending=False)


def times(shop: Shop, campaign: int) -> dict[str, datetime | None]:
    """When each person's mail may leave."""
    names = {number: name for name, number in shop.known().items()}
    return {names[row.profile_id]: row.not_before for row in shop.ledger(campaign)}


def states(shop: Shop, campaign: int) -> Counter[str]:
    return Counter(row.reason or row.state for row in shop.ledger(campaign))


def run(shop: Shop, campaign: int, number: int = 1) -> Occurrence:
    with shop.sessions.begin() as session:
        return session.get_one(Occurrence, (campaign, number))


def pass_time(shop: Shop, scheduler: Scheduler, sender: Sender, moment: datetime) -> None:
    """Let it become a moment, with the loop and a sender at work then that has jobs naming everything which waits."""
    shop.clock.set(moment)
    scheduler.tick()
    with shop.sessions.begin() as session:
        ids = session.scalars(select(Delivery.id).where(Delivery.state == "queued")).all()
    if sender.send(ids).claimed:
        scheduler.tick()


def score(shop: Shop, number: int, **values: float) -> None:
    """Give people the score that makes members of them."""
    assign(
        shop.intake, {shop.profile(name): {"best": value} for name, value in values.items()}, shop.now, number, shop.now
    )

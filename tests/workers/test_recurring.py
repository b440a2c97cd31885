"""Campaigns that come again by the calendar."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from campaigns import runs
from campaigns.models import Occurrence
from campaigns.timing import Repeat
from tests.campaigns.shop import Shop
from tests.workers.test_schedule import another
from tests.workers.timing import (
    NINE,
    at_wall,
    run,
    wall,
)
from workers.schedule import Scheduler


def test_it_comes_again_by_the_calendar_once_among_many_loops(shop: Shop) -> None:
    shop.people("ann")
    campaign = shop.campaign(kind="recurring", repeat=Repeat(every="day"), ends_at=datetime(2026, 3, 31, 7, tzinfo=UTC))
    at_wall(shop, campaign, wall("2026-03-27T09:00"))
    loops = [another(shop) for _ in range(3)]
    frozen: list[tuple[int, int]] = []
    for day in range(27, 32):
        shop.clock.set(datetime(2026, 3, day, 9, 1, tzinfo=ZoneInfo("Europe/Vienna")))
        threads = [threading.Thread(target=lambda loop=loop: frozen.extend(loop.tick().frozen)) for loop in loops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert frozen == [(campaign, number) for number in (1, 2, 3, 4)]
    with shop.sessions.begin() as session:
        rows = session.scalars(select(Occurrence).order_by(Occurrence.number)).all()
    # Over the weekend the clocks are put forward: the wall time stays, the instant is an hour earlier.
    assert [row.due_at.hour for row in rows] == [8, 8, 7, 7]
    assert {row.wall.time().isoformat() for row in rows if row.wall} == {"09:00:00"}


@pytest.mark.parametrize(
    ("repeat", "first", "expected"),
    [
        (Repeat(every="month"), wall("2026-01-31T09:00"), ["01-31", "02-28", "03-31", "04-30"]),
        (Repeat(every="month", each=3), wall("2026-03-15T09:00"), ["03-15", "06-15", "09-15", "12-15"]),
        (Repeat(every="week", days=["fri", "mon"]), wall("2026-03-04T09:00"), ["03-06", "03-09", "03-13", "03-16"]),
        (Repeat(every="week", each=2), wall("2026-03-04T09:00"), ["03-04", "03-18", "04-01", "04-15"]),
        (Repeat(every="day", each=10), wall("2026-03-04T09:00"), ["03-04", "03-14", "03-24", "04-03"]),
    ],
)
def test_it_counts_days_weeks_and_months_by_the_calendar(repeat: Repeat, first: datetime, expected: list[str]) -> None:
    found = runs.walls(repeat, first)
    assert [f"{next(found):%m-%d}" for _ in expected] == expected


def test_it_ends_after_so_many_times_and_makes_up_for_none_it_slept_through(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    campaign = shop.campaign(kind="recurring", repeat=Repeat(every="day", times=3))
    at_wall(shop, campaign, NINE, "UTC")
    frozen = []
    for day in (4, 7, 8, 9):
        shop.clock.set(datetime(2026, 3, day, 9, 5, tzinfo=UTC))
        frozen += scheduler.tick().frozen
    assert frozen == [(campaign, 1), (campaign, 2), (campaign, 3)]
    assert [run(shop, campaign, number).due_at.day for number in (1, 2, 3)] == [4, 5, 8]

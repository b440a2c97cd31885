"""Mails at the hour at which people usually click in them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from campaigns.models import Click, Fetch
from campaigns.timing import Timing
from tests.campaigns.shop import Shop
from tests.workers.timing import (
    NINE,
    at_wall,
    run,
    times,
)
from workers.schedule import Scheduler


def seen(shop: Shop, name: str, kind: type[Fetch] | type[Click], fetch_class: str, times: list[datetime]) -> None:
    """Fetches or clicks of somebody, as the recorder would have kept them."""
    profile = shop.profile(name)
    with shop.sessions.begin() as session:
        for at in times:
            common = {
                "id": f"{name}-{fetch_class}-{at:%d%H%M}", "at": at.astimezone(UTC), "profile_id": profile, "slot": 0,
                "campaign_id": 1, "occurrence": 1, "fetch_class": fetch_class, "public": b"", "public_sha256": b"",
            }  # fmt: skip
            fetched = {"kind": "picture", "lane": "live", "size": 1, "content_type": "image/jpeg", "rung": "rules"}
            session.add(
                Click(**common, outcome="redirect") if kind is Click else Fetch(**common, **fetched, personal=False)
            )


@pytest.mark.feature("CM-67")
def test_it_mails_people_at_the_hour_they_usually_click_whatever_fetches_when_and_the_others_at_the_time(
    shop: Shop, scheduler: Scheduler
) -> None:
    tokyo, vienna = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Vienna")
    shop.people("lark", "machine", timezone="Asia/Tokyo")
    shop.people("owl", "twice", "once_a_day")
    days = [datetime(2026, 2, day, 0, 20, tzinfo=UTC) for day in (10, 12, 14, 16)]

    def at(zone: ZoneInfo, hour: int, which: list[datetime]) -> list[datetime]:
        return [day.replace(tzinfo=zone, hour=hour) for day in which]

    seen(shop, "lark", Click, "person", at(tokyo, 6, days[:3]) + at(tokyo, 22, days[:2]))
    seen(shop, "lark", Fetch, "person", at(tokyo, 14, days))
    seen(shop, "machine", Click, "scanner", at(tokyo, 3, days))
    seen(shop, "machine", Fetch, "person", at(tokyo, 4, days))
    seen(shop, "owl", Click, "person", at(vienna, 21, days))
    seen(shop, "twice", Click, "person", at(vienna, 7, days[:2]))
    seen(shop, "once_a_day", Click, "person", [days[0].replace(hour=11, minute=minute) for minute in range(5)])
    campaign = shop.campaign(timing=Timing(clocks="recipient", own_hours=True))
    at_wall(shop, campaign, NINE)
    start = NINE.replace(hour=0, tzinfo=ZoneInfo("Pacific/Kiritimati"))
    assert run(shop, campaign).due_at == start
    shop.clock.set(start.astimezone(UTC))
    scheduler.tick()
    hours = {
        "lark": (tokyo, 6),
        "machine": (tokyo, 9),
        "owl": (vienna, 21),
        "twice": (vienna, 9),
        "once_a_day": (vienna, 9),
    }
    assert times(shop, campaign) == {
        name: NINE.replace(hour=hour, tzinfo=zone).astimezone(UTC) for name, (zone, hour) in hours.items()
    }

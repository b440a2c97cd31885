"""Results of large campaigns: counted ahead, shown with their moment, the same as a page would have counted them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from campaigns import goals, reckoning
from campaigns.erasure import erase_person
from campaigns.models import Occurrence
from tests.campaigns.mailing import COSTS, bought, held_out, mailed, words
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import Web
from workers.reckoner import Reckoner

DAY = timedelta(days=1)
PATHS = ("success", "arms", "profit", "fairness")
COUNTED = "counted in the background"


def ran(web: Web, people: int, **changes: Any) -> int:
    """A campaign whose run was fixed and mailed now."""
    campaign = mailed(web, people, **changes)
    with web.shop.sessions.begin() as session:
        session.execute(update(Occurrence).values(frozen_at=web.shop.now, state="sending"))
    return campaign


def told(web: Web, campaign: int) -> list[Any]:
    """What the API says of the campaign's results."""
    program = web.program("manager")
    return [program.told("GET", f"/campaigns/{campaign}/{path}") for path in PATHS]


def page(web: Web, campaign: int) -> str:
    answer = web.desk("manager").get(f"/campaigns/{campaign}/results")
    assert answer.status_code == 200
    return words(answer.text)


def test_it_counts_a_large_campaign_ahead_as_a_page_would(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, program = web.shop, web.program("manager")
    worker = Reckoner(shop.sessions, shop.blobs, shop.clock)
    campaign = ran(web, 40, guard="offers")
    program.told("PUT", f"/campaigns/{campaign}/goal", {"metric": "orders", "window_days": 7})
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    names = sorted(held_out(web, campaign))
    shop.clock.advance(DAY)
    shop.send(*(bought(web, name, 20) for name in names[:20]))
    asked = told(web, campaign)
    assert COUNTED not in page(web, campaign)
    assert worker.run() == 0, "a page counts a small campaign itself"

    monkeypatch.setattr(reckoning, "LIVE", 30)
    for path in PATHS:
        answer = program.call("GET", f"/campaigns/{campaign}/{path}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60"), path
    assert "Success is being counted" in page(web, campaign)
    assert worker.run() == 1
    assert told(web, campaign) == asked
    assert "Success, arms, exits and profit as of" in page(web, campaign)
    assert worker.run() == 0, "it was counted just now"

    # Whoever is erased leaves their sums; what happens later is told by the next count.
    erase_person(shop.intake, shop.blobs, shop.profile(names[0]), shop.now, MANAGER)
    shop.send(*(bought(web, name, 30) for name in names[20:25]))
    assert told(web, campaign)[0] == asked[0]
    shop.clock.advance(timedelta(minutes=5))
    assert worker.run() == 1
    (success,) = told(web, campaign)[0]["definitions"]
    assert sum(group["orders"] for group in success["groups"]) == 25
    assert sum(group["cents"] for group in success["groups"]) == 20 * 2_000 + 5 * 3_000

    # Another definition is counted at once; until then nothing is told that is not known.
    shop.clock.advance(timedelta(seconds=1))
    program.told("PUT", f"/campaigns/{campaign}/goal", {"metric": "revenue", "window_days": 7})
    assert program.call("GET", f"/campaigns/{campaign}/success").status_code == 503
    assert worker.run() == 1
    assert len(told(web, campaign)[0]["definitions"]) == 2


def test_it_counts_the_others_whatever_the_error_of_one_is(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Reckoner(web.shop.sessions, web.shop.blobs, web.shop.clock)
    broken, _ = ran(web, 5), ran(web, 5)
    monkeypatch.setattr(reckoning, "LIVE", 3)
    count = goals.outcomes

    def fails(session: Session, campaign: int, now: datetime, *, anew: bool = False) -> Any:
        if campaign == broken:
            raise OverflowError("date value out of range")
        return count(session, campaign, now, anew=anew)

    with monkeypatch.context() as failing:
        failing.setattr(goals, "outcomes", fails)
        assert worker.run() == 1
    web.shop.clock.advance(timedelta(seconds=1))
    assert worker.run() == 1, "it comes round again"


def test_it_counts_rarely_what_was_sent_long_ago(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = web.shop
    worker = Reckoner(shop.sessions, shop.blobs, shop.clock)
    ran(web, 5)
    monkeypatch.setattr(reckoning, "LIVE", 3)
    assert worker.run() == 1
    counted = []
    for wait in (timedelta(minutes=4), timedelta(minutes=1), 3 * DAY, timedelta(minutes=59), timedelta(minutes=1),
                 50 * DAY, timedelta(hours=23), timedelta(hours=1)):  # fmt: skip
        shop.clock.advance(wait)
        counted.append(worker.run())
    assert counted == [0, 1, 1, 0, 1, 1, 0, 1]

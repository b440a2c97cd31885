"""What the schedule loop does for many campaigns it does for the others too when it fails for one."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns import deliveries, transitions
from campaigns.models import Campaign
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.test_schedule import run_jobs
from tests.workers.test_schedule_troubles import REFUSE
from workers.schedule import Scheduler

REFUSE_CHANGES = """
    CREATE TRIGGER refuse BEFORE UPDATE ON delivery FOR EACH ROW WHEN (NEW.campaign_id IN ({}))
    EXECUTE FUNCTION refuse()
"""


def trouble(shop: Shop, campaign: int) -> str | None:
    with shop.sessions.begin() as session:
        return session.get_one(Campaign, campaign).trouble


def test_it_brings_back_the_mails_of_the_others_when_those_of_one_campaign_cannot_be(
    shop: Shop, scheduler: Scheduler
) -> None:
    shop.people("ann")
    broken, over, other = (shop.campaign() for _ in range(3))
    for campaign in (broken, over, other):
        shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for campaign in (broken, over, other) for row in shop.ledger(campaign)]
    with shop.sessions.begin() as session:
        deliveries.claim(session, ids, "lost one", shop.now)
        transitions.cancel(session, over, shop.now, MANAGER)
        session.execute(text(REFUSE))
        session.execute(text(REFUSE_CHANGES.format(f"{broken}, {over}")))
    shop.clock.advance(timedelta(minutes=16))
    try:
        assert scheduler.tick().swept == {"unknown": 0, "requeued": 1, "due": 0, "cancelled": 0}
    finally:
        with shop.sessions.begin() as session:
            session.execute(text("DROP FUNCTION refuse() CASCADE"))
    assert [shop.ledger(campaign)[0].state for campaign in (broken, over, other)] == ["claimed", "claimed", "queued"]
    assert [shop.state(campaign) for campaign in (broken, over, other)] == ["paused", "cancelled", "sending"]
    assert trouble(shop, broken) == (
        "its mails that wait cannot be brought back: the database refused it: NumericValueOutOfRange"
    )
    swept = scheduler.tick().swept
    assert (swept["requeued"], swept["cancelled"]) == (2, 1), "what was left is done once that can be"


@pytest.mark.usefixtures("relay", "sender")
def test_it_ends_the_other_campaigns_when_one_cannot_be_ended(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann")
    broken, other = shop.campaign(), shop.campaign()
    for campaign in (broken, other):
        shop.schedule(campaign)
    scheduler.tick()
    run_jobs(shop)
    finish = transitions.finish

    def fails(session: Session, campaign: int, now: datetime) -> bool:
        done = finish(session, campaign, now)
        if campaign == broken:
            raise OverflowError("date value out of range")
        return done

    with monkeypatch.context() as failing:
        failing.setattr(transitions, "finish", fails)
        assert scheduler.tick().finished == [other]
    assert (shop.state(broken), shop.state(other)) == ("paused", "finished")
    assert trouble(shop, broken) == "it cannot be ended: it failed: OverflowError"
    with shop.sessions.begin() as session:
        transitions.resume(session, broken, shop.now, MANAGER)
    assert scheduler.tick().finished == [broken]

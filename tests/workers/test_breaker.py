"""A campaign whose mails fail too often is stopped, with enough evidence, and says why."""

from __future__ import annotations

import random

from sqlalchemy import text

from campaigns import breaker, permits, settling, transitions
from campaigns.breaker import BREAKER
from campaigns.models import AdminEntry, Campaign
from campaigns.sendlimits import Breaker, Terms
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.relay import Relay
from workers.schedule import Scheduler
from workers.sending import Sender

FULL = "552 5.2.2 mailbox full"


def test_it_stops_a_campaign_of_which_too_many_mails_fail_and_judges_anew_when_it_is_resumed(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    names = [f"p{number:03d}" for number in range(120)]
    shop.people(*names)
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(breaker=Breaker(share=0.2, least=20)), shop.now, MANAGER)
    bad = set(names[:60:2])
    relay.at_rcpt = lambda recipient: FULL if recipient.partition("@")[0] in bad else ""
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    sender.send(ids[:10])
    assert shop.state(campaign) == "sending", "five of ten are no evidence yet"
    sender.send(ids[10:60])
    assert shop.state(campaign) == "paused"
    with shop.sessions.begin() as session:
        row = session.get_one(Campaign, campaign)
        assert (row.trouble or "").startswith("It was stopped: 30 of 60 mails were refused or bounced. That is 50%")
        assert session.query(AdminEntry).filter_by(actor=BREAKER.name, action="pause").count() == 1
        transitions.resume(session, campaign, shop.now, MANAGER)
    sender.send(ids[60:90])
    assert shop.state(campaign) == "sending", "what it was stopped for counts no more"
    with shop.sessions.begin() as session:
        assert settling.send_again(session, campaign, shop.now, MANAGER) == 30
    sender.send(ids)
    assert shop.state(campaign) == "paused", "sent again, and refused again"
    assert len(relay.mails) == 90


def test_addresses_that_are_damaged_here_stop_no_campaign(shop: Shop, scheduler: Scheduler, sender: Sender) -> None:
    shop.people(*(f"p{number:03d}" for number in range(60)))
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(breaker=Breaker(share=0.2, least=20)), shop.now, MANAGER)
        broken = "UPDATE identifier SET value = set_byte(value, 20, get_byte(value, 20) # 1) WHERE profile_id % 2 = 0"
        session.execute(text(broken))
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    sender.send(ids)
    assert shop.state(campaign) == "sending"
    with shop.sessions.begin() as session:
        assert settling.send_again(session, campaign, shop.now, MANAGER) == 30
        row = session.get_one(Campaign, campaign)
        assert (row.judged_failures, row.judged_tries) == (0, 0)
    sender.send(ids)
    assert shop.state(campaign) == "sending"


def test_it_stops_no_campaign_by_chance_and_each_that_is_clearly_worse() -> None:
    lot = random.Random(5)
    for share, stops in ((0.05, False), (0.12, True)):
        stopped = 0
        for _ in range(100):
            bad = tried = 0
            while tried < 4000:
                tried += 100
                bad += sum(lot.random() < share for _ in range(100))
                if breaker.surely(bad, tried) > 0.05:
                    stopped += 1
                    break
        assert stopped == 100 if stops else stopped <= 3

"""A campaign whose mails fail too often is stopped, with enough evidence, and says why."""

from __future__ import annotations

import random

from sqlalchemy import text

from campaigns import breaker, permits, settling, transitions
from campaigns.breaker import BREAKER
from campaigns.models import AdminEntry, Campaign
from campaigns.sendlimits import ALL, Breaker, Pace, Terms
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.relay import Relay
from tests.workers.test_sending import due
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


def of_60_half_damaged(shop: Shop) -> list[str]:
    """Sixty people, of whom every second has an address that is damaged where it is stored; names of the others."""
    names = [f"p{number:03d}" for number in range(60)]
    damaged = [one for one, name in zip(shop.people(*names), names, strict=True) if name in names[::2]]
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(breaker=Breaker(share=0.2, least=20)), shop.now, MANAGER)
        broken = "UPDATE identifier SET value = set_byte(value, 20, get_byte(value, 20) # 1)"
        session.execute(text(f"{broken} WHERE type = 'email' AND profile_id = ANY(:damaged)"), {"damaged": damaged})
    return names[1::2]


def test_addresses_that_are_damaged_here_stop_no_campaign(shop: Shop, scheduler: Scheduler, sender: Sender) -> None:
    of_60_half_damaged(shop)
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    sender.send(ids)
    assert shop.state(campaign) == "sending"
    with shop.sessions.begin() as session:
        assert settling.send_again(session, campaign, shop.now, MANAGER) == 30
    sender.send(ids)
    assert shop.state(campaign) == "sending"


def test_what_failed_here_takes_nothing_off_what_a_campaign_was_judged_by(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    bad = set(of_60_half_damaged(shop)[:15])
    relay.at_rcpt = lambda recipient: FULL if recipient.partition("@")[0] in bad else ""
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    sender.send(ids)
    with shop.sessions.begin() as session:
        row = session.get_one(Campaign, campaign)
        assert (row.trouble or "").startswith("It was stopped: 15 of 30 mails were refused or bounced.")
        transitions.resume(session, campaign, shop.now, MANAGER)
        assert settling.send_again(session, campaign, shop.now, MANAGER) == 45
    sender.send(ids)
    assert shop.state(campaign) == "sending", "those that were taken were judged, and fifteen tries are no evidence"


def test_addresses_that_no_mail_can_be_handed_over_to_stop_no_campaign_either(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(breaker=Breaker(share=0.2, least=20)), shop.now, MANAGER)
    shop.people(*(f"p{number:03d}" for number in range(30)))
    for name in (f"q{number:03d}" for number in range(30)):
        told = {"email": f"jürgen..{name}@example.com"}
        shop.send({"type": "identify", "userId": name, "traits": told}, shop.consent(name, True))
    campaign = shop.campaign()
    assert sender.send(due(shop, scheduler, campaign)).states == {"accepted": 30, "failed": 30}
    assert {row.reason for row in shop.ledger(campaign) if row.state == "failed"} == {
        "could not be built: address is not one that mail can be handed over to"
    }
    assert len(relay.mails) == 30
    assert shop.state(campaign) == "sending"
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(everything=Pace(per_day=100)), shop.now, MANAGER)
        (used,) = permits.uses(session, [ALL], shop.now)
        assert used.used == 30, "what reached no server is used of no limit"


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

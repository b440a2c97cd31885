"""A relay that refuses us: nobody fails for it, a person is told in its words, and it is not waited for without end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from campaigns import plans, timeline, transitions, waiting
from campaigns.deliveries import RELAY_AWAY, RELAY_REFUSES
from campaigns.models import Campaign
from campaigns.transitions import send_test
from campaigns.troubles import PATIENCE
from signals.suppression import BOUNCED, Suppression, unsubscribe_address
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.relay import Relay
from tests.workers.test_sending import account, due, run_jobs
from workers.handover import MAX_TRIES, REFUSED_DELAY, STREAK
from workers.replies import Concern, concern
from workers.schedule import Scheduler
from workers.sending import Sender


def trouble(shop: Shop, campaign: int) -> str | None:
    """What the campaign's page says of the relay."""
    with shop.sessions.begin() as session:
        return session.get_one(Campaign, campaign).trouble


def later(shop: Shop, scheduler: Scheduler, after: timedelta = REFUSED_DELAY) -> None:
    """One more round, when what was put off is due."""
    shop.clock.advance(after)
    scheduler.tick()
    run_jobs(shop)


@pytest.mark.parametrize("refusal", ["530 5.7.0 Authentication required", "451 4.7.1 try later"])
def test_it_keeps_every_mail_while_the_relay_does_not_take_our_sender(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, refusal: str
) -> None:
    shop.people("ann", "bob")
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    relay.at_mail = lambda _sender: refusal
    run_jobs(shop)
    assert account(shop, campaign) == {"deferred": 2}
    rows = shop.ledger(campaign)
    assert {(row.attempts, row.reason, row.reply) for row in rows} == {(0, RELAY_REFUSES, refusal)}
    assert refusal in (trouble(shop, campaign) or "")
    relay.at_mail = lambda _sender: ""
    later(shop, scheduler)
    assert account(shop, campaign) == {"accepted": 2}
    assert trouble(shop, campaign) is None


def test_it_pauses_a_campaign_whose_sender_is_refused_for_long_and_fails_nobody(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann")
    message = shop.message(from_address="news@elsewhere.example")
    refused, other = shop.campaign(message=message), shop.campaign()
    relay.at_mail = lambda address: "553 5.7.1 not your address" if address.endswith("elsewhere.example") else ""
    ids = due(shop, scheduler, refused) + due(shop, scheduler, other)
    sender.send(ids)
    assert account(shop, other) == {"accepted": 1}, "another campaign's sender is taken"
    tries = 0
    while shop.state(refused) == "sending":
        later(shop, scheduler)
        tries += 1
    assert (shop.state(refused), account(shop, refused)) == ("paused", {"deferred": 1})
    assert tries == PATIENCE / REFUSED_DELAY
    assert "553 5.7.1 not your address" in (trouble(shop, refused) or "")
    relay.at_mail = lambda _address: ""
    with shop.sessions.begin() as session:
        transitions.resume(session, refused, shop.now, MANAGER)
    assert trouble(shop, refused) is None
    later(shop, scheduler)
    assert account(shop, refused) == {"accepted": 1}


@pytest.mark.parametrize(
    ("refusal", "people"),
    [
        ("554 5.7.1 <x@example.com>: Relay access denied", STREAK + 30),
        ("554 5.7.1 <x@example.com>: Relay access denied", 2),
        ("450 4.7.1 your address is on a list", 2),
        ("550 relay not permitted", STREAK + 30),
    ],
)
def test_it_holds_a_campaign_when_the_relay_refuses_every_recipient_because_of_us(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, refusal: str, people: int
) -> None:
    shop.people(*(f"p{number:02}" for number in range(people)))
    campaign = shop.campaign()
    asked: list[str] = []

    def at_rcpt(recipient: str) -> str:
        asked.append(recipient)
        return refusal

    relay.at_rcpt = at_rcpt
    sender.send(due(shop, scheduler, campaign))
    assert account(shop, campaign) == {"deferred": people}
    assert {(row.attempts, row.reason) for row in shop.ledger(campaign)} == {(0, RELAY_REFUSES)}
    assert len(asked) == min(people, STREAK), "after a streak the relay is left alone"
    assert refusal[:9] in (trouble(shop, campaign) or "")
    with shop.sessions.begin() as session:
        assert session.scalars(select(Suppression)).all() == []
    relay.at_rcpt = lambda _recipient: ""
    later(shop, scheduler)
    assert account(shop, campaign) == {"accepted": people}


def test_it_holds_the_rest_when_the_relay_begins_to_refuse_in_the_middle(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people(*(f"p{number:02}" for number in range(60)))
    campaign = shop.campaign()
    relay.at_rcpt = lambda _recipient: "550 5.7.1 too much" if len(relay.mails) >= 15 else ""
    sender.send(due(shop, scheduler, campaign))
    # Five at the end of the first group are no streak; they are tried again like the others, and not at once final.
    assert account(shop, campaign) == {"accepted": 15, "deferred": 45}


def test_it_fails_one_person_that_a_policy_refuses_while_others_are_taken(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "zoe")
    campaign = shop.campaign()
    relay.at_rcpt = lambda recipient: (
        "550 5.7.1 not from you" if relay.mails and not relay.received()[recipient] else ""
    )
    sender.send(due(shop, scheduler, campaign))
    # The last of a group might be the first of many: it is asked again before it is given up.
    assert account(shop, campaign) == {"accepted": 1, "deferred": 1}
    assert trouble(shop, campaign) is None
    for _ in range(MAX_TRIES):
        later(shop, scheduler, timedelta(hours=4))
    assert account(shop, campaign) == {"accepted": 1, "failed": 1}
    assert shop.state(campaign) == "finished"


@pytest.mark.parametrize("is_away", [True, False])
def test_it_gives_up_a_test_that_the_relay_does_not_take(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, is_away: bool
) -> None:
    (ann,) = shop.people("ann")
    campaign = shop.campaign()
    relay.at_mail = lambda _sender: "550 5.7.1 not from you"
    if is_away:
        relay.stop()
    with shop.sessions.begin() as session:
        run = send_test(session, campaign, [ann], "tester@example.org", shop.now, MANAGER)
    for _ in range(MAX_TRIES):
        later(shop, scheduler, timedelta(hours=4))
    assert account(shop, campaign, run) == {"failed": 1}


def test_it_tells_what_waits_in_the_relays_words(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    people = shop.people("ann", "bob")
    campaign = shop.campaign()
    relay.stop()
    sender.send(due(shop, scheduler, campaign))
    with shop.sessions.begin() as session:
        (one,) = waiting.put_off(session, campaign)
        (entry,) = timeline.timeline(session, [people[0]], kind="mail").entries
    assert (one.reason, one.number) == (RELAY_AWAY, 2)
    assert one.reply is not None
    assert one.reply.startswith("no session with the relay")
    assert one.reply in entry.detail


def test_it_keeps_a_dead_address_off_though_its_reader_had_unsubscribed_and_agrees_again(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann")
    ids = due(shop, scheduler, shop.campaign())
    relay.at_rcpt = lambda _recipient: "550 5.1.1 unknown"

    def unsubscribe(_recipient: str) -> str:
        with shop.sessions.begin() as session:
            hashed = shop.ledger(1)[0].address_hash
            assert hashed
            unsubscribe_address(session, hashed, shop.now)
        return "550 5.1.1 unknown"

    relay.at_rcpt = unsubscribe
    sender.send(ids)
    with shop.sessions.begin() as session:
        assert [row.reason for row in session.scalars(select(Suppression))] == [BOUNCED]
    shop.clock.advance(timedelta(minutes=1))
    shop.send(shop.consent("ann", True))
    again = shop.campaign()
    assert due(shop, scheduler, again) == []
    assert {row.reason for row in shop.ledger(again)} == {BOUNCED}


def test_it_pauses_a_campaign_whose_mail_is_gone_and_sends_the_others_of_the_batch(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    (ann,) = shop.people("ann")
    lost, other = shop.campaign(message=shop.message(subject="Lost")), shop.campaign()
    ids = due(shop, scheduler, lost) + due(shop, scheduler, other)
    with shop.sessions.begin() as session:
        digest = plans.plan(session, session.get_one(Campaign, lost).plan_hash or "").mail_hash
        run = send_test(session, lost, [ann], "tester@example.org", shop.now, MANAGER)
    shop.blobs.delete(digest)
    sender.send(ids)
    assert (account(shop, lost), account(shop, other)) == ({"deferred": 1}, {"accepted": 1})
    assert shop.state(lost) == "paused"
    assert "not in the blob store" in (trouble(shop, lost) or "")
    later(shop, scheduler)
    assert account(shop, lost, run) == {"failed": 1}
    shop.publish(lost)
    with shop.sessions.begin() as session:
        transitions.resume(session, lost, shop.now, MANAGER)
    later(shop, scheduler)
    assert account(shop, lost) == {"accepted": 1}


@pytest.mark.parametrize(
    ("reply", "whom"),
    [
        ("550 5.1.1 unknown", Concern.RECIPIENT),
        ("452 4.2.2 full", Concern.RECIPIENT),
        ("550 5.7.17 the mailbox has a new owner", Concern.RECIPIENT),
        ("550 5.7.1 denied", Concern.US),
        ("550 5.1.8 bad sender's domain", Concern.US),
        ("421 too many connections", Concern.US),
        ("535 who are you", Concern.US),
        ("550 no", Concern.EITHER),
        ("452 4.3.1 no room", Concern.EITHER),
        ("connection lost before the end of the mail", Concern.EITHER),
    ],
)
def test_it_tells_whom_a_refusal_concerns(reply: str, whom: Concern) -> None:
    assert concern(reply) is whom

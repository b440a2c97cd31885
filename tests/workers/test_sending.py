"""Sending: one mail a person, the right account of each, whatever the relay does."""

from __future__ import annotations

import email
import re
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from base import keys, stores
from base.ids import TEST_BIT
from base.ids import Delivery as Key
from base.queues import QueueName
from base.tokens import Purpose, TokenKeys
from campaigns import accounting, deliveries, sentfacts, settling, sweeping, transitions
from campaigns.compose import Built, Composer
from campaigns.deliveries import NO_SMTPUTF8
from campaigns.models import Campaign, SentFacts
from campaigns.sendlimits import Pace
from campaigns.transitions import send_test
from signals.state import decode
from signals.suppression import BOUNCED, Suppression
from tests.campaigns.shop import MANAGER, MESSAGE, Shop
from tests.workers.relay import Relay
from tests.workers.test_send_limits import limit
from workers import jobs
from workers.handover import FIRST_DELAY, MAX_TRIES
from workers.schedule import Scheduler
from workers.sending import Sender


def account(shop: Shop, campaign: int, occurrence: int | None = None) -> dict[str, int]:
    """The states of the campaign's rows that are not empty."""
    with shop.sessions.begin() as session:
        return {state: n for state, n in accounting.account(session, campaign, occurrence).items() if n}


def due(shop: Shop, scheduler: Scheduler, campaign: int) -> list[int]:
    """Schedule a campaign for now and freeze it; the ids that wait to be sent."""
    shop.schedule(campaign)
    scheduler.tick()
    return [row.id for row in shop.ledger(campaign) if row.state == "queued"]


def build_none_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each mail to this person fail while it is built."""
    build = Composer.build

    def breaking(composer: Composer, key: Key, address: str, *rest: Any) -> Built:
        if address.startswith(name):
            raise TypeError
        return build(composer, key, address, *rest)

    monkeypatch.setattr(Composer, "build", breaking)


def run_jobs(shop: Shop) -> None:
    """What the send queue's worker does until the queue is empty."""
    jobs.work(QueueName.SEND, shop.queues, burst=True)


def test_it_fails_who_cannot_be_told_to_the_relay_with_that_reason_and_mails_the_others(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    names = [f"p{number}" for number in range(12)]
    limit(shop, everything=Pace(per_day=26))
    relay.stop()
    relay.offers_smtputf8 = False
    relay.start()
    shop.people("ann")
    for name in names:
        told = {"email": f"jürgen-{name}@exämple.com"}
        shop.send({"type": "identify", "userId": name, "traits": told}, shop.consent(name, True))
    assert sender.send(due(shop, scheduler, shop.campaign())).states == {"accepted": 1, "failed": 12}
    failed = [row for row in shop.ledger(1) if row.state == "failed"]
    assert {(row.reason, row.reply, row.attempts) for row in failed} == {(NO_SMTPUTF8, None, 0)}
    assert all(content.isascii() for _, content in relay.mails), "no relay may refuse a mail for its bytes"
    with shop.sessions.begin() as session:
        assert session.scalars(select(Suppression)).all() == []
        assert session.get_one(Campaign, 1).trouble is None
        assert accounting.unsent(session, 1) == 12, "no server was asked"
    more = [f"q{number}" for number in range(12)]
    shop.people(*more)
    assert sender.send(due(shop, scheduler, shop.campaign())).states == {"accepted": 13, "failed": 12}, (
        "of the 26 that may leave in a day one had, so there is room for 25"
    )


def test_it_sends_everybody_one_mail_and_finishes(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    names = [f"p{number}" for number in range(230)]
    shop.people(*names)
    campaign = shop.campaign(content_holdout=0.1)
    shop.schedule(campaign)
    first = scheduler.tick()
    assert (first.frozen, first.enqueued) == ([(campaign, 1)], 230)
    assert shop.state(campaign) == "sending"
    run_jobs(shop)
    assert relay.received() == Counter(f"{name}@example.com" for name in names)
    assert relay.sessions == 1, "one connection carries them all"
    assert account(shop, campaign) == {"accepted": 230}
    assert scheduler.tick().finished == [campaign]
    assert shop.state(campaign) == "finished"
    rows = shop.ledger(campaign)
    assert [row.message_id for row in rows] == relay.message_ids(), "in the order of the ledger"
    assert all(row.sent_at == shop.now and row.attempts == 1 and row.reply == "250 2.0.0 Taken" for row in rows)
    held = [row for row in rows if row.holdout == "content"]
    assert held
    tokens = TokenKeys.from_settings(shop.settings)
    neutral = {}
    for recipient, content in relay.mails:
        found = re.search(rb"/u/(\S{54})", content)
        assert found
        neutral[recipient] = tokens.read(found[1].decode(), Purpose.UNSUBSCRIBE).neutral
    profiles = shop.known()
    assert {name for name in names if neutral[f"{name}@example.com"]} == {
        name for name in names if profiles[name] in {row.profile_id for row in held}
    }


def test_it_sends_a_batch_once_however_often_the_job_runs(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people(*(f"p{number}" for number in range(60)))
    ids = due(shop, scheduler, shop.campaign())
    others = [Sender(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock) for _ in range(3)]
    threads = [threading.Thread(target=one.send, args=(ids,)) for one in (sender, *others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sender.send(ids).claimed == 0
    assert set(relay.received().values()) == {1}
    assert len(relay.mails) == 60
    for one in others:
        one.close()


def test_it_tells_permanent_temporary_and_unknown_apart(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "gone", "full", "policy", "lost", "zoe")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    answers = {"gone": "550 5.1.1 <gone@example.com> no such user", "full": "452 4.2.2 mailbox full",
               "policy": "550 5.7.1 not from you"}  # fmt: skip
    relay.at_rcpt = lambda recipient: answers.get(recipient.partition("@")[0], "")
    relay.at_dot = lambda recipient: "drop" if recipient.startswith("lost") else ""
    sender.send(ids)
    profiles = {number: name for name, number in shop.known().items()}
    rows = {profiles[row.profile_id]: row for row in shop.ledger(campaign)}
    assert {name: row.state for name, row in rows.items()} == {
        "ann": "accepted",
        "gone": "failed",
        "full": "deferred",
        "policy": "failed",
        "lost": "unknown",
        "zoe": "accepted",
    }
    assert rows["gone"].reply == "550 5.1.1 <[address]> no such user"
    assert rows["full"].not_before == shop.now + FIRST_DELAY
    assert rows["lost"].reason == "no answer after the mail was sent"
    with shop.sessions.begin() as session:
        dead = session.scalars(select(Suppression)).all()
        assert [(row.address_hash, row.reason) for row in dead] == [(rows["gone"].address_hash, BOUNCED)]
        listed = accounting.listing(session, campaign, state="unknown")
        assert [row.id for row in listed] == [rows["lost"].id]
    # Nobody sends an unknown one again by itself, however often the loop goes round.
    shop.clock.advance(timedelta(days=1))
    scheduler.tick()
    run_jobs(shop)
    assert relay.received()["lost@example.com"] == 1
    with shop.sessions.begin() as session:
        settling.resolve(session, rows["lost"].id, "queued", shop.now, MANAGER)
    relay.at_dot = lambda _recipient: ""
    scheduler.tick()
    run_jobs(shop)
    scheduler.tick()
    assert relay.received()["lost@example.com"] == 2, "a person said so"


def test_it_tries_again_later_and_gives_up_in_the_end(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "full")
    campaign = shop.campaign()
    shop.schedule(campaign)
    relay.at_rcpt = lambda recipient: "450 4.2.2 full" if recipient.startswith("full") else ""
    for _ in range(MAX_TRIES):
        assert scheduler.tick().finished == []
        run_jobs(shop)
        shop.clock.advance(timedelta(hours=5))
    assert scheduler.tick().finished == [campaign]
    assert account(shop, campaign) == {"accepted": 1, "failed": 1}
    row = next(row for row in shop.ledger(campaign) if row.state == "failed")
    assert (row.attempts, row.reason) == (MAX_TRIES, f"gave up after {MAX_TRIES} tries")
    assert shop.state(campaign) == "finished"


def test_it_goes_on_after_a_campaign_had_ended_when_a_sender_that_was_given_up_comes_back(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)

    def think(_recipient: str) -> str:
        shop.clock.advance(deliveries.LEASE + timedelta(seconds=1))
        assert scheduler.tick().finished == [campaign]
        return "451 4.3.0 later"

    relay.at_rcpt = think
    assert sender.send(ids).states == {"deferred": 1}
    relay.at_rcpt = lambda _recipient: ""
    shop.clock.advance(timedelta(hours=5))
    scheduler.tick()
    assert shop.state(campaign) == "sending"
    run_jobs(shop)
    assert account(shop, campaign) == {"accepted": 1}
    assert scheduler.tick().finished == [campaign]


def test_it_skips_the_rows_of_a_cancelled_campaign_piece_by_piece(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "MAX_SKIPPED", 2)
    shop.people("ann", "bob", "cara")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    with shop.sessions.begin() as session:
        assert transitions.cancel(session, campaign, shop.now, MANAGER) == 3
    assert account(shop, campaign) == {"queued": 3}
    with shop.sessions.begin() as session:
        assert deliveries.claim(session, ids, "one", shop.now) == []
    assert scheduler.tick().swept["cancelled"] == 2
    assert scheduler.tick().swept["cancelled"] == 1
    assert {row.reason for row in shop.ledger(campaign)} == {"cancelled"}


def test_it_waits_for_a_relay_that_is_away_without_counting_it_as_a_try(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people(*(f"p{number}" for number in range(25)))
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    relay.stop()
    sender.send(ids)
    assert account(shop, campaign) == {"deferred": 25}
    assert {row.attempts for row in shop.ledger(campaign)} == {0}
    relay.start()
    shop.clock.advance(timedelta(minutes=1))
    scheduler.tick()
    run_jobs(shop)
    assert account(shop, campaign) == {"accepted": 25}


def test_it_pauses_resumes_and_cancels_with_exact_accounts(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people(*(f"p{number:02}" for number in range(60)))
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)

    def pause_after(count: int) -> None:
        def at_dot(_recipient: str) -> str:
            if len(relay.mails) == count:
                with shop.sessions.begin() as session:
                    transitions.pause(session, campaign, shop.now, MANAGER)
            return ""

        relay.at_dot = at_dot

    pause_after(15)
    sender.send(ids)
    # The group of twenty that was under way is finished; nothing after it.
    assert account(shop, campaign) == {"accepted": 20, "queued": 40}
    scheduler.tick()
    run_jobs(shop)
    assert len(relay.mails) == 20
    with shop.sessions.begin() as session:
        transitions.resume(session, campaign, shop.now, MANAGER)
    pause_after(33)
    scheduler.tick()
    run_jobs(shop)
    assert account(shop, campaign) == {"accepted": 40, "queued": 20}
    with shop.sessions.begin() as session:
        assert transitions.cancel(session, campaign, shop.now, MANAGER) == 20
    scheduler.tick()
    run_jobs(shop)
    assert account(shop, campaign) == {"accepted": 40, "skipped": 20}
    assert set(relay.received().values()) == {1}
    assert shop.state(campaign) == "cancelled"


def test_it_sends_tests_to_the_tester_as_the_chosen_person(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    (ann,) = shop.people("ann", consent=False)
    campaign = shop.campaign(needs_consent=["email"])
    with shop.sessions.begin() as session:
        run = send_test(session, campaign, [ann], "tester@example.org", shop.now, MANAGER)
    scheduler.tick()
    run_jobs(shop)
    assert relay.received() == {"tester@example.org": 1}
    mail = email.message_from_bytes(relay.mails[0][1])
    assert mail["Subject"] == "Ann, your week"
    token = re.search(rb"/u/(\S{54})", relay.mails[0][1])
    assert token
    read = TokenKeys.from_settings(shop.settings).read(token[1].decode(), Purpose.UNSUBSCRIBE)
    assert read.delivery == Key(ann, campaign, run)
    assert read.delivery.is_test
    assert run > TEST_BIT
    assert account(shop, campaign, run) == {"accepted": 1}
    assert account(shop, campaign) == {}
    assert shop.state(campaign) == "draft"


def test_it_keeps_what_was_known_when_the_mail_left(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    (ann,) = shop.people("ann")
    shop.send(shop.order("ann", "shoes", shop.now - timedelta(days=3)))
    shop.store.set(keys.used(ann), b"used bytes")
    campaign = shop.campaign()
    sender.send(due(shop, scheduler, campaign))
    shop.send(shop.order("ann", "shoes", shop.now))
    with shop.sessions.begin() as session:
        found = sentfacts.read(session, shop.blobs, Key(ann, campaign, 1), shop.settings.subject_key)
        (row,) = shop.ledger(campaign)
        stored = session.scalars(select(SentFacts)).one()
        assert b"used bytes" not in stored.sealed
        assert stored.hash == row.facts_hash
    assert found is not None
    person, shared, at = found
    assert decode(person.state or b"").orders == 1
    assert (person.used, shared.products, at) == (b"used bytes", {}, shop.now)


def test_it_sends_on_when_the_hot_store_is_away(shop: Shop, relay: Relay, scheduler: Scheduler) -> None:
    shop.people("ann")
    ids = due(shop, scheduler, shop.campaign())
    away = stores.connect("redis://127.0.0.1:1/0", reply_seconds=0.1)
    one = Sender(shop.settings, shop.sessions, away, shop.blobs, shop.clock)
    one.send(ids)
    one.close()
    assert relay.received() == {"ann@example.com": 1}


def test_it_leaves_campaigns_apart(shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender) -> None:
    shop.people("ann", "bob")
    message = shop.message()
    one, other = shop.campaign(message=message), shop.campaign(message=message)
    ids = due(shop, scheduler, one) + due(shop, scheduler, other)
    sender.send(ids)
    assert relay.received() == {"ann@example.com": 2, "bob@example.com": 2}
    assert len(set(relay.message_ids())) == 4
    with shop.sessions.begin() as session:
        states = {row.id: row.state for row in session.scalars(select(Campaign))}
    assert states == {one: "sending", other: "sending"}
    assert msgspec.json.encode(account(shop, one)) == b'{"accepted":2}'


def test_it_sends_the_others_when_one_mail_cannot_be_built(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann", "bob", "cleo")
    build_none_for("cleo", monkeypatch)
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    run_jobs(shop)
    assert relay.received() == Counter({"ann@example.com": 1, "bob@example.com": 1})
    assert account(shop, campaign) == {"accepted": 2, "failed": 1}
    (failed,) = (row for row in shop.ledger(campaign) if row.state == "failed")
    assert failed.reason == "could not be built: TypeError"
    assert scheduler.tick().finished == [campaign]


def test_it_fails_no_mail_whose_template_compares_a_number_with_what_a_shop_sent_as_text(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", points=150)
    shop.people("bob", points="150")
    shop.people("cleo")
    shop.people("dora", points="many")
    text = f"{{% if profile.points > 100 %}}Gold. {{% endif %}}{MESSAGE.text}"
    campaign = shop.campaign(message=shop.message(text=text, fallbacks=MESSAGE.fallbacks | {"points": "0"}))
    shop.schedule(campaign)
    scheduler.tick()
    run_jobs(shop)
    assert account(shop, campaign) == {"accepted": 4}
    assert {to for to, content in relay.mails if b"Gold." in content} == {"ann@example.com", "bob@example.com"}

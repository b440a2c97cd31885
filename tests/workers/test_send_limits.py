"""Rate limits hold in every sliding window, over all senders, through crashes; what waits says why and until when."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from campaigns import gateways, permits, sendlimits, tally, waiting
from campaigns.deliveries import HOLD
from campaigns.gateways import GatewayIn
from campaigns.permits import Mail
from campaigns.sendlimits import DAY, HOUR, SECOND, DomainPace, Pace, Terms, WarmUp
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.relay import Relay
from workers.schedule import Scheduler
from workers.sending import Sender

BIG, SMALL = "big.example", "small.example"


def limit(shop: Shop, **terms: Any) -> None:
    """Set the terms."""
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(**terms), shop.now, MANAGER)


def people(shop: Shop, *domains: str) -> None:
    """Somebody at each of these domains."""
    told: list[dict[str, Any]] = []
    for number, domain in enumerate(domains):
        traits = {"email": f"p{number}@{domain}", "firstName": "Ann"}
        told += [{"type": "identify", "userId": f"p{number}", "traits": traits}, shop.consent(f"p{number}", True)]
    shop.send(*told)


def most_within(moments: Sequence[datetime], window: int) -> int:
    """The most of the moments that lie within any window, both of its ends included."""
    span, ordered, first, most = timedelta(seconds=window), sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] > span:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.fixture
def senders(shop: Shop) -> Any:
    """Three senders that never wait."""
    made = [Sender(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock, patience=0) for _ in range(3)]
    yield made
    for one in made:
        one.close()


@pytest.mark.feature("CM-15")
def test_it_never_exceeds_a_limit_in_any_window_with_several_senders(
    shop: Shop, relay: Relay, scheduler: Scheduler, senders: list[Sender]
) -> None:
    lot = random.Random(15)
    people(shop, *(lot.choice((BIG, BIG, SMALL, "other.example")) for _ in range(56)))
    limit(
        shop,
        everything=Pace(per_second=9, per_hour=20, per_day=36),
        domains=[DomainPace(domains=[BIG], per_hour=8), DomainPace(domains=["*"], per_second=3, per_day=14)],
        warm_ups=[WarmUp(domain="example.com", begins_at=shop.now, ceilings=[26, 30])],
    )
    campaign = shop.campaign()
    shop.schedule(campaign)
    handed: list[tuple[str, datetime]] = []

    def count(recipient: str) -> None:
        """Time passes while a server thinks."""
        shop.clock.set(shop.now + timedelta(milliseconds=lot.choice((0, 1, 40))))
        handed.append((recipient.partition("@")[2], shop.now))

    relay.before_answer = count
    began, turns = shop.now, 0
    while len(handed) < 56 and turns < 150:
        scheduler.tick()
        waiting = [row.id for row in shop.ledger(campaign) if row.state == "queued" and row.waits_for is None]
        lot.shuffle(waiting)
        parts = [sorted(waiting[start::3]) for start in range(3)]
        threads = [
            threading.Thread(target=one.send, args=(part,)) for one, part in zip(senders, parts, strict=True) if part
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with shop.sessions.begin() as session:
            assert sum(tally.counts(session, campaign).values()) == 56
        step = lot.choice((0.2, 0.9, 1.1, 900.0)) if threads else 3_600.0
        shop.clock.set(shop.now + timedelta(seconds=step))
        turns += 1
    assert Counter(relay.received().values()) == {1: 56}
    everything, big = [at for _, at in handed], [at for domain, at in handed if domain == BIG]
    assert most_within(everything, SECOND) <= 9
    assert most_within(everything, HOUR) <= 20
    assert most_within(everything, DAY) <= 36
    assert most_within(big, HOUR) <= 8
    for other in (SMALL, "other.example"):
        some = [at for domain, at in handed if domain == other]
        assert most_within(some, SECOND) <= 3
        assert most_within(some, DAY) <= 14
    # The first day's part holds in every 24 hours that end on the first day, the second day's in those of the second.
    for day, ceiling in enumerate((26, 30)):
        assert most_within([at for at in everything if at < began + timedelta(days=day + 1)], DAY) <= ceiling
    assert most_within(everything, HOUR) > 12, "the limits are used, too"
    assert shop.now - began < timedelta(days=3)


@pytest.mark.feature("CM-15")
def test_it_warms_up_the_domain_that_mails_are_from_wherever_bounces_go(
    shop: Shop, relay: Relay, scheduler: Scheduler
) -> None:
    people(shop, BIG, BIG, BIG)
    limit(shop, warm_ups=[WarmUp(domain="example.com", begins_at=shop.now, ceilings=[2])])
    shop.schedule(shop.campaign())
    scheduler.tick()
    settings = replace(shop.settings, bounce_domain="bounce.example.com")
    sender = Sender(settings, shop.sessions, shop.store, shop.blobs, shop.clock)
    sender.send([row.id for row in shop.ledger(1)])
    sender.close()
    assert len(relay.mails) == 2


def test_it_counts_what_a_lost_sender_may_have_sent_until_its_claim_ran_out_and_a_window_longer(shop: Shop) -> None:
    limit(shop, everything=Pace(per_hour=5))
    mails = [Mail(number, BIG, "example.com") for number in range(5)]

    def take(*wanted: Mail) -> permits.Granted:
        with shop.sessions.begin() as session:
            return permits.take(session, shop.clock, "lost", wanted, HOLD)

    def end(granted: permits.Granted, *handed: int) -> None:
        with shop.sessions.begin() as session:
            permits.end(session, granted, handed, shop.clock)

    def free() -> int:
        granted = take(*mails)
        end(granted)
        return len(granted.mails)

    first = take(*mails[:3])
    second = take(*mails)
    assert (sorted(first.mails), sorted(second.mails), sorted(second.waits)) == ([0, 1, 2], [0, 1], [2, 3, 4])
    began = shop.now
    shop.clock.set(began + timedelta(minutes=10))
    end(second, 0)
    end(second, 0, 1)
    assert free() == 1, "of the second only one mail counts, however often that is said"
    shop.clock.set(began + HOLD)
    assert free() == 1
    end(first)
    assert free() == 1, "its claim has run out: any of its mails may have been handed over until then"
    shop.clock.set(began + timedelta(hours=1, minutes=10, seconds=36))
    assert free() == 2, "that of the second is an hour old"
    shop.clock.set(began + HOLD + timedelta(hours=1))
    assert free() == 2
    shop.clock.set(began + HOLD + timedelta(hours=1, seconds=36))
    assert free() == 5


def test_it_says_why_a_mail_waits_and_until_when_and_lets_it_go_when_there_is_room(
    shop: Shop, relay: Relay, scheduler: Scheduler, senders: list[Sender]
) -> None:
    people(shop, BIG, BIG, BIG, SMALL, BIG)
    limit(shop, domains=[DomainPace(domains=["big.example", "large.example"], per_hour=2)])
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    senders[0].send(ids)
    assert len(relay.mails) == 3
    with shop.sessions.begin() as session:
        assert tally.counts(session, campaign) == {("accepted", ""): 3, ("queued", sendlimits.DOMAIN): 2}
        (waits,) = waiting.put_off(session, campaign)
        (use,) = permits.uses(session, [f"domain:{BIG}"], shop.now)
    assert (waits.reason, waits.number, use.used) == (sendlimits.DOMAIN, 2, 2)
    assert timedelta(0) <= waits.next_at - (shop.now + timedelta(hours=1)) <= timedelta(seconds=36)
    # No job and no round lets it go before its time.
    senders[0].send(ids)
    assert scheduler.tick().enqueued == 0
    shop.clock.set(waits.next_at - timedelta(microseconds=1))
    assert scheduler.tick().enqueued == 0
    shop.clock.set(waits.next_at)
    assert scheduler.tick().enqueued == 2
    senders[1].send(ids)
    assert len(relay.mails) == 5


def test_it_comes_to_every_limit_that_is_waited_for_however_many_there_are(
    shop: Shop, scheduler: Scheduler, senders: list[Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permits, "MAX_KEYS", 2)
    full, free = ["a.example", "b.example"], ["c.example", "d.example", "e.example"]
    people(shop, *[*full, *free] * 2)
    days = [DomainPace(domains=[domain], per_day=1) for domain in full]
    limit(shop, domains=[*days, DomainPace(domains=["*"], per_hour=1)])
    shop.schedule(shop.campaign())
    scheduler.tick()
    senders[0].send([row.id for row in shop.ledger(1)])
    shop.clock.set(shop.now + timedelta(hours=1, seconds=36))
    # The first two have no room for a day, and must not stand in the way of the others.
    assert [scheduler.tick().enqueued for _ in range(3)] == [0, 2, 1]


def test_it_lets_all_go_when_a_limit_is_lifted_and_counts_what_left_before_one_was_set(
    shop: Shop, relay: Relay, scheduler: Scheduler, senders: list[Sender]
) -> None:
    people(shop, *[BIG] * 12)
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    senders[0].send(ids[:4])
    shop.clock.set(shop.now + timedelta(minutes=1))
    limit(shop, everything=Pace(per_day=6), domains=[DomainPace(domains=["*"], per_hour=5)])
    senders[0].send(ids[4:])
    assert len(relay.mails) == 5, "four left before the limit was set"
    with shop.sessions.begin() as session:
        assert permits.room(session, shop.now) == 1
    shop.clock.set(shop.now + timedelta(hours=2))
    scheduler.tick()
    senders[0].send(ids)
    assert len(relay.mails) == 6, "an hour later the day's limit is what holds"
    limit(shop)
    assert scheduler.tick().enqueued == 6
    senders[0].send(ids)
    assert len(relay.mails) == 12


def test_it_counts_each_mail_once_that_left_before_or_while_a_limit_is_set(
    shop: Shop, scheduler: Scheduler, senders: list[Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    people(shop, *[BIG] * 9)
    shop.schedule(shop.campaign())
    scheduler.tick()
    ids = [row.id for row in shop.ledger(1)]
    senders[0].send(ids[:4])
    shop.clock.advance(permits.SETTLED * 2)
    senders[0].send(ids[4:7])
    lock, left = permits._lock, permits._left
    counted: list[int] = []

    def count(*told: Any, **within: Any) -> Any:
        found = left(*told, **within)
        counted.append(sum(one.number for one in found if one.window == DAY))
        return found

    def send_before(session: Session) -> None:
        """No sender is kept waiting while the day is counted."""
        monkeypatch.setattr(permits, "_lock", lock)
        assert counted == [4]
        senders[1].send(ids[7:8])
        lock(session)

    monkeypatch.setattr(permits, "_lock", send_before)
    monkeypatch.setattr(permits, "_left", count)
    limit(shop, everything=Pace(per_hour=10))
    with shop.sessions.begin() as session:
        assert permits.room(session, shop.now) == 2
    assert counted == [4, 4]


def test_it_counts_what_left_before_a_limit_was_set_while_only_a_gateway_had_its_pace(
    shop: Shop, scheduler: Scheduler, senders: list[Sender]
) -> None:
    people(shop, *[BIG] * 7)
    shop.schedule(shop.campaign())
    scheduler.tick()
    ids = [row.id for row in shop.ledger(1)]
    senders[0].send(ids[:4])
    slow = GatewayIn(name="Slow", kind="sms", url="https://texts.example/send", per_hour=9)
    with shop.sessions.begin() as session:
        gateway, _ = gateways.create(session, slow, shop.settings, shop.now, MANAGER)
        key = f"gateway:{gateway.id}"
    sent = Mail(0, "", "", gateway.id)
    with shop.sessions.begin() as session:
        permits.end(session, permits.take(session, shop.clock, "s", [sent], HOLD), [sent.id], shop.clock)
    senders[0].send(ids[4:6])
    limit(shop, everything=Pace(per_day=10))
    with shop.sessions.begin() as session:
        assert permits.room(session, shop.now) == 4, "six mails left within the day; the ledger knows them"
        assert [use.used for use in permits.uses(session, [key], shop.now)] == [1]
    # Counted from then on, so that another change counts nothing twice.
    senders[0].send(ids[6:])
    limit(shop, everything=Pace(per_day=9))
    with shop.sessions.begin() as session:
        assert permits.room(session, shop.now) == 2


def test_it_waits_in_place_for_room_that_comes_within_a_moment(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    people(shop, *[BIG] * 6)
    limit(shop, everything=Pace(per_second=2))
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.005):
            shop.clock.set(shop.now + timedelta(milliseconds=100))

    handed: list[datetime] = []
    relay.before_answer = lambda _recipient: handed.append(shop.now)
    passing = threading.Thread(target=run)
    passing.start()
    try:
        assert sender.send([row.id for row in shop.ledger(campaign)]).states == {"accepted": 6}
    finally:
        over.set()
        passing.join()
    assert most_within(handed, SECOND) <= 2

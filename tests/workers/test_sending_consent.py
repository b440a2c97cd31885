"""Consent in the moment of sending: who left since the audience was fixed gets nothing, up to the hand-over."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from sqlalchemy import update

from campaigns import deliveries
from campaigns.models import Delivery
from render.record import ConsentRecord
from signals import erasure
from signals.moments import unix_ms
from signals.suppression import Suppression
from tests.campaigns.shop import Shop
from tests.workers.relay import Relay
from tests.workers.test_sending import account, due, run_jobs
from workers.following import Following
from workers.recorder import RecorderParts
from workers.schedule import Scheduler
from workers.sending import Sender


def test_it_looks_at_consent_suppression_and_address_in_the_moment_of_the_claim(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob", "cara", "dan")
    campaign = shop.campaign(needs_consent=["email"])
    ids = due(shop, scheduler, campaign)
    shop.send(shop.consent("bob", False))
    rows = {row.profile_id: row for row in shop.ledger(campaign)}
    with shop.sessions.begin() as session:
        dead = rows[shop.profile("cara")].address_hash
        session.add(Suppression(address_hash=dead or b"", reason="complaint", at=shop.now))
        session.execute(update(Delivery).where(Delivery.profile_id == shop.profile("dan")).values(address_hash=b"gone"))
    sender.send(ids)
    assert relay.received() == {"ann@example.com": 1}
    by_name = {row.profile_id: row for row in shop.ledger(campaign)}
    told = {
        name: (by_name[shop.profile(name)].state, by_name[shop.profile(name)].reason) for name in ("bob", "cara", "dan")
    }
    assert told == {
        "bob": ("skipped", "unsubscribed_since"),
        "cara": ("skipped", "suppressed_since"),
        "dan": ("skipped", "address_gone"),
    }
    assert account(shop, campaign) == {"accepted": 1, "skipped": 3}


def test_it_mails_people_once_who_turn_out_to_be_one_between_freeze_claim_and_hand_over(
    shop: Shop, scheduler: Scheduler
) -> None:
    shop.people("ann", "anna", "bob", "rob")
    first, ids = {}, due(shop, scheduler, shop.campaign())
    rows = {row.profile_id: row.id for row in shop.ledger(1)}
    for name in ("ann", "anna", "bob", "rob"):
        first[name] = rows[shop.profile(name)]
    shop.send({"type": "alias", "userId": "anna", "previousId": "ann"})
    with shop.sessions.begin() as session:
        claimed = deliveries.claim(session, ids, "one", shop.now)
        assert {row.id for row in claimed} == set(first.values()) - {first["anna"]}
    shop.send({"type": "alias", "userId": "rob", "previousId": "bob"})
    with shop.sessions.begin() as session:
        going = deliveries.hand_over(session, claimed, "one", shop.now)
        assert going == {first["ann"], first["bob"]}
        deliveries.release(session, [row for row in claimed if row.id not in going])
    with shop.sessions.begin() as session:
        assert deliveries.claim(session, ids, "two", shop.now) == []
    assert Counter(row.reason for row in shop.ledger(1)) == {None: 2, "merged_since": 2}


def test_it_hands_over_nothing_to_who_left_since_the_claim(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob", "cara", "dora")
    ids = due(shop, scheduler, shop.campaign())
    with shop.sessions.begin() as session:
        claimed = {row.address: row for row in deliveries.claim(session, ids, "one", shop.now)}
        address_hash = claimed["bob@example.com"].address_hash
        session.add(Suppression(address_hash=address_hash, reason="complaint", at=shop.now))
    shop.send(shop.consent("ann", False))
    assert erasure.erase(shop.intake, shop.profile("cara"), shop.now)
    with shop.sessions.begin() as session:
        rows = list(claimed.values())
        assert deliveries.hand_over(session, rows, "one", shop.now) == {claimed["dora@example.com"].id}
        assert deliveries.release(session, [row for row in rows if row.address != "dora@example.com"]) == 3
    with shop.sessions.begin() as session:
        assert deliveries.claim(session, ids, "two", shop.now) == []
    found = Counter(row.reason for row in shop.ledger(claimed["dora@example.com"].key.campaign))
    assert found == {"unsubscribed_since": 1, "suppressed_since": 1, "erased": 1, None: 1}


def test_it_hands_over_nothing_to_who_took_back_a_needed_consent_since_the_claim(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob")
    shop.send(shop.consent("ann", True, "tracking"), shop.consent("bob", True, "tracking"))
    ids = due(shop, scheduler, shop.campaign(needs_consent=["tracking"]))
    with shop.sessions.begin() as session:
        claimed = {row.address: row for row in deliveries.claim(session, ids, "one", shop.now)}
    shop.send(shop.consent("ann", False, "tracking"))
    with shop.sessions.begin() as session:
        allowed = deliveries.hand_over(session, list(claimed.values()), "one", shop.now)
    assert allowed == {claimed["bob@example.com"].id}


def test_it_mails_nobody_at_a_mailbox_whose_reader_unsubscribed_until_somebody_there_agrees(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob", email="home@example.com")
    first = shop.campaign()
    shop.schedule(first)
    scheduler.tick()
    run_jobs(shop)
    (mailed,) = (row for row in shop.ledger(first) if row.state == "accepted")
    shop.clock.advance(timedelta(minutes=1))
    said = ConsentRecord(
        id="c" * 32, at_ms=unix_ms(shop.now), profile=mailed.profile_id, campaign=first, occurrence=1, purpose="email",
        granted=False, via="one-click",
    )  # fmt: skip
    following = Following(RecorderParts(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock))
    following.withdraw(said)
    second = shop.campaign()
    assert due(shop, scheduler, second) == []
    assert {row.reason for row in shop.ledger(second)} == {"unsubscribed"}
    shop.clock.advance(timedelta(minutes=1))
    shop.send(shop.consent("bob", True))
    following.withdraw(said)
    third = shop.campaign()
    assert len(due(shop, scheduler, third)) == 1

"""Consent in the moment of sending: who left since the audience was fixed gets nothing, up to the hand-over; of who is
erased during it nothing stays that names them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from campaigns import deliveries
from campaigns.erasure import erase_person
from campaigns.models import Delivery
from render.record import ConsentRecord
from signals import erasure
from signals.moments import unix_ms
from signals.suppression import BOUNCED, Suppression, SuppressionChange
from tests.campaigns.shop import MANAGER, Shop
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


@pytest.mark.feature("SU-13")
@pytest.mark.parametrize("answer", ["", "451 4.2.1 Ms Quillfeather is away", "550 5.1.1 Ms Quillfeather is unknown"])
def test_it_keeps_nothing_that_names_whoever_is_erased_while_their_mail_is_handed_over(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, answer: str
) -> None:
    shop.people("ann", "bob")
    ids, erased = due(shop, scheduler, shop.campaign()), shop.profile("ann")
    held: list[Delivery] = []

    def at_rcpt(recipient: str) -> str:
        if not recipient.startswith("ann@"):
            return ""
        erase_person(shop.intake, shop.blobs, erased, shop.now, MANAGER)
        held.extend(row for row in shop.ledger(1) if row.profile_id == erased)
        return answer

    relay.at_rcpt = at_rcpt
    sender.send(ids)
    assert [(row.state, row.handing, row.address_hash) for row in held] == [("claimed", True, None)]
    rows = {row.profile_id: row for row in shop.ledger(1)}
    of_ann, of_bob = rows.pop(erased), rows.popitem()[1]
    states = {"": "accepted", "4": "deferred", "5": "failed"}
    assert (of_ann.state, of_ann.attempts) == (states[answer[:1]], 1)
    assert (of_ann.address_hash, of_ann.reply, of_ann.message_id) == (None, None, None)
    assert (of_bob.state, of_bob.reply, bool(of_bob.address_hash and of_bob.message_id)) == (
        "accepted", "250 2.0.0 Taken", True,
    )  # fmt: skip
    with shop.sessions.begin() as session:
        said = [(one.reason, one.evidence) for one in session.scalars(select(SuppressionChange))]
    assert said == ([(BOUNCED, None)] if answer.startswith("5") else [])
    # One that was put off is skipped once its time has come.
    shop.clock.advance(timedelta(hours=2))
    scheduler.tick()
    sender.send(ids)
    (again,) = (row for row in shop.ledger(1) if row.profile_id == erased)
    assert (again.state, again.reason) == (
        ("skipped", "erased") if answer.startswith("4") else (of_ann.state, of_ann.reason)
    )
    assert again.address_hash is None


def test_it_unnames_a_mail_that_was_frozen_or_settled_beside_an_erasure(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann", "bob")
    due(shop, scheduler, shop.campaign())
    before = {row.profile_id: row.address_hash for row in shop.ledger(1)}
    erase_person(shop.intake, shop.blobs, shop.profile("ann"), shop.now, MANAGER)
    with shop.sessions.begin() as session:  # As statements leave them that began before and are committed now.
        for profile, hashed in before.items():
            late = {"address_hash": hashed, "reply": "250 for Ms Quillfeather", "message_id": "<c1.o1.x@y>"}
            session.execute(update(Delivery).where(Delivery.profile_id == profile).values(**late))
    Following(RecorderParts(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock)).idle()
    bob = shop.profile("bob")
    for row in shop.ledger(1):
        named = (row.address_hash, row.reply, row.message_id)
        kept = (before[bob], "250 for Ms Quillfeather", "<c1.o1.x@y>")
        assert named == (kept if row.profile_id == bob else (None, None, None))

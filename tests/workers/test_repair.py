"""Repairs: lost keys come back as they were, absent ones only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from msgspec.structs import replace

from base import keys
from campaigns import offers, publish
from campaigns.campaigns import SlotChoice
from render import agree
from render.record import RepairRecord
from signals.erasure import erase
from signals.moments import unix_ms
from signals.products import take_products
from signals.state import decode
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import Browser, Web
from tests.promises.reader import APPLE, Mail
from tests.workers.opens import Opens
from workers.repair import Repairs


@pytest.fixture
def repairs(opens: Opens) -> Repairs:
    shop = opens.shop
    return Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key)


def busy(opens: Opens) -> Mail:
    """A person who looked, bought, looked again later, in both themes; all of it recorded."""
    mail = opens.send("ann", discount={"cap_person": 5, "group_name": "shoes"})["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=2))
    opens.get(mail.clicks[0])
    opens.shop.send(opens.shop.order("ann", "shoes", opens.shop.now))
    opens.look(mail, agent=APPLE)
    opens.shop.clock.advance(timedelta(seconds=10))
    opens.look(mail, dark=True)
    opens.shop.clock.advance(timedelta(seconds=1))
    opens.look(mail, 1)
    opens.record()
    return mail


def person_keys(opens: Opens, mail: Mail) -> list[bytes]:
    """The keys of the mail's person."""
    return sorted(opens.shop.store.scan_iter(match=f"{{{mail.token.profile}}}:*"))


def test_it_brings_back_what_was_shown_and_used_and_known(opens: Opens, repairs: Repairs) -> None:
    mail = busy(opens)
    names = person_keys(opens, mail)
    before = {name: opens.shop.store.get(name) for name in names}
    shown, used = opens.shown(mail), opens.used(mail)
    assert len(names) == 3
    assert used.offer(opens.discount).count == 1
    assert len(used.answers[opens.discount].taken) == len(used.group_answers["shoes"].taken) == 1
    opens.shop.store.delete(*names)
    repairs.restore_person(mail.token.profile)
    assert person_keys(opens, mail) == names
    assert opens.used(mail) == used
    assert opens.shown(mail).live == shown.live
    assert opens.shop.store.get(keys.state(mail.token.profile)) == before[keys.state(mail.token.profile).encode()]
    # So the reader sees the same, and no new decision is made.
    opens.look(mail)
    opens.record()
    assert opens.count("decision") == 2


def test_it_brings_back_by_which_plan_something_was_seen(opens: Opens, repairs: Repairs) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    with opens.shop.sessions.begin() as session:
        content = offers.content(offers.offer(session, opens.discount))
        moved = replace(content, landing="https://shop.example.com/moved")
        offers.update_offer(session, opens.discount, moved, opens.shop.now, MANAGER)
    opens.shop.publish(opens.campaign)
    opens.forget()
    opens.shop.clock.advance(timedelta(hours=2))
    opens.look(mail, 1)
    opens.record()
    shown = opens.shown(mail)
    assert [bool(sights[-1].plan) for sights in shown.live.shown.values()] == [True, False]
    opens.shop.store.delete(*person_keys(opens, mail))
    repairs.restore_person(mail.token.profile)
    assert opens.shown(mail).live == shown.live


def test_it_brings_back_what_was_shown_before_the_look_that_found_it_lost(opens: Opens) -> None:
    mail = opens.send("ann", discount={"landing": "https://shop.example.com/discount"})["ann"]
    opens.look(mail)
    opens.record()
    shown = opens.shown(mail)
    opens.shop.store.delete(*person_keys(opens, mail))
    opens.look(mail, 1)
    opens.record()
    assert opens.shown(mail).live == shown.live
    assert opens.get(mail.clicks[0]).headers["Location"] == "https://shop.example.com/discount"


@pytest.fixture
def support(opens: Opens) -> Iterator[Browser]:
    """A browser of support."""
    with closing(Web(opens.shop)) as web:
        yield web.browser("support")


@pytest.mark.feature("CM-38")
def test_a_default_that_stands_for_a_product_waits_for_it_after_a_repair_too(
    opens: Opens, repairs: Repairs, support: Browser
) -> None:
    shop = opens.shop
    item = {"id": "boot", "title": "Boots", "price": "79 EUR", "availability": "out_of_stock"}
    take_products(shop.intake, shop.source, [item], shop.now)
    mail = opens.send("ann", discount={"product": "boot", "needs_stock": True, "name": "Boots for less"})["ann"]
    opens.look(mail)
    opens.record()
    shop.clock.advance(timedelta(minutes=2))
    (row,) = opens.rows("SELECT id FROM decision")
    page = f"/customers/{mail.token.profile}/opens/{row.id}"
    before = opens.shown(mail).live
    assert before.waits == (opens.discount,)

    opens.shop.store.delete(*person_keys(opens, mail))
    repairs.restore_person(mail.token.profile)
    assert opens.shown(mail).live == before
    told = support.get(page).text
    assert "Nothing that matters has changed since their latest open" in told
    assert "as soon as the products of one of these can be had again: Boots for less." in told

    take_products(shop.intake, shop.source, [item | {"availability": "in_stock"}], shop.now)
    opens.forget()
    told = support.get(page).text
    assert "Nothing that matters has changed" not in told
    assert "Another: Boots for less." in told
    opens.look(mail)
    opens.record()
    assert [chosen.offer for chosen in opens.shown(mail).live.chosen] == [opens.discount, opens.default]


def test_it_writes_absent_keys_only(opens: Opens, repairs: Repairs) -> None:
    mail = busy(opens)
    names = person_keys(opens, mail)
    opens.shop.store.delete(keys.used(mail.token.profile))
    newer = {name: b"newer" for name in names if name.endswith((b":state", b"1")) and b"shown" in name}
    for name, data in newer.items():
        opens.shop.store.set(name, data)
    repairs.restore_person(mail.token.profile)
    assert {name: opens.shop.store.get(name) for name in newer} == newer
    assert opens.used(mail).offer(opens.discount).count == 1


def test_it_brings_nothing_back_of_whoever_was_erased_but_the_tombstone(opens: Opens, repairs: Repairs) -> None:
    mail = busy(opens)
    erase(opens.shop.intake, mail.token.profile, opens.shop.now)
    tombstone = opens.shop.store.get(keys.state(mail.token.profile))
    assert isinstance(tombstone, bytes)
    assert decode(tombstone).erased
    opens.shop.store.delete(keys.state(mail.token.profile))
    repairs.restore_person(mail.token.profile)
    assert person_keys(opens, mail) == [keys.state(mail.token.profile).encode()]
    assert opens.shop.store.get(keys.state(mail.token.profile)) == tombstone


def test_it_counts_no_open_that_nobody_agreed_on(opens: Opens, repairs: Repairs) -> None:
    """While the store is away defaults are shown under a number of their own; it is not the mail's last open."""
    mail = busy(opens)
    with opens.shop.sessions.begin() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO decision SELECT 'unread', at + interval '1 hour', profile_id, subject_id, channel,"
            " campaign_id, occurrence, contact, lane, 0, plan_hash, model_hash, seed, state_version, 'default', lost,"
            " slots, shadow, public, public_sha256, personal, ms FROM decision WHERE open_number = 2"
        )
    shown = opens.shown(mail)
    opens.shop.store.delete(*person_keys(opens, mail))
    repairs.restore_person(mail.token.profile)
    assert opens.shown(mail).live == shown.live


def test_it_counts_a_lost_cap_anew_from_what_was_recorded(opens: Opens, repairs: Repairs) -> None:
    mails = opens.send("ann", "bob", "cara", discount={"cap_total": 10})
    for mail in mails.values():
        opens.look(mail)
        opens.look(mail, dark=True)
    opens.record()
    assert agree.balance(opens.shop.store, opens.discount) == 7
    opens.shop.store.delete(keys.cap(opens.discount))
    repairs.restore_cap(opens.discount)
    repairs.restore_cap(opens.discount)
    assert agree.balance(opens.shop.store, opens.discount) == 7
    repairs.restore_cap(opens.default)
    assert agree.balance(opens.shop.store, opens.default) is None, "it never had a cap"


@pytest.mark.parametrize("is_hash", [True, False])
def test_it_counts_a_cap_anew_that_is_none_and_gives_back_those_of_others(
    opens: Opens, repairs: Repairs, is_hash: bool
) -> None:
    mail = opens.send("ann", discount={"cap_total": 10})["ann"]
    other = opens.shop.offer("cross-sell", cap_total=5, name="Socks")
    opens.shop.campaign(
        slots=[SlotChoice(slot=0, default=opens.default, offers=[other]), SlotChoice(slot=1, default=opens.default)]
    )
    opens.look(mail)
    opens.record()
    store, cap, made = opens.shop.store, keys.cap(opens.discount), unix_ms(opens.shop.now)
    for offer in (opens.discount, other):
        store.hset(keys.cap(offer), agree.reservation("9.1", 4711, 1, made), made)
    if is_hash:
        store.hset(cap, mapping={"left": "abc", "somebody": "abc"})
        for name in (f"{'9' * 30}.9.1.1.1", f"5.9.1.{'9' * 30}"):
            store.hset(cap, name, made)
    else:
        store.delete(cap)
        store.rpush(cap, "x")
    store.hincrby(keys.cap(other), "left", -1)
    assert repairs.free_reservations(opens.shop.now + timedelta(seconds=1)) == 1
    assert (agree.balance(store, opens.discount), agree.balance(store, other)) == (None, 5)
    opens.forget()
    opens.shop.clock.advance(timedelta(hours=2))
    opens.look(mail)
    opens.record()
    opens.following.idle()
    assert agree.balance(store, opens.discount) == 9
    assert repairs.free_reservations(opens.shop.now + timedelta(hours=1)) == 0


def test_it_gives_back_reservations_that_no_open_stands_behind(opens: Opens, repairs: Repairs) -> None:
    mails = opens.send("ann", "bob", discount={"cap_total": 10})
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    store, made = opens.shop.store, unix_ms(opens.shop.now)
    ann, bob = mails["ann"].token, mails["bob"].token
    # The mail's first open, begun a second time after what was shown was lost, and one of a release before this one.
    lost = agree.reservation(ann.delivery.name, ann.profile, 1, made + 60_000)
    old = f"{ann.profile}.{ann.delivery.name}.77"
    store.hset(keys.cap(opens.discount), mapping={"left": 6, lost: made, old: made})
    # A recorded open whose reservation was not settled yet stays, whatever its age, under either name.
    held = agree.reservation(bob.delivery.name, bob.profile, 1, made)
    held_before = f"{bob.profile}.{bob.delivery.name}.1"
    store.hset(keys.cap(opens.discount), mapping={held: made, held_before: made})
    assert repairs.free_reservations(opens.shop.now) == 0, "they may still come to be recorded"
    assert repairs.free_reservations(opens.shop.now + timedelta(seconds=1)) == 2
    assert agree.balance(store, opens.discount) == 8
    assert store.hmget(keys.cap(opens.discount), [held, held_before, lost, old]) == [b"0", b"0", None, None]


@pytest.mark.parametrize("junk", ["junk", "as long", "list"])
def test_it_writes_over_a_plan_that_is_damaged(opens: Opens, junk: str) -> None:
    opens.send("ann")
    (row,) = opens.rows("SELECT plan_hash FROM campaign WHERE id = :id", id=opens.campaign)
    store, name = opens.shop.store, keys.plan(row.plan_hash)
    kept = store.get(name)
    assert isinstance(kept, bytes)
    store.delete(name)
    if junk == "list":
        store.rpush(name, "x")
    else:
        store.set(name, "junk" if junk == "junk" else b"\xc1" * len(kept))
    opens.put(
        RepairRecord(id="d" * 32, at_ms=0, what="plan", campaign=opens.campaign, occurrence=1, name=row.plan_hash)
    )
    opens.record()
    assert store.get(name) == kept


def test_it_restores_live_keys_plans_and_products_when_an_open_misses_them(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    (row,) = opens.rows("SELECT plan_hash FROM campaign WHERE id = :id", id=opens.campaign)
    lost = (keys.live(opens.campaign), keys.plan(row.plan_hash))
    kept = [opens.shop.store.get(name) for name in lost]
    opens.shop.store.delete(*lost)
    opens.forget()
    opens.look(mail)
    opens.record()
    assert [opens.shop.store.get(name) for name in lost] == kept
    with opens.shop.sessions.begin() as session:
        publish.kill(session, opens.shop.store, opens.campaign, opens.shop.now, MANAGER)
    killed = opens.shop.store.get(lost[0])
    opens.shop.store.delete(*lost)
    opens.look(mail)
    opens.following.idle()
    assert killed != kept[0]

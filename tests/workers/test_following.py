"""What follows from records: withdrawals are in effect, caps are settled."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from redis import ResponseError

from base import keys
from base.errors import Unavailable
from base.recordstreams import RecordStreams
from campaigns.campaigns import SlotChoice
from campaigns.erasure import erase_person, finish_erasures
from render import agree
from render.record import ConsentRecord
from signals.erasure import erase
from signals.joining import join
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.products import take_products
from signals.publishing import HOT_STORE
from signals.rebuild import rebuild
from signals.sources import create_source, sender
from signals.state import decode
from tests.campaigns.shop import MANAGER
from tests.damage import flip
from tests.databases import VAULT
from tests.workers.opens import Opens


def consent(opens: Opens, profile: int, purpose: str) -> bool | None:
    """What the hot store says a person allowed."""
    data = opens.shop.store.get(keys.state(profile))
    assert isinstance(data, bytes)
    return decode(data).consent.get(purpose)


@pytest.mark.parametrize(
    ("form", "purpose"), [({"List-Unsubscribe": "One-Click"}, "email"), ({"purpose": "tracking"}, "tracking")]
)
def test_it_puts_a_withdrawal_into_effect(opens: Opens, form: dict[str, str], purpose: str) -> None:
    mail = opens.send("ann")["ann"]
    profile = mail.token.profile
    assert opens.client.post(mail.unsubscribe, data=form).status_code == 200
    assert consent(opens, profile, purpose) is not False
    opens.record()
    assert consent(opens, profile, purpose) is False
    (row,) = opens.rows("SELECT * FROM consent WHERE NOT granted")
    wording = VAULT.open(row.wording, "consent.wording")
    assert (row.profile_id, row.purpose, wording) == (profile, purpose, b"link in a mail")


@pytest.mark.parametrize("key", ["used", "cap"])
def test_a_key_of_another_kind_keeps_no_withdrawal_waiting(opens: Opens, key: str) -> None:
    mails = opens.send("ann", "bob", "cara", discount={"cap_total": 10})
    shop, ann, cara = opens.shop, mails["ann"], mails["cara"]
    join(shop.intake, ann.token.profile, mails["bob"].token.profile, shop.now, by="x")
    name = keys.used(ann.token.profile) if key == "used" else keys.cap(opens.discount)
    opens.look(ann)
    opens.client.post(cara.unsubscribe, data={"List-Unsubscribe": "One-Click"})
    shop.store.delete(name)
    shop.store.rpush(name, "x")
    opens.record()
    assert consent(opens, cara.token.profile, "email") is False
    assert opens.count("decision") == 1
    if key == "used":
        assert opens.used(ann).offer(opens.discount).count == 1
        assert opens.used(mails["bob"]).offer(opens.discount).count == 1


def test_a_state_that_is_refused_keeps_no_other_withdrawal_waiting(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = opens.send("ann", "bob").values()
    withdraw = opens.following.withdraw

    def refused(record: ConsentRecord) -> None:
        if record.profile == ann.token.profile:
            raise Unavailable(HOT_STORE) from ResponseError("WRONGTYPE of a key")
        withdraw(record)

    monkeypatch.setattr(opens.following, "withdraw", refused)
    for mail in (ann, bob):
        opens.client.post(mail.unsubscribe, data={"List-Unsubscribe": "One-Click"})
    opens.record()
    assert [consent(opens, mail.token.profile, "email") for mail in (ann, bob)] == [True, False]


@pytest.mark.parametrize("is_hash", [True, False])
def test_mails_leave_though_a_cap_is_none(opens: Opens, is_hash: bool) -> None:
    opens.send("ann", discount={"cap_total": 10})
    store, cap = opens.shop.store, keys.cap(opens.discount)
    if is_hash:
        store.hset(cap, "left", "abc")
    else:
        store.delete(cap)
        store.rpush(cap, "x")
    hero = SlotChoice(slot=0, default=opens.default, offers=[opens.discount])
    opens.send_campaign(slots=[hero, SlotChoice(slot=1, default=opens.default)])
    assert opens.count("delivery") == len(opens.relay.mails) == 2


@pytest.mark.parametrize("lost", [False, True])
def test_a_withdrawal_is_in_effect_though_what_was_told_before_is_damaged(opens: Opens, lost: bool) -> None:
    mails, shop = opens.send("ann", "bob"), opens.shop
    ann, bob = mails["ann"].token.profile, mails["bob"].token.profile
    flip(shop.sessions, "event.body", f"profile_id = {ann}")
    if lost:
        shop.spoil(ann)
    # Two at one moment, before a signal that comes in first, are folded with all that came before.
    assert opens.client.post(mails["ann"].unsubscribe, data={"purpose": ["email", "tracking"]}).status_code == 200
    assert opens.client.post(mails["bob"].unsubscribe, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    shop.clock.advance(timedelta(seconds=1))
    shop.send(shop.order("ann", "Shoes", shop.now))
    opens.record()
    for _ in range(2):
        assert [consent(opens, ann, purpose) for purpose in ("email", "tracking")] == [False, False]
        assert consent(opens, bob, "email") is False
        assert rebuild(shop.intake, shop.now).different == 0
    assert RecordStreams(shop.store).set_aside() == 0


def test_it_tells_a_withdrawal_once_however_often_it_comes(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    made = ConsentRecord(
        id="c" * 32, at_ms=unix_ms(opens.shop.now), profile=mail.token.profile, campaign=1, occurrence=1,
        purpose="email", granted=False, via="page",
    )  # fmt: skip
    for _ in range(3):
        opens.put(made)
        opens.record()
    assert len(opens.rows("SELECT 1 FROM consent WHERE NOT granted")) == 1


def test_it_follows_a_person_into_whom_the_mailed_one_was_merged(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.shop.send({"type": "alias", "userId": "anna", "previousId": "ann"})
    made = ConsentRecord(
        id="c" * 32, at_ms=unix_ms(opens.shop.now), profile=mail.token.profile, campaign=1, occurrence=1,
        purpose="email", granted=False, via="page",
    )  # fmt: skip
    opens.put(made)
    opens.record()
    assert consent(opens, opens.shop.profile("anna"), "email") is False


def test_it_has_nothing_to_withdraw_for_whoever_was_erased(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.client.post(mail.unsubscribe, data={"List-Unsubscribe": "One-Click"})
    erase(opens.shop.intake, mail.token.profile, opens.shop.now)
    opens.record()
    assert opens.count("consent") == 0
    assert opens.recorder.lag() == 0


def test_it_finishes_an_erasure_that_was_interrupted(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = opens.send("ann")["ann"]
    profile = mail.token.profile
    opens.look(mail)
    opens.record()
    with monkeypatch.context() as dying:
        # As `kill -9` between the commit and the write: nothing of it reaches the hot store.
        dying.setattr(opens.shop.intake, "publisher", None)
        with pytest.raises(AttributeError):
            erase_person(opens.shop.intake, opens.shop.blobs, profile, opens.shop.now, MANAGER)
    assert consent(opens, profile, "email") is not None
    opens.shop.clock.advance(timedelta(minutes=2))
    opens.following.idle()
    held = opens.shop.store.get(keys.state(profile))
    assert isinstance(held, bytes)
    assert decode(held).erased
    assert opens.shop.store.keys(f"{{{profile}}}:*") == [keys.state(profile).encode()]
    assert (opens.count("subject"), opens.count("decision")) == (0, 1)
    assert opens.rows("SELECT profile_id FROM decision") == [(None,)]
    assert not finish_erasures(opens.shop.intake, opens.shop.blobs, opens.shop.now)


def test_it_publishes_states_that_somebody_could_not(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = (mail.token.profile for mail in opens.send("ann", "bob").values())
    with monkeypatch.context() as dying:
        dying.setattr(opens.shop.intake, "publisher", None)
        with pytest.raises(AttributeError):  # As `kill -9` between the commit and the write.
            join(opens.shop.intake, ann, bob, opens.shop.now, by="x")
    before = [opens.shop.store.get(keys.state(person)) for person in (ann, bob)]
    opens.following.idle()
    one, other = (opens.shop.store.get(keys.state(person)) for person in (ann, bob))
    assert one == other
    assert one not in before


def test_it_publishes_products_that_somebody_could_not(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = opens.shop
    shoe = {"id": "p1", "title": "Shoe", "price": "10 EUR"}
    with shop.sessions.begin() as session:
        feeder = sender(create_source(session, "feeder", "server", shop.now)[0])
    take_products(shop.intake, feeder, [shoe], shop.now)
    before = shop.store.get(keys.product("p1"))
    with monkeypatch.context() as dying:
        dying.setattr(shop.intake, "publisher", None)
        with pytest.raises(AttributeError):  # As `kill -9` between the commit and the write.
            take_products(shop.intake, feeder, [shoe | {"price": "20 EUR"}], shop.now)
    assert shop.store.get(keys.product("p1")) == before
    opens.following.idle()
    held = shop.store.get(keys.product("p1"))
    assert isinstance(held, bytes)
    assert msgspec.msgpack.decode(held, type=ProductFacts).price_cents == 2000


def test_it_settles_the_caps_of_recorded_opens(opens: Opens) -> None:
    mail = opens.send("ann", discount={"cap_total": 10})["ann"]
    opens.look(mail)
    name = agree.reservation(mail.token.delivery.name, mail.token.profile, 1, unix_ms(opens.shop.now))
    assert int(opens.shop.store.hget(keys.cap(opens.discount), name) or 0) > 0
    opens.record()
    assert opens.shop.store.hget(keys.cap(opens.discount), name) == b"0"
    opens.shop.clock.advance(timedelta(hours=1))
    opens.following.idle()
    assert opens.shop.store.hget(keys.cap(opens.discount), "left") == b"9"

"""An address whose stored bytes are damaged keeps nobody else's mail waiting, nor what else goes by addresses."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from sqlalchemy import text

from base.errors import SettingError
from base.vault import VARIABLE, Vault, give
from campaigns import deliveries, permits
from campaigns.models import ExportMember
from campaigns.sendlimits import ALL, Pace, Terms
from campaigns.settling import send_again
from campaigns.transitions import send_test
from signals import keymarks
from tests.campaigns.shop import MANAGER, Shop
from tests.damage import CONTENT, flip
from tests.databases import PII_KEYS
from tests.loglines import log_lines
from tests.workers.relay import Relay
from tests.workers.test_exporting import Desk, Receiver, receiver
from tests.workers.test_sending import account, build_none_for, due
from workers.schedule import Scheduler
from workers.sending import Sender

__all__ = ["receiver"]


def spoil(shop: Shop, profile: int, byte: int = CONTENT) -> None:
    """Damage a customer's address, or put it back."""
    flip(shop.sessions, "identifier.value", f"type = 'email' AND profile_id = {profile}", byte)


@pytest.mark.parametrize("byte", [0, 20], ids=["the number of its key", "what it says"])
def test_a_damaged_address_fails_alone_and_is_mailed_once_it_is_put_back(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, byte: int,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    keymarks.settle(shop.sessions, shop.settings, shop.now)
    _, bob, _ = shop.people("ann", "bob", "cleo")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    spoil(shop, bob, byte)
    assert sender.send(ids).states == {"accepted": 2}
    assert relay.received() == Counter(["ann@example.com", "cleo@example.com"])
    assert [(row.profile_id, row.reason, row.attempts) for row in shop.ledger(campaign) if row.state == "failed"] == [
        (bob, deliveries.ADDRESS_DAMAGED, 0)
    ]
    (told,) = log_lines("damaged", capsys, caplog)
    assert "identifier.value" in told
    assert re.search(rf"profile\W+{bob}\b", told)
    assert "bob" not in told
    assert scheduler.tick().finished == [campaign]

    spoil(shop, bob, byte)
    with shop.sessions.begin() as session:
        assert send_again(session, campaign, shop.now, MANAGER, reason=deliveries.ADDRESS_DAMAGED) == 1
    assert sender.send(ids).states == {"accepted": 1}
    assert relay.received() == Counter(f"{name}@example.com" for name in ("ann", "bob", "cleo"))
    assert account(shop, campaign) == {"accepted": 3}


def test_without_the_key_of_the_addresses_nothing_is_taken_for_damaged(
    shop: Shop, scheduler: Scheduler, sender: Sender
) -> None:
    keymarks.settle(shop.sessions, shop.settings, shop.now)
    shop.people("ann")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    engine = shop.sessions.kw["bind"]
    give(engine, Vault({9: b"n" * 32}))
    with pytest.raises(SettingError, match=f"{VARIABLE}: must hold key 1"):
        sender.send(ids)
    give(engine, Vault(PII_KEYS))
    assert account(shop, campaign) == {"queued": 1}


def test_a_test_to_a_damaged_address_fails(shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender) -> None:
    (ann,) = shop.people("ann")
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        run = send_test(session, campaign, [ann], "tester@example.org", shop.now, MANAGER)
    ids = [row.id for row in shop.ledger(campaign)]
    flip(shop.sessions, "delivery.test_address")
    assert sender.send(ids).states == {}
    assert account(shop, campaign, run) == {"failed": 1}
    assert not relay.received()


def test_what_left_for_a_damaged_address_counts_for_everybodys_limit(
    shop: Shop, scheduler: Scheduler, sender: Sender
) -> None:
    _, bob = shop.people("ann", "bob")
    sender.send(due(shop, scheduler, shop.campaign()))
    spoil(shop, bob)
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(everything=Pace(per_day=10)), shop.now, MANAGER)
        assert session.execute(text("SELECT sum(number) FROM permit_use WHERE window_s = 86400")).scalar() == 2


def test_what_failed_for_a_damaged_address_or_could_not_be_built_is_used_of_no_limit(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bob, _ = shop.people("ann", "bob", "cleo")
    build_none_for("cleo", monkeypatch)
    spoil(shop, bob)
    campaign = shop.campaign()
    sender.send(due(shop, scheduler, campaign))
    assert relay.received() == {"ann@example.com": 1}
    assert account(shop, campaign) == {"accepted": 1, "failed": 2}
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(everything=Pace(per_day=10)), shop.now, MANAGER)
        assert [use.used for use in permits.uses(session, [ALL], shop.now)] == [1]


def test_an_audience_sync_tells_of_everybody_else(shop: Shop, receiver: Receiver) -> None:
    desk = Desk(shop)
    _, bob = shop.people("ann", "bob")
    for name in ("ann", "bob"):
        desk.answer(name, 10)
    shop.send(*(shop.consent(name, True, "advertising") for name in ("ann", "bob")))
    spoil(shop, bob)
    desk.export(receiver.url)
    desk.later()
    assert desk.kept().row.fault is None
    with shop.sessions.begin() as session:
        assert [row.profile_id for row in session.query(ExportMember) if row.told == "yes"] == [shop.profile("ann")]
    assert len(receiver.calls) == 1

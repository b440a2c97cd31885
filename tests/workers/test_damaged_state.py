"""A stored state that is damaged keeps nobody's mail waiting."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from signals import keymarks
from tests.campaigns.shop import Shop
from tests.loglines import log_lines
from tests.workers.relay import Relay
from tests.workers.test_sending import account, due
from workers.schedule import Scheduler
from workers.sending import Sender


@pytest.mark.parametrize("byte", [0, 20], ids=["the number of its key", "what it says"])
def test_who_has_a_damaged_state_is_mailed_as_one_without_a_state_and_so_is_everybody_else(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, byte: int,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    keymarks.settle(shop.sessions, shop.settings, shop.now)
    names = ("ann", "bob", "cleo")
    _, bob, _ = shop.people(*names)
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    shop.spoil(bob, byte)
    assert sender.send(ids).states == {"accepted": 3}
    assert relay.received() == Counter(f"{name}@example.com" for name in names)
    greeted = {to.partition("@")[0]: b"friend, your week" in mail for to, mail in relay.mails}
    assert greeted == {"ann": False, "bob": True, "cleo": False}
    assert account(shop, campaign) == {"accepted": 3}
    assert scheduler.tick().finished == [campaign]
    (told,) = log_lines("damaged", capsys, caplog)
    assert re.search(rf"profile\W+{bob}\b", told)
    assert "profile_state.encoded" in told
    assert "bob" not in told


def test_who_refuses_mail_gets_none_though_their_state_is_damaged(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    _, bob = shop.people("ann", "bob")
    ids = due(shop, scheduler, shop.campaign())
    shop.send(shop.consent("bob", False))
    shop.spoil(bob)
    assert sender.send(ids).states == {"accepted": 1}
    assert relay.received() == Counter(["ann@example.com"])
    assert [(row.state, row.reason) for row in shop.ledger(1) if row.profile_id == bob] == [
        ("skipped", "unsubscribed_since")
    ]

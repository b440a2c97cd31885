"""Mails as a relay gets them: signed with what is active, whatever happens to the keys meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from base.environment import environment
from campaigns import dkimkeys
from campaigns.deliveries import UNSIGNABLE
from campaigns.lookups import Lookups
from campaigns.models import Campaign
from campaigns.models.signing import DkimKey
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.signed import ALGORITHMS, Published
from tests.nameserver import name_server
from tests.workers.relay import Relay
from tests.workers.test_sending import due
from workers.commands.dkim import command
from workers.schedule import Scheduler
from workers.sending import Sender


def activated(shop: Shop, algorithm: str) -> DkimKey:
    """A key that signs from now on."""
    with shop.sessions.begin() as session:
        made = dkimkeys.make(session, "example.com", algorithm, shop.settings.subject_key, shop.now, MANAGER)
        return dkimkeys.activate(session, made.id, Lookups(), shop.now, MANAGER, unchecked=True)


@pytest.fixture
def published() -> Published:
    return Published(algorithms=())


def test_it_hands_over_what_receivers_find_signed_by_the_keys_of_that_moment(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, published: Published
) -> None:
    shop.people("ann", "bob", "cy")
    dotted = shop.message(text=".\n..\n.hidden\n{{ link.unsubscribe }} {{ brand.postal_address }}\n\n\n")
    first, second, third = due(shop, scheduler, shop.campaign(message=dotted))
    assert sender.send([first]).states == {"accepted": 1}
    for algorithm in ALGORITHMS:
        record = dkimkeys.record(activated(shop, algorithm))
        published.put(record.name, record.value)
    sender.send([second])
    replaced = dkimkeys.record(activated(shop, "rsa"))
    published.put(replaced.name, replaced.value)
    sender.send([third])
    assert [published.verdicts(content) for _, content in relay.mails] == [[], [True, True], [True, True]]
    assert b"s=lb20260302-rsa;" in relay.mails[1][1]
    assert b"s=lb20260302-rsa-2;" in relay.mails[2][1]


def test_it_sends_nothing_unsigned_because_a_key_cannot_be_opened(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob")
    campaign = shop.campaign()
    rows = due(shop, scheduler, campaign)
    key = activated(shop, "ed25519")
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE dkim_key SET sealed = 'x'"))
    assert sender.send(rows).states == {"deferred": 2}
    assert relay.mails == []
    assert {(row.reason, row.attempts) for row in shop.ledger(campaign)} == {(UNSIGNABLE, 0)}
    with shop.sessions.begin() as session:
        paused = session.get_one(Campaign, campaign)
        assert (paused.state, "another LATEBIND_SUBJECT_KEY" in (paused.trouble or "")) == ("paused", True)
        dkimkeys.retire(session, key.id, shop.now, MANAGER)


def test_it_is_run_from_the_command_line(shop: Shop) -> None:
    with name_server() as dns:
        environ = environment(replace(shop.settings, dns_servers=(dns.place,)))

        def told(status: int, *arguments: str) -> str:
            done = CliRunner().invoke(command, arguments, env=environ)
            assert done.exit_code == status, done.output
            return done.output

        made = told(0, "make", "Shop.example", "--algorithm", "ed25519", "--selector", "s1")
        value = made.partition("Value: ")[2].strip()
        assert f's1._domainkey.shop.example. 3600 IN TXT "{value}"' in made
        assert "has no TXT record yet" in told(1, "check", "shop.example", "s1")
        dns.text("s1._domainkey.shop.example", value)
        assert "shows the key" in told(0, "check", "shop.example", "s1")
        assert "from now on" in told(0, "activate", "shop.example", "s1")
        assert "\ts1\ted25519\tactive\t" in told(0, "list", "shop.example")
        assert value in told(0, "show", "shop.example", "s1")
        assert "Retired" in told(0, "retire", "shop.example", "s1")
        assert "\tretired\t" in told(0, "list")

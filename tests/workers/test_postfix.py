"""Mails through a real relay: Postfix takes them by TLS, OpenDKIM believes their signatures."""

from __future__ import annotations

import email
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from base.clock import FixedClock, monotonic, pause
from base.db import Sessions
from base.settings import Settings
from base.stores import Store
from campaigns import dkimkeys
from campaigns.lookups import Lookups
from signals.suppression import BOUNCED, Suppression
from tests.authority import Authority
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.signed import ALGORITHMS, Published
from tests.nameserver import NameServer, name_server
from tests.workers.postfix import CheckingRelay, missing
from tests.workers.relay import Relay
from tests.workers.test_sending import due
from workers.schedule import Scheduler
from workers.sending import Sender

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
DEADLINE = 60.0


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def postfix(authority: Authority, relay: Relay, dns: NameServer) -> Iterator[CheckingRelay]:
    """A Postfix that hands on to the test's own relay, in a folder that its user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="latebind-postfix-"))
    folder.chmod(0o755)
    authority.certificate("localhost", 100)
    server = CheckingRelay(folder, authority.folder / "localhost-100.pem", relay.port, dns.place, "bob@example.com")
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shop(
    settings: Settings,
    sessions: Sessions,
    valkey: Store,
    clock: FixedClock,
    postfix: CheckingRelay,
    authority: Authority,
) -> Shop:
    """A shop that sends through it, and only with TLS."""
    ours = replace(
        settings, smtp_url=f"smtp://localhost:{postfix.port}", smtp_tls="required", smtp_ca_file=authority.path
    )
    return Shop(ours, sessions, valkey, clock)


def test_it_hands_signed_mails_to_postfix_by_tls_and_is_believed_by_opendkim(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, postfix: CheckingRelay, dns: NameServer
) -> None:
    published = Published(algorithms=())
    with shop.sessions.begin() as session:
        for algorithm in ALGORITHMS:
            key = dkimkeys.make(session, "example.com", algorithm, shop.settings.subject_key, shop.now, MANAGER)
            record = dkimkeys.record(key)
            dns.text(record.name, record.value)
            published.put(record.name, record.value)
            dkimkeys.activate(session, key.id, Lookups([dns.place]), shop.now, MANAGER)
    shop.people("ann", "bob", "cy", firstName="Zoë")
    dotted = shop.message(text=".\n..\n.hidden\n{{ link.unsubscribe }} {{ brand.postal_address }}\n\n\n")
    states = sender.send(due(shop, scheduler, shop.campaign(message=dotted))).states
    assert states == {"accepted": 2, "failed": 1}, postfix.log()
    failed = next(row for row in shop.ledger(1) if row.state == "failed")
    assert "5.1.1" in (failed.reply or "")
    with shop.sessions.begin() as session:
        assert [row.reason for row in session.scalars(select(Suppression))] == [BOUNCED]
    deadline = monotonic() + DEADLINE
    while len(relay.mails) < 2 and monotonic() < deadline:
        pause(0.05)
    assert relay.received() == {"ann@example.com": 1, "cy@example.com": 1}, postfix.log()
    for _, mail in relay.mails:
        assert published.verdicts(mail) == [True, True]
        heads = email.message_from_bytes(mail)
        assert "with ESMTPS" in heads["Received"]
        said = " ".join(heads.get_all("Authentication-Results", []))
        assert re.findall(r"dkim=(\w+)", said) == ["pass", "pass"], said

"""The transport: what each end of a hand-over means, and that nothing else is called unknown."""

from __future__ import annotations

import smtplib
import socket
from pathlib import Path

import pytest

from base.errors import PermanentFailure, SettingError, TemporaryFailure, UnknownOutcome
from base.settings import Settings
from tests.workers.breaking import Breaking
from tests.workers.relay import HOST, Relay
from workers.checkup import _relay as examine_relay
from workers.relay import Unreachable, relay_from
from workers.replies import is_dead_address, is_permanent
from workers.storecheckup import Unwell
from workers.transport import SenderRefused, Transport

MAIL = b"Subject: 1\r\n\r\n.dot\r\n..\r\n"


def transport(relay: Relay) -> Transport:
    return Transport(relay_from(Settings(var=Path("var"), smtp_url=relay.url)))


def test_it_hands_over_as_smtplib_does(relay: Relay) -> None:
    ours = transport(relay)
    assert ours.hand_over("a@example.com", "b@example.com", MAIL) == "250 2.0.0 Taken"
    ours.quit()
    with smtplib.SMTP(HOST, relay.port) as plain:
        plain.sendmail("a@example.com", ["b@example.com"], MAIL)
    assert relay.mails[0] == relay.mails[1] == ("b@example.com", MAIL)


@pytest.mark.parametrize("phase", ["greeting", "mail", "rcpt", "data", "body"])
def test_it_knows_that_a_mail_broken_off_before_its_end_was_not_taken(phase: str) -> None:
    with Breaking(phase) as server, pytest.raises(TemporaryFailure):
        Transport(relay_from(server.settings())).hand_over("a@example.com", "b@example.com", b"x\r\n" * 2_000_000)


def test_it_does_not_know_when_the_connection_breaks_after_the_final_dot() -> None:
    with Breaking("dot") as server, pytest.raises(UnknownOutcome):
        Transport(relay_from(server.settings())).hand_over("a@example.com", "b@example.com", MAIL)


def test_it_says_when_nobody_listens() -> None:
    settings = Settings(var=Path("var"), smtp_url="smtp://127.0.0.1:1")
    with pytest.raises(Unreachable):
        Transport(relay_from(settings)).hand_over("a@example.com", "b@example.com", MAIL)


def test_it_gives_no_password_to_a_relay_elsewhere_that_offers_no_encryption(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda _address, *rest: connect((HOST, relay.port), *rest))
    settings = Settings(var=Path("var"), smtp_url="smtp://user:secret@relay.example.com:587")
    with pytest.raises(Unreachable, match="offers no encryption"):
        Transport(relay_from(settings)).hand_over("a@example.com", "b@example.com", MAIL)
    with pytest.raises(Unwell, match="offers no encryption"):
        examine_relay(settings)
    assert relay.mails == []


def test_it_starts_a_fresh_connection_when_the_relay_closed_the_old_one(relay: Relay) -> None:
    ours = transport(relay)
    ours.hand_over("a@example.com", "b@example.com", MAIL)
    relay.stop()
    relay.start()
    ours.hand_over("a@example.com", "b@example.com", MAIL)
    assert relay.sessions == 2
    ours.quit()


def test_it_starts_a_fresh_connection_when_the_relay_had_said_good_bye_meanwhile(relay: Relay) -> None:
    ours = transport(relay)
    ours.hand_over("a@example.com", "b@example.com", MAIL)
    relay.at_mail = lambda _sender: "421 4.4.2 idle for too long" if relay.sessions == 1 else ""
    ours.hand_over("a@example.com", "b@example.com", MAIL)
    relay.at_mail = lambda _sender: "421 4.3.2 closing"
    with pytest.raises(SenderRefused, match="421"):
        ours.hand_over("a@example.com", "b@example.com", MAIL)
    ours.quit()


def test_it_goes_on_after_a_refusal_and_hides_addresses(relay: Relay) -> None:
    relay.at_rcpt = lambda recipient: "550 5.1.1 <bob@example.com>: unknown" if recipient.startswith("bob") else ""
    relay.at_dot = lambda recipient: "421 4.3.2 closing" if recipient.startswith("eve") else ""
    ours = transport(relay)
    with pytest.raises(PermanentFailure, match=r"550 5\.1\.1 <\[address\]>: unknown"):
        ours.hand_over("a@example.com", "bob@example.com", MAIL)
    ours.hand_over("a@example.com", "ann@example.com", MAIL)
    with pytest.raises(TemporaryFailure):
        ours.hand_over("a@example.com", "eve@example.com", MAIL)
    ours.hand_over("a@example.com", "ann@example.com", MAIL)
    assert relay.received() == {"ann@example.com": 2}
    assert relay.sessions == 2, "421 ends the connection"
    ours.quit()


@pytest.mark.parametrize(
    ("reply", "permanent", "dead"),
    [
        ("550 5.1.1 unknown", True, True),
        ("550 5.7.1 policy", True, False),
        ("450 4.2.2 full", False, False),
        ("450 5.1.1 the enhanced code decides", True, True),
        ("550 4.2.1 the enhanced code decides", False, False),
        ("550 no enhanced code", True, False),
        ("421 closing", False, False),
        ("552 5.2.2 full for good", True, False),
    ],
)
def test_it_decides_by_the_code(reply: str, permanent: bool, dead: bool) -> None:
    assert (is_permanent(reply), is_dead_address(reply)) == (permanent, dead)


def test_it_reads_the_relays_address() -> None:
    relay = relay_from(Settings(var=Path("var"), smtp_url="smtps://me:p%40ss@mail.example.com"))
    assert (relay.host, relay.port, relay.user, relay.password, relay.implicit_tls) == (
        "mail.example.com", 465, "me", "p@ss", True,
    )  # fmt: skip
    assert relay_from(Settings(var=Path("var"), smtp_port=2525)).port == 2525
    assert relay_from(Settings(var=Path("var"), smtp_url="smtp://mail.example.com", dry_run=True)).host == "127.0.0.1"
    with pytest.raises(SettingError):
        relay_from(Settings(var=Path("var"), smtp_url="smtp://"))

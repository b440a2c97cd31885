"""One call to a gateway: what is never called, what is not known, and how long it asks to be left alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from base.clock import FixedClock
from base.downloads import Downloads
from base.errors import TemporaryFailure, UnknownOutcome
from base.settings import Settings
from campaigns.compose import Built
from campaigns.gateways import Calling
from tests.workers import peergateway
from tests.workers.peergateway import PeerGateway, answers, peer_gateway
from tests.workers.relay import Relay
from workers.gateway import DryGateway, Gateway
from workers.relay import Unreachable, relay_from
from workers.transport import SenderRefused, Transport

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
MESSAGE = Built("sms.c1.o1.mark", "+4930100001", b'{"to":"+4930100001"}')


@pytest.fixture(scope="module")
def running() -> Iterator[PeerGateway]:
    with peer_gateway() as made:
        yield made


@pytest.fixture
def peer(running: PeerGateway) -> PeerGateway:
    running.calls.clear()
    running.usual = answers(202)
    return running


def gateway(url: str, **changes: Any) -> Gateway:
    options: dict[str, Any] = {"loopback": True, "seconds": 5.0, "named": "url"}
    downloads = Downloads(**options | changes)
    return Gateway(Calling(1, url, b"k" * 32), FixedClock(NOW), downloads.call)


@pytest.mark.parametrize("address", ["10.0.0.7", "169.254.169.254", "127.0.0.1", "::1", "::ffff:10.0.0.7"])
def test_it_calls_no_name_that_leads_into_our_own_network(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 443))]
    with pytest.raises(SenderRefused, match="not on the public internet"):
        gateway("https://gateway.example.com/", loopback=False, resolve=lambda *_, **__: found).hand_over(MESSAGE)


def test_it_does_not_know_what_became_of_a_message_that_a_silent_gateway_got_and_tries_no_other(
    peer: PeerGateway,
) -> None:
    peer.usual = peergateway.is_silent
    made = gateway(peer.url, seconds=0.5)
    with pytest.raises(UnknownOutcome, match="no answer after the message was sent"):
        made.hand_over(MESSAGE)
    with pytest.raises(Unreachable, match="did not answer"):
        made.hand_over(MESSAGE)
    assert [said.content for said in peer.calls] == [MESSAGE.content]


def test_it_knows_that_a_gateway_that_lets_nobody_in_got_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.close()
        with pytest.raises(Unreachable, match="refuses the connection"):
            gateway(url).hand_over(MESSAGE)


@pytest.mark.parametrize("status", [408, 500, 502, 504, 524, 599, 600])
def test_it_does_not_know_what_became_of_a_message_where_a_status_does_not_say_and_tries_no_other(
    peer: PeerGateway, status: int
) -> None:
    peer.usual = answers(status, "oh")
    made = gateway(peer.url)
    with pytest.raises(UnknownOutcome, match=f"no status that says what became of the message: HTTP {status}: oh"):
        made.hand_over(MESSAGE)
    with pytest.raises(Unreachable, match=f"did not say what became of a message: HTTP {status}"):
        made.hand_over(MESSAGE)
    assert len(peer.calls) == 1


@pytest.mark.parametrize("status", [409, 423, 425, 429, 503])
def test_it_tries_again_what_a_status_says_was_not_taken_yet(peer: PeerGateway, status: int) -> None:
    peer.usual = answers(status)
    made = gateway(peer.url)
    for in_doubt in (False, True):
        with pytest.raises(TemporaryFailure, match=f"HTTP {status}"):
            made.hand_over(MESSAGE, in_doubt=in_doubt)
    assert len(peer.calls) == 2


@pytest.mark.parametrize(
    ("status", "asked", "seconds"),
    [
        (429, None, 30), (429, "5", 30), (503, None, 0), (503, "90", 90), (503, "99999999", 86_400),
        (503, format_datetime(NOW.replace(minute=2), usegmt=True), 120), (503, "soon", 0), (503, "-9", 0),
        (503, "Mon, 1 Jan 2024 00:00:00 +9999999999999999999", 0),
        (503, format_datetime(NOW.replace(hour=8), usegmt=True), 0),
    ],
)  # fmt: skip
def test_it_tells_how_long_it_is_to_be_left_alone(
    peer: PeerGateway, status: int, asked: str | None, seconds: int
) -> None:
    peer.usual = answers(status, **({} if asked is None else {"Retry_After": asked}))
    with pytest.raises(TemporaryFailure) as put_off:
        gateway(peer.url).hand_over(MESSAGE)
    assert put_off.value.retry_after == seconds


def test_it_puts_a_user_id_with_line_ends_on_one_line_in_a_dry_run(relay: Relay) -> None:
    content = b'{"channel": "push", "to": "ann\\r\\nBcc: bob", "text": "Your offer"}'
    transport = Transport(relay_from(Settings(var=Path("var"), smtp_url=relay.url)))
    DryGateway(transport, "shop@example.com").hand_over(Built("push.c1.o1.mark", "ann\r\nBcc: bob", content))
    ((_, taken),) = relay.mails
    mail = message_from_bytes(taken)
    transport.close()
    assert mail["Subject"] == "To ann??Bcc: bob"
    assert mail["Bcc"] is None

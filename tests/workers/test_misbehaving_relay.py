"""A relay that misbehaves on command: for each way there is one verdict, and nobody gets a mail twice for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from base.errors import DeliveryFailure, PermanentFailure, TemporaryFailure, UnknownOutcome
from base.settings import Settings
from tests.authority import Authority
from tests.workers.peer import BODY, DOT, DROP, GREETING, SILENT, Peer
from workers import relay as sessions
from workers import transport as handing
from workers.checkup import _relay as examine_relay
from workers.relay import Unreachable, relay_from
from workers.storecheckup import Unwell
from workers.transport import AddressNotTaken, SenderRefused, Transport

SENDER, ANN, BOB = "shop@example.com", "ann@example.com", "bob@example.com"
MAIL = b"Subject: 1\r\n\r\n.dot\r\n..\r\n"
BOTH = pytest.mark.parametrize("offers", [(), ("PIPELINING",)], ids=["one by one", "pipelined"])


def transport(peer: Peer, **settings: Any) -> Transport:
    return Transport(relay_from(peer.settings(**settings)))


def settings_of(url: str, **more: Any) -> Settings:
    return Settings(var=Path("var"), smtp_url=url, **more)


def commands(peer: Peer) -> list[str]:
    """The first words of what the peer heard."""
    return [line.split()[0].upper() for line in peer.heard]


@BOTH
@pytest.mark.parametrize(
    ("answers", "kind", "words", "taken"),
    [
        ({"MAIL": "450 4.7.1 slow down"}, SenderRefused, "450 4.7.1 slow down", 0),
        ({"MAIL": "550 5.7.1 not you"}, SenderRefused, "550 5.7.1 not you", 0),
        ({"MAIL": "421 4.7.0 closing"}, SenderRefused, "421", 0),
        ({"MAIL": DROP}, Unreachable, "does not answer", 0),
        ({"RCPT": "450 4.2.1 greylisted"}, TemporaryFailure, "450 4.2.1", 0),
        ({"RCPT": "550 5.1.1 unknown"}, PermanentFailure, "550 5.1.1", 0),
        ({"RCPT": "550 5.1.1 unknown", "DATA": "554 5.5.1 no recipients"}, PermanentFailure, "550 5.1.1", 0),
        ({"RCPT": "421 4.3.2 closing"}, TemporaryFailure, "421", 0),
        ({"RCPT": DROP}, Unreachable, "does not answer", 0),
        ({"DATA": "451 4.3.0 disk full"}, TemporaryFailure, "451 4.3.0", 0),
        ({"DATA": "554 5.7.1 no"}, PermanentFailure, "554 5.7.1", 0),
        ({"DATA": DROP}, TemporaryFailure, "before the end of the mail", 0),
        ({BODY: DROP}, TemporaryFailure, "before the end of the mail", 0),
        ({DOT: "451 4.3.0 later"}, TemporaryFailure, "451 4.3.0", 1),
        ({DOT: "550 5.6.0 not this"}, PermanentFailure, "550 5.6.0", 1),
        ({DOT: "421 4.3.2 closing"}, TemporaryFailure, "421", 1),
        ({DOT: DROP}, UnknownOutcome, "after the mail was sent", 1),
        ({DOT: "354 go on"}, UnknownOutcome, "no reply that says", 1),
        ({DOT: "what?"}, UnknownOutcome, "no reply that says", 1),
        ({DOT: "250 " + "x" * 9_000}, UnknownOutcome, "after the mail was sent", 1),
        ({"MAIL": "x" * 9_000}, Unreachable, "does not answer", 0),
    ],
    ids=lambda value: (
        next(iter(value.items()), "")[0] + " " + str(next(iter(value.values())))[:12] if isinstance(value, dict) else ""
    ),
)
def test_it_knows_what_became_of_a_mail(
    answers: dict[str, str | list[str]], kind: type[DeliveryFailure], words: str, taken: int, offers: tuple[str, ...]
) -> None:
    content = MAIL if BODY not in answers else b"x\r\n" * 2_000_000
    with Peer(answers, offers=offers) as peer:
        ours = transport(peer)
        with pytest.raises(DeliveryFailure, match=words) as caught:
            ours.hand_over(SENDER, ANN, content)
        ours.close()
    assert type(caught.value) is kind
    assert len([mail for mail in peer.mails if mail]) == taken


@BOTH
def test_it_goes_on_with_the_next_mail_after_each_refusal(offers: tuple[str, ...]) -> None:
    for command, refusal in (
        ("MAIL", "450 4.7.1 no"), ("RCPT", "550 5.1.1 no"), ("DATA", "451 4.3.0 no"), ("DATA", "250 2.0.0 odd"),
        (DOT, "550 5.6.0 no"),
    ):  # fmt: skip
        with Peer({command: ["250 ok" if command != "DATA" else "354 go", refusal]}, offers=offers) as peer:
            ours = transport(peer)
            ours.hand_over(SENDER, ANN, b"1\r\n")
            with pytest.raises(DeliveryFailure, match=refusal[:3]):
                ours.hand_over(SENDER, ANN, b"2\r\n")
            assert ours.hand_over(SENDER, BOB, b"3\r\n").startswith("250")
            ours.quit()
        refused = [b"2\r\n"] if command == DOT else []
        assert [mail for mail in peer.mails if mail] == [b"1\r\n", *refused, b"3\r\n"]


def test_it_sends_three_commands_in_one_flight_where_that_is_offered_and_only_there() -> None:
    flight = f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)}\r\nRCPT TO:<{ANN}>\r\nDATA\r\n".encode()
    for offers, is_one in ((("PIPELINING", "SIZE 1000000"), True), (("SIZE 1000000",), False)):
        with Peer(offers=offers) as peer:
            ours = transport(peer)
            for _ in range(2):
                ours.hand_over(SENDER, ANN, MAIL)
            ours.quit()
        assert (flight in peer.flights) == is_one
        assert peer.mails == [MAIL.replace(b"\r\n.", b"\r\n..")] * 2


@pytest.mark.parametrize(
    ("answers", "verdict", "sessions_", "mails"),
    [
        # The recipient is refused and the mail is wanted nevertheless: it is ended where it begins.
        ({"RCPT": ["550 5.1.1 unknown"]}, PermanentFailure, 1, [b"", MAIL]),
        ({"RCPT": ["550 5.1.1 unknown"], DOT: ["554 5.5.1 no recipients"]}, PermanentFailure, 1, [b"", MAIL]),
        ({"RCPT": ["550 5.1.1 unknown"], DOT: [DROP]}, PermanentFailure, 2, [b"", MAIL]),
        # The sender is refused and the mail is wanted nevertheless: such a server gets not even a dot.
        ({"MAIL": ["550 5.7.1 not you"]}, SenderRefused, 2, [MAIL]),
        ({"RCPT": ["450 4.2.1 later"], "DATA": ["503 5.5.1 no recipients"]}, TemporaryFailure, 1, [MAIL]),
        ({"MAIL": ["550 5.7.1 no"], "RCPT": ["503 5.5.1 no"], "DATA": ["503 5.5.1 no"]}, SenderRefused, 1, [MAIL]),
        ({"RCPT": ["550 5.1.1 unknown"], "DATA": [DROP]}, PermanentFailure, 2, [MAIL]),
    ],
)
def test_it_sends_no_mail_that_a_pipelining_relay_has_half_accepted(
    answers: dict[str, str | list[str]], verdict: type[DeliveryFailure], sessions_: int, mails: list[bytes]
) -> None:
    with Peer(answers, offers=("PIPELINING",)) as peer:
        ours = transport(peer)
        with pytest.raises(DeliveryFailure) as caught:
            ours.hand_over(SENDER, ANN, MAIL)
        assert type(caught.value) is verdict
        assert ours.hand_over(SENDER, BOB, MAIL).startswith("250")
        ours.quit()
    assert peer.sessions == sessions_
    assert [mail.replace(b"\r\n..", b"\r\n.") for mail in peer.mails] == mails


@BOTH
def test_it_starts_anew_when_the_relay_had_gone_meanwhile(offers: tuple[str, ...]) -> None:
    for gone in ("421 4.4.2 idle for too long", DROP):
        with Peer({"MAIL": ["250 ok", gone]}, offers=offers) as peer:
            ours = transport(peer)
            for _ in range(2):
                assert ours.hand_over(SENDER, ANN, MAIL).startswith("250")
            ours.quit()
        assert (peer.sessions, len(peer.mails)) == (2, 2)


def test_it_waits_for_a_slow_banner_and_an_answer_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "COMMAND_SECONDS", 0.3)
    monkeypatch.setattr(handing, "ANSWER_SECONDS", 0.3)
    for where, kind in ((GREETING, Unreachable), ("EHLO", Unreachable), ("RCPT", Unreachable), (DOT, UnknownOutcome)):
        with Peer({where: SILENT}) as peer:
            relay = relay_from(peer.settings())
            monkeypatch.setattr(handing, "connect", lambda relay: sessions.connect(relay, 0.3))
            with pytest.raises(kind):
                Transport(relay).hand_over(SENDER, ANN, MAIL)


@pytest.mark.parametrize("greeting", ["554 5.3.2 no service here", "421 4.3.2 too busy", DROP])
def test_it_says_that_a_relay_does_not_want_to_talk(greeting: str) -> None:
    with Peer({GREETING: greeting}) as peer, pytest.raises(Unreachable, match="no session with the relay"):
        transport(peer).hand_over(SENDER, ANN, MAIL)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own addresses count as another's: what is said to them is encrypted where it can be."""
    monkeypatch.setattr(sessions, "is_this_machine", lambda _host: False)


STARTTLS = ("STARTTLS", "AUTH PLAIN LOGIN", "PIPELINING")


@pytest.mark.usefixtures("elsewhere")
def test_it_speaks_tls_to_whom_it_can_trust_and_gives_its_password_only_there(authority: Authority) -> None:
    with Peer(offers=STARTTLS, tls=authority.certificate("localhost", 100)) as peer:
        url = f"smtp://me%40x:pass%20word@localhost:{peer.port}"
        settings = settings_of(url, smtp_ca_file=authority.path, ehlo_name="mailer.example.com")
        ours = Transport(relay_from(settings))
        ours.hand_over(SENDER, ANN, MAIL)
        ours.quit()
        assert examine_relay(settings) == "a relay, encrypted, offers PIPELINING"
    assert commands(peer)[:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]
    assert peer.heard[0].upper() == "EHLO MAILER.EXAMPLE.COM"
    assert peer.mails


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("host", "days", "trusted", "words"),
    [
        ("mail.example.com", 100, True, "The certificate is not for localhost"),
        ("localhost", -1, True, "has expired"),
        ("localhost", 100, False, "cannot be trusted"),
    ],
)
def test_it_says_nothing_to_a_relay_with_a_bad_certificate(
    authority: Authority, host: str, days: int, trusted: bool, words: str
) -> None:
    with Peer(offers=STARTTLS, tls=authority.certificate(host, days)) as peer:
        settings = settings_of(
            f"smtp://me:secret@localhost:{peer.port}", smtp_ca_file=authority.path if trusted else None
        )
        with pytest.raises(Unreachable, match=words):
            Transport(relay_from(settings)).hand_over(SENDER, ANN, MAIL)
        with pytest.raises(Unwell, match=f"No mail leaves: .*{words}"):
            examine_relay(settings)
    assert set(commands(peer)) == {"EHLO", "STARTTLS"}


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("answer", ["454 4.7.0 TLS not available", "220 go ahead", DROP])
def test_it_sends_nothing_in_clear_after_a_failed_handshake(answer: str) -> None:
    with Peer({"STARTTLS": answer}, offers=STARTTLS) as peer, pytest.raises(Unreachable, match="no session"):
        transport(peer, smtp_tls="required").hand_over(SENDER, ANN, MAIL)
    assert "MAIL" not in commands(peer)


def test_it_insists_on_tls_where_it_is_told_to_also_on_this_machine(authority: Authority) -> None:
    with Peer() as peer, pytest.raises(Unreachable, match="LATEBIND_SMTP_TLS requires it"):
        transport(peer, smtp_tls="required").hand_over(SENDER, ANN, MAIL)
    with Peer(offers=STARTTLS, tls=authority.certificate("localhost", 100)) as peer:
        ours = transport(peer)
        ours.hand_over(SENDER, ANN, MAIL)
        ours.quit()
        assert "STARTTLS" not in commands(peer)
        settings = settings_of(f"smtp://localhost:{peer.port}", smtp_ca_file=authority.path, smtp_tls="required")
        sessions.connect(relay_from(settings)).close()
        assert "STARTTLS" in commands(peer)


def test_it_says_that_the_relay_does_not_take_its_password() -> None:
    with Peer({"AUTH": "535 5.7.8 wrong for me@example.com"}, offers=("AUTH PLAIN",)) as peer:
        settings = settings_of(f"smtp://me:secret@127.0.0.1:{peer.port}")
        with pytest.raises(Unreachable, match="does not take user and password: 535") as caught:
            Transport(relay_from(settings)).hand_over(SENDER, ANN, MAIL)
    assert "secret" not in str(caught.value)
    assert "me@example.com" not in str(caught.value)


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", "[127.0.0.1]"), ("::1", "[IPv6:::1]")])
def test_it_calls_itself_by_the_address_it_has(host: str, name: str) -> None:
    with Peer(host=host) as peer:
        ours = transport(peer)
        ours.hand_over(SENDER, ANN, MAIL)
        ours.quit()
    assert peer.heard[0].upper() == f"EHLO {name}".upper()


def test_it_greets_a_server_of_before_the_extensions_as_it_understands() -> None:
    with Peer({"EHLO": "502 5.5.1 what"}) as peer:
        ours = transport(peer)
        ours.hand_over(SENDER, ANN, MAIL)
        ours.quit()
    assert commands(peer)[:3] == ["EHLO", "HELO", "MAIL"]


def test_it_tells_an_address_that_is_not_ascii_to_who_can_be_told() -> None:
    mail = "To: <jürgen@example.com>\r\n\r\nx\r\n".encode()
    with Peer(offers=("SMTPUTF8", "8BITMIME", "PIPELINING")) as peer:
        ours = transport(peer)
        ours.hand_over(SENDER, "jürgen@example.com", mail)
        ours.hand_over(SENDER, ANN, MAIL)
        ours.quit()
    lines = [line for line in peer.heard if line[:4] in ("MAIL", "RCPT")]
    assert lines == [
        f"MAIL FROM:<{SENDER}> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<jürgen@example.com>", f"MAIL FROM:<{SENDER}>",
        f"RCPT TO:<{ANN}>",
    ]  # fmt: skip
    assert peer.mails[0] == mail
    with Peer(offers=("8BITMIME", "PIPELINING")) as peer:
        ours = transport(peer)
        with pytest.raises(AddressNotTaken, match="SMTPUTF8"):
            ours.hand_over(SENDER, "jürgen@example.com", mail)
        ours.hand_over(SENDER, ANN, MAIL)
        ours.quit()
    assert not re.search("jürgen", " ".join(peer.heard))

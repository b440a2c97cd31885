from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from base.clock import FixedClock
from base.processes import free_port
from workers.inbox import Inbox, create_app
from workers.smtpsink import Sink


@pytest.fixture
def sink(tmp_path: Path, clock: FixedClock) -> Iterator[Sink]:
    made = Sink(tmp_path / "inbox", free_port(), clock)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def pages(sink: Sink) -> FlaskClient:
    return create_app(sink.inbox).test_client()


def mail(to: str, subject: str = "Your shoes", html: str = "<p>Hello <b>Ada</b></p>") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Shop <shop@example.com>", to, subject
    message.set_content("Hello Ada")
    message.add_alternative(html, subtype="html")
    return message


def send(sink: Sink, *mails: EmailMessage) -> None:
    port = int(sink.url.rsplit(":", 1)[1])
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        for message in mails:
            assert client.send_message(message) == {}


def test_it_keeps_every_mail_as_it_came(sink: Sink, tmp_path: Path) -> None:
    sent = mail("ada@example.com")
    sent.set_boundary("a-boundary")
    send(sink, sent, mail("bob@example.com", "Zweite Größe — 50 %"))
    listed = sink.inbox.listed()
    assert [(kept.recipients, kept.subject) for kept in listed] == [
        (["bob@example.com"], "Zweite Größe — 50 %"),
        (["ada@example.com"], "Your shoes"),
    ]
    first = tmp_path / "inbox" / "00000001.eml"
    assert first.read_bytes() == sent.as_bytes().replace(b"\n", b"\r\n")
    assert sink.inbox.raw(1) == first.read_bytes()


def test_it_finds_its_mails_again_after_a_restart(sink: Sink, tmp_path: Path, clock: FixedClock) -> None:
    send(sink, mail("ada@example.com"))
    with (tmp_path / "inbox" / "index.jsonl").open("ab") as index:
        index.write(b'{"number": 2, "cut sho')
    again = Inbox(tmp_path / "inbox", clock)
    assert [kept.number for kept in again.listed()] == [1]
    assert again.keep("s@example.com", ["bob@example.com"], b"Subject: x\r\n\r\n").number == 2


def test_it_lets_the_oldest_go_past_its_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: FixedClock
) -> None:
    monkeypatch.setattr("workers.inbox.MAX_MAILS", 3)
    inbox = Inbox(tmp_path / "inbox", clock)
    for number in range(5):
        inbox.keep("s@example.com", ["a@example.com"], f"Subject: {number}\r\n\r\n".encode())
    assert [kept.subject for kept in inbox.listed()] == ["4", "3", "2"]
    assert inbox.raw(1) is None
    assert inbox.raw(3) is not None


def test_it_lists_searches_and_shows_mails(sink: Sink, pages: FlaskClient) -> None:
    assert "No mail yet" in pages.get("/").text
    send(sink, *(mail(f"person{number}@example.com", f"Mail {number}") for number in range(60)))
    first = pages.get("/").text
    assert "60 mails" in first
    assert "Mail 59" in first
    assert "Mail 9<" not in first
    assert "Mail 9<" in pages.get("/?before=11").text
    assert "Mail 7<" in pages.get("/?to=PERSON7@").text
    assert "No mail to" in pages.get("/?to=nobody").text
    shown = pages.get("/mail/8").text
    assert "person7@example.com" in shown
    assert 'src="/mail/8/html"' in shown
    assert pages.get("/mail/8/raw").mimetype == "text/plain"
    assert b'"subject":"Mail 7"' in pages.get("/mails.json?to=person7@").data
    assert pages.get("/mail/99").status_code == 404
    assert pages.get("/mail/99/raw").status_code == 404
    assert pages.get("/readyz").status_code == 200


def test_it_shows_a_mail_without_letting_it_run_anything(sink: Sink, pages: FlaskClient) -> None:
    send(sink, mail("ada@example.com", "<script>alert(1)</script>", "<script>alert(2)</script><p>x</p>"))
    assert "<script>" not in pages.get("/").text
    assert "<script>" not in pages.get("/mail/1").text
    answer = pages.get("/mail/1/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert "img-src http: https:" in policy


def test_it_shows_a_mail_of_plain_text(sink: Sink, pages: FlaskClient) -> None:
    message = EmailMessage()
    message["To"] = "ada@example.com"
    message.set_content("Just words")
    send(sink, message)
    assert "Just words" in pages.get("/mail/1").text
    assert "(no subject)" in pages.get("/mail/1").text
    assert pages.get("/mail/1/html").status_code == 404


def test_it_refuses_a_mail_that_is_too_large(sink: Sink) -> None:
    with pytest.raises(smtplib.SMTPResponseException):
        send(sink, mail("ada@example.com", html="x" * 11_000_000))
    assert sink.inbox.count == 0

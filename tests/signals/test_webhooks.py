"""Bounces and complaints as providers tell them: what is believed, what follows, what is refused and counted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from base.errors import InvalidInput, Unavailable
from base.ids import TEST_BIT, Delivery
from base.returnpath import ReturnPaths
from base.settings import Settings
from signals.app import create_app
from signals.sns import FAILED_SECONDS, FETCHES_AT_ONCE, MAX_FAILED, Sns
from signals.webhooks import Webhooks
from tests.signals.sending import NOW, Desk, clocked

TOPIC = "arn:aws:sns:eu-west-1:123456789012:feedback"
CERTIFICATE = f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{'a1' * 16}.pem"
SENDGRID = ec.generate_private_key(ec.SECP256R1())
SNS = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Hooks:
    """The signals app with every provider set, and what it fetched."""

    http: FlaskClient
    desk: Desk
    paths: ReturnPaths
    fetched: list[str] = field(default_factory=list)

    def suppressed(self, name: str) -> bool:
        return self.desk.is_suppressed(f"{name}@example.com")

    def tallies(self) -> dict[tuple[str, str], int]:
        rows = self.desk.rows("SELECT via, outcome, number FROM mail_report_tally")
        return {(via, outcome): number for via, outcome, number in rows}


@pytest.fixture
def hooks(desk: Desk, settings: Settings, tmp_path: Path) -> Iterator[Hooks]:
    public = SENDGRID.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    wanted = replace(
        clocked(settings, desk, tmp_path), bounce_domain="bounce.example.com", ses_topics=(TOPIC,), soft_bounces=3,
        sendgrid_key=base64.b64encode(public).decode(), mailgun_key="mg", postmark_secret="us:er",
    )  # fmt: skip
    app = create_app(wanted)
    made = Hooks(app.test_client(), desk, ReturnPaths.from_settings(wanted))

    def fetch(url: str) -> bytes:
        made.fetched.append(url)
        if url == CERTIFICATE:
            return certificate()
        if "ConfirmSubscription" not in url:
            raise InvalidInput("SNS", "cannot be reached")
        return b"<ok/>"

    parts = app.extensions["signals"]
    app.extensions["webhooks"] = Webhooks(wanted, parts.intake, parts.clock, parts.lanes, fetch)
    yield made
    parts.close()


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder(name, name, SNS.public_key(), 1, NOW, NOW + timedelta(days=9))
    return made.sign(SNS, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def sns(message: dict[str, Any], type_: str = "Notification", version: str = "2", **changes: str) -> dict[str, str]:
    """A call of SNS, signed as its documentation says, and then changed."""
    call = {
        "Type": type_, "MessageId": "m-1", "TopicArn": TOPIC, "Message": json.dumps(message),
        "Timestamp": "2026-03-02T12:00:00.000Z", "SignatureVersion": version, "SigningCertURL": CERTIFICATE,
    }  # fmt: skip
    names = ["Message", "MessageId", "Timestamp", "TopicArn", "Type"]
    if type_ == "SubscriptionConfirmation":
        call |= {"Token": "t", "SubscribeURL": changes.pop("SubscribeURL", "")}
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    signed = "".join(f"{one}\n{call[one]}\n" for one in names).encode()
    algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()
    call["Signature"] = base64.b64encode(SNS.sign(signed, padding.PKCS1v15(), algorithm)).decode()
    return call | changes


def ses(name: str, kind: str = "Permanent", status: str = "5.1.1", source: str = "shop@example.com") -> dict[str, Any]:
    recipient = {"emailAddress": f"{name}@example.com", "action": "failed", "status": status,
                 "diagnosticCode": f"smtp; 550 {status} <{name}@example.com> unknown"}  # fmt: skip
    return {
        "notificationType": "Bounce",
        "bounce": {"bounceType": kind, "bounceSubType": "General", "bouncedRecipients": [recipient],
                   "timestamp": "2026-03-02T11:59:00.000Z", "feedbackId": f"f-{name}"},
        "mail": {"source": source, "messageId": "s-1", "destination": [f"{name}@example.com"]},
    }  # fmt: skip


def sendgrid(hooks: Hooks, *events: dict[str, Any], forge: bool = False) -> TestResponse:
    body = json.dumps(events).encode()
    signature = SENDGRID.sign(b"1772452800" + body, ec.ECDSA(hashes.SHA256()))
    heads = {"X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
             "X-Twilio-Email-Event-Webhook-Timestamp": "1772452800"}  # fmt: skip
    return hooks.http.post("/v1/webhooks/sendgrid", data=body + b" " * forge, headers=heads)


def bounced(name: str, status: str, number: int = 0) -> dict[str, Any]:
    return {"event": "bounce", "type": "bounce", "email": f"{name}@example.com", "status": status,
            "sg_event_id": f"e-{name}-{number}", "timestamp": 1772452000, "reason": f"550 {status} no"}  # fmt: skip


def mailgun(name: str, token: str = "t1", **data: Any) -> dict[str, Any]:
    stamp = str(int(NOW.timestamp()))
    signature = hmac.new(b"mg", f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    event = {"event": "failed", "severity": "permanent", "id": f"i-{name}", "recipient": f"{name}@example.com",
             "timestamp": NOW.timestamp(), "delivery-status": {"code": 550, "message": "5.1.1 nobody"}}  # fmt: skip
    return {"signature": {"timestamp": stamp, "token": token, "signature": signature}, "event-data": event | data}


def test_it_believes_a_signed_notification_of_ses_once_and_says_whose_mail_it_was(hooks: Hooks) -> None:
    hooks.desk.send({"type": "identify", "userId": "ann", "traits": {"email": "ann@example.com"}})
    mail = Delivery(7, 1, 1)
    source = hooks.paths.mint(mail)
    assert source
    for version in ("2", "1"):
        answer = hooks.http.post("/v1/webhooks/ses", json=sns(ses("ann", source=source.upper()), version=version))
        assert answer.status_code == 200, answer.text
    assert hooks.suppressed("ann")
    assert hooks.fetched == [CERTIFICATE]
    rows = hooks.desk.rows("SELECT kind, profile_id, campaign_id, occurrence, status, words FROM mail_report")
    assert rows == [("hard", 7, 1, 1, "5.1.1", "smtp; 550 5.1.1 <[address]> unknown")]
    assert hooks.desk.rows("SELECT listed, reason, via, evidence FROM suppression_change") == [
        (True, "bounced", "ses", "5.1.1, smtp; 550 5.1.1 <[address]> unknown")
    ]
    # A test send bounced: that says nothing of the customer it was made for.
    to_tester = hooks.paths.mint(Delivery(7, 1, TEST_BIT | 1)) or ""
    hooks.http.post("/v1/webhooks/ses", json=sns(ses("tester", source=to_tester)))
    assert not hooks.suppressed("tester")


def test_it_refuses_and_counts_what_sns_did_not_sign_and_fetches_nothing_for_it(hooks: Hooks) -> None:
    evil = "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-a.pem"
    wrong = [
        {"Message": "{}"}, {"TopicArn": TOPIC + "x"}, {"Type": "Other"}, {"SigningCertURL": evil},
        {"SigningCertURL": "http://169.254.169.254/latest/meta-data"}, {"SigningCertURL": CERTIFICATE + "#"},
        {"SigningCertURL": CERTIFICATE.replace("eu-west-1", "eu-west-2")}, {"Signature": "AAAA"}, {"Signature": "%"},
    ]  # fmt: skip
    for changes in wrong:
        answer = hooks.http.post("/v1/webhooks/ses", json=sns(ses("ann")) | changes)
        assert answer.status_code == 403, changes
    assert hooks.tallies() == {("ses", "forged"): len(wrong)}
    assert not hooks.suppressed("ann")
    assert hooks.fetched == [CERTIFICATE]


def test_it_looks_for_few_certificates_that_somebody_made_up() -> None:
    asked: list[str] = []
    now = [0.0]

    def fetch(url: str) -> bytes:
        asked.append(url)
        if url != CERTIFICATE:
            raise InvalidInput("SNS", "cannot be reached")
        return certificate()

    def read(url: str = CERTIFICATE) -> None:
        reader.read(json.dumps(sns(ses("ann")) | {"SigningCertURL": url}).encode())

    reader = Sns([TOPIC], fetch, lambda: now[0])
    read()
    made_up = [CERTIFICATE.replace("a1" * 16, f"{number:032x}") for number in range(MAX_FAILED + 5)]
    for url in (made_up[0], *made_up):
        with pytest.raises(Unavailable):
            read(url)
    assert asked == [CERTIFICATE, *made_up[:MAX_FAILED]]
    read()  # What is known is believed all the while.
    now[0] += FAILED_SECONDS
    with pytest.raises(Unavailable):
        read(made_up[-1])
    assert asked[-1] == made_up[-1]


def test_it_lets_two_requests_at_most_wait_for_certificates() -> None:
    arrived, released = threading.Semaphore(0), threading.Event()

    def fetch(_url: str) -> bytes:
        arrived.release()
        assert released.wait(30)
        return certificate()

    reader = Sns([TOPIC], fetch)
    body = json.dumps(sns(ses("ann"))).encode()
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        waiting = [pool.submit(reader.read, body) for _ in range(FETCHES_AT_ONCE)]
        try:
            assert all(arrived.acquire(timeout=30) for _ in waiting)
            with pytest.raises(Unavailable):
                reader.read(body)
        finally:
            released.set()
        assert [len(one.result()) for one in waiting] == [1, 1]
    assert len(reader.read(body)) == 1


def test_it_confirms_a_subscription_at_an_address_of_sns_only(hooks: Hooks) -> None:
    good = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t"
    for url, status in ((good, 200), ("https://evil.example/?Action=ConfirmSubscription&x", 403)):
        call = sns({}, "SubscriptionConfirmation", SubscribeURL=url)
        assert hooks.http.post("/v1/webhooks/ses", json=call).status_code == status
    assert hooks.fetched == [CERTIFICATE, good]


def test_it_counts_soft_bounces_of_sendgrid_and_believes_nothing_that_was_changed(hooks: Hooks) -> None:
    hooks.desk.send({"type": "identify", "userId": "bob", "traits": {"email": "bob@example.com"}})
    assert sendgrid(hooks, bounced("ann", "5.1.1"), forge=True).status_code == 403
    assert sendgrid(hooks, bounced("ann", "5.1.1"), bounced("bob", "5.2.2"), {"event": "open"}).status_code == 200
    assert (hooks.suppressed("ann"), hooks.suppressed("bob")) == (True, False)
    sendgrid(hooks, bounced("bob", "5.2.2"), bounced("bob", "5.7.1", 1))
    assert not hooks.suppressed("bob")
    answer = sendgrid(hooks, bounced("bob", "4.2.2", 2), {**bounced("cara", "", 3), "email": "no address"})
    assert answer.json == {"success": True, "taken": 1, "repeated": 0, "unreadable": 1}
    assert hooks.suppressed("bob")
    told = hooks.desk.rows("SELECT evidence FROM suppression_change WHERE evidence IS NOT NULL")
    assert any(evidence.startswith("3 soft") for (evidence,) in told)
    spam = {"event": "spamreport", "email": "dan@example.com", "sg_event_id": "s", "timestamp": 1772452000}
    sendgrid(hooks, spam)
    assert hooks.desk.rows("SELECT reason FROM suppression WHERE reason = 'complained'") == [("complained",)]


def test_it_takes_a_message_id_with_a_zero_in_it_for_none_of_ours(hooks: Hooks) -> None:
    ours = f"<c1.o1.{'0' * 24}@shop.example.com>"
    for number, given in enumerate((ours, ours.replace("shop", "sh\x00p"))):
        assert sendgrid(hooks, bounced(f"u{number}", "5.1.1") | {"smtp-id": given}).status_code == 200
    rows = hooks.desk.rows("SELECT message_id FROM mail_report ORDER BY id")
    assert rows == [(ours,), (None,)]


def test_it_takes_a_proof_of_mailgun_once_since_it_does_not_cover_what_is_said(hooks: Hooks) -> None:
    def post(body: dict[str, Any]) -> int:
        return hooks.http.post("/v1/webhooks/mailgun", json=body).status_code

    assert post(mailgun("ann")) == 200
    assert post(mailgun("bob")) == 200  # the same token for another event
    assert (hooks.suppressed("ann"), hooks.suppressed("bob")) == (True, False)
    wrong = mailgun("cara", "t2")
    wrong["signature"]["signature"] = "0" * 64
    assert post(wrong) == 403
    old = mailgun("cara", "t3")
    old["signature"]["timestamp"] = "1"
    assert post(old) == 403
    assert post({"signature": "x"}) == 400
    assert post(mailgun("dan", "t4", event="complained")) == 200
    assert hooks.suppressed("dan")
    outcomes = {("mailgun", "taken"): 2, ("mailgun", "repeated"): 1, ("mailgun", "forged"): 2}
    assert hooks.tallies() == outcomes | {("mailgun", "unreadable"): 1}


def test_it_takes_the_word_of_postmark_with_its_password(hooks: Hooks) -> None:
    event = {"RecordType": "Bounce", "ID": 1, "Type": "HardBounce", "Email": "ann@example.com",
             "BouncedAt": "2026-03-02T11:00:00Z", "Details": "smtp;550 5.1.1 unknown"}  # fmt: skip
    for auth, status in ((None, 403), (("us", "no"), 403), (("us", "er"), 200)):
        assert hooks.http.post("/v1/webhooks/postmark", json=event, auth=auth).status_code == status
    assert hooks.suppressed("ann")
    complaint = {"RecordType": "SpamComplaint", "ID": 2, "Type": "SpamComplaint", "Email": "bob@example.com"}
    assert hooks.http.post("/v1/webhooks/postmark", json=complaint, auth=("us", "er")).status_code == 200
    assert hooks.suppressed("bob")


def test_it_knows_no_provider_that_is_not_set(hooks: Hooks, desk: Desk, settings: Settings, tmp_path: Path) -> None:
    assert hooks.http.post("/v1/webhooks/other", json={}).status_code == 404
    plain = create_app(clocked(settings, desk, tmp_path))
    client = plain.test_client()
    for one in ("ses", "sendgrid", "mailgun", "postmark"):
        assert client.post(f"/v1/webhooks/{one}", json={}).status_code == 404
    plain.extensions["signals"].close()

"""SES's notifications as SNS brings them: the signature, the topic, and what the notification says.

Anybody with an account at Amazon can have SNS sign something, so the topic must be one that the settings name; it is
looked at first. The certificate comes from an address of SNS itself, in the region of the topic, and from nowhere else,
whatever the call says. Who makes up names of certificates has few of them looked for: two at a time, and no more once
so many have lately failed.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import load_pem_x509_certificate

from base.clock import monotonic
from base.errors import InvalidInput, Unavailable
from signals.mailreports import Kind
from signals.providers import Forged, Told, document, moment, text
from signals.statuses import code_in, is_gone

CERTIFICATE: Final = re.compile(
    r"https://sns\.([a-z0-9-]{3,30})\.amazonaws\.com(\.cn)?/SimpleNotificationService-[0-9a-f]{32}\.pem"
)
CONFIRMATION: Final = re.compile(
    r"https://sns\.[a-z0-9-]{3,30}\.amazonaws\.com(\.cn)?/\?Action=ConfirmSubscription&[A-Za-z0-9&=%:._-]{1,1000}"
)
MAX_CERTIFICATES: Final = 8
FETCHES_AT_ONCE: Final = 2
"""Of the eight small requests that the intake takes at a time; the others wait for nobody's certificate."""
MAX_FAILED: Final = 20
FAILED_SECONDS: Final = 300.0
"""Certificates that could not be had, and for how long they are not asked for again."""
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_DEAD: Final = ("NoEmail", "Suppressed", "OnAccountSuppressionList")
"""Kinds of permanent bounce by which SES says that the address itself is dead."""


class Sns:
    """Believes the calls of some topics. `fetch` gets an address's bytes, guarded; `seconds` tells the time that
    failures are kept by. For many threads."""

    def __init__(
        self, topics: Sequence[str], fetch: Callable[[str], bytes], seconds: Callable[[], float] = monotonic
    ) -> None:
        self._topics = frozenset(topics)
        self._fetch = fetch
        self._keys: OrderedDict[str, RSAPublicKey] = OrderedDict()
        self._failed: dict[str, float] = {}
        self._seconds = seconds
        self._fetching = threading.BoundedSemaphore(FETCHES_AT_ONCE)
        self._lock = threading.Lock()

    def read(self, body: bytes) -> list[Told]:
        """What a call tells; subscriptions of our topics are confirmed. Raises Forged, InvalidInput, Unavailable."""
        call = document(body)
        if not isinstance(call, dict):
            raise InvalidInput("", "must be an object")
        self._check(call)
        if call["Type"] == "SubscriptionConfirmation":
            address = text(call, "SubscribeURL")
            if not CONFIRMATION.fullmatch(address):
                raise Forged("The address of the confirmation is not one of SNS.")
            self._get(address)
        return list(_told(document(str(call["Message"]).encode()))) if call["Type"] == "Notification" else []

    def _check(self, call: Mapping[str, Any]) -> None:
        type_ = text(call, "Type")
        topic = text(call, "TopicArn")
        if topic not in self._topics or type_ not in _SIGNED:
            raise Forged("The topic is none of ours.")
        address = text(call, "SigningCertURL")
        place = CERTIFICATE.fullmatch(address)
        if place is None or place[1] not in topic.split(":")[3:4]:
            raise Forged("The certificate's address is not one of SNS.")
        # Each signed field and its value end with a line feed, the last one too.
        signed = "".join(f"{name}\n{call[name]}\n" for name in _SIGNED[type_] if call.get(name) is not None)
        algorithm = SHA256() if text(call, "SignatureVersion") == "2" else SHA1()  # noqa: S303 - SNS's first version
        try:
            signature = base64.b64decode(text(call, "Signature"), validate=True)
            self._key(address).verify(signature, signed.encode("utf-8", "surrogatepass"), PKCS1v15(), algorithm)
        except (InvalidSignature, binascii.Error, ValueError):
            raise Forged("The signature does not fit.") from None

    def _key(self, address: str) -> RSAPublicKey:
        with self._lock:
            held = self._keys.get(address)
        if held is not None:
            return held
        if self._has_failed(address) or not self._fetching.acquire(blocking=False):
            raise Unavailable("SNS", 30)
        try:
            held = _public_key(self._get(address))
        except (Forged, Unavailable):
            with self._lock:
                self._failed[address] = self._seconds() + FAILED_SECONDS
            raise
        finally:
            self._fetching.release()
        with self._lock:
            self._keys[address] = held
            while len(self._keys) > MAX_CERTIFICATES:
                self._keys.popitem(last=False)
        return held

    def _has_failed(self, address: str) -> bool:
        """Whether a certificate is not asked for now: it lately could not be had, or too many others could not."""
        with self._lock:
            now = self._seconds()
            self._failed = {one: until for one, until in self._failed.items() if until > now}
            return address in self._failed or len(self._failed) >= MAX_FAILED

    def _get(self, address: str) -> bytes:
        try:
            return self._fetch(address)
        except InvalidInput as error:
            raise Unavailable("SNS", 30) from error


def _public_key(certificate: bytes) -> RSAPublicKey:
    """Raises Forged for what is no certificate of an RSA key."""
    try:
        key = load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        raise Forged("The certificate cannot be read.") from None
    if not isinstance(key, RSAPublicKey):
        raise Forged("The certificate holds no RSA key.")
    return key


def _told(message: object) -> Iterator[Told]:
    """The events of SES's own message; other kinds (Delivery, Open, …) say nothing here."""
    if not isinstance(message, dict):
        return
    what = text(message, "notificationType") or text(message, "eventType")
    mail = message.get("mail")
    head = mail if isinstance(mail, dict) else {}
    common = head.get("commonHeaders")
    shared = {
        "sender": text(head, "source"),
        "message_id": text(common, "messageId") if isinstance(common, dict) else None,
    }
    part = {"Bounce": "bounce", "Complaint": "complaint", "DeliveryDelay": "deliveryDelay"}.get(what)
    told = message.get(part or "")
    if part is None or not isinstance(told, dict):
        return
    lists = {"bounce": "bouncedRecipients", "complaint": "complainedRecipients", "deliveryDelay": "delayedRecipients"}
    people = told.get(lists[part])
    name = text(told, "feedbackId") or f"{text(head, 'messageId')} {text(told, 'timestamp')}"
    for one in people[:100] if isinstance(people, list) else ():
        if isinstance(one, dict):
            status = code_in(text(one, "status"), text(one, "diagnosticCode"))
            words = text(one, "diagnosticCode") or text(told, "bounceSubType") or text(told, "complaintFeedbackType")
            address = text(one, "emailAddress")
            yield Told(
                kind=_kind(part, told, status), name=f"{name}\0{address}", address=address,
                at=moment(told.get("timestamp")), status=status, words=words or what, **shared,
            )  # fmt: skip


def _kind(part: str, told: Mapping[str, Any], status: str | None) -> Kind:
    if part != "bounce":
        return "complaint" if part == "complaint" else "delayed"
    is_dead = is_gone(status) or text(told, "bounceSubType") in _DEAD
    return "hard" if is_dead and text(told, "bounceType") == "Permanent" else "soft"

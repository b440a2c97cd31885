"""SES's notifications as SNS brings them: the signature, the topic, and what the notification says.

Anybody with an account at Amazon can have SNS sign something, so the topic must be one that the settings name; it is
looked at first. The certificate comes from an address of SNS itself and from nowhere else, whatever the call says.
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

from base.errors import InvalidInput, Unavailable
from signals.mailreports import Kind
from signals.providers import Forged, Told, document, moment, text
from signals.statuses import code_in, is_gone

CERTIFICATE: Final = re.compile(
    r"https://sns\.[a-z0-9-]{3,30}\.amazonaws\.com(\.cn)?/SimpleNotificationService-[0-9a-f]{32}\.pem"
)
CONFIRMATION: Final = re.compile(
    r"https://sns\.[a-z0-9-]{3,30}\.amazonaws\.com(\.cn)?/\?Action=ConfirmSubscription&[A-Za-z0-9&=%:._-]{1,1000}"
)
MAX_CERTIFICATES: Final = 8
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_DEAD: Final = ("NoEmail", "Suppressed", "OnAccountSuppressionList")
"""Kinds of permanent bounce by which SES says that the address itself is dead."""


class Sns:
    """Believes the calls of some topics. `fetch` gets an address's bytes, guarded. For many threads."""

    def __init__(self, topics: Sequence[str], fetch: Callable[[str], bytes]) -> None:
        self._topics = frozenset(topics)
        self._fetch = fetch
        self._keys: OrderedDict[str, RSAPublicKey] = OrderedDict()
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
        if text(call, "TopicArn") not in self._topics or type_ not in _SIGNED:
            raise Forged("The topic is none of ours.")
        address = text(call, "SigningCertURL")
        if not CERTIFICATE.fullmatch(address):
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
        if held is None:
            held_key = load_pem_x509_certificate(self._get(address)).public_key()
            if not isinstance(held_key, RSAPublicKey):
                raise Forged("The certificate holds no RSA key.")
            held = held_key
            with self._lock:
                self._keys[address] = held
                while len(self._keys) > MAX_CERTIFICATES:
                    self._keys.popitem(last=False)
        return held

    def _get(self, address: str) -> bytes:
        try:
            return self._fetch(address)
        except InvalidInput as error:
            raise Unavailable("SNS", 30) from error


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

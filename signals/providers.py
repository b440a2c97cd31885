"""What providers of mail tell by webhook: whether a call is really theirs, and what it says of which address.

SendGrid signs each call (ECDSA P-256), Mailgun proves that it knows a key but not what it says, so that a proof is good
once; Postmark shows a password. SES speaks through SNS: signals/sns.py. Where an event holds an enhanced status code,
the code decides; where the provider says that the address itself is dead, that counts too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from base.errors import InvalidInput, LatebindError
from signals.mailreports import Kind
from signals.statuses import code_in, is_gone

PROVIDERS: Final = {
    "ses": "ses_topics",
    "sendgrid": "sendgrid_key",
    "mailgun": "mailgun_key",
    "postmark": "postmark_secret",
}
"""Each provider and the setting without which nothing of it is believed."""
MAX_EVENTS: Final = 5_000
DAY_SECONDS: Final = 86_400.0


class Forged(LatebindError):
    """The call is not the provider's, or cannot be shown to be."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event about one address. `sender` is the envelope sender, where the provider tells it."""

    kind: Kind
    name: str
    address: str
    at: datetime | None = None
    message_id: str | None = None
    sender: str | None = None
    status: str | None = None
    words: str | None = None
    proof: str | None = None


def sendgrid(body: bytes, signature: str, timestamp: str, public_key: str) -> list[Told]:
    """The events of a signed event webhook. Raises Forged and InvalidInput."""
    try:
        key = load_der_public_key(base64.b64decode(public_key))
        if not isinstance(key, EllipticCurvePublicKey):
            raise Forged("LATEBIND_SENDGRID_KEY is no ECDSA key.")
        key.verify(base64.b64decode(signature, validate=True), timestamp.encode() + body, ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, binascii.Error, ValueError):
        raise Forged("The signature does not fit.") from None
    events = document(body)
    if not isinstance(events, list) or len(events) > MAX_EVENTS:
        raise InvalidInput("", f"must be a list of at most {MAX_EVENTS} events")
    return list(_each(events, _sendgrid))


def mailgun(body: bytes, key: str, now: datetime) -> list[Told]:
    """The one event of a webhook. Raises Forged and InvalidInput."""
    told = _object(document(body), "")
    proof = _object(told.get("signature"), "signature")
    timestamp, token, given = (str(proof.get(name, "")) for name in ("timestamp", "token", "signature"))
    made = hmac.new(key.encode(), f"{timestamp}{token}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    if not token or not hmac.compare_digest(made.encode(), given.encode("utf-8", "replace")):
        raise Forged("The signature does not fit.")
    sent = moment(proof.get("timestamp"))
    if sent is None or abs((now - sent).total_seconds()) > DAY_SECONDS:
        raise Forged("The signature is too old.")
    return [replace(one, proof=token) for one in _each([told.get("event-data")], _mailgun)]


def postmark(body: bytes, password: str, given: str) -> list[Told]:
    """The one event of a webhook; `given` and `password` are user:password. Raises Forged and InvalidInput."""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), password.encode()):
        raise Forged("The password does not fit.")
    return list(_each([document(body)], _postmark))


def document(body: bytes) -> Any:
    """A body as JSON. Raises InvalidInput."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("", "must be sound JSON") from None


def _sendgrid(event: Mapping[str, Any]) -> Told | None:
    what, type_, reason = text(event, "event"), text(event, "type"), text(event, "reason")
    status = code_in(text(event, "status"), reason)
    kind: Kind | None = None
    match what:
        case "bounce":
            kind = "hard" if is_gone(status) else "soft"
        case "dropped":
            dropped: dict[str, Kind] = {
                "Bounced Address": "hard", "Invalid": "hard", "Spam Reporting Address": "complaint",
            }  # fmt: skip
            kind = dropped.get(reason)
        case "deferred":
            kind = "delayed"
        case "spamreport":
            kind = "complaint"
    if kind is None:
        return None
    return Told(
        kind=kind, name=text(event, "sg_event_id"), address=text(event, "email"), at=moment(event.get("timestamp")),
        message_id=text(event, "smtp-id"), status=status, words=reason or f"{what} {type_}".strip(),
    )  # fmt: skip


def _mailgun(event: Mapping[str, Any]) -> Told | None:
    message = event.get("message")
    heads = message.get("headers") if isinstance(message, dict) else None
    delivery, envelope = event.get("delivery-status"), event.get("envelope")
    said = delivery if isinstance(delivery, dict) else {}
    status = code_in(text(said, "enhanced-code"), text(said, "message"), text(said, "description"))
    kind: Kind | None = None
    if text(event, "event") == "complained" or text(event, "reason") == "suppress-complaint":
        kind = "complaint"
    elif text(event, "event") == "failed":
        is_final = text(event, "severity") == "permanent"
        is_dead = is_gone(status) or text(event, "reason") == "suppress-bounce"
        kind = ("hard" if is_dead else "soft") if is_final else "delayed"
    if kind is None:
        return None
    return Told(
        kind=kind, name=text(event, "id"), address=text(event, "recipient"), at=moment(event.get("timestamp")),
        message_id=text(heads, "message-id") if isinstance(heads, dict) else None,
        sender=text(envelope, "sender") if isinstance(envelope, dict) else None,
        status=status, words=text(said, "message") or text(said, "description") or text(event, "reason"),
    )  # fmt: skip


def _postmark(event: Mapping[str, Any]) -> Told | None:
    type_, details = text(event, "Type"), text(event, "Details")
    status = code_in(details)
    kinds: dict[str, Kind] = {
        "HardBounce": "hard", "BadEmailAddress": "hard", "SpamComplaint": "complaint", "SpamNotification": "complaint",
        "SoftBounce": "soft", "DnsError": "soft", "Blocked": "soft", "Undeliverable": "soft", "Transient": "delayed",
    }  # fmt: skip
    if text(event, "RecordType") not in ("Bounce", "SpamComplaint"):
        return None
    kind = kinds.get(type_)
    if kind is None:
        return None
    return Told(
        kind="hard" if kind == "soft" and is_gone(status) else kind, name=f"{event.get('ID', '')}",
        address=text(event, "Email"), at=moment(event.get("BouncedAt")), status=status,
        words=details or text(event, "Description") or type_,
    )  # fmt: skip


def _each(events: Iterable[Any], read: Callable[[Mapping[str, Any]], Told | None]) -> Iterator[Told]:
    for index, event in enumerate(events):
        told = read(_object(event, f"[{index}]"))
        if told is not None:
            if not told.name:
                raise InvalidInput(f"[{index}]", "must have an id")
            yield told


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(path, "must be an object")
    return value


def text(event: Mapping[str, Any], name: str) -> str:
    """A field that is text; empty where it is anything else. At most 2,000 characters."""
    value = event.get(name)
    return value[:2_000] if isinstance(value, str) else ""


def moment(value: object) -> datetime | None:
    """A time in seconds since 1970 or as RFC 3339; None where it is neither."""
    try:
        if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
            found = datetime.fromisoformat(value)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        return datetime.fromtimestamp(float(str(value)), UTC)
    except (ValueError, OverflowError, OSError):
        return None

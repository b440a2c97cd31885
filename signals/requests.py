"""What a sender's HTTP request holds: its key, its body unpacked within bounds, its events one by one."""

from __future__ import annotations

import binascii
import json
import re
import zlib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from flask import Request

from base.errors import InvalidInput, LatebindError, no_json

BODY_BYTES: Final = 2 * 1024 * 1024
"""The longest body of a request as it is sent; Segment's own limit for a batch is 500 kB."""

UNPACKED_BYTES: Final = 8 * 1024 * 1024
"""The longest body once unzipped: a small body that grows past this is refused without being unpacked further."""

MEMBERS: Final = 100
"""Parts that a gzip body may be put together from; each costs a copy of what follows it."""

BATCH: Final = 2_500
CHANGES: Final = 1_000
KEY_LENGTH: Final = 200
SHARED: Final = ("context", "integrations")
"""What a batch may say once for all of its calls."""

SHARED_BYTES: Final = 8_000


class TooLarge(LatebindError):
    """The body is larger than the intake takes."""


class CutShort(LatebindError):
    """The body does not come whole: it breaks off, or does not come at the pace that a server waits for."""


class UnknownEncoding(LatebindError):
    """The body is packed in a way the intake does not read."""


@dataclass(frozen=True)
class Envelope:
    """The events of a request as bytes, and what goes for all of them."""

    events: list[bytes]
    sent_at: str | None
    write_key: str | None


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw]
    context: Any = None
    integrations: Any = None
    sentAt: Any = None  # noqa: N815
    writeKey: Any = None  # noqa: N815


class _Changes(msgspec.Struct):
    changes: list[Any]
    at: datetime | None = None


class _Single(msgspec.Struct):
    sentAt: Any = None  # noqa: N815
    writeKey: Any = None  # noqa: N815


_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_BATCH: Final = msgspec.json.Decoder(_Batch)
_CHANGES: Final = msgspec.json.Decoder(_Changes)
_SINGLE: Final = msgspec.json.Decoder(_Single)


def body_of(request: Request, limit: int = BODY_BYTES, unpacked: int = UNPACKED_BYTES) -> bytes:
    """The body, unzipped.

    Raises TooLarge, CutShort, UnknownEncoding, or InvalidInput when it is not what its header says.
    """
    declared = request.content_length or 0
    if declared > limit:
        raise TooLarge(f"A body may have at most {limit} bytes.")
    try:
        data = request.stream.read(limit + 1)
    except OSError:
        raise CutShort("The body broke off, or did not come in time.") from None
    if len(data) < declared:
        raise CutShort(f"The body broke off: {len(data)} bytes came of the {declared} that Content-Length says.")
    if len(data) > limit:
        raise TooLarge(f"A body may have at most {limit} bytes.")
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return data
    if encoding != "gzip":
        raise UnknownEncoding("Content-Encoding must be gzip or absent.")
    return _unzipped(data, unpacked)


def _unzipped(data: bytes, limit: int) -> bytes:
    """The content of a gzip body, of all its members one after the other (RFC 1952), `limit` bytes at most."""
    plain = b""
    for _ in range(MEMBERS):
        unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            plain += unzip.decompress(data, limit + 1 - len(plain))
        except zlib.error:
            raise InvalidInput("", "the body is not gzip, as Content-Encoding says") from None
        if len(plain) > limit:
            raise TooLarge(f"A body may have at most {limit} bytes once unzipped.")
        if not unzip.eof:
            raise InvalidInput("", "the gzip body is cut short")
        data = unzip.unused_data
        if not data:
            return plain
    raise InvalidInput("", f"the gzip body has more than {MEMBERS} members")


def basic_key(request: Request) -> str | None:
    """The write key of the Authorization header: the user name of HTTP Basic, the password empty."""
    scheme, _, coded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic" or len(coded) > 2 * KEY_LENGTH:
        return None
    try:
        name, _, _ = b64decode(coded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return name or None


def single(body: bytes) -> Envelope:
    """The one event of a call's body."""
    try:
        head = _SINGLE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Whatever is wrong with it, reading the event will say so, naming the field.
        return Envelope([body], None, None)
    return Envelope([body], _text(head.sentAt), _text(head.writeKey))


def batch(body: bytes) -> Envelope:
    """The events of a batch, each with what the batch says for all of them: what a call says of its own wins, key by
    key. Raises InvalidInput when the whole cannot be read, is too many, or shares what is no object or too long.
    """
    try:
        head = _BATCH.decode(body)
        events = [bytes(event) for event in head.batch]
    except msgspec.ValidationError as error:
        raise InvalidInput("batch", str(error)) from None
    except RecursionError:
        raise InvalidInput("batch", "is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _mended(body, error)
    if len(events) > BATCH:
        raise InvalidInput("batch", f"may have at most {BATCH} events")
    if shared := _shared({"context": head.context, "integrations": head.integrations}):
        events = [_told_along(event, shared) for event in events]
    return Envelope(events, _text(head.sentAt), _text(head.writeKey))


def _shared(head: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a batch says for all of its calls. Raises InvalidInput."""
    shared = {}
    for field in SHARED:
        value = head.get(field)
        if not isinstance(value, dict | None):
            raise InvalidInput(field, "must be an object")
        if value:
            shared[field] = value
            # Every call gets a copy of it.
            if len(json.dumps(value)) > SHARED_BYTES:
                raise InvalidInput(field, f"may have at most {SHARED_BYTES} bytes where it is a whole batch's")
    return shared


def _told_along(event: bytes, shared: Mapping[str, dict[str, Any]]) -> bytes:
    try:
        call = msgspec.json.decode(event)
        return msgspec.json.encode(_joined(call, shared))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return event  # Reading it will say what is wrong.


def _joined(call: Any, shared: Mapping[str, dict[str, Any]]) -> Any:
    """A call with what its batch shares, of which its own keys win; one that is wrong is left for reading to refuse."""
    if not isinstance(call, dict):
        return call
    joined = dict(call)
    for field, value in shared.items():
        own = call.get(field)
        if isinstance(own, dict | None):
            joined[field] = value | (own or {})
    return joined


def changes(body: bytes, now: datetime) -> tuple[list[Any], datetime]:
    """Changes of price and stock, and since when they hold: `now` at the latest. Raises InvalidInput naming a field."""
    try:
        told = _CHANGES.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput("at" if str(error).endswith("`$.at`") else "changes", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("", f"the body is {no_json(error)}") from None
    if len(told.changes) > CHANGES:
        raise InvalidInput("changes", f"may have at most {CHANGES} items")
    if told.at is not None and told.at.tzinfo is None:
        raise InvalidInput("at", "must be a time with an offset")
    try:
        return told.changes, now if told.at is None else min(told.at.astimezone(UTC), now)
    except OverflowError:
        raise InvalidInput("at", "is beyond all calendars") from None


def _mended(body: bytes, error: Exception) -> Envelope:
    """A batch with broken text in one event (half a surrogate pair), event by event: only that one is lost."""
    try:
        head = json.loads(body.decode(), parse_constant=_no_constant)
        events = head["batch"]
        if not isinstance(events, list) or len(events) > BATCH:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput("", f"the body is {no_json(error)}") from None
    shared = _shared(head)
    events = [json.dumps(_joined(event, shared)).encode() for event in events]
    return Envelope(events, _text(head.get("sentAt")), _text(head.get("writeKey")))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _text(value: Any) -> str | None:
    """A text that can be written; None for anything else, as one with half a surrogate pair."""
    return value if isinstance(value, str) and not _HALF_PAIR.search(value) else None

"""One signal as it arrives: read from bytes, held against the Segment spec, its time corrected, its content hashed.

Nothing here touches a database. Every refusal is an InvalidInput (or Untrusted) that names the field; what a path may
look like: `properties.products[3].price`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import msgspec

from base.errors import InvalidInput, no_json
from signals import writekeys
from signals.contents import ORDER_KINDS, check_properties, check_traits, order_id, strong_traits
from signals.events import MESSAGE_ID_LENGTH
from signals.figures import figures, order_number
from signals.foldevent import Kind, kind_of
from signals.homes import is_household
from signals.shopreading import is_guest
from signals.sources import Sender

TYPES: Final = ("identify", "track", "page", "screen", "group", "alias")
EVENT_BYTES: Final = 64 * 1024
DEPTH: Final = 12
ID_LENGTH: Final = 200
NAME_LENGTH: Final = 200

FUTURE: Final = timedelta(hours=1)
"""How far ahead of our clock an event may claim to be; more is a broken clock, and would outlive every newer fact."""

PAST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Nothing older is believed: 1970 is what a clock without a battery says."""

SKEW: Final = timedelta(seconds=30)
"""A `sentAt` that is off by less is the way through the network, not a wrong clock, and times stay as they are."""

ORDER_COMPLETED: Final = "Order Completed"
SERVER_KINDS: Final[frozenset[Kind]] = ORDER_KINDS | {
    "consent", "complaint", "complaint_closed", "note", "mark", "unmark", "mail_open", "mail_click",
}  # fmt: skip
"""What only a server may say."""

_SAYS: Final = ("type", "userId", "anonymousId", "previousId", "groupId", "event", "name", "properties", "traits")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"{}[]")
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


class Untrusted(InvalidInput):
    """The source may not say this: a browser key naming a strong identifier, consent or an order."""


@dataclass(slots=True)
class Signal:
    """A valid event. `raw` is the parsed body, `body` its bytes as they are stored, `time` when it happened (UTC).

    `figures` is what of the body SQL may read (signals/figures.py).
    """

    type: str
    name: str | None
    kind: Kind
    message_id: str
    user_id: str | None
    anonymous_id: str | None
    previous_id: str | None
    time: datetime
    raw: dict[str, Any]
    body: bytes
    content_hash: bytes
    figures: bytes | None
    order_id: str | None = None
    order_number: str | None = None

    @property
    def is_order(self) -> bool:
        """Whether it records a purchase, which counts once per order id."""
        return self.kind == "order" and self.order_id is not None


@dataclass(frozen=True, slots=True)
class Arrival:
    """How an event came: when, how wrong the sender's clock is, and the type its address names ("" in a batch).

    `known`: we say it ourselves of a profile we know, so it need not name anyone. `content_key` is `content_key` of the
    installation where the event is to be stored (signals/reading.py sets it).
    """

    now: datetime
    skew: timedelta = timedelta(0)
    type: str = ""
    known: bool = False
    content_key: bytes = b""


def content_key(hash_key: bytes) -> bytes:
    """Under which contents get the hashes that tell repeats from contradictions; 32 bytes.

    Without a key, who has a dump and knows all else in a call could try out what is left of it.
    """
    return hmac.digest(hash_key, b"content of calls", "sha256")


def clock_skew(sent_at: object, now: datetime) -> timedelta:
    """How far the sender's clock is behind ours, by `sentAt`; zero when that is absent, unreadable or near enough."""
    if not isinstance(sent_at, str):
        return timedelta(0)
    try:
        skew = now - _moment(sent_at, "sentAt")
    except InvalidInput:
        return timedelta(0)
    return skew if abs(skew) > SKEW else timedelta(0)


def read(body: bytes, arrival: Arrival) -> Signal:
    """The valid signal in these bytes. Raises InvalidInput naming the field that is wrong."""
    raw = _parsed(body)
    given = raw.get("type", arrival.type or None)
    if arrival.type and given != arrival.type:
        raise InvalidInput("type", f"must be {arrival.type} at this address")
    if given not in TYPES:
        raise InvalidInput("type", f"must be one of {', '.join(TYPES)}")
    if _completed(raw, str(given)):
        body = msgspec.json.encode(raw)
    return _checked(raw, body, str(given), arrival)


def _completed(raw: dict[str, Any], type_: str) -> bool:
    """Say in the call itself what its address or its envelope says, and not by which key it came; returns whether that
    changed it.

    RudderStack's SDKs put the traits of `identify` into the context, where other calls carry them as a reminder.
    """
    changed = writekeys.dropped(raw) or "type" not in raw
    raw["type"] = type_
    context = raw.get("context")
    if type_ == "identify" and not raw.get("traits") and isinstance(context, dict) and context.get("traits"):
        raw["traits"] = context["traits"]
        changed = True
    return changed


def refuse_untrusted(signal: Signal, sender: Sender) -> None:
    """Raise Untrusted if this source may not say this.

    A browser may name a user id on what it saw, but the claim ties nothing: the event counts for its anonymous id.
    """
    if sender.is_server:
        return
    if signal.type == "alias" or (signal.type == "identify" and signal.user_id is not None):
        raise Untrusted("userId", "a browser key cannot tie a person to an identifier")
    if signal.anonymous_id is None:
        raise Untrusted("anonymousId", "a browser key speaks for anonymous ids only")
    if is_guest(signal.anonymous_id):
        raise Untrusted("anonymousId", "a browser key cannot speak for a shop's guest")
    if signal.type == "identify":
        for name, _ in strong_traits(signal.raw.get("traits") or {}):
            raise Untrusted(f"traits.{name}", "a browser key cannot set this")
    if is_household(signal.raw):
        raise Untrusted("traits.type", "a browser key cannot say who lives together")
    if signal.kind in SERVER_KINDS:
        raise Untrusted("event", f"a browser key cannot send {signal.name}")


def _parsed(body: bytes) -> dict[str, Any]:
    if len(body) > EVENT_BYTES:
        raise InvalidInput("", f"the event may have at most {EVENT_BYTES} bytes")
    try:
        raw = msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise InvalidInput("", "the event must be valid UTF-8") from None
    except RecursionError:
        raise InvalidInput("", f"the event may be nested at most {DEPTH} deep") from None
    except msgspec.DecodeError as error:
        raise InvalidInput("", f"the event is {no_json(error)}") from None
    if not isinstance(raw, dict):
        raise InvalidInput("", "the event must be an object")
    if b"\\u0000" in body or not _is_shallow(body):
        _refuse_depth_and_nul(raw, "", 1)
    return raw


def _is_shallow(body: bytes) -> bool:
    """Whether the brackets alone show that the tree is shallow; false may also mean brackets within text.

    Innermost pairs are taken away level by level, so the common case costs no walk over the tree in Python.
    """
    brackets = body.translate(None, _NO_BRACKETS)
    for _ in range(DEPTH // 2):
        if not brackets:
            return True
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return not brackets


def _refuse_depth_and_nul(value: object, path: str, depth: int) -> None:
    """PostgreSQL keeps no NUL in text, and a deep tree is an attack on whoever walks it next."""
    if isinstance(value, str):
        if "\x00" in value:
            raise InvalidInput(path, "must not contain NUL characters")
    elif isinstance(value, dict | list):
        if depth > DEPTH:
            raise InvalidInput(path, f"may be nested at most {DEPTH} deep")
        if isinstance(value, dict):
            for key, inner in value.items():
                if "\x00" in key:
                    said = "must not contain NUL characters in names"
                    raise InvalidInput(path, said if path else f"the event {said}")
                if isinstance(inner, str | dict | list):
                    _refuse_depth_and_nul(inner, f"{path}.{key}" if path else key, depth + 1)
        else:
            for index, inner in enumerate(value):
                if isinstance(inner, str | dict | list):
                    _refuse_depth_and_nul(inner, f"{path}[{index}]", depth + 1)


def _checked(raw: dict[str, Any], body: bytes, type_: str, arrival: Arrival) -> Signal:
    user_id, anonymous_id = _identifier(raw, "userId"), _identifier(raw, "anonymousId")
    previous_id = _identifier(raw, "previousId") if type_ == "alias" else None
    if user_id is None and not arrival.known and (anonymous_id is None or type_ == "alias"):
        raise InvalidInput("userId", "must be given" if type_ == "alias" else "or anonymousId must be given")
    if type_ == "alias" and previous_id is None:
        raise InvalidInput("previousId", "must be given")
    for field in ("properties", "traits", "context"):
        if not isinstance(raw.get(field), dict | None):
            raise InvalidInput(field, "must be an object")
    given, time = _time(raw, arrival)
    said = {field: raw[field] for field in _SAYS if raw.get(field) is not None}
    said["type"], said["timestamp"] = type_, given
    content_hash = hmac.digest(arrival.content_key, hashlib.sha256(_CANONICAL.encode(said)).digest(), "sha256")
    name = _name(raw, type_)
    kind = kind_of(type_, name)
    signal = Signal(
        type=type_,
        # One spelling for what counts purchases: audiences and reports look for it.
        name=ORDER_COMPLETED if kind == "order" else name,
        kind=kind,
        message_id=_message_id(raw, given, content_hash),
        user_id=user_id,
        anonymous_id=anonymous_id,
        previous_id=previous_id,
        time=time,
        raw=raw,
        body=body,
        content_hash=content_hash,
        figures=figures(raw),
    )
    if type_ == "track":
        check_properties(signal.kind, raw.get("properties") or {})
        _note_order(signal, raw.get("properties") or {})
    elif type_ == "identify":
        check_traits(raw.get("traits") or {})
    return signal


def _identifier(raw: Mapping[str, Any], field: str) -> str | None:
    """An id as text. Numbers are taken, as Segment takes them; empty text counts as not given."""
    value = raw.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidInput(field, "must be text or a whole number")
    text = str(value).strip()
    if len(text) > ID_LENGTH:
        raise InvalidInput(field, f"may have at most {ID_LENGTH} characters")
    return text or None


def _name(raw: Mapping[str, Any], type_: str) -> str | None:
    field = "event" if type_ == "track" else "name"
    name = raw.get(field)
    if name is None and type_ != "track":
        return None
    if not isinstance(name, str):
        raise InvalidInput(field, "must be text")
    if type_ == "track" and not name.strip():
        raise InvalidInput(field, "must say what happened; it is blank")
    if len(name) > NAME_LENGTH:
        raise InvalidInput(field, f"may have at most {NAME_LENGTH} characters")
    return name.strip() if type_ in ("track", "page", "screen") else None


def _message_id(raw: Mapping[str, Any], given: str | None, content_hash: bytes) -> str:
    """The sender's id; without one, content and time tell repeats apart, and without a time nothing can."""
    value = raw.get("messageId")
    if value is None or value == "":
        return f"content-{content_hash.hex()[:32]}" if given else f"random-{uuid4().hex}"
    if not isinstance(value, str):
        raise InvalidInput("messageId", "must be text")
    if len(value) > MESSAGE_ID_LENGTH:
        raise InvalidInput("messageId", f"may have at most {MESSAGE_ID_LENGTH} characters")
    return value


def _time(raw: Mapping[str, Any], arrival: Arrival) -> tuple[str | None, datetime]:
    """The time as it was given (None: it was not) and as we believe it, cut to milliseconds."""
    field = "timestamp" if raw.get("timestamp") is not None else "originalTimestamp"
    given = raw.get(field)
    if given is None:
        return None, _milliseconds(arrival.now)
    if not isinstance(given, str):
        raise InvalidInput(field, "must be text such as 2026-03-01T09:30:00Z")
    try:
        time = _moment(given, field) + arrival.skew
    except OverflowError:
        raise InvalidInput(field, "is beyond all calendars, corrected by what sentAt says of the clock") from None
    if time > arrival.now + FUTURE:
        raise InvalidInput(field, "is more than an hour in the future")
    if time < PAST:
        raise InvalidInput(field, "is before the year 2000")
    return given, _milliseconds(time)


def _moment(text: str, field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or len(text) < len("2026-03-01T09:30Z"):
            raise InvalidInput(field, "must be a date, a time and an offset, such as 2026-03-01T09:30:00Z")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(field, "must be a date, a time and an offset, such as 2026-03-01T09:30:00Z") from None


def _milliseconds(moment: datetime) -> datetime:
    rest = moment.microsecond % 1000
    return moment.replace(microsecond=moment.microsecond - rest) if rest else moment


def _note_order(signal: Signal, properties: Mapping[str, Any]) -> None:
    """Take from an order what is looked up later: its id and the number its buyer knows."""
    if signal.kind in ORDER_KINDS:
        signal.order_id = order_id(properties)
        signal.order_number = order_number(properties)

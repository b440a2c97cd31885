"""Reading a mail that came back: a delivery status notification (RFC 3464), a complaint (ARF, RFC 5965), or neither.

Whoever wrote it is not believed in anything but what happened; which mail it is about is told by what only we can make:
the sealed envelope sender, the unsubscribe link, or the Message-ID of the mail that is quoted in it. Some servers write
no machine-readable part: then a reply line with an enhanced code counts, and nothing else.
"""

from __future__ import annotations

import email
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parseaddr, parsedate_to_datetime
from typing import Final

from signals.mailreports import MESSAGE_ID, Kind
from signals.statuses import code_in, is_gone

MAX_LINES: Final = 20_000
MAX_NESTED: Final = 20
"""Lines of a mail, and mentions of what nests its parts, that are read at all: the time that reading takes grows with
both. A report that quotes one of our mails whole has some 2,000 and 5."""
MAX_PARTS: Final = 50
MAX_TEXT: Final = 64 * 1024
MAX_NAMED: Final = 8
"""Parts that are looked at, characters of a text, and addresses or ids that are tried: more says nothing new."""
COMPLAINTS: Final = frozenset({"abuse", "fraud", "opt-out", "opt-out-list"})
"""Feedback types that ask for no more mail; others (virus, not-spam, auth-failure, other) do not speak for a reader."""
_REPLY: Final = re.compile(r"(?<!\d)[45]\d\d[ -]#?([45]\.\d{1,3}\.\d{1,3})(?!\d)")
_UNSUBSCRIBE: Final = re.compile(r"/u/([A-Za-z0-9_-]{51,54})(?![A-Za-z0-9_-])")
_QUOTED_ID: Final = re.compile(rf"(?im)^message-id:\s*({MESSAGE_ID.pattern})")
_NESTS: Final = re.compile(rb"(?i)boundary|message/")
_ACTIONS: Final = ("failed", "delayed")


@dataclass(frozen=True)
class Returned:
    """What a mail that came back says. `kind` is None when it reports neither failure, delay nor complaint.

    `name` tells this report from others. Which mail it is about: envelope `senders`, `unsubscribe` tokens and
    `message_ids` that are named in it, with the `recipients` it speaks of.
    """

    via: str
    kind: Kind | None
    name: str
    at: datetime | None
    status: str | None = None
    words: str | None = None
    senders: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()


def read(content: bytes) -> Returned | None:
    """What a mail reports; None when it is no report, like an answer or an absence notice, or out of all bounds. Never
    raises."""
    if content.count(b"\n") > MAX_LINES or len(_NESTS.findall(content)) > MAX_NESTED:
        return None
    try:
        mail = email.message_from_bytes(content)
        parts = _parts(mail)
    except (RecursionError, ValueError, LookupError):
        return None
    for part in parts:
        if part.get_content_type() in ("message/delivery-status", "message/global-delivery-status"):
            return _notification(mail, parts, _blocks(part))
        if part.get_content_type() == "message/feedback-report":
            return _complaint(mail, parts, _blocks(part))
    return _unstructured(mail, parts)


def _notification(mail: Message, parts: list[Message], blocks: list[Message]) -> Returned:
    """A delivery status notification. Of several recipients the one that fared worst speaks, for our mails have one."""
    people = [block for block in blocks if block.get("Action")]
    people.sort(key=lambda block: _rank(_field(block, "Action")))
    worst = people[0] if people else Message()
    action = _field(worst, "Action").lower()
    words = _field(worst, "Diagnostic-Code")
    status = code_in(_field(worst, "Status"), words)
    kind: Kind | None = "delayed" if action == "delayed" else None
    if action == "failed":
        kind = "hard" if is_gone(status) else "soft"
    recipients = [_typed(_field(block, name)) for block in people for name in ("Original-Recipient", "Final-Recipient")]
    return _returned("dsn", mail, parts, kind, status, words.partition(";")[2].strip() or words, recipients, ())


def _complaint(mail: Message, parts: list[Message], blocks: list[Message]) -> Returned:
    """A reader's word to their provider that they want no such mail."""
    told = blocks[0] if blocks else Message()
    kind: Kind | None = "complaint" if _field(told, "Feedback-Type").lower() in COMPLAINTS else None
    recipients = [parseaddr(_field(told, "Original-Rcpt-To"))[1]]
    senders = [parseaddr(_field(told, "Original-Mail-From"))[1]]
    words = f"{_field(told, 'Feedback-Type')} reported by {_field(told, 'User-Agent') or 'a provider'}"
    return _returned("arf", mail, parts, kind, None, words, recipients, senders)


def _unstructured(mail: Message, parts: list[Message]) -> Returned | None:
    """A report in prose: only the reply of a mail server in it, with its enhanced code, says what happened."""
    text = "\n".join(_text(part) for part in parts if part.get_content_type() == "text/plain")[:MAX_TEXT]
    found = _REPLY.search(text)
    if found is None:
        return None
    line = text[found.start() :].partition("\n")[0]
    kind: Kind = "hard" if is_gone(found[1]) else "soft"
    recipients = _field(mail, "X-Failed-Recipients").split(",")
    return _returned("dsn", mail, parts, kind, found[1], line, recipients, ())


def _returned(
    via: str,
    mail: Message,
    parts: list[Message],
    kind: Kind | None,
    status: str | None,
    words: str,
    recipients: Iterable[str],
    senders: Iterable[str],
) -> Returned:
    quoted = list(_quoted(parts))
    prose = "\n".join(_text(part) for part in parts if part.get_content_type() == "text/plain")[:MAX_TEXT]
    links = [*(_field(head, "List-Unsubscribe") for head in quoted), prose]
    ids = [*(_field(head, "Message-ID") for head in quoted), *(found[0] for found in _QUOTED_ID.findall(prose))]
    paths = [parseaddr(_field(head, "Return-Path"))[1] for head in quoted]
    name = (
        _field(mail, "Message-ID") or hashlib.sha256(repr((status, words, ids, mail.get("Date"))).encode()).hexdigest()
    )
    return Returned(
        via=via,
        kind=kind,
        name=name,
        at=_moment(_field(mail, "Date")),
        status=status,
        words=words or None,
        senders=_few([*senders, *paths]),
        unsubscribe=_few(token for link in links for token in _UNSUBSCRIBE.findall(link[:MAX_TEXT])),
        message_ids=_few(ids),
        recipients=_few(recipients),
    )


def _parts(mail: Message) -> list[Message]:
    """The mail's parts from outside to inside, at most so many."""
    found = []
    for part in mail.walk():
        found.append(part)
        if len(found) >= MAX_PARTS:
            break
    return found


def _blocks(part: Message) -> list[Message]:
    """The groups of fields of a report, whatever a server called its encoding or left undone."""
    payload = part.get_payload()
    if isinstance(payload, list):
        blocks = [block for block in payload if isinstance(block, Message)]
        # Of a type that the parser does not know, the fields stand in the text of a mail without a head.
        return [_head(_text(block)) if not block.keys() and _text(block) else block for block in blocks]
    return [_head(block) for block in re.split(r"\r?\n[ \t]*\r?\n", _text(part)) if block.strip()]


def _quoted(parts: list[Message]) -> Iterator[Message]:
    """The heads of the mail that came back, as far as they are quoted."""
    for part in parts:
        kind = part.get_content_type()
        if kind in ("message/rfc822", "message/global"):
            payload = part.get_payload()
            yield from (one for one in payload if isinstance(one, Message)) if isinstance(payload, list) else ()
        elif kind in ("text/rfc822-headers", "message/global-headers"):
            yield _head(_text(part))


def _head(text: str) -> Message:
    return email.message_from_string(text.lstrip()[:MAX_TEXT])


def _text(part: Message) -> str:
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, LookupError):
        payload = None
    return payload[: 4 * MAX_TEXT].decode("utf-8", "replace")[:MAX_TEXT] if isinstance(payload, bytes) else ""


def _field(block: Message, name: str) -> str:
    return " ".join(str(block.get(name, "")).split())[:2_000]


def _typed(text: str) -> str:
    """The address of a field such as `rfc822; ann@example.com`."""
    kind, semicolon, address = text.partition(";")
    return (address if semicolon else kind).strip().strip("<>")


def _rank(action: str) -> int:
    return _ACTIONS.index(action.lower()) if action.lower() in _ACTIONS else len(_ACTIONS)


def _few(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))[:MAX_NAMED]


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)

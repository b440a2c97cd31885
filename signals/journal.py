"""The event table as a journal: appending what arrived, finding repeats, listing what was refused or contradicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg
from psycopg.errors import DeadlockDetected, UniqueViolation
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Binaries, Texts
from base.vault import Vault, vault_of
from signals.belonging import Lost
from signals.events import BODY, CONFLICT_BODY, CONFLICTS_KEPT, REJECTED_BODY, REJECTED_CONTENT, REJECTED_KEPT
from signals.histories import Told
from signals.orders import paid
from signals.signal import Signal
from signals.sources import Sender


@dataclass(frozen=True, slots=True)
class Entry:
    """A new event, the profile it belongs to at its arrival, and its place in what folds."""

    signal: Signal
    told: Told
    profile: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event was not taken: `reason` is invalid, untrusted, plan, or product for an item of a feed.

    `call` and `skew` are the type that its address named and the correction of its sender's clock.
    """

    reason: str
    field: str
    message: str
    body: bytes
    call: str = ""
    skew: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of an earlier event with the same id."""

    content_hash: bytes
    profile_id: int


_FIND = text("""
    SELECT message_id, content_hash, profile_id FROM event WHERE source_id = :source AND message_id = ANY(:ids)
""")


def find(session: Session, sender: Sender, message_ids: Iterable[str]) -> dict[str, Stored]:
    """The stored events of this source with these ids."""
    rows = session.execute(_FIND, {"source": sender.id, "ids": Texts(message_ids)})
    return {row.message_id: Stored(row.content_hash, row.profile_id) for row in rows}


_HELD: Final = -(1 << 62)
"""Beside this, a number is the key of the advisory lock of whoever took numbers above it; nobody else's are so low."""

_NUMBERS = text("""
    WITH held AS MATERIALIZED (
        SELECT pg_advisory_xact_lock_shared(:held + last_value - CAST(NOT is_called AS int)) FROM event_id_seq
    )
    SELECT nextval('event_id_seq') FROM held, generate_series(1, :count)
""")
_NEWEST = text("""
    SELECT coalesce(least(max(id), (
        SELECT min(key) - :held FROM (
            SELECT (CAST(classid AS bigint) << 32) | CAST(objid AS bigint) AS key FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock'
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ) AS advisory WHERE key BETWEEN :held AND :held / 2
    )), 0) FROM event
""")


def numbers(session: Session, count: int) -> list[int]:
    """The next arrival numbers. Taken under the profiles' locks, so that within a profile they grow with folding.

    Until the transaction ends, `newest` stays below them.
    """
    return sorted(session.scalars(_NUMBERS, {"count": count, "held": _HELD}))


def newest(session: Session) -> int:
    """The highest arrival number, but none above one that is still to be committed; 0 before the first.

    Transactions commit out of the order of their numbers, a piece of an import many thousands later. Who follows the
    events by number goes no further than this, or would never look at what comes in behind.
    """
    return session.scalar(_NEWEST, {"held": _HELD}) or 0


_COPY = (
    "COPY event (id, message_id, source_id, profile_id, type, name, event_time, received_at, category_ids, order_id,"
    " order_number, order_total_cents, content_hash, folds, void, body, figures) FROM STDIN"
)


def append(session: Session, sender: Sender, entries: Sequence[Entry], now: datetime) -> None:
    """Write new events. Raises Lost when another transaction has just used one of their ids, and else the driver's own
    errors, of which `transaction` makes ours."""
    received = now.isoformat()
    vault = vault_of(session)
    lines = "".join(_line(entry, sender.id, received, vault) for entry in entries)
    try:
        with driver(session).cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(lines)
    except (UniqueViolation, DeadlockDetected) as error:
        raise Lost from error


def driver(session: Session) -> psycopg.Connection[Any]:
    """The driver's own connection of a session, for COPY, which SQLAlchemy does not speak."""
    connection: psycopg.Connection[Any] = session.connection().connection.driver_connection  # type: ignore[assignment]
    return connection


_RENUMBER = text("""
    UPDATE event e SET order_number = told.number
    FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS text[])) AS told (id, number)
    WHERE e.id = told.id AND e.order_number IS DISTINCT FROM told.number
""")


def number_orders(session: Session, numbers: Mapping[int, str]) -> None:
    """Note the numbers that buyers know their orders by, of stored events by arrival number."""
    if numbers:
        session.execute(_RENUMBER, {"ids": list(numbers), "numbers": list(numbers.values())})


_RELABEL = text("""
    UPDATE event e SET figures = CAST(jsonb_set(
        jsonb_build_object('properties', jsonb_build_object()) || coalesce(CAST(e.figures AS jsonb), '{}'),
        '{properties,currency}', to_jsonb(told.currency)
    ) AS json)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:currencies AS text[])) AS told (id, currency)
    WHERE e.id = told.id AND e.figures #>> '{properties,currency}' IS DISTINCT FROM told.currency
""")


def name_currencies(session: Session, currencies: Mapping[int, str]) -> None:
    """Note the currencies of stored events, by arrival number, among their figures."""
    if currencies:
        session.execute(_RELABEL, {"ids": list(currencies), "currencies": list(currencies.values())})


_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _line(entry: Entry, source: int, received: str, vault: Vault) -> str:
    """An event in COPY's text format: tab-separated, a backslash before what would end a field, \\N for null."""
    signal, event = entry.signal, entry.told.event
    order = "\\N" if signal.order_id is None else signal.order_id.translate(_ESCAPES)
    number = "\\N" if signal.order_number is None else signal.order_number.translate(_ESCAPES)
    cents = paid(event) if event.kind == "order" else None
    total = "\\N" if cents is None else cents
    name = "\\N" if signal.name is None else signal.name.translate(_ESCAPES)
    listed = ",".join(map(str, sorted(event.categories)))
    body = vault.seal(signal.body, BODY.place).hex()
    # JSON has no bare line ends nor tabs.
    shown = "\\N" if signal.figures is None else signal.figures.decode().replace("\\", "\\\\")
    return (
        f"{event.arrival}\t{signal.message_id.translate(_ESCAPES)}\t{source}\t{entry.profile}\t{signal.type}\t{name}\t"
        f"{signal.time.isoformat()}\t{received}\t{{{listed}}}\t{order}\t{number}\t{total}\t"
        f"\\\\x{signal.content_hash.hex()}\t{_flag(entry.told.folds)}\t{_flag(entry.told.left.void)}\t\\\\x{body}\t"
        f"{shown}\n"
    )


def _flag(said: bool) -> str:
    return "t" if said else "f"


_REFUSE = text("""
    INSERT INTO rejected_event (source_id, reason, field, message, body, at, call, skew_ms, name, whole)
    SELECT :source, reason, field, message, body, :now, call, skew_ms, name, whole
    FROM unnest(CAST(:reasons AS text[]), CAST(:fields AS text[]), CAST(:messages AS text[]), CAST(:bodies AS bytea[]),
                CAST(:calls AS text[]), CAST(:skews AS bigint[]), CAST(:names AS text[]), CAST(:wholes AS boolean[]))
         AS new (reason, field, message, body, call, skew_ms, name, whole)
    RETURNING id
""")
_PRUNE = text("DELETE FROM rejected_event WHERE id <= :oldest")


def refuse(session: Session, sender: Sender, refusals: Sequence[Refusal], now: datetime) -> None:
    """List events that were refused; the oldest in the list make room."""
    if not refusals:
        return
    vault = vault_of(session)
    ids = session.scalars(
        _REFUSE,
        {
            "source": sender.id,
            "now": now,
            "reasons": [refusal.reason for refusal in refusals],
            "fields": [refusal.field[:200].replace("\x00", "\ufffd") for refusal in refusals],
            "messages": [message(refusal) for refusal in refusals],
            "bodies": Binaries(vault.seal(kept(refusal.body).encode(), REJECTED_CONTENT.place) for refusal in refusals),
            "calls": [refusal.call for refusal in refusals],
            "skews": [refusal.skew // _MILLISECOND for refusal in refusals],
            "names": [_name(refusal.body) for refusal in refusals],
            "wholes": [bool(refusal.body) and kept(refusal.body).encode() == refusal.body for refusal in refusals],
        },
    ).all()
    session.execute(_PRUNE, {"oldest": max(ids) - REJECTED_KEPT})


def kept(body: bytes) -> str:
    """A refused body as text that PostgreSQL takes; nothing of one that is too long."""
    return "" if len(body) > REJECTED_BODY else body.decode("utf-8", "replace").replace("\x00", "\ufffd")


def message(refusal: Refusal) -> str:
    """Why it was refused, as it is listed."""
    too_long = "; its body is too long to be kept" if len(refusal.body) > REJECTED_BODY else ""
    return refusal.message[:500].replace("\x00", "\ufffd") + too_long


class _Named(msgspec.Struct):
    event: Any = None
    name: Any = None


_NAMED: Final = msgspec.json.Decoder(_Named)
_MILLISECOND: Final = timedelta(milliseconds=1)


def _name(body: bytes) -> str | None:
    """The name of the event in a refused body, where it can be read."""
    try:
        head = _NAMED.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    said = head.event if head.event is not None else head.name
    return said.strip()[:200].replace("\x00", "\ufffd") if isinstance(said, str) else None


_CONFLICT = text("""
    INSERT INTO event_conflict (message_id, source_id, content_hash, received_at, body)
    SELECT message_id, :source, hash, :now, body
    FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS bytea[]), CAST(:bodies AS bytea[]))
         AS new (message_id, hash, body)
    ON CONFLICT DO NOTHING RETURNING id
""")
_PRUNE_CONFLICTS = text("DELETE FROM event_conflict WHERE id <= :oldest")


def list_conflicts(session: Session, sender: Sender, signals: Sequence[Signal], now: datetime) -> None:
    """Keep events apart whose id was taken by other content; the same one again is listed once, and the oldest go."""
    if signals:
        vault = vault_of(session)
        ids = session.scalars(
            _CONFLICT,
            {
                "source": sender.id,
                "now": now,
                "ids": [signal.message_id for signal in signals],
                "hashes": Binaries(signal.content_hash for signal in signals),
                "bodies": Binaries(vault.seal(signal.body, CONFLICT_BODY.place) for signal in signals),
            },
        ).all()
        if ids:
            session.execute(_PRUNE_CONFLICTS, {"oldest": max(ids) - CONFLICTS_KEPT})

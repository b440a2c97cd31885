"""All that happened to a campaign's mails, as raw events for other tools: what the tables hold, row for row.

A page is read by its key, never by a number of rows to skip, so the millionth costs what the first did. Nothing in it
is an address; a person is the number of their profile, and nobody once they were erased.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from base.ids import TEST_BIT
from campaigns.models.consent import MailConsent
from campaigns.models.delivery import Delivery
from campaigns.opens import Click, Fetch, Outcome
from render.record import ConsentRecord
from signals.mailreports import MailReport
from signals.profiles import Profile

MAX_PAGE: Final = 1000
FORMATS: Final = ("jsonl", "csv")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


class MessageEvent(Struct, frozen=True, omit_defaults=True):
    """One event. `kind` is delivery (a row of the ledger as it is now), fetch, click, consent, report or order.

    `at` is RFC 3339. `test` marks those of test sends, which count nowhere. Which fields are set depends on the kind;
    `decision` joins fetches, clicks and orders, and (`campaign`, `occurrence`, `profile`) all of them to the ledger.
    """

    kind: str
    id: str
    at: str
    campaign: int
    occurrence: int
    profile: int | None = None
    test: bool = False
    state: str | None = None
    reason: str | None = None
    reply: str | None = None
    holdout: str | None = None
    arm: int | None = None
    plan: str | None = None
    slot: int | None = None
    fetched: str | None = None
    fetch_class: str | None = None
    rung: str | None = None
    decision: str | None = None
    offer: int | None = None
    outcome: str | None = None
    flag: str | None = None
    order: str | None = None
    rule: str | None = None
    cents: int | None = None
    currency: str | None = None
    purpose: str | None = None
    granted: bool | None = None
    via: str | None = None
    report: str | None = None


@dataclass(frozen=True)
class _Source:
    """Where events of a kind come from: a table, whether its pages go by time, and its columns by field."""

    table: Any
    by_time: bool
    columns: dict[str, Any]

    @property
    def at(self) -> Any:
        """The column, or expression, that says when."""
        return self.columns["at"]


_SOURCES: Final[dict[str, _Source]] = {
    "delivery": _Source(
        Delivery,
        False,
        {
            "at": func.coalesce(Delivery.settled_at, Delivery.sent_at, Delivery.created_at),
            "state": Delivery.state, "reason": Delivery.reason, "reply": Delivery.reply, "holdout": Delivery.holdout,
            "arm": Delivery.arm, "plan": Delivery.plan_hash,
        },
    ),
    "fetch": _Source(
        Fetch,
        True,
        {
            "at": Fetch.at, "slot": Fetch.slot, "fetched": Fetch.kind, "fetch_class": Fetch.fetch_class,
            "rung": Fetch.rung, "decision": Fetch.decision_id,
        },
    ),
    "click": _Source(
        Click,
        True,
        {
            "at": Click.at, "slot": Click.slot, "fetch_class": Click.fetch_class, "decision": Click.decision_id,
            "offer": Click.offer_id, "outcome": Click.outcome,
            "flag": case((Click.ambiguous, "ambiguous"), (Click.unseen, "unseen"), (Click.unresolved, "unresolved")),
        },
    ),
    "consent": _Source(
        MailConsent,
        True,
        {
            "at": MailConsent.at, "purpose": MailConsent.purpose, "granted": MailConsent.granted,
            "via": MailConsent.via,
        },
    ),
    "report": _Source(
        MailReport, False, {"at": MailReport.at, "report": MailReport.kind, "via": MailReport.via}
    ),
    "order": _Source(
        Outcome,
        False,
        {
            "at": Outcome.at, "slot": Outcome.slot, "decision": Outcome.decision_id, "offer": Outcome.offer_id,
            "order": Outcome.order_id, "rule": Outcome.rule, "cents": Outcome.cents, "currency": Outcome.currency,
        },
    ),
}  # fmt: skip
KINDS: Final = tuple(_SOURCES)


def page(
    session: Session, campaign_id: int, *, kinds: Sequence[str] = KINDS, after: str = "", limit: int = MAX_PAGE
) -> tuple[list[MessageEvent], str | None]:
    """Some of a campaign's events, kind after kind, after a key; and the key to go on from, None at the end.

    What comes in meanwhile may stand before a key already passed: fetches are stored some seconds after they happened.
    Raises InvalidInput for a kind or a key that there is not.
    """
    unknown = [kind for kind in kinds if kind not in _SOURCES]
    if unknown or not kinds:
        raise InvalidInput("kinds", f"must be of {', '.join(KINDS)}")
    wanted = [kind for kind in KINDS if kind in kinds]
    begun, key = _read(after, wanted)
    limit = max(1, min(limit, MAX_PAGE))
    found: list[MessageEvent] = []
    last = after
    for kind in wanted[wanted.index(begun) if begun else 0 :]:
        rows = _rows(session, campaign_id, kind, key, limit - len(found))
        found += [_event(kind, campaign_id, row) for row in rows]
        if rows:
            last = _written(kind, rows[-1])
        if len(found) == limit:
            return found, last
        key = None
    return found, None


def note_consent(session: Session, record: ConsentRecord) -> None:
    """Keep by which mail somebody said so; the same record twice is one row, and of who was erased nothing is kept."""
    known = session.scalar(select(Profile.id).where(Profile.id == record.profile, Profile.erased_at.is_(None)))
    session.execute(
        insert(MailConsent)
        .values(
            id=record.id, at=_EPOCH + timedelta(milliseconds=record.at_ms), campaign_id=record.campaign,
            occurrence=record.occurrence, profile_id=known, purpose=record.purpose, granted=record.granted,
            via=record.via,
        )
        .on_conflict_do_nothing()
    )  # fmt: skip


def lines(
    opened: Callable[[], AbstractContextManager[Session]], campaign_id: int, form: str, kinds: Sequence[str] = KINDS
) -> Iterator[str]:
    """All of a campaign's events as lines of JSON or CSV, a page in a transaction of its own."""
    if form == "csv":
        yield _csv([MessageEvent.__struct_fields__])
    after: str | None = ""
    while after is not None:
        with opened() as session:
            found, after = page(session, campaign_id, kinds=kinds, after=after)
        if form == "csv":
            yield _csv([_plain(getattr(one, name)) for name in MessageEvent.__struct_fields__] for one in found)
        else:
            yield "".join(f"{_encode(one).decode()}\n" for one in found)


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def _rows(session: Session, campaign_id: int, kind: str, key: tuple[Any, ...] | None, limit: int) -> Sequence[Any]:
    source = _SOURCES[kind]
    table = source.table
    order: tuple[ColumnElement[Any], ...] = (table.occurrence, source.at, table.id) if source.by_time else (table.id,)
    columns = [column.label(name) for name, column in source.columns.items()]
    whose = (table.id.label("id"), table.occurrence.label("occurrence"), table.profile_id.label("profile"))
    query = select(*whose, *columns)
    query = query.where(table.campaign_id == campaign_id)
    if kind == "report":
        # One that names no run is about no mail that is known.
        query = query.where(table.occurrence.is_not(None))
    if key is not None:
        query = query.where(_beyond(order, key))
    return session.execute(query.order_by(*order).limit(limit)).all()


def _beyond(order: tuple[ColumnElement[Any], ...], key: tuple[Any, ...]) -> ColumnElement[bool]:
    """Rows whose key is greater, said so that an index on its first columns is used."""
    first = order[0] >= key[0] if len(order) > 1 else literal(True)
    steps = [
        and_(*(order[earlier] == key[earlier] for earlier in range(place)), order[place] > key[place])
        for place in range(len(order))
    ]
    return and_(first, or_(*steps))


def _event(kind: str, campaign_id: int, row: Any) -> MessageEvent:
    told = {name: getattr(row, name) for name in _SOURCES[kind].columns if name != "at"}
    return MessageEvent(
        kind=kind, id=str(row.id), at=row.at.astimezone(UTC).isoformat(), campaign=campaign_id,
        occurrence=row.occurrence, profile=row.profile or None, test=row.occurrence >= TEST_BIT, **told,
    )  # fmt: skip


def _written(kind: str, row: Any) -> str:
    if not _SOURCES[kind].by_time:
        return f"{kind}:{row.id}"
    return f"{kind}:{row.occurrence}:{(row.at - _EPOCH) // timedelta(microseconds=1)}:{row.id}"


def _read(after: str, wanted: Sequence[str]) -> tuple[str | None, tuple[Any, ...] | None]:
    if not after:
        return None, None
    kind, *parts = after.split(":")
    try:
        if kind not in wanted or "\x00" in after:
            raise ValueError
        if not _SOURCES[kind].by_time:
            (number,) = parts
            return kind, (_bounded(number),)
        occurrence, micros, name = parts
        return kind, (_bounded(occurrence), _EPOCH + timedelta(microseconds=_bounded(micros)), name)
    except (ValueError, OverflowError):
        raise InvalidInput("after", "is no key that a page of these kinds ended with") from None


def _bounded(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) >= 2**63:
        raise ValueError
    return int(text)

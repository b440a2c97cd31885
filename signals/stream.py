"""The newest signals as they came, of all sources or one, with what became of each.

Repeats of what is stored, and what somebody's refusal withholds, are answered and not kept, so they are not here. What
we tell ourselves of clicks and opens would be most of it after a campaign: it is here only where our own source is
asked for. However rare what is asked for, a part looks through so many signals of a source and no more; the next one
goes on below them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec
from sqlalchemy import ColumnElement, LargeBinary, Select, and_, func, or_, select, text, type_coerce
from sqlalchemy.orm import Session, defer

from base.errors import NotFound
from signals import refusals, sealingkeys
from signals.engagement import is_no_own_mail
from signals.events import CONFLICT_BODY, Event, EventConflict, RejectedEvent

Row = TypeVar("Row")
Kind = Literal["taken", "refused", "contradicting"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Status = Literal["taken", "repeat", "quarantined", "refused", "replayed", "contradicting"]
Sought = Literal[Status, "untaken"]
SOUGHT: Final[tuple[Sought, ...]] = get_args(Sought)
"""*repeat*: an order that another signal told of before, which counts there. *quarantined*: it breaks the tracking
plan. *replayed*: refused first, and taken later. *untaken*: refused or quarantined, and not taken since."""
SHOWN: Final = 50
NAMED: Final = 200
"""Characters of what a refused one is called."""
REACH: Final = 20_000
"""Signals of each kind that a part looks through, the newest."""
BEFORE: Final = r"^[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18}$"
"""Where a part of the stream begins: below which number of each of KINDS."""
PASSED: Final = 10 * REACH
"""Signals at most among which these lie: what is left out takes its numbers too."""
NAMING_REACH: Final = 1_000
"""Refused ones of which it is looked up whether they name a person: each is read."""
MOST_NAMES: Final = 500
"""Identifiers of a person by which that is looked up."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which signals: of a source, of an event's name, of a status, of a person (all their profiles)."""

    source: int | None = None
    name: str = ""
    status: Sought | None = None
    members: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A signal in the stream. `at` is when it came, `happened` when it is said to have happened, where that is kept.

    `profile` is whose it was found to be; of a refused one the person who is asked for, as it names them. `field` and
    `message` say what is wrong with one that was not taken.
    """

    kind: Kind
    number: int
    status: Status
    source: int
    at: datetime
    name: str
    happened: datetime | None = None
    profile: int | None = None
    field: str = ""
    message: str = ""

    @property
    def lag(self) -> timedelta | None:
        """How long after it happened it came."""
        return None if self.happened is None else self.at - self.happened


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the stream, the newest first; `older` is the `before` of the next part, empty at the end. A part may be
    empty and have older ones: what it looked through held none that fit."""

    entries: list[Entry]
    older: str


def newest(session: Session, wanted: Wanted, limit: int = SHOWN, before: str = "") -> Part:
    """The newest signals that fit, or those older than the part that told `before`, in the form of BEFORE."""
    bounds = dict(zip(KINDS, _bounds(session, before), strict=True))
    read: dict[Kind, Callable[[Session, Wanted, int, Select[Any]], list[Entry]]] = {}
    if wanted.status in (None, "taken", "repeat"):
        read["taken"] = _taken
    if wanted.status in (None, "quarantined", "refused", "untaken", "replayed"):
        read["refused"] = _refused
    if wanted.status in (None, "contradicting"):
        read["contradicting"] = _contradicting
    reached = {kind: _reached(kind, wanted, bounds[kind]) for kind in read}
    found = {kind: of(session, wanted, limit + 1, reached[kind]) for kind, of in read.items()}
    # Of each kind the first ones are taken, whatever their times: the next part goes on below their numbers.
    told = list(islice(merge(*found.values(), key=lambda entry: (entry.at, entry.number), reverse=True), limit))
    lowest = {entry.kind: entry.number for entry in told}
    is_more = sum(map(len, found.values())) > limit
    for kind, entries in found.items():
        if not entries or entries[-1].number == lowest.get(kind):
            # All that it found is told: it goes on below what it looked through, if that was not everything.
            passed = bounds[kind] - PASSED if kind == "taken" and _is_passing(wanted) else 0
            if floor := _floor(session, kind, reached[kind], _reach(kind, wanted), passed):
                lowest[kind], is_more = floor, True
    return Part(told, ".".join(map(str, (bounds | lowest).values())) if is_more else "")


def _floor(session: Session, kind: Kind, reached: Select[Any], reach: int, passed: int) -> int:
    """The lowest number that was looked at, where there are older ones; else 0. `passed`: none below it was."""
    looked, table = reached.subquery(), _TABLES[kind]
    number, least = session.execute(select(func.count(), func.min(looked.c.id))).one()
    floor = least if number == reach else passed
    oldest = session.scalar(select(func.min(table.id)))
    return floor if oldest is not None and oldest < floor else 0


def _bounds(session: Session, before: str) -> list[int]:
    """Below which number of each of KINDS it goes on."""
    if before:
        return [int(number) for number in before.split(".")]
    return [int(number) + 1 for number in mark(session).split(".")]


_MARK: Final = text(
    "SELECT coalesce((SELECT max(id) FROM event), 0), coalesce((SELECT max(id) FROM rejected_event), 0),"
    " coalesce((SELECT max(id) FROM event_conflict), 0)"
)


def mark(session: Session) -> str:
    """How far the stream has come: the same as long as nothing new arrived."""
    return ".".join(str(number) for number in session.execute(_MARK).one())


def taken(session: Session, number: int) -> Event:
    """A stored signal; where it is damaged it has no body. Raises NotFound."""
    return _there(sealingkeys.rows(session, select(Event).where(Event.id == number), Event.body), number)


def refused(session: Session, number: int) -> RejectedEvent:
    """A signal that was refused; where it is damaged it has no body. Raises NotFound."""
    query = select(RejectedEvent).where(RejectedEvent.id == number)
    return _there(sealingkeys.rows(session, query, RejectedEvent.body), number)


def contradicting(session: Session, number: int) -> tuple[EventConflict, Event | None]:
    """A signal whose id was taken, which has no body where it is damaged, and the stored one that has it, its body
    aside. Raises NotFound."""
    query = select(EventConflict).where(EventConflict.id == number)
    row = _there(sealingkeys.rows(session, query, EventConflict.body), number)
    of = select(Event).where(Event.source_id == row.source_id, Event.message_id == row.message_id)
    return row, session.scalar(of.options(defer(Event.body)))


def is_damaged(row: Event | RejectedEvent | EventConflict) -> bool:
    """Whether what a signal says cannot be opened any more."""
    body: Any = row.body
    return body is None


def status_of(row: RejectedEvent) -> Status:
    """What a refused signal is now."""
    if row.replayed_at is not None:
        return "replayed"
    return "quarantined" if row.reason == "plan" else "refused"


def called(row: RejectedEvent) -> str:
    """What a refused signal is called: its event, else the product of a feed, the topic of a shop, the call's type, and
    a row of which nothing is kept that."""
    if row.name:
        return row.name
    try:
        body = msgspec.json.decode(row.body or "")
    except (msgspec.MsgspecError, RecursionError):
        body = None
    said = {name: one[:NAMED] for name, one in body.items() if isinstance(one, str)} if isinstance(body, dict) else {}
    if row.reason == "product":
        return f"product {said.get('id', '')}".strip()
    return said.get("topic") or said.get("type") or row.call or ("row of a table" if row.reason == "row" else "")


def _there(found: Sequence[Row], number: int) -> Row:
    if not found:
        raise NotFound("signal", number)
    return found[0]


_TABLES: Final[dict[Kind, type[Event] | type[RejectedEvent] | type[EventConflict]]] = {
    "taken": Event, "refused": RejectedEvent, "contradicting": EventConflict,
}  # fmt: skip


def _reach(kind: Kind, wanted: Wanted) -> int:
    return NAMING_REACH if kind == "refused" and wanted.members else REACH


def _is_passing(wanted: Wanted) -> bool:
    """Whether what is left out among the signals that were taken is passed over one by one."""
    return wanted.source is None and not wanted.members


def _reached(kind: Kind, wanted: Wanted, before: int) -> Select[Any]:
    """The numbers of a kind's signals that are looked through: the newest below a number, of the source that is wanted,
    and of those that were taken of the person."""
    table = _TABLES[kind]
    query = select(table.id).where(table.id < before).order_by(table.id.desc()).limit(_reach(kind, wanted))
    if wanted.source is not None:
        query = query.where(table.source_id == wanted.source)
    if kind != "taken":
        return query
    if wanted.source is None:
        query = query.where(is_no_own_mail())
    if _is_passing(wanted):
        query = query.where(Event.id >= before - PASSED)
    return query.where(Event.profile_id.in_(wanted.members)) if wanted.members else query


def _taken(session: Session, wanted: Wanted, limit: int, reached: Select[Any]) -> list[Entry]:
    fits: list[ColumnElement[bool]] = [Event.id.in_(select(reached.subquery().c.id))]
    if wanted.name:
        fits.append(or_(Event.name == wanted.name, and_(Event.name.is_(None), Event.type == wanted.name)))
    if wanted.status is not None:
        fits.append(Event.folds.is_(wanted.status == "taken"))
    columns = (
        Event.id, Event.source_id, Event.type, Event.name, Event.event_time, Event.received_at, Event.folds,
        Event.profile_id,
    )  # fmt: skip
    rows = session.execute(select(*columns).where(*fits).order_by(Event.id.desc()).limit(limit))
    return [
        Entry(
            "taken", row.id, "taken" if row.folds else "repeat", row.source_id, row.received_at, row.name or row.type,
            row.event_time, row.profile_id,
        )
        for row in rows
    ]  # fmt: skip


def _refused(session: Session, wanted: Wanted, limit: int, reached: Select[Any]) -> list[Entry]:
    query = select(RejectedEvent).where(RejectedEvent.id.in_(reached)).order_by(RejectedEvent.id.desc())
    match wanted.status:
        case "quarantined":
            query = query.where(RejectedEvent.reason == "plan", RejectedEvent.replayed_at.is_(None))
        case "refused":
            query = query.where(RejectedEvent.reason != "plan", RejectedEvent.replayed_at.is_(None))
        case "untaken":
            query = query.where(RejectedEvent.replayed_at.is_(None))
        case "replayed":
            query = query.where(RejectedEvent.replayed_at.is_not(None))
    if wanted.name:
        query = query.where(RejectedEvent.name == wanted.name)
    rows = sealingkeys.rows(session, query if wanted.members else query.limit(limit), RejectedEvent.body)
    names = refusals.names_of(session, wanted.members, MOST_NAMES) if wanted.members else None
    found: list[Entry] = []
    for row in rows:
        if len(found) < limit and (names is None or (not is_damaged(row) and names.are_in(row.body))):
            found.append(
                Entry(
                    "refused", row.id, status_of(row), row.source_id, row.at, called(row),
                    profile=wanted.members[0] if wanted.members else None, field=row.field, message=row.message,
                )
            )  # fmt: skip
    return found


def _contradicting(session: Session, wanted: Wanted, limit: int, reached: Select[Any]) -> list[Entry]:
    of = (Event.source_id == EventConflict.source_id, Event.message_id == EventConflict.message_id)
    sealed = type_coerce(EventConflict.body, LargeBinary)
    columns = EventConflict.id, EventConflict.source_id, EventConflict.received_at, sealed, Event.profile_id
    fits = EventConflict.id.in_(reached)
    joined = select(*columns).join(Event, and_(*of), isouter=True).where(fits).order_by(EventConflict.id.desc())
    if wanted.members:
        joined = joined.where(Event.profile_id.in_(wanted.members))
    # Bodies are sealed: of which event one tells is seen here, a piece at a time.
    rows = session.execute(joined.execution_options(yield_per=max(limit, SHOWN)))
    message = "Its message id was taken by a signal with other content."
    found: list[Entry] = []
    for number, source, at, stored, profile in rows:
        body = sealingkeys.legible(session, stored, CONFLICT_BODY, id=number)
        told = msgspec.json.decode(body) if body is not None else {}
        name = str(told.get("event") or told.get("type") or "")
        if not wanted.name or name == wanted.name:
            found.append(
                Entry("contradicting", number, "contradicting", source, at, name, profile=profile, message=message)
            )
        if len(found) == limit:
            break
    rows.close()
    return found

"""The stream of signals and the tracking plan, for programs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from flask import g

from base.errors import NotFound
from campaigns import people, stream
from campaigns.access import ADMIN, allow
from campaigns.api.desk import MAX_PAGE, Done, LongId, OptionalId, api, served
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals.signal import NAME_LENGTH
from signals.sourcehealth import health
from signals.stream import BEFORE, KINDS, SHOWN, Entry, Sought, Wanted
from signals.trackingplan import Definition, definition, planned

Name = Annotated[str, msgspec.Meta(max_length=NAME_LENGTH)]


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which signals: of a source, of an event's name, of a status, of a customer; at most `limit`, before a part.

    0 as `source` or `profile` and an empty `name` mean all.
    """

    source: OptionalId | None = None
    name: Name = ""
    status: Sought | None = None
    profile: LongId | None = None
    before: Annotated[str, msgspec.Meta(pattern=BEFORE)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = SHOWN


class SignalLine(msgspec.Struct, frozen=True):
    """A signal in the stream: when it came, when it is said to have happened, whose it is, what is wrong with it."""

    kind: str
    number: int
    status: str
    source: int
    at: str
    name: str
    happened: str | None
    profile: int | None
    field: str
    message: str


class SignalList(msgspec.Struct, frozen=True):
    """The newest signals that fit, the newest first; `older` is the `before` of the next part, null at the end. A part
    may hold fewer than `limit`, or none, and not be the end: each looks through so many signals and no more."""

    signals: list[SignalLine]
    older: str | None


class ChangeOut(msgspec.Struct, frozen=True):
    """A value of the customer's state before a signal and after it; null where there is none."""

    path: str
    before: Any
    after: Any


class SignalOut(msgspec.Struct, frozen=True):
    """One signal: as it came, as it was understood, and what it changed (null: it cannot be told, or nothing is kept).

    For keys without the role admin, names, addresses and birth dates in it are masked, and what cannot be read is null.
    """

    signal: SignalLine
    body: Any
    form: Any
    changes: list[ChangeOut] | None
    replayable: bool
    replayed_at: str | None


class Replayed(msgspec.Struct, frozen=True):
    """How many signals came to what: accepted, duplicate, conflict, rejected, withheld."""

    outcomes: dict[str, int]


class ReplayIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which quarantined signals to take again: of a source, of an event's name.

    0 as `source` and an empty `name` mean all, as null does.
    """

    source: OptionalId | None = None
    name: Name | None = None


class HealthOut(msgspec.Struct, frozen=True):
    """How a source does: signals by window, those refused in 24 hours (products aside), medians of lag and
    of its clock, in seconds.

    The newest 20,000 are counted; `at_least` names the windows that hold more. A clock that is behind is positive.
    `unadded`: its orders, of the newest 20,000 of all sources, by the currency for which there is no exchange rate.
    """

    source: int
    last_at: str | None
    told: dict[str, int]
    at_least: list[str]
    refused: int
    lag: float | None
    skew: float | None
    unadded: dict[str, int]


class HealthList(msgspec.Struct, frozen=True):
    """The sources, by number."""

    sources: list[HealthOut]


class PlannedOut(msgspec.Struct, frozen=True):
    """An event of the tracking plan. `definition` is null where it is damaged: nothing is asked of the event then."""

    id: int
    name: str
    definition: Definition | None


class PlanOut(msgspec.Struct, frozen=True):
    """The tracking plan, by name."""

    events: list[PlannedOut]


class PlannedIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an event must be; one of this name is replaced."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH)]
    definition: Definition


class ClosedIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether only planned events of a source are taken."""

    planned_only: bool


def _line(entry: Entry) -> SignalLine:
    happened = entry.happened.isoformat() if entry.happened else None
    return SignalLine(
        entry.kind, entry.number, entry.status, entry.source, entry.at.isoformat(), entry.name, happened, entry.profile,
        entry.field, entry.message,
    )  # fmt: skip


@api.get("/signals")
@allow("support")
@served(200, SignalList, "signals", 404)
def list_signals(query: StreamQuery) -> SignalList:
    """The newest signals, with what became of each; repeats of what is stored are not kept."""
    with parts().transaction() as session:
        person = query.profile or None
        members = () if person is None else stream.members(session, person)
        wanted = Wanted(query.source or None, query.name, query.status, members)
        found = stream.newest(
            session, wanted, person, parts().now(), actor(), whole=_whole(), before=query.before or "",
            limit=query.limit,
        )  # fmt: skip
        return SignalList([_line(entry) for entry in found.entries], found.older or None)


@api.get("/signals/<kind>/<long:number>")
@allow("support")
@served(200, SignalOut, "signals", 404)
def get_signal(kind: str, number: int) -> SignalOut:
    """One signal; `kind` is taken, refused or contradicting."""
    if kind not in KINDS:
        raise NotFound("kind of signal", kind)
    with parts().transaction() as session:
        found = stream.detail(session, parts().intake, kind, number, parts().now(), actor(), whole=_whole())
        changes = None if found.changes is None else [ChangeOut(c.path, c.before, c.after) for c in found.changes]
        replayed = found.replayed_at.isoformat() if found.replayed_at else None
        return SignalOut(_line(found.entry), found.body, found.form, changes, found.replayable, replayed)


@api.post("/signals/refused/<long:number>/replay")
@allow("admin")
@served(200, Replayed, "signals", 404, 409)
def replay_signal(number: int) -> Replayed:
    """Take a refused signal once more, at the time it came; doing it again changes nothing."""
    return Replayed({stream.replay(parts().intake, number, parts().now(), actor()): 1})


@api.post("/signals/replay")
@allow("admin")
@served(200, Replayed, "signals")
def replay_signals(json: ReplayIn) -> Replayed:
    """Take quarantined signals once more, of those that fit the 500 tried longest ago."""
    counts = stream.replay_all(parts().intake, json.source or None, json.name or None, parts().now(), actor())
    return Replayed({str(status): number for status, number in counts.items()})


@api.get("/sources/health")
@allow("admin")
@served(200, HealthList, "people")
def list_health() -> HealthList:
    """How each source does."""
    with parts().transaction() as session:
        found = health(session, parts().now())
    return HealthList([
        HealthOut(
            number, one.last_at.isoformat() if one.last_at else None, one.told, sorted(one.at_least), one.refused,
            _seconds(one.lag), _seconds(one.skew), one.unadded,
        )
        for number, one in sorted(found.items())
    ])  # fmt: skip


@api.put("/sources/<int:source_id>/planned-only")
@allow("admin")
@served(200, Done, "people", 404)
def close_source(source_id: int, json: ClosedIn) -> Done:
    """Take only planned events of a source, or any again. Those of the e-commerce spec need no plan."""
    with parts().transaction() as session:
        people.close_source(session, source_id, parts().now(), actor(), closed=json.planned_only)
    return Done()


@api.get("/tracking-plan")
@allow("admin")
@served(200, PlanOut, "people")
def get_tracking_plan() -> PlanOut:
    """What the properties of events must be."""
    with parts().transaction() as session:
        return PlanOut([PlannedOut(row.id, row.name, definition(row)) for row in planned(session)])


@api.put("/tracking-plan")
@allow("admin")
@served(200, PlannedOut, "people")
def plan_event(json: PlannedIn) -> PlannedOut:
    """Say what an event must be, within a second at every intake; what breaks it is quarantined."""
    with parts().transaction() as session:
        row = people.plan_event(session, json.name, json.definition, parts().now(), actor())
        return PlannedOut(row.id, row.name, definition(row))


@api.delete("/tracking-plan/<int:number>")
@allow("admin")
@served(200, Done, "people", 404)
def unplan_event(number: int) -> Done:
    """Take an event out of the plan."""
    with parts().transaction() as session:
        people.unplan_event(session, number, parts().now(), actor())
    return Done()


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _whole() -> bool:
    return ADMIN in g.api_key.roles

"""The tracking plan: what the properties of an event must be, and sources of which only planned events are taken.

An event that breaks the plan is quarantined: it changes nothing, is listed with the property at fault, and is taken
once the plan was mended and somebody says so (signals/quarantine.py). Without a plan every event is taken. What people
allow and object to holds at once however it is told, and so does what we learn ourselves: no plan is asked of either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from sqlalchemy import Identity, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.clock import monotonic
from base.db import Model, Sessions, transaction
from base.errors import InvalidInput, NotFound
from base.logs import logger
from signals.foldevent import kind_of
from signals.signal import NAME_LENGTH, Signal
from signals.sources import INTERNAL, Sender, Source

HELD_SECONDS: Final = 1.0
MOST_EVENTS: Final = 500
MOST_PROPERTIES: Final = 100
MOST_VALUES: Final = 100

PropertyType = Literal["text", "number", "whole", "boolean", "time", "list", "object"]
TYPE_WORDS: Final[Mapping[PropertyType, str]] = {
    "text": "text",
    "number": "a number",
    "whole": "a whole number",
    "boolean": "true or false",
    "time": "a moment such as 2026-03-01T09:30:00Z",
    "list": "a list",
    "object": "an object",
}
Value = str | int | float
_log = logger(__name__)


class Violation(InvalidInput):
    """The event breaks the tracking plan."""


class Property(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one property must be; `values` are all it may be, `least` and `most` the bounds of a number."""

    type: PropertyType = "text"
    required: bool = False
    values: Annotated[list[Value], msgspec.Meta(max_length=MOST_VALUES)] = []
    least: float | None = None
    most: float | None = None


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The properties of an event; `strict`: it has no others."""

    properties: Annotated[dict[str, Property], msgspec.Meta(max_length=MOST_PROPERTIES)] = {}
    strict: bool = False


class PlannedEvent(Model):
    """An event of the plan. `spelt` is its name in small letters: events are told apart without regard to case."""

    __tablename__ = "planned_event"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    spelt: Mapped[str] = mapped_column(unique=True)
    definition: Mapped[dict[str, Any]]
    changed_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan in force. `closed` are the sources of which only planned events are taken."""

    events: Mapping[str, Definition] = field(default_factory=dict)
    closed: frozenset[int] = frozenset()

    def check(self, signal: Signal, sender: Sender) -> None:
        """Raise Violation, naming the property, where a `track` call breaks the plan; consent and our word cannot."""
        if signal.type != "track" or not (self.events or self.closed):
            return
        if signal.kind == "consent" or sender.name == INTERNAL:
            return
        found = self.events.get(_spelt(signal.name or ""))
        if found is not None:
            _check(found, signal.raw.get("properties") or {})
        elif sender.id in self.closed and signal.kind == "other":
            raise Violation("event", f"is not in the tracking plan, and {sender.name} may send no other")


class Plans:
    """The plan as one process knows it, held for a second. Threads share it."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._held: tuple[float, Plan] = (0.0, Plan())

    def current(self) -> Plan:
        """The plan. Raises Unavailable when it is not held and the database is away."""
        until, plan = self._held
        if monotonic() >= until:
            with transaction(self._sessions) as session:
                plan = load(session)
            self._held = (monotonic() + HELD_SECONDS, plan)
        return plan

    def renew(self) -> None:
        """Read the plan anew at its next use."""
        self._held = (0.0, Plan())


def load(session: Session) -> Plan:
    """The plan as it is stored; of an event whose definition is damaged nothing is asked."""
    events = {row.spelt: definition(row) or Definition() for row in session.scalars(select(PlannedEvent))}
    return Plan(events, frozenset(session.scalars(select(Source.id).where(Source.planned_only))))


def planned(session: Session) -> list[PlannedEvent]:
    """The events of the plan, by name."""
    return list(session.scalars(select(PlannedEvent).order_by(PlannedEvent.spelt)))


def definition(row: PlannedEvent) -> Definition | None:
    """What an event of the plan must be. None, with a log line, where that is damaged: nothing is asked of it then."""
    try:
        return msgspec.convert(row.definition, Definition)
    except msgspec.ValidationError as error:
        _tell_damaged(row.name, str(error))
        return None


@lru_cache(maxsize=256)
def _tell_damaged(name: str, reason: str) -> None:
    """Say it in the log, once a process: the plan is read anew each second."""
    _log.error("a planned event is damaged and nothing is asked of it", name=name, reason=reason)


def plan_event(session: Session, name: str, wanted: Definition, now: datetime) -> tuple[PlannedEvent, dict[str, Any]]:
    """Say what an event must be, in the place of what was said before; its row, and its definition before.

    In effect at each intake process within a second. Raises InvalidInput naming the field.
    """
    name = name.strip()
    if not is_name(name):
        raise InvalidInput("name", f"must have 1 to {NAME_LENGTH} characters")
    if kind_of("track", name) == "consent":
        raise InvalidInput("name", "tells what people allow and must always be taken: it cannot be planned")
    for said, one in wanted.properties.items():
        _sound(said, one)
    plain = msgspec.to_builtins(wanted)
    row = session.scalar(select(PlannedEvent).where(PlannedEvent.spelt == _spelt(name)).with_for_update())
    if row is None:
        if (session.scalar(select(func.count()).select_from(PlannedEvent)) or 0) >= MOST_EVENTS:
            raise InvalidInput("name", f"the plan has {MOST_EVENTS} events, which is as many as can be")
        row = PlannedEvent(name=name, spelt=_spelt(name), definition=plain, changed_at=now)
        session.add(row)
        before: dict[str, Any] = {}
    else:
        before = row.definition
        row.name, row.definition, row.changed_at = name, plain, now
    session.flush()
    return row, before


def unplan_event(session: Session, number: int) -> PlannedEvent:
    """Take an event out of the plan. Raises NotFound."""
    row = session.get(PlannedEvent, number)
    if row is None:
        raise NotFound("planned event", number)
    session.delete(row)
    return row


def close_source(session: Session, source_id: int, *, closed: bool) -> tuple[Source, bool]:
    """Take only planned events of a source, or any again; the source, and what held before. Raises NotFound.

    Events of the e-commerce spec that Latebind understands need no plan.
    """
    source = session.get(Source, source_id, with_for_update=True)
    if source is None:
        raise NotFound("source", source_id)
    before, source.planned_only = source.planned_only, closed
    return source, before


def is_name(name: str) -> bool:
    """Whether an event or a property of the plan may be called so."""
    return 0 < len(name) <= NAME_LENGTH and "\x00" not in name


def _sound(name: str, one: Property) -> None:
    path = f"properties.{name}"
    if not is_name(name):
        raise InvalidInput("properties", f"names must have 1 to {NAME_LENGTH} characters")
    if one.values and one.type not in ("text", "number", "whole"):
        raise InvalidInput(path, "only text and numbers can be held to a list of values")
    if len(one.values) > MOST_VALUES:
        raise InvalidInput(path, f"may have at most {MOST_VALUES} values")
    if any(isinstance(value, str) != (one.type == "text") for value in one.values):
        raise InvalidInput(path, "the values must be of the property's type")
    if any(isinstance(value, str) and (len(value) > NAME_LENGTH or "\x00" in value) for value in one.values):
        raise InvalidInput(path, f"values may have at most {NAME_LENGTH} characters")
    if any(isinstance(value, float) and not math.isfinite(value) for value in one.values):
        raise InvalidInput(path, "the values must be numbers")
    bounds = [bound for bound in (one.least, one.most) if bound is not None]
    if bounds and one.type not in ("number", "whole"):
        raise InvalidInput(path, "only numbers have bounds")
    if not all(map(math.isfinite, bounds)) or bounds != sorted(bounds):
        raise InvalidInput(path, "the bounds must be numbers, the lower one first")


def _check(wanted: Definition, given: Mapping[str, Any]) -> None:
    for name, one in wanted.properties.items():
        value, path = given.get(name), f"properties.{name}"
        if value is None:
            if one.required:
                raise Violation(path, "must be given, by the tracking plan")
            continue
        if not _is_of(one.type, value):
            raise Violation(path, f"must be {TYPE_WORDS[one.type]}, by the tracking plan")
        if one.values and value not in one.values:
            raise Violation(path, f"must be one of {', '.join(map(str, one.values[:10]))}, by the tracking plan")
        if one.least is not None and value < one.least:
            raise Violation(path, f"must be at least {one.least:g}, by the tracking plan")
        if one.most is not None and value > one.most:
            raise Violation(path, f"must be at most {one.most:g}, by the tracking plan")
    if wanted.strict:
        strange = next((name for name in given if name not in wanted.properties), None)
        if strange is not None:
            raise Violation(f"properties.{strange}", "is not in the tracking plan")


def _is_of(type_: PropertyType, value: object) -> bool:
    match type_:
        case "text":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "whole":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "time":
            return isinstance(value, str) and _is_moment(value)
        case "list":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _spelt(name: str) -> str:
    return name.strip().lower()

"""What is known of a person, field by field, each with where it comes from and how old it is.

For people who look at a profile: support staff, a data engineer. The state itself carries no origins; they are read
from the events, so this is no part of an open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from signals import catalog, folding, sealingkeys
from signals.behaviour import viewed
from signals.consenthistory import NEWEST_SAID
from signals.dwellings import PERSONAL
from signals.events import BODY
from signals.foldevent import MAIL_KINDS, fold_event
from signals.folding import Root
from signals.histories import among
from signals.moments import moment_of, ms_of, seconds_of, unix_ms
from signals.profiles import TRAIT_VALUE
from signals.readings_household import adults, children
from signals.state import CategoryStats, ProfileState, Views, interval

Group = Literal["purchases", "browsing", "engagement", "stated", "consent", "inferred"]
INFERRED = "inferred"
"""The source of what no one told us."""


@dataclass(frozen=True, slots=True)
class KnownField:
    """One thing we know. `since` is when the newest signal behind it happened, `age` how long ago that is.

    Behind browsing are looks, behind engagement opens and clicks by persons, behind purchases the orders that count:
    what was given back of one since makes it no newer.
    """

    group: Group
    name: str
    value: Any
    source: str
    since: datetime
    age: timedelta


@dataclass(frozen=True, slots=True)
class _Origin:
    source: str
    at: datetime


def known_fields(session: Session, profile: int, now: datetime) -> list[KnownField]:
    """Everything known of the person this profile belongs to; empty for an erased or unknown one."""
    root_id = session.scalar(text("SELECT root_id FROM profile WHERE id = :id"), {"id": profile})
    root = folding.load(session, [root_id]).get(root_id) if root_id is not None else None
    if root is None or root.state is None:
        return []
    found = _fields(session, root, root.state, now)
    return [KnownField(*entry, origin.source, origin.at, now - origin.at) for entry, origin in found]


@dataclass(slots=True)
class _Counted:
    """The newest signals that count: by category the order and the look, and the open or click."""

    bought: dict[int, _Origin] = field(default_factory=dict)
    viewed: dict[int, _Origin] = field(default_factory=dict)
    mail: _Origin | None = None


def _fields(
    session: Session, root: Root, state: ProfileState, now: datetime
) -> Iterator[tuple[tuple[Group, str, Any], _Origin]]:
    slugs = {number: slug for slug, number in catalog.slugs(session).items()}
    counted = _counted(session, root, state)
    for number, order in sorted(counted.bought.items()):
        stats = state.categories[number]
        value = {"orders": stats.n, "cents": stats.cents, "interval_days": interval(stats.gaps)}
        yield ("purchases", slugs[number], value), order
    for number, look in sorted(counted.viewed.items()):
        yield ("browsing", slugs[number], {"views": state.views[number].n}), look
    if counted.mail is not None:
        yield ("engagement", "mail", {"opens": state.opens, "clicks": state.clicks}), counted.mail
    for row in session.execute(_TRAITS, {"root": root.id}):
        if row.name in state.traits:
            value = sealingkeys.legible(session, row.value, TRAIT_VALUE, profile=root.id)
            yield ("stated", row.name, state.traits[row.name] if value is None else value), _Origin(row.source, row.at)
    for row in session.execute(_CONSENTS, {"members": root.members}):
        yield ("consent", row.purpose, row.granted), _Origin(row.source, row.at)
    if state.household is not None and (home := _home(session, root)) is not None:
        living = state.household
        value = {
            "adults": adults(living, now.year),
            "children": children(living, now.year),
            "grown_children": living.grown,
        }
        yield (home[0], "household", value), home[1]
    for name, score in sorted(state.scores.items()):
        as_of = datetime.fromtimestamp(ms_of(score.as_of_s) / 1000, UTC)
        yield ("inferred", f"score {name}", score.value), _Origin(INFERRED, as_of)
    last = session.scalar(_NEWEST, {"members": root.members})
    if last is not None:
        for name, probability in sorted(state.intents.items()):
            yield ("inferred", f"intent {name}", probability), _Origin(INFERRED, last)
    for number, order in sorted(counted.bought.items()):
        days = interval(state.categories[number].gaps)
        if days is not None:
            yield ("inferred", f"rhythm {slugs[number]}", days), _Origin(INFERRED, order.at)


_TRAITS = text("""
    SELECT t.name, t.value, s.name AS source, t.event_time AS at
    FROM trait_lineage t JOIN source s ON s.id = t.source_id WHERE t.profile_id = :root ORDER BY t.name
""")
_CONSENTS = text(f"""
    SELECT DISTINCT ON (consent.purpose) consent.purpose, consent.granted, s.name AS source, consent.at
    FROM consent JOIN event ON event.id = consent.event_id JOIN source s ON s.id = consent.source_id
    WHERE consent.profile_id = ANY(:members) ORDER BY consent.purpose, {NEWEST_SAID}
""")  # noqa: S608 - a constant of ours
_HOME = text(f"""
    SELECT c.kind, coalesce(s.name, 'staff') AS source, c.said_at AS at
    FROM ({PERSONAL}) c JOIN dwelling d ON d.profile_id = :root LEFT JOIN source s ON s.id = c.source_id
    WHERE c.root_id = :root AND NOT c.gone AND c.ended_at IS NULL
      AND (c.key = d.household OR (d.stated IS NULL AND c.key = d.address))
    ORDER BY c.kind = d.evidence DESC, c.said_at DESC, c.kind LIMIT 1
""")  # noqa: S608 - of constants alone


def _home(session: Session, root: Root) -> tuple[Group, _Origin] | None:
    """Why the person is of their household: it was stated, or is inferred from an address."""
    row = session.execute(_HOME, {"root": root.id}).first()
    if row is None:
        return None
    return "stated" if row.kind in ("hand", "group") else "inferred", _Origin(row.source, row.at)


_NEWEST = text("SELECT max(event_time) FROM event WHERE profile_id = ANY(:members) AND folds")
_COUNTED = text("""
    SELECT e.id, e.body, e.event_time AS at, s.name AS source, e.category_ids, e.void, e.left_category_ids
    FROM event e JOIN source s ON s.id = e.source_id
    WHERE e.profile_id = ANY(:members) AND e.folds AND date_trunc('second', e.event_time) = ANY(:seconds)
    ORDER BY e.event_time, e.message_id, e.source_id
""")
_ORDERS: Final = ("order", "order_update")
_LOOKS: Final = ("view", "list_view")


def _counted(session: Session, root: Root, state: ProfileState) -> _Counted:
    """The signals at the seconds that the state says were the last of each kind, read as they are when folded."""
    mail = max((second for second in (state.last_open_s, state.last_click_s) if second is not None), default=None)
    last = {stats.last_s for stats in state.categories.values()} | {seen.last_s for seen in state.views.values()}
    seconds = last if mail is None else last | {mail}
    found = _Counted()
    lookup = catalog.Listed(session).lookup
    given = {"members": root.members, "seconds": [moment_of(ms_of(second)) for second in seconds]}
    for row in session.execute(_COUNTED, given):
        body = sealingkeys.legible(session, row.body, BODY, id=row.id)
        if body is None:
            continue
        event = fold_event(msgspec.json.decode(body), among(row.category_ids, lookup), time_ms=unix_ms(row.at))
        second, origin = seconds_of(event.time_ms), _Origin(row.source, row.at)
        if event.kind in _ORDERS and not row.void:
            left = row.category_ids if row.left_category_ids is None else row.left_category_ids
            found.bought |= dict.fromkeys(_last(state.categories, left, second), origin)
        elif event.kind in _LOOKS:
            found.viewed |= dict.fromkeys(_last(state.views, viewed(event), second), origin)
        elif event.kind in MAIL_KINDS and event.seen and second == mail:
            found.mail = origin
    return found


def _last(kept: Mapping[int, CategoryStats | Views], categories: Iterable[int], second: int) -> Iterator[int]:
    """Those of these categories whose newest signal was at this second."""
    return (number for number in categories if number in kept and kept[number].last_s == second)

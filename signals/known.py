"""What is known of a person, field by field, each with where it comes from and how old it is.

For people who look at a profile: support staff, a data engineer. The state itself carries no origins; they are read
from the events, so this is no part of an open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from signals import folding
from signals.folding import Root
from signals.moments import ms_of
from signals.profiles import TRAIT_VALUE
from signals.state import ProfileState, interval

Group = Literal["purchases", "browsing", "engagement", "stated", "consent", "inferred"]
INFERRED = "inferred"
"""The source of what no one told us."""


@dataclass(frozen=True, slots=True)
class KnownField:
    """One thing we know. `since` is when the newest signal behind it happened, `age` how long ago that is."""

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
    found = _fields(session, root, root.state)
    return [KnownField(*entry, origin.source, origin.at, now - origin.at) for entry, origin in found]


def _fields(session: Session, root: Root, state: ProfileState) -> Iterator[tuple[tuple[Group, str, Any], _Origin]]:
    slugs = {row.id: row.slug for row in session.execute(text("SELECT id, slug FROM category"))}
    bought, viewed = _by_category(session, root, orders=True), _by_category(session, root, orders=False)
    for number, stats in sorted(state.categories.items()):
        value = {"orders": stats.n, "cents": stats.cents, "interval_days": interval(stats.gaps)}
        yield ("purchases", slugs[number], value), bought[number]
    for number, views in sorted(state.views.items()):
        yield ("browsing", slugs[number], {"views": views.n}), viewed[number]
    mail = _newest(session, root, _MAIL)
    if mail is not None:
        yield ("engagement", "mail", {"opens": state.opens, "clicks": state.clicks}), mail
    for row in session.execute(_TRAITS, {"root": root.id}):
        if row.name in state.traits:
            yield ("stated", row.name, row.value), _Origin(row.source, row.at)
    for row in session.execute(_CONSENTS, {"members": root.members}):
        yield ("consent", row.purpose, row.granted), _Origin(row.source, row.at)
    if state.household is not None and (home := _home(session, root)) is not None:
        living = state.household
        value = {"adults": living.adults, "children": len(living.children), "grown_children": living.grown}
        yield (home[0], "household", value), home[1]
    for name, score in sorted(state.scores.items()):
        as_of = datetime.fromtimestamp(ms_of(score.as_of_s) / 1000, UTC)
        yield ("inferred", f"score {name}", score.value), _Origin(INFERRED, as_of)
    last = _newest(session, root, _ANY)
    if last is not None:
        for name, probability in sorted(state.intents.items()):
            yield ("inferred", f"intent {name}", probability), _Origin(INFERRED, last.at)
        for number, stats in sorted(state.categories.items()):
            days = interval(stats.gaps)
            if days is not None:
                yield ("inferred", f"rhythm {slugs[number]}", days), _Origin(INFERRED, bought[number].at)


_TRAITS = text("""
    SELECT t.name, t.value, s.name AS source, t.event_time AS at
    FROM trait_lineage t JOIN source s ON s.id = t.source_id WHERE t.profile_id = :root ORDER BY t.name
""").columns(value=TRAIT_VALUE)
_CONSENTS = text("""
    SELECT DISTINCT ON (c.purpose) c.purpose, c.granted, s.name AS source, c.at
    FROM consent c JOIN source s ON s.id = c.source_id WHERE c.profile_id = ANY(:members)
    ORDER BY c.purpose, c.at DESC, c.id DESC
""")
_HOME = text("""
    SELECT c.kind, coalesce(s.name, 'staff') AS source, c.said_at AS at
    FROM household_claim c JOIN dwelling d ON d.profile_id = :root LEFT JOIN source s ON s.id = c.source_id
    WHERE c.profile_id = ANY(:members) AND NOT c.gone AND c.ended_at IS NULL
      AND (c.key = d.household OR (d.stated IS NULL AND c.key = d.address))
    ORDER BY c.kind = d.evidence DESC, c.said_at DESC, c.id DESC LIMIT 1
""")


def _home(session: Session, root: Root) -> tuple[Group, _Origin] | None:
    """Why the person is of their household: it was stated, or is inferred from an address."""
    row = session.execute(_HOME, {"root": root.id, "members": root.members}).first()
    if row is None:
        return None
    return "stated" if row.kind in ("hand", "group") else "inferred", _Origin(row.source, row.at)


_CATEGORIES = text("""
    SELECT DISTINCT ON (number) number, s.name AS source, e.event_time AS at
    FROM event e JOIN source s ON s.id = e.source_id, unnest(e.category_ids) AS number
    WHERE e.profile_id = ANY(:members) AND (lower(e.name) LIKE 'order %') = :orders AND e.folds
    ORDER BY number, e.event_time DESC
""")


def _by_category(session: Session, root: Root, *, orders: bool) -> dict[int, _Origin]:
    rows = session.execute(_CATEGORIES, {"members": root.members, "orders": orders})
    return {row.number: _Origin(row.source, row.at) for row in rows}


_ANY = text("""
    SELECT s.name AS source, e.event_time AS at FROM event e JOIN source s ON s.id = e.source_id
    WHERE e.profile_id = ANY(:members) AND e.folds ORDER BY e.event_time DESC LIMIT 1
""")
_MAIL = text("""
    SELECT s.name AS source, e.event_time AS at FROM event e JOIN source s ON s.id = e.source_id
    WHERE e.profile_id = ANY(:members) AND lower(e.name) LIKE 'email %' ORDER BY e.event_time DESC LIMIT 1
""")


def _newest(session: Session, root: Root, which: TextClause) -> _Origin | None:
    row = session.execute(which, {"members": root.members}).first()
    return _Origin(row.source, row.at) if row is not None else None

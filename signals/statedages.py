"""How old people are, as those they live with are told of it: by what servers stated, never by a browser's word.

A browser key speaks for whatever device it names, so what it says of an age may stand in that person's own traits, and
nowhere else. Where such a word is the newest one, the newest of a server before it counts for the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from signals import sealingkeys
from signals.events import BODY
from signals.foldevent import trait_name
from signals.homes import AGE_TRAITS, born
from signals.profiles import TRAIT_VALUE

MOST: Final = 50
"""Calls of a profile that are looked through for what a server stated before a browser did, the newest."""


@dataclass(frozen=True, slots=True)
class Age:
    """A birth year, the trait that tells it, and the source that stated it."""

    born: int
    trait: str
    source: str


@dataclass(frozen=True, slots=True)
class _Stated:
    value: Any
    at: datetime
    source: str


_NOW: Final = text("""
    SELECT t.profile_id, t.name, t.value, t.event_time, s.name AS source, s.kind = 'browser' AS doubted
    FROM trait_lineage t JOIN source s ON s.id = t.source_id
    WHERE t.profile_id = ANY(:roots) AND t.name = ANY(:names)
""")
_CALLS: Final = text("""
    SELECT p.root_id, e.body, e.event_time, e.source
    FROM profile p CROSS JOIN LATERAL (
        SELECT e.id, e.body, e.event_time, s.name AS source
        FROM event e JOIN source s ON s.id = e.source_id
        WHERE e.profile_id = p.id AND e.type = 'identify' AND s.kind <> 'browser'
        ORDER BY e.event_time DESC, e.id DESC LIMIT :most
    ) AS e
    WHERE p.root_id = ANY(:roots) ORDER BY e.event_time, e.id
""")


def ages(session: Session, roots: Collection[int]) -> dict[int, Age]:
    """The ages of these people, by the most exact trait that tells one, as of when it was first stated."""
    stated: dict[tuple[int, str], _Stated] = {}
    doubted: set[tuple[int, str]] = set()
    for row in session.execute(_NOW, {"roots": list(roots), "names": list(AGE_TRAITS)}):
        if row.doubted:
            doubted.add((row.profile_id, row.name))
            continue
        with sealingkeys.leaving_out(profile=row.profile_id):
            value = TRAIT_VALUE.read(sealingkeys.content(session, row.value, TRAIT_VALUE.place))
            stated[row.profile_id, row.name] = _Stated(value, row.event_time, row.source)
    if doubted:
        stated |= _by_servers(session, doubted)
    told: dict[int, dict[str, Age]] = {}
    for (root, name), one in stated.items():
        if year := born(name, one.value, one.at):
            told.setdefault(root, {})[name] = Age(year, name, one.source)
    return {root: next(found[name] for name in AGE_TRAITS if name in found) for root, found in told.items()}


def _by_servers(session: Session, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], _Stated]:
    """The newest that servers stated of these, since when it is so."""
    found: dict[tuple[int, str], _Stated] = {}
    rows = session.execute(_CALLS, {"roots": sorted({root for root, _ in wanted}), "most": MOST})
    for row in rows:
        with sealingkeys.leaving_out(profile=row.root_id):
            for name, value in _traits(sealingkeys.content(session, row.body, BODY.place)):
                key, held = (row.root_id, name), found.get((row.root_id, name))
                if key in wanted and (held is None or held.value != value):
                    found[key] = _Stated(value, row.event_time, row.source)
    return found


def _traits(body: bytes) -> Iterator[tuple[str, Any]]:
    traits = msgspec.json.decode(body).get("traits")
    if isinstance(traits, dict):
        yield from ((trait_name(name), value) for name, value in traits.items())

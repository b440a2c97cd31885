"""Which calls that give details of somebody say what was said of them before: a shop tells its buyer with each order.

A call repeats where its source named the same person by the same ids before, and said the same of each trait, and
nobody has said anything else of one since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from signals import sealingkeys
from signals.events import Event
from signals.foldevent import trait_name

IDENTIFY: Final = "identify"
MOST_TOLD: Final = 500
"""Calls that are looked at to tell what was said before; of what lies further back nothing counts as said."""
_SPELLED: Final = msgspec.json.Encoder(order="sorted")


def repeats(session: Session, members: Sequence[int], rows: Sequence[Event]) -> set[int]:
    """Which of these signals of one person give details and repeat, by their numbers. Raises Unavailable."""
    moments = [row.event_time for row in rows if row.type == IDENTIFY]
    if not moments:
        return set()
    found: set[int] = set()
    told: set[tuple[int, bytes]] = set()
    newest: dict[str, bytes] = {}
    own: dict[tuple[int, str], bytes] = {}
    for row in _calls(session, members, max(moments)):
        if not row.body:  # It is damaged: anything may have been said.
            newest.clear()
            continue
        who = row.source_id, _SPELLED.encode([row.body.get("userId"), row.body.get("anonymousId")])
        said = _traits(row.body)
        if who in told and all(newest.get(name) == own.get((row.source_id, name)) == said[name] for name in said):
            found.add(row.id)
        told.add(who)
        newest |= said
        own |= {(row.source_id, name): value for name, value in said.items()}
    return found


def _calls(session: Session, members: Sequence[int], until: datetime) -> list[Event]:
    """The newest calls about these profiles up to a moment, in the sequence in which they are folded."""
    query = (
        select(Event)
        .where(Event.profile_id.in_(members), Event.type == IDENTIFY, Event.event_time <= until)
        .order_by(Event.event_time.desc(), Event.id.desc())
        .limit(MOST_TOLD)
    )
    rows = sealingkeys.rows(session, query, Event.body)
    return sorted(rows, key=lambda row: (row.event_time, row.message_id, row.id))


def _traits(body: Mapping[str, Any]) -> dict[str, bytes]:
    traits = body.get("traits")
    return {trait_name(one): _SPELLED.encode(value) for one, value in (traits or {}).items()}

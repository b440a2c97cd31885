"""How far back a browser's word reaches.

A signal that is older than what is folded may have all of a person's signals folded again. A server's always does; what
a key that every visitor can read may cause is bounded: of somebody with a longer history its late signals count as of
their arrival, which their stored time says, so that a rebuild agrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from signals.fold import folds_on
from signals.folding import Root
from signals.moments import moment_of, unix_ms
from signals.reading import Item

MOST_AGAIN: Final = 1_000
"""Stored signals of a person that are folded again for a browser's late one."""

_LONG: Final = text("""
    SELECT w.root FROM unnest(CAST(:roots AS bigint[])) AS w (root)
    WHERE (SELECT count(*) FROM (
        SELECT FROM profile p JOIN event e ON e.profile_id = p.id WHERE p.root_id = w.root LIMIT :most + 1
    ) AS stored) > :most
""")


def count_at_arrival(session: Session, items: Sequence[Item], roots: Mapping[int, Root], now: datetime) -> None:
    """Give a browser's late events about people with a long history the time of their arrival, or that of the newest
    event where that is ahead; their persons must be settled."""
    late: dict[int, list[Item]] = {}
    for item in items:
        root = roots[item.person.root().id]
        if root.state is not None and not folds_on(root.state, item.told.event):
            late.setdefault(root.id, []).append(item)
    if not late:
        return
    for number in session.scalars(_LONG, {"roots": sorted(late), "most": MOST_AGAIN}):
        state = roots[number].state
        time_ms = max(unix_ms(now), state.last_ms + 1) if state else unix_ms(now)
        for item in late[number]:
            item.signal.time = moment_of(time_ms)
            item.told.event = msgspec.structs.replace(item.told.event, time_ms=time_ms)

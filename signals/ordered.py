"""Orders to an address: where a person had orders sent on several days, by the orders that count.

An order counts once, on the day on which servers told of it first, however many of them tell of it; and not at all
where nothing of it is left. All profiles of a person count together.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from signals import sealingkeys
from signals.events import BODY
from signals.homes import household_key, said
from signals.signal import ORDER_COMPLETED

DAYS: Final = 2
"""Days (UTC) on which orders went to an address that is somebody's home."""
MOST: Final = 50
"""Orders of a profile that are looked through, the newest."""

# A browser's order that servers tell of too is the one that its corrections are made to.
_ORDERS: Final = text("""
    SELECT p.root_id, e.id, e.order_id, e.event_time, e.body
    FROM profile p CROSS JOIN LATERAL (
        SELECT e.id, e.order_id, e.event_time, e.body FROM event e JOIN source s ON s.id = e.source_id
        WHERE e.profile_id = p.id AND e.name = :name AND NOT e.void AND s.kind <> 'browser'
        ORDER BY e.event_time DESC, e.id DESC LIMIT :most
    ) AS e
    WHERE p.root_id = ANY(:roots) AND NOT EXISTS (
        SELECT FROM event o JOIN profile q ON q.id = o.profile_id
        WHERE o.order_id = e.order_id AND o.name = :name AND o.void AND q.root_id = p.root_id
    )
    ORDER BY e.event_time, e.id
""")


def ordered_to(session: Session, roots: Collection[int], hash_key: bytes) -> dict[int, dict[bytes, datetime]]:
    """By root profile the addresses (`household_key`) to which orders went on DAYS days or more, with when the newest
    of these orders was placed. What is damaged where it is stored tells nothing. Raises SettingError."""
    placed: dict[int, dict[bytes, dict[str | int, datetime]]] = {root: {} for root in roots}
    for row in session.execute(_ORDERS, {"roots": list(roots), "name": ORDER_COMPLETED, "most": MOST}):
        with sealingkeys.leaving_out(signal=row.id):
            body = msgspec.json.decode(sealingkeys.content(session, row.body, BODY.place))
            if (one := said(body, row.event_time)) is not None:
                there = placed[row.root_id].setdefault(household_key(hash_key, one.kind, one.value), {})
                there.setdefault(row.order_id or row.id, row.event_time)
    return {
        root: {key: max(there.values()) for key, there in found.items() if len(_days(there.values())) >= DAYS}
        for root, found in placed.items()
    }


def _days(moments: Collection[datetime]) -> set[object]:
    return {moment.date() for moment in moments}

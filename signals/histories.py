"""Stored signals as they are read to be folded: all of some people's, those of some orders, or one.

A signal whose bytes are damaged where they are stored raises for who needs all of them; where one must not keep the
others waiting, something stands for it that tells of consent alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from base.logs import logger
from base.sealing import Unsealable
from signals import exchange, sealingkeys
from signals.catalog import Naming
from signals.events import BODY
from signals.foldevent import FoldEvent, fold_event
from signals.moments import unix_ms
from signals.orders import AS_TOLD, CORRECTING, Left
from signals.signal import ORDER_COMPLETED

Lookup = Callable[[str], int | None]
_log = logger(__name__)


@dataclass(slots=True)
class Told:
    """A stored event as folding sees it: the pure event, and what its row says (`profile`: whose it is; `left`: what is
    left of an order; `damaged`: nothing else is known of it but what it said of consent)."""

    event: FoldEvent
    is_order: bool
    folds: bool
    body: dict[str, Any] | None = None
    profile: int = 0
    left: Left = AS_TOLD
    damaged: bool = False

    @property
    def key(self) -> tuple[int, str, int]:
        """Its place in the canonical order."""
        return self.event.key

    @property
    def fact(self) -> tuple[str, ...] | None:
        """What is told once, however many calls tell it: an order, or a refund of an order that has an id."""
        if self.is_order:
            return (self.event.order_id,)
        return (self.event.order_id, self.event.refund_id) if self.event.refund_id else None


_SELECT: Final = """
    SELECT id, profile_id, source_id, message_id, event_time, name, order_id, category_ids, folds, void,
           left_category_ids, body
    FROM event WHERE """
_EVENTS = text(f"{_SELECT} profile_id = ANY(:members)")
_ORDER_EVENTS = text(f"""
    {_SELECT} order_id = ANY(:orders) AND profile_id = ANY(:members) AND type = 'track'
        AND lower(name) = ANY(:names) AND event_time <= :until
    ORDER BY event_time DESC, id DESC LIMIT :most
""")
_EVENT = text(f"{_SELECT} id = :id").columns(body=BODY)


def history(session: Session, members: Sequence[int], categories: Naming) -> list[Told]:
    """All stored events of these profiles in canonical order. Raises Unavailable, Unsealable."""
    return _read(session, _EVENTS, {"members": list(members)}, categories)


def readable_history(session: Session, members: Sequence[int], categories: Naming) -> list[Told]:
    """As `history`, where damage must keep nobody waiting: of a damaged event there is that it took place, and what it
    said of consent; the log names it. Raises Unavailable."""
    return _read(session, _EVENTS, {"members": list(members)}, categories, partial(_unread, session))


def order_history(
    session: Session,
    members: Sequence[int],
    orders: Iterable[str],
    categories: Naming,
    until: datetime,
    most: int | None = None,
) -> list[Told]:
    """Those of them that some orders come to, up to a moment: all, or the newest; a damaged one as in
    `readable_history`. Raises Unavailable."""
    given = {
        "members": list(members), "orders": list(orders), "names": [ORDER_COMPLETED.lower(), *CORRECTING],
        "until": until, "most": most,
    }  # fmt: skip
    return _read(session, _ORDER_EVENTS, given, categories, partial(_unread, session))


def _read(
    session: Session,
    query: TextClause,
    given: Mapping[str, Any],
    categories: Naming,
    instead: Callable[[Any], Told] | None = None,
) -> list[Told]:
    """The events; `instead` says what stands for one that is damaged."""
    told: list[Told] = []
    with session.execute(query.execution_options(yield_per=1000), given) as rows:
        for row in rows:
            try:
                body = sealingkeys.content(session, row.body, BODY.place)
            except Unsealable:
                if instead is None:
                    raise
                told.append(instead(row))
            else:
                told.append(_told(row, body, categories))
    told.sort(key=lambda entry: entry.key)
    exchange.value(session, told)
    return told


_CONSENTED = text("SELECT purpose, granted FROM consent WHERE event_id = :event")


def _unread(session: Session, row: Any) -> Told:
    """What stands for an event that is damaged: it took place, and what it said of consent is known."""
    _log.warning("a damaged signal tells of consent alone", event_id=row.id, profile=row.profile_id)
    said = {consent.purpose: consent.granted for consent in session.execute(_CONSENTED, {"event": row.id})}
    is_order = row.name == ORDER_COMPLETED and row.order_id is not None
    event = FoldEvent(
        time_ms=unix_ms(row.event_time), message_id=row.message_id, kind="consent" if said else "other",
        source=row.source_id, arrival=row.id, order_id=row.order_id or "", consent=said,
    )  # fmt: skip
    return Told(event, is_order, row.folds, profile=row.profile_id, damaged=True)


def stored(session: Session, number: int, categories: Naming) -> Told:
    """One stored event, by its arrival number; it must be there."""
    row = session.execute(_EVENT, {"id": number}).one()
    told = _told(row, row.body, categories)
    exchange.value(session, [told])
    return told


def _told(row: Any, body: bytes, categories: Naming) -> Told:
    categories.know(row.category_ids)
    raw = msgspec.json.decode(body)
    raw["messageId"] = row.message_id
    event = fold_event(
        raw,
        among(row.category_ids, categories.lookup),
        time_ms=unix_ms(row.event_time),
        source=row.source_id,
        arrival=row.id,
    )
    is_order = row.name == ORDER_COMPLETED and row.order_id is not None
    left = Left(row.void, None if row.left_category_ids is None else tuple(row.left_category_ids))
    return Told(event, is_order, row.folds, raw, row.profile_id, left)


def among(category_ids: Iterable[int], lookup: Lookup) -> Lookup:
    """A look-up that knows only the categories an event had when it arrived, so that folding again reads the same."""
    allowed = frozenset(category_ids)

    def known(spelling: str) -> int | None:
        number = lookup(spelling)
        return number if number in allowed else None

    return known

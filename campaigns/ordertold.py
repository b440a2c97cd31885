"""What a signal says of an order beside what was told of the order before: its number, its money, whether it is new.

What came back is told by the order's `Placement` (signals/orders.py), which states go by, as it stood before the refund
and after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signals import histories
from signals.catalog import Listed
from signals.events import Event
from signals.foldevent import FoldEvent
from signals.orders import Placement, paid, resolve
from signals.sources import Source

GOODS: Final = "Goods returned"
MONEY: Final = "Money paid back"
WHOLE: Final = "Order returned"
NOTHING: Final = "Nothing returned"
CONTENTS: Final = frozenset({"order", "order_update"})
MOST_TOLD: Final = 2_000
"""Signals that are looked at to tell what was said before; of what lies further back nothing counts as said."""
MOST_CALLS: Final = 100
"""Calls of an order by which its refunds are reckoned. Of more, or where not all were looked at, each is told alone."""


@dataclass(frozen=True)
class Told:
    """What one signal says of an order. `words` name the order and who told of it, `refund` says what came back, where
    it tells of that.

    `cents` is what was paid or paid back: as told, else what the lines cost, or what the refund took off the order;
    None where nobody knows. `currency` is what it is told in, by this signal or by the order. `is_repeat`: an update
    whose contents its source told before, with no cancellation since.
    """

    words: str
    cents: int | None
    currency: str | None
    is_repeat: bool
    refund: str | None


@dataclass(frozen=True)
class _Amount:
    """What a signal tells of money, `currency` "" where none is told."""

    cents: int | None = None
    currency: str = ""
    refund: str | None = None


def told_of_orders(session: Session, members: Sequence[int], rows: Sequence[Event]) -> dict[int, Told]:
    """What these signals of one person say of orders, by signal; those about no order are absent. Raises
    Unavailable."""
    orders = {row.order_id for row in rows if row.order_id is not None}
    if not orders:
        return {}
    named = session.execute(
        select(Event.source_id, Event.order_id, func.max(Event.order_number))
        .where(Event.order_id.in_(orders), Event.profile_id.in_(members), Event.order_number.is_not(None))
        .group_by(Event.source_id, Event.order_id)
    )
    numbers = {(source, order): number for source, order, number in named}
    sources = dict(
        session.execute(select(Source.id, Source.name).where(Source.id.in_({row.source_id for row in rows}))).all()
    )
    latest = max(row.event_time for row in rows)
    history = histories.order_history(session, members, orders, Listed(session), latest, MOST_TOLD)
    repeats, amounts = _repeats(history), _amounts(history, {row.id for row in rows})
    return {
        row.id: Told(
            words=f"Order {numbers.get((row.source_id, row.order_id), row.order_id)} ({sources[row.source_id]})",
            cents=(said := amounts.get(row.id, _Amount())).cents,
            currency=said.currency or None,
            is_repeat=row.id in repeats,
            refund=said.refund,
        )
        for row in rows
        if row.order_id is not None
    }


def _repeats(history: Sequence[histories.Told]) -> set[int]:
    """Which signals repeat contents, of signals in the sequence of their moments."""
    repeats: set[int] = set()
    said: dict[str, dict[int, Mapping[str, Any]]] = {}
    for told in history:
        event, before = told.event, said.setdefault(told.event.order_id, {})
        if event.kind == "cancel":
            before.clear()
        elif event.kind in CONTENTS:
            contents = {name: value for name, value in _properties(told).items() if name != "order_status"}
            if event.kind == "order_update" and before.get(event.source) == contents:
                repeats.add(event.arrival)
            before[event.source] = contents
    return repeats


def _amounts(history: Sequence[histories.Told], shown: set[int]) -> dict[int, _Amount]:
    """What the signals tell of money that are shown, by arrival number."""
    orders: dict[str, list[FoldEvent]] = {}
    if len(history) < MOST_TOLD:
        for told in history:
            if told.folds:
                orders.setdefault(told.event.order_id, []).append(told.event)
    found = {}
    for told in history:
        event = told.event
        if event.arrival in shown:
            calls = orders.get(event.order_id, [])
            calls = calls if len(calls) <= MOST_CALLS else []
            found[event.arrival] = _paid_back(event, calls) if event.kind == "refund" else _paid(event, calls)
    return found


def _paid(event: FoldEvent, calls: Sequence[FoldEvent]) -> _Amount:
    """What an order, or a change of it, came to."""
    order = _placement(calls)
    cents = paid(event) if event.kind in CONTENTS else None
    return _Amount(cents, event.currency or (order.currency if order else ""))


def _paid_back(refund: FoldEvent, calls: Sequence[FoldEvent]) -> _Amount:
    """What came back by a refund of an order whose calls that count are given. By the call alone where the order is not
    known, where nothing of it was left, and where the refund is told of again."""
    # An order may be dated after a refund of it, by another clock.
    by_then = [call for call in calls if call.kind == "order" or call.key <= refund.key]
    before = _placement([call for call in by_then if call.arrival != refund.arrival])
    after = _placement(by_then)
    total = None if refund.total_cents is None else abs(refund.total_cents)
    currency = after.currency if after else ""
    if before is None or after is None or before.void or refund not in by_then:
        title = GOODS if refund.lines else WHOLE if total is None else MONEY
        return _Amount(total, refund.currency or currency, title)
    title = WHOLE if after.void else GOODS if after.returns > before.returns else MONEY if total else NOTHING
    if title == NOTHING:
        return _Amount(refund=NOTHING)
    if total is None:
        return _Amount((after.back - before.back) or None, currency, title)
    return _Amount(total, refund.currency or currency, title)


def _placement(calls: Sequence[FoldEvent]) -> Placement | None:
    """The one order that calls of one order id make, in canonical order; None where none of them tells of an order."""
    return next(iter(resolve(calls).placements.values()), None)


def _properties(told: histories.Told) -> Mapping[str, Any]:
    properties = (told.body or {}).get("properties")
    return properties if isinstance(properties, dict) else {}

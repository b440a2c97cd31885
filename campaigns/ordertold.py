"""What a signal says of an order beside what was told of the order before: its number, its money, whether it is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signals.currencies import told_in
from signals.events import Event
from signals.foldevent import PRICED, cents_of, kind_of, product_id
from signals.sources import Source

GOODS: Final = "Goods returned"
MONEY: Final = "Money paid back"
WHOLE: Final = "Order returned"
CONTENTS: Final = frozenset({"order", "order_update"})
MOST_TOLD: Final = 2_000
"""Signals that are looked at to tell what was said before; of what lies further back nothing counts as said."""


@dataclass(frozen=True)
class Told:
    """What one signal says of an order. `words` name the order and who told of it, `refund` says what came back, where
    it tells of that.

    `cents` is what was paid or paid back, None where that is not told, `currency` what it is told in, by this signal or
    by another one of the order. `is_repeat`: an update whose contents its source told before, with no
    cancellation since.
    """

    words: str
    cents: int | None
    currency: str | None
    is_repeat: bool
    refund: str | None


def told_of_orders(session: Session, members: Sequence[int], rows: Sequence[Event]) -> dict[int, Told]:
    """What these signals of one person say of orders, by signal; those about no order are absent."""
    orders = {row.order_id for row in rows if row.order_id is not None}
    if not orders:
        return {}
    of_orders = (Event.order_id.in_(orders), Event.profile_id.in_(members))
    named = session.execute(
        select(Event.source_id, Event.order_id, func.max(Event.order_number))
        .where(*of_orders, Event.order_number.is_not(None))
        .group_by(Event.source_id, Event.order_id)
    )
    numbers = {(source, order): number for source, order, number in named}
    sources = dict(
        session.execute(select(Source.id, Source.name).where(Source.id.in_({row.source_id for row in rows}))).all()
    )
    newest = session.scalars(
        select(Event).where(*of_orders).order_by(Event.event_time.desc(), Event.id.desc()).limit(MOST_TOLD)
    ).all()
    repeats, currencies = _story(newest[::-1])
    # A refund that names neither money nor goods gives the whole order back.
    paid = {row.order_id: row.order_total_cents for row in newest if kind_of(row.type, row.name) == "order"}
    return {
        row.id: Told(
            words=f"Order {numbers.get((row.source_id, row.order_id), row.order_id)} ({sources[row.source_id]})",
            cents=paid.get(row.order_id) if (refund := _refund(row)) == WHOLE else _cents(row),
            currency=_currency(row) or currencies.get((row.source_id, row.order_id)),
            is_repeat=row.id in repeats,
            refund=refund,
        )
        for row in rows
        if row.order_id is not None
    }


def _story(events: Sequence[Event]) -> tuple[set[int], dict[tuple[int, str | None], str]]:
    """Which signals repeat contents, and the currency of each order, of signals in the sequence of their moments."""
    repeats: set[int] = set()
    currencies: dict[tuple[int, str | None], str] = {}
    said: dict[str | None, dict[int, Mapping[str, Any]]] = {}
    for event in events:
        kind, before = kind_of(event.type, event.name), said.setdefault(event.order_id, {})
        if currency := _currency(event):
            currencies[event.source_id, event.order_id] = currency
        if kind == "cancel":
            before.clear()
        elif kind in CONTENTS:
            contents = {name: value for name, value in _properties(event).items() if name != "order_status"}
            if kind == "order_update" and before.get(event.source_id) == contents:
                repeats.add(event.id)
            before[event.source_id] = contents
    return repeats, currencies


def _cents(row: Event) -> int | None:
    """What an order came to, or what a refund gave back."""
    if kind_of(row.type, row.name) not in PRICED:
        return None
    properties = _properties(row)
    told = (properties.get(name) for name in ("total", "revenue", "value"))
    return cents_of(next((value for value in told if value is not None), None))


def _refund(row: Event) -> str | None:
    """What came back, where this is a refund."""
    if kind_of(row.type, row.name) != "refund":
        return None
    properties = _properties(row)
    if properties.get("products") or product_id(properties):
        return GOODS
    return WHOLE if _cents(row) is None else MONEY


def _currency(row: Event) -> str | None:
    return told_in(_properties(row).get("currency")) or None


def _properties(row: Event) -> Mapping[str, Any]:
    properties = row.body.get("properties")
    return properties if isinstance(properties, dict) else {}

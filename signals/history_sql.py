"""History windows as SQL over stored events: whom something happened to so and so often between two moments.

Events belong to the profile they arrived at, and count for the person who speaks for it now (the root of its merges).
An order that was cancelled did not happen, nor one that was given back whole: all of its money or all of its pieces, at
once or little by little. One of which something of the category was returned did not happen for that category, as far
as the refund, or the catalogue, told the category of what came back. Repeated calls of one order, or of one refund by
its id, count once. Money that came back in another currency is exchanged into that of the order (signals/exchange.py);
where that cannot be, none did.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Numeric,
    Select,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.orm import aliased

from signals.events import Event
from signals.foldevent import STANDS, kind_of, spellings_of
from signals.history import History
from signals.profiles import Profile, ProfileStateRow

_CANCELLED: Final = spellings_of("order cancelled")
_REFUNDED: Final = "order refunded"
_UPDATED: Final = "order updated"
_AMOUNT: Final = r"^-?[0-9]{1,12}(\.[0-9]+)?$"


def happened(history: History, now: datetime) -> ColumnElement[bool]:
    """The window as a condition on rows of `profile_state`, never NULL."""
    counted = func.count()
    if history.least > 0:
        wanted = counted >= history.least
        if history.most is not None:
            wanted = and_(wanted, counted <= history.most)
        return ProfileStateRow.profile_id.in_(_persons(history, now).having(wanted))
    if history.most is None:
        return true()
    return not_(ProfileStateRow.profile_id.in_(_persons(history, now).having(counted > history.most)))


def _persons(history: History, now: datetime) -> Select[int]:
    begin, end = history.window(now)
    query = (
        select(Profile.root_id)
        .join(Event, Event.profile_id == Profile.id)
        .where(Event.type == "track", is_named(history.event))
        .group_by(Profile.root_id)
    )
    if begin is not None:
        query = query.where(Event.event_time >= begin)
    query = query.where(Event.event_time < end) if end is not None else query.where(Event.event_time <= now)
    if history.category is not None:
        query = query.where(literal(history.category) == any_(Event.category_ids))
    if kind_of("track", history.event) == "order":
        query = query.where(Event.folds, not_(_undone(history.category)))
    return query


def is_named(event: str) -> ColumnElement[bool]:
    """Whether a row of events is one of that name, whichever of its names it came by.

    Names compare without regard to case where every database agrees on case: in ASCII.
    """
    return func.lower(Event.name).in_(spellings_of(event)) if event.isascii() else Event.name == event


def _undone(category: int | None) -> ColumnElement[bool]:
    """Whether the order of the enclosing query's event was cancelled or given back: in one piece, or little by little
    as much money as was paid, where some is told to be, or as many pieces as were bought. Pieces that came back without
    a word on the money count for it by what they cost.
    """
    correction, owner = aliased(Event), aliased(Profile)
    name, told = func.lower(correction.name), correction.figures["properties"]
    is_refund = name == _REFUNDED
    back = _back(correction, told)
    cancelled = func.max(correction.event_time).filter(name.in_(_CANCELLED))
    stands = func.max(correction.event_time).filter(name == _UPDATED, told["order_status"].astext == STANDS)
    bought: Any = Event.figures["properties"]
    undone = [
        cancelled >= func.coalesce(stands, literal(datetime.min.replace(tzinfo=UTC))),
        func.bool_or(and_(is_refund, back.is_(None), not_(_names_products(told)))),
        and_(
            func.bool_or(and_(is_refund, back != 0)),
            func.sum(func.coalesce(func.abs(back), _sum(told, partial(_worth, bought)), 0)).filter(is_refund)
            >= func.coalesce(Event.order_total_cents, _sum(bought, _paid)),
        ),
        func.sum(_sum(told, _pieces)).filter(is_refund) >= _sum(bought, _pieces),
    ]
    if category is not None:
        undone.append(func.bool_or(and_(is_refund, literal(category) == any_(correction.category_ids))))
    return (
        select(literal(1))
        .where(correction.order_id == Event.order_id, correction.profile_id == owner.id, correction.folds)
        .where(owner.root_id == Profile.root_id, name.in_((*_CANCELLED, _REFUNDED, _UPDATED)))
        .correlate(Event, Profile)
        .having(or_(*undone))
        .exists()
    )


def _back(correction: type[Event], told: Any) -> ColumnElement[Any]:
    """The cents that came back, in the currency of the order, as `signals.orders.Placement.refund` reads them."""
    total = _total(told)
    paid_in: Any = Event.figures["properties"]["currency"].astext
    back_in = told["currency"].astext
    paid, back = (
        func.exchange_rate_at(paid_in, Event.event_time),
        func.exchange_rate_at(back_in, correction.event_time),
    )
    return case(
        (or_(back_in.is_(None), func.upper(back_in) == func.upper(paid_in)), total),
        (and_(paid > 0, back > 0), func.div(2 * func.abs(total) * back + paid, 2 * paid)),
        else_=0 * total,
    )


def _total(told: Any) -> ColumnElement[Any]:
    """The cents that came back, as signals/foldevent.py reads them of a refund."""
    given = [_number(told[field].astext) * 100 for field in ("total", "revenue", "value")]
    return func.round(func.coalesce(*given))


def _sum(properties: Any, of: Callable[[Any], ColumnElement[Any]]) -> ColumnElement[Any]:
    """Something summed over the products of a call; NULL where none of them tells it."""
    line = func.json_array_elements(_products(properties)).column_valued("line", joins_implicitly=True)
    return select(func.sum(of(line))).where(func.json_typeof(line) == "object").scalar_subquery()


def _pieces(line: Any) -> ColumnElement[Any]:
    return func.coalesce(_number(line.op("->>")("quantity")), 1)


def _paid(line: Any) -> ColumnElement[Any]:
    return func.round(_number(line.op("->>")("price")) * 100) * _pieces(line)


def _worth(bought: Any, line: Any) -> ColumnElement[Any]:
    """The cents that the pieces of a refund's line cost in the order of these properties."""
    own = func.json_array_elements(_products(bought)).column_valued("own", joins_implicitly=True)
    pieces = func.sum(_pieces(own))
    return (
        select(func.round(func.least(_pieces(line), pieces) * func.sum(_paid(own)) / func.nullif(pieces, 0)))
        .where(func.json_typeof(own) == "object", own.op("->>")("product_id") == line.op("->>")("product_id"))
        .scalar_subquery()
    )


def _number(value: Any) -> ColumnElement[Any]:
    return case((value.regexp_match(_AMOUNT), cast(value, Numeric)))


def _products(properties: Any) -> Any:
    products = properties["products"]
    # CASE keeps PostgreSQL from taking apart what is no array.
    return case((func.json_typeof(products) == "array", products))


def _names_products(properties: Any) -> ColumnElement[bool]:
    return case(
        (func.json_typeof(properties["products"]) == "array", func.json_array_length(_products(properties)) > 0),
        else_=func.coalesce(properties["product_id"].astext, properties["sku"].astext).is_not(None),
    )

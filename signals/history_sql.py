"""History windows as SQL over stored events: whom something happened to so and so often between two moments.

Events belong to the profile they arrived at, and count for the person who speaks for it now (the root of its merges).
An order that was cancelled or refunded as a whole did not happen; one of which something of the category was returned
did not happen for that category, as far as the refund, or the catalogue, told the category of what came back. Repeated
calls of one order count once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, any_, case, exists, func, literal, not_, or_, select, true
from sqlalchemy.orm import aliased

from signals.events import Event
from signals.foldevent import kind_of
from signals.history import History
from signals.profiles import Profile, ProfileStateRow

_CANCELLED: Final = ("order cancelled", "order canceled")
_REFUNDED: Final = "order refunded"


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
        .where(Event.type == "track", _named(history.event))
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


def _named(event: str) -> ColumnElement[bool]:
    """Names compare without regard to case where every database agrees on case: in ASCII."""
    return func.lower(Event.name) == event.lower() if event.isascii() else Event.name == event


def _undone(category: int | None) -> ColumnElement[bool]:
    """Whether the order of the enclosing query's event was cancelled or given back."""
    correction, owner = aliased(Event), aliased(Profile)
    name = func.lower(correction.name)
    told: Any = correction.figures["properties"]
    is_whole = and_(
        not_(_names_products(told)),
        func.coalesce(func.abs(correction.order_total_cents) >= Event.order_total_cents, true()),
    )
    refunded = is_whole if category is None else or_(is_whole, literal(category) == any_(correction.category_ids))
    return (
        exists()
        .where(correction.order_id == Event.order_id, correction.profile_id == owner.id)
        .where(owner.root_id == Profile.root_id)
        .where(or_(name.in_(_CANCELLED), and_(name == _REFUNDED, refunded)))
        .correlate(Event, Profile)
    )


def _names_products(properties: Any) -> ColumnElement[bool]:
    products = properties["products"]
    # CASE keeps PostgreSQL from measuring what is no array.
    return case(
        (func.json_typeof(products) == "array", func.json_array_length(products) > 0),
        else_=func.coalesce(properties["product_id"].astext, properties["sku"].astext).is_not(None),
    )

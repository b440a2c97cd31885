"""History windows as SQL over stored events: whom something happened to so and so often between two moments.

Events belong to the profile they arrived at, and count for the person who speaks for it now (the root of its merges).
Repeated calls of one order count once. An order of which nothing is left did not happen, and one did for the categories
of what is left of it; where only updates tell of an order, the first one is it. What folding came to is kept beside
each of them (signals/orders.py), so that windows and states mean the same orders.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, any_, func, literal, not_, or_, select, true

from signals.events import Event
from signals.foldevent import LOOKS, kind_of, spellings_of
from signals.history import History
from signals.profiles import Profile, ProfileStateRow

ORDER_UPDATED: Final = "Order Updated"


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
    is_order = kind_of("track", history.event) == "order"
    named = or_(is_named(history.event), is_named(ORDER_UPDATED)) if is_order else is_named(history.event)
    query = select(Profile.root_id).join(Event, Event.profile_id == Profile.id).where(named).group_by(Profile.root_id)
    if begin is not None:
        query = query.where(Event.event_time >= begin)
    query = query.where(Event.event_time < end) if end is not None else query.where(Event.event_time <= now)
    categories: ColumnElement[list[int]] = Event.category_ids.expression
    if is_order:
        query = query.where(Event.folds, not_(Event.void))
        categories = func.coalesce(Event.left_category_ids, Event.category_ids)
    if history.category is not None:
        query = query.where(literal(history.category) == any_(categories))
    return query


def is_named(event: str) -> ColumnElement[bool]:
    """Whether a row of events is one of that name, whichever of its names it came by.

    Pages and screens go by their names too, save by one that means something where it happened: whoever sees a page
    *Order Completed* has ordered nothing by that, nor do states say so. Names compare without regard to case where
    every database agrees on case: in ASCII.
    """
    types = ("track", *LOOKS) if kind_of("track", event) == "other" else ("track",)
    named = func.lower(Event.name).in_(spellings_of(event)) if event.isascii() else Event.name == event
    return and_(Event.type.in_(types), named)

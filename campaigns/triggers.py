"""Campaigns that wait for a behaviour: who fits the audience and does the named thing gets one mail, right after it.

A person enters once per campaign, with the first time they did it since the campaign began. Nothing is sent before:
a run is only made when somebody is there to be mailed. What was done longer ago than `within_hours` starts nothing any
more, so a loop that was down for long does not send what nobody expects.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Subquery,
    and_,
    any_,
    exists,
    func,
    literal,
    literal_column,
    not_,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from base.errors import InvalidInput
from campaigns import rulebook
from campaigns.campaigns import Trigger
from campaigns.models.campaign import Campaign, TriggerEntry
from campaigns.models.delivery import Delivery
from signals.emptied import emptied
from signals.events import Event
from signals.foldevent import kind_of, spellings_of
from signals.history_sql import is_named
from signals.profiles import Profile

LOOK_EVERY: Final = timedelta(seconds=20)
"""How often it is looked for people who did the thing."""
_EMPTIED: Final = literal_column(emptied("did.order_id", "did.profile_id"), Boolean())


def due(session: Session, campaign: Campaign, now: datetime) -> Subquery:
    """Who did the named thing while the campaign lasts and has not entered: (profile_id, event_id).

    An order of which nothing is left was not done, nor changed, nor one that an update emptied; one is of the
    categories that are left of it.
    """
    terms = msgspec.convert(campaign.trigger, Trigger)
    since = max(campaign.due_at or now, now - timedelta(hours=terms.within_hours))
    until = now if campaign.ends_at is None else min(campaign.ends_at, now)
    # Under any of the profiles that were merged into them.
    member = aliased(Profile)
    entered = exists().where(
        TriggerEntry.campaign_id == campaign.id,
        TriggerEntry.profile_id == member.id,
        member.root_id == Profile.root_id,
    )
    query = (
        select(Profile.root_id.label("profile_id"), Event.id.label("event_id"), Event.order_id)
        .join(Profile, Profile.id == Event.profile_id)
        .where(
            Event.received_at >= since,
            Event.event_time >= since,
            Event.event_time <= until,
            is_named(terms.event),
            Event.folds,
            ~entered,
        )
    )
    categories: ColumnElement[list[int]] = Event.category_ids.expression
    kind = kind_of("track", terms.event)
    if kind == "order":
        query = query.where(not_(Event.void))
        categories = func.coalesce(Event.left_category_ids, Event.category_ids)
    elif kind == "order_update":
        query = query.where(_stands())
    if terms.category is not None:
        number = rulebook.categories(session).get(terms.category)
        if number is None:
            raise InvalidInput("trigger.category", f"names the category {terms.category}, which there is not")
        query = query.where(literal(number) == any_(categories))
    # Whether an order was emptied is looked up one by one, so only of those that nobody has entered for.
    did = query.cte("did").prefix_with("MATERIALIZED")
    items = select(did.c.profile_id, func.min(did.c.event_id).label("event_id")).group_by(did.c.profile_id)
    return (items.where(not_(_EMPTIED)) if kind in ("order", "order_update") else items).subquery("due")


def _stands() -> ColumnElement[bool]:
    """Whether something is left of the order that an update is of, which another call of the person may have begun."""
    began, member = aliased(Event), aliased(Profile)
    return exists().where(
        began.order_id == Event.order_id,
        func.lower(began.name).in_((*spellings_of("order completed"), *spellings_of("order updated"))),
        began.folds,
        not_(began.void),
        member.id == began.profile_id,
        member.root_id == Profile.root_id,
    )


def enter(session: Session, campaign: Campaign, occurrence: int, now: datetime) -> int:
    """Enter everybody whom this run's ledger holds; returns how many were new."""
    items = due(session, campaign, now)
    ledger = and_(
        Delivery.campaign_id == campaign.id,
        Delivery.occurrence == occurrence,
        Delivery.profile_id == items.c.profile_id,
    )
    rows = select(
        literal(campaign.id), items.c.profile_id, items.c.event_id, literal(occurrence), literal(now)
    ).where(exists().where(ledger))  # fmt: skip
    columns = ["campaign_id", "profile_id", "event_id", "occurrence", "entered_at"]
    statement = insert(TriggerEntry).from_select(columns, rows).on_conflict_do_nothing()
    return len(session.execute(statement.returning(TriggerEntry.profile_id)).all())

"""Households due to restock: the time since their last purchase of a category, over their own usual interval.

A due item is a household, a category and the purchase it follows. It is entered once per campaign however often it is
looked at and however many signals arrive; the next purchase makes a new item.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Integer, Select, Subquery, and_, exists, literal, select, union_all
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from base.errors import InvalidInput
from campaigns import rulebook
from campaigns.campaigns import Replenish
from campaigns.models.campaign import Campaign, ReplenishEntry
from campaigns.models.delivery import Delivery
from signals import rules_sql
from signals.documents import bought
from signals.profiles import Profile, ProfileStateRow
from signals.state import NEWEST


def due_rule(terms: Replenish, category: str) -> dict[str, Any]:
    """Who is due for one category, as a rule."""
    ratio = {"field": "purchases.due_ratio", "category": category}
    return {"all": [{**ratio, "op": ">=", "value": terms.ratio}, {**ratio, "op": "<", "value": terms.until}]}


def due(session: Session, campaign: Campaign, now: datetime) -> Subquery:
    """The due items not entered yet: (profile_id, category_id, last_day)."""
    terms = msgspec.convert(campaign.replenish, Replenish)
    known = rulebook.categories(session)
    missing = [slug for slug in terms.categories if slug not in known]
    if missing:
        raise InvalidInput("replenish.categories", f"name {missing[0]}, which there is not")
    items = union_all(*(_due_for(session, terms, slug, known[slug], now) for slug in terms.categories)).subquery(
        "items"
    )
    # Under any of the profiles that were merged into the household's.
    member = aliased(Profile)
    entered = exists().where(
        ReplenishEntry.campaign_id == campaign.id,
        ReplenishEntry.profile_id == member.id,
        member.root_id == items.c.profile_id,
        ReplenishEntry.category_id == items.c.category_id,
        ReplenishEntry.last_day == items.c.last_day,
    )
    return select(items).where(~entered).subquery("due")


def enter(session: Session, campaign: Campaign, occurrence: int, now: datetime) -> int:
    """Enter the due items of everybody whom this run's ledger holds; returns how many were new."""
    items = due(session, campaign, now)
    ledger = and_(
        Delivery.campaign_id == campaign.id,
        Delivery.occurrence == occurrence,
        Delivery.profile_id == items.c.profile_id,
    )
    rows = select(
        literal(campaign.id),
        items.c.profile_id,
        items.c.category_id,
        items.c.last_day,
        literal(occurrence),
        literal(now),
    ).where(exists().where(ledger))
    columns = ["campaign_id", "profile_id", "category_id", "last_day", "occurrence", "entered_at"]
    statement = insert(ReplenishEntry).from_select(columns, rows).on_conflict_do_nothing()
    return len(session.execute(statement.returning(ReplenishEntry.profile_id)).all())


def _due_for(session: Session, terms: Replenish, slug: str, number: int, now: datetime) -> Select[int, int, int]:
    rule = rulebook.check(session, due_rule(terms, slug), "audience", "replenish")
    last_day = bought(number, NEWEST)
    return select(
        ProfileStateRow.profile_id,
        literal(number, Integer).label("category_id"),
        sql_cast(last_day, Integer).label("last_day"),
    ).where(rules_sql.where(rule, now))

"""How often one person may be mailed, over all campaigns together, and which campaigns go before others.

A limit is so many messages within so many days, over all channels: those to the address that a campaign would reach,
and on other channels those to the person. It is asked when an audience is fixed: mails of earlier runs count, tests do
not, and places are kept for broadcasts of higher priority that are due within the
period. A mandatory campaign goes to everybody, limit or not, but not twice within the period.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from sqlalchemy import ColumnElement, Integer, case, exists, func, literal, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.models.campaign import Campaign, ContactLimit, Occurrence
from campaigns.models.delivery import Delivery
from campaigns.population import matching
from signals.profiles import Profile

LIMIT: Final = "email"
"""The name of the one limit, from the time when mail was all there was."""
LIMITED: Final = "contact_limit"
ONCE: Final = "once_a_period"
MAX_AHEAD: Final = 20
"""Broadcasts of higher priority that places are kept for; those due first."""
_NO_CONTACT: Final = ("skipped", "failed")
"""States of rows that reached nobody."""


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `most` mails to a person within `period_days`, over all campaigns that are not mandatory."""

    most: Annotated[int, Meta(ge=1, le=1000)]
    period_days: Annotated[int, Meta(ge=1, le=366)]


def limit(session: Session) -> Limit | None:
    """The limit of messages; None where there is none."""
    row = session.get(ContactLimit, LIMIT)
    return None if row is None else Limit(most=row.most, period_days=row.period_days)


def set_limit(session: Session, wanted: Limit | None, now: datetime, by: Actor) -> None:
    """Set the limit, or lift it. Audiences that are fixed already keep their mails."""
    row = session.get(ContactLimit, LIMIT)
    before = None if row is None else admin_log.snapshot(row)
    if wanted is None:
        if row is not None:
            session.delete(row)
        session.flush()
        admin_log.record(session, by, "lift", "contact limit", LIMIT, now, before=before)
        return
    if row is None:
        row = ContactLimit(channel=LIMIT, most=wanted.most, period_days=wanted.period_days)
        session.add(row)
    row.most, row.period_days = wanted.most, wanted.period_days
    session.flush()
    admin_log.record(session, by, "change", "contact limit", LIMIT, now, before=before, after=admin_log.snapshot(row))


def reasons(
    session: Session, campaign: Campaign, now: datetime, profile: ColumnElement[int], address: ColumnElement[bytes]
) -> list[tuple[Any, Any]]:
    """What keeps a campaign's mail from a person because of their other mails: pairs of a condition and its reason."""
    wanted = limit(session)
    if wanted is None:
        return []
    since = now - timedelta(days=wanted.period_days)
    sent = (
        Delivery.created_at > since,
        Delivery.occurrence < TEST_BIT,
        Delivery.state.not_in(_NO_CONTACT),
    )
    # A hash names an address of one channel alone.
    mails = (Delivery.address_hash == address, *sent)
    if campaign.mandatory:
        return [(exists().where(*mails, Delivery.campaign_id == campaign.id), literal(ONCE))]
    mandatory = select(Campaign.id).where(Campaign.mandatory)
    had = select(func.count()).select_from(Delivery).where(*mails, Delivery.campaign_id.not_in(mandatory))
    counted: ColumnElement[int] = had.scalar_subquery()
    if session.scalar(select(Campaign.id).where(Campaign.channel != campaign.channel).limit(1)) is not None:
        elsewhere = (
            select(func.count())
            .select_from(Delivery)
            .join(Profile, Profile.id == Delivery.profile_id)
            .where(
                Profile.root_id == profile, Delivery.channel != campaign.channel, *sent,
                Delivery.campaign_id.not_in(mandatory),
            )
        )  # fmt: skip
        counted = counted + elsewhere.scalar_subquery()
    for other in _ahead(session, campaign, now, now + timedelta(days=wanted.period_days)):
        members = matching(session, other.audience, now)
        counted = counted + sql_cast(case((profile.in_(members), 1), else_=0), Integer)
    return [(counted >= wanted.most, literal(LIMITED))]


def _ahead(session: Session, campaign: Campaign, now: datetime, until: datetime) -> list[Campaign]:
    """The broadcasts that go before this one and are still to come, or due this instant."""
    query = (
        select(Campaign)
        .join(Occurrence, Occurrence.campaign_id == Campaign.id)
        .where(
            Campaign.id != campaign.id,
            Campaign.kind == "broadcast",
            Campaign.mandatory.is_(False),
            Campaign.priority > campaign.priority,
            Campaign.state.in_(("scheduled", "sending")),
            Occurrence.state == "due",
            Occurrence.number < TEST_BIT,
            Occurrence.due_at < until,
        )
        .order_by(Occurrence.due_at, Campaign.id)
        .limit(MAX_AHEAD)
    )
    return list(session.scalars(query))

"""The kill switch: every block of a campaign pinned at once, in mails already sent too, and let go again.

Blocks are pinned to each place's default, or all to one static picture: a neutral offer drawn when the switch is
thrown. The live key carries it to every render process within a second; the admin log says who threw it and when.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import InvalidInput, NotFound
from base.stores import Store
from campaigns import offers, publish
from campaigns.admin_log import Actor
from campaigns.models import Offer
from campaigns.models.accounts import AdminEntry, User
from campaigns.pictures import offer_picture


@dataclass(frozen=True)
class Thrown:
    """When a campaign was switched off, and by whom: a person's name, "api key <id>" or "system"."""

    at: datetime
    who: str


def kill(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    campaign_id: int,
    now: datetime,
    by: Actor,
    *,
    offer_id: int | None = None,
) -> None:
    """Pin every block to its default, or to the picture of a neutral offer. Raises InvalidInput, NotFound."""
    picture = None if offer_id is None else blobs.put(offer_picture(session, blobs, _neutral(session, offer_id), now))
    publish.kill(session, store, campaign_id, now, by, picture=picture)


def choices(session: Session) -> list[Offer]:
    """The offers whose picture may stand for everything: those that claim nothing."""
    return [row for row in offers.offers(session) if row.kind == "neutral"]


def thrown(session: Session, campaign_id: int) -> Thrown | None:
    """Who switched the campaign off last, and when; None if nobody ever did."""
    query = (
        select(AdminEntry.at, AdminEntry.actor, User.name)
        .outerjoin(User, User.id == AdminEntry.user_id)
        .where(AdminEntry.object_type == "campaign", AdminEntry.object_id == str(campaign_id))
        .where(AdminEntry.action == "kill")
        .order_by(AdminEntry.id.desc())
        .limit(1)
    )
    row = session.execute(query).first()
    return None if row is None else Thrown(row.at, row.name or row.actor)


def _neutral(session: Session, offer_id: int) -> Offer:
    try:
        row = offers.offer(session, offer_id)
    except NotFound:
        raise InvalidInput("offer", "does not exist") from None
    if row.kind != "neutral":
        raise InvalidInput("offer", f"is of kind {row.kind}; only a neutral one may stand for every offer")
    return row

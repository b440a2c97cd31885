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
from campaigns import approvals, creatives, offers, people, plans, publish, rulebook
from campaigns.admin_log import Actor
from campaigns.models import Offer
from campaigns.models.accounts import AdminEntry
from campaigns.models.campaign import Campaign
from campaigns.pictures import offer_picture
from render.plan import Offer as PlannedOffer
from render.plan import Plan


@dataclass(frozen=True)
class Thrown:
    """When a campaign was switched off, and by whom: the name of a person or a key, or "system"."""

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
    """Pin every block to its default, or to the picture of a neutral offer. Raises InvalidInput, NotFound.

    Where the campaign needs approval the offer must be as its published plan has it.
    """
    picture = None
    if offer_id is not None:
        row = _neutral(session, offer_id)
        allowed = _published(session, blobs, publish.locked(session, campaign_id))
        if allowed is not None and offer_id not in allowed:
            raise InvalidInput("offer", "is not as the published plan has it, and the campaign needs approval")
        picture = blobs.put(offer_picture(session, blobs, row, now))
    publish.kill(session, store, campaign_id, now, by, picture=picture)


def choices(session: Session, blobs: FolderBlobs, row: Campaign) -> list[Offer]:
    """The offers whose picture may stand for everything: those that claim nothing."""
    allowed = _published(session, blobs, row)
    neutral = [offer for offer in offers.offers(session) if offer.kind == "neutral"]
    return [offer for offer in neutral if allowed is None or offer.id in allowed]


def thrown(session: Session, campaign_id: int) -> Thrown | None:
    """Who switched the campaign off last, and when; None if nobody ever did."""
    query = (
        select(AdminEntry.at, AdminEntry.actor, AdminEntry.user_id)
        .where(AdminEntry.object_type == "campaign", AdminEntry.object_id == str(campaign_id))
        .where(AdminEntry.action == "kill")
        .order_by(AdminEntry.id.desc())
        .limit(1)
    )
    row = session.execute(query).first()
    return None if row is None else Thrown(row.at, people.name_of(session, row.user_id, row.actor))


def _published(session: Session, blobs: FolderBlobs, row: Campaign) -> set[int] | None:
    """The offers that would look as the published plan has them; None where nobody need have approved that."""
    brand = plans.brand(blobs, row.plan_hash)
    if not approvals.is_required(session, *approvals.brands(session, row, brand)):
        return None
    if row.plan_hash is None or brand is None:
        return set()
    plan = plans.load(blobs, row.plan_hash)
    return {one.id for one in plan.offers if _is_as_planned(session, plan, one)}


def _is_as_planned(session: Session, plan: Plan, planned: PlannedOffer) -> bool:
    """Whether all that the picture of an offer is drawn from is still written as the plan has it."""
    row = offers.offer(session, planned.id)
    written = offers.compiled(row, rulebook.categories(session), planned.pick)
    names = ("kind", "creative", "product", "category", "fields", "products", "ends_ms")
    design = next((one for one in plan.creatives if one.id == planned.creative), None)
    return all(getattr(written, name) == getattr(planned, name) for name in names) and (
        design == creatives.compiled(creatives.creative(session, row.creative_id))
    )


def _neutral(session: Session, offer_id: int) -> Offer:
    try:
        row = offers.offer(session, offer_id)
    except NotFound:
        raise InvalidInput("offer", "does not exist") from None
    if row.kind != "neutral":
        raise InvalidInput("offer", f"is of kind {row.kind}; only a neutral one may stand for every offer")
    return row

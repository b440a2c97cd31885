"""The matrix of a campaign as it is written: every offer of every place, whether it can be shown, and its picture."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import NotFound
from campaigns import compiling, reach
from campaigns.campaigns import campaign
from campaigns.pictures import drawn
from campaigns.reach import Variant
from campaigns.samples import SAMPLES
from render.fields import default_fields, offer_fields
from render.plan import Plan
from signals.fold import fold_all
from signals.moments import unix_ms
from signals.products import Product, facts

FIRST_NAME = "Maria"
"""Who the pictures are drawn for: somebody of whom no more than the name is known."""
LOCALES = tuple(sorted({sample.locale for sample in SAMPLES.values()}))


def of_campaign(session: Session, campaign_id: int, now: datetime) -> tuple[Plan, list[Variant]]:
    """The plan as it would be published now, and what each place can show. Raises InvalidInput when it could not be."""
    row = campaign(session, campaign_id)
    plan = compiling.compile_campaign(session, row)[0]
    return plan, reach.variants(plan, compiling.live(row, None), unix_ms(now))


def picture(
    session: Session,
    blobs: FolderBlobs,
    campaign_id: int,
    slot_index: int,
    offer_id: int,
    now: datetime,
    *,
    locale: str,
    dark: bool,
    scale: int,
) -> bytes:
    """One offer in one place as a JPEG, at `scale` times the declared size. Raises NotFound, InvalidInput."""
    plan = compiling.compile_campaign(session, campaign(session, campaign_id))[0]
    slot, offer = plan.slot_by_index.get(slot_index), plan.offer_by_id.get(offer_id)
    if slot is None or offer is None or offer_id not in (*slot.offers, slot.default):
        raise NotFound("variant", f"{slot_index}/{offer_id}")
    if offer_id in plan.default_ids:
        fields = default_fields(plan, offer)
    else:
        # For nobody in particular nothing is picked: the first of the pool stands for it.
        picked = offer.pick.pool[0].id if offer.pick is not None else None
        rows = {name: session.get(Product, name) for name in (*offer.all_products, *([picked] if picked else []))}
        known = {name: facts(row).priced(unix_ms(now)) for name, row in rows.items() if row is not None}
        beside = tuple(known.values()) if offer.products else ()
        state = replace(fold_all([]), traits={"first_name": FIRST_NAME})
        fields = offer_fields(plan, offer, known.get(offer.product or picked or ""), state, locale, True, beside)
    size = (slot.width * scale // 2, slot.height * scale // 2)
    design = plan.creative_by_id[offer.creative]
    return drawn(design, fields, blobs, size=size, dark=dark, locale=locale, currency=plan.currency, at_ms=unix_ms(now))

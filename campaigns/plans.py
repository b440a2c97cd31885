"""Published plans: the table of them, and what lies behind a hash."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.blobs import Blobs
from base.errors import NotFound
from campaigns import mail
from campaigns.mail import CompiledMail
from campaigns.models.campaign import Plan
from render import plan as plans


def plan(session: Session, digest: str) -> Plan:
    """The row of one plan. Raises NotFound."""
    row = session.get(Plan, digest)
    if row is None:
        raise NotFound("plan", digest)
    return row


def versions(session: Session, campaign_id: int) -> list[Plan]:
    """All plans of a campaign, the newest first."""
    return list(session.scalars(select(Plan).where(Plan.campaign_id == campaign_id).order_by(Plan.number.desc())))


def load(blobs: Blobs, digest: str) -> plans.Plan:
    """The plan as the open reads it. Raises NotFound."""
    return plans.decode(blobs.get(digest))


def brand(blobs: Blobs, digest: str | None) -> str | None:
    """The brand of a plan; None where there is no plan, or it is lost."""
    if digest is None:
        return None
    try:
        return load(blobs, digest).brand
    except NotFound:
        return None


def load_mail(blobs: Blobs, row: Plan) -> CompiledMail:
    """The mail as the sender builds it. Raises NotFound."""
    return mail.decode(blobs.get(row.mail_hash))


def add(
    session: Session,
    digest: str,
    campaign_id: int,
    mail_hash: str,
    size: int,
    now: datetime,
    by: str,
    *,
    anonymous: bool,
    arms: Sequence[dict[str, Any]] = (),
    starts_at: datetime | None = None,
) -> Plan:
    """The row of a plan, made if there is none: publishing the same content again makes nothing new."""
    row = session.get(Plan, digest)
    if row is None:
        number = session.scalar(select(func.max(Plan.number)).where(Plan.campaign_id == campaign_id)) or 0
        row = Plan(
            hash=digest, campaign_id=campaign_id, number=number + 1, mail_hash=mail_hash, size=size,
            published_at=now, published_by=by, anonymous=anonymous, arms=list(arms),
            starts_at=starts_at,
        )  # fmt: skip
        session.add(row)
        session.flush()
    return row
